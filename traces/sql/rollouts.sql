-- name: last_copied_event
-- How far the copy of the event log reaches.
SELECT coalesce(max(seq), 0) AS seq FROM rollout_events;

-- name: copied_events
-- The copy of the event log from its own last row, or the log's, whichever is older.
SELECT seq, hash, body::VARCHAR AS body FROM rollout_events
WHERE seq >= least($last_seq, (SELECT max(seq) FROM rollout_events)) ORDER BY seq;

-- name: insert_event
-- One event of the log, copied.
INSERT INTO rollout_events VALUES ($seq, make_timestamp($ts_us::BIGINT), $route, $student, $event, $stage_from,
                                   $stage_to, $actor, $reason, $report, $body::JSON, $prev_hash, $hash);
