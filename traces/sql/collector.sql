-- name: ledger
-- How far each segment has been read.
SELECT segment, read_to FROM ingest_ledger;

-- name: forget_segments
-- Drop the ledger rows of segments.
DELETE FROM ingest_ledger WHERE segment IN (SELECT unnest($segments::VARCHAR[]));

-- name: open_requests
-- Requests with a start frame whose end frame is awaited.
SELECT trace_id, writer, epoch(deadline) AS deadline FROM open_requests;

-- name: drop_unfinished_traces
-- Make way for the end frames of requests that were open, or taken for aborted.
DELETE FROM traces WHERE state IN ('open', 'aborted') AND trace_id IN (SELECT unnest($trace_ids::UUID[]));

-- name: drop_open_requests
-- These requests are open no more.
DELETE FROM open_requests WHERE trace_id IN (SELECT unnest($trace_ids::UUID[]));

-- name: newest_gap
-- What workers could not record: the newest gap, with all that ended within some seconds before it.
SELECT epoch(min(ts_from)) AS ts_from, epoch(max(ts_to)) AS ts_to, sum(n)::BIGINT AS n,
       list_sort(list(DISTINCT reason)) AS reasons
FROM gaps WHERE epoch(ts_to) >= (SELECT max(epoch(ts_to)) FROM gaps) - $within_s
HAVING count(*) > 0;

-- name: abort_traces
-- Give up open requests: their writer is gone, or their deadline is over.
UPDATE traces SET state = 'aborted' WHERE state = 'open' AND trace_id IN (SELECT unnest($trace_ids::UUID[]));
