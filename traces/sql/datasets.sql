-- name: dataset_traces
-- The newest traces of a route up to the cutoff, with their label and their score as of then.
WITH newest AS MATERIALIZED (
    SELECT trace_id FROM traces
    WHERE route = $route AND state <> 'open' AND ts <= make_timestamp($cutoff_us::BIGINT)
    ORDER BY ts DESC, trace_id DESC LIMIT $at_most
), labelled AS (
    SELECT f.trace_id, f.gold, f.confirmed,
           CASE WHEN s.coverage = 'audit' AND NOT coalesce(t.audit, FALSE) THEN 'volunteered'
                ELSE coalesce(s.coverage, 'volunteered') END AS coverage, f.ts, f.feedback_id
    FROM feedback f
    JOIN newest n ON n.trace_id = f.trace_id
    JOIN traces t ON t.trace_id = f.trace_id
    LEFT JOIN feedback_sources s ON s.route = $route AND s.source = f.source
    WHERE (f.gold IS NOT NULL OR f.confirmed IS NOT NULL) AND f.ts <= make_timestamp($cutoff_us::BIGINT)
), label AS (
    SELECT trace_id, gold, confirmed, coverage, ts FROM labelled
    QUALIFY row_number() OVER (PARTITION BY trace_id
        ORDER BY (coverage = 'volunteered'), (gold IS NULL), ts DESC, feedback_id) = 1
), score AS (
    SELECT trace_id, score, ts FROM scores
    WHERE route = $route AND side = 'served' AND metric_hash = $metric_hash AND ts <= make_timestamp($cutoff_us::BIGINT)
      AND trace_id IN (SELECT trace_id FROM newest)
    QUALIFY row_number() OVER (PARTITION BY trace_id ORDER BY ts DESC) = 1
), ran AS (
    SELECT trace_id, min(program_version) AS program_version FROM calls
    WHERE route = $route AND trace_id IN (SELECT trace_id FROM newest) GROUP BY trace_id
)
SELECT t.trace_id::VARCHAR AS trace_id, epoch(t.ts) AS ts, t.state, t.status, t.finish, t.served_by, t.fallback,
       coalesce(t.retry, FALSE) AS retry,
       -- a request that came before control knew the version: its host recorded the one that ran
       coalesce(nullif(t.program_version, ''), r.program_version, '') AS program_version, t.bucket,
       coalesce(t.request::VARCHAR, '{}') AS request, t.answer,
       t.response ->> '$.choices[0].finish_reason' AS finish_reason,
       l.gold::VARCHAR AS gold, l.confirmed, l.coverage,
       -- until the answer is scored again by a newer label, its score says nothing
       CASE WHEN l.ts IS NULL OR s.ts >= l.ts THEN s.score END AS score
FROM newest n
JOIN traces t ON t.trace_id = n.trace_id
LEFT JOIN label l ON l.trace_id = t.trace_id
LEFT JOIN score s ON s.trace_id = t.trace_id
LEFT JOIN ran r ON r.trace_id = t.trace_id
ORDER BY t.trace_id;

-- name: dataset_calls
-- The predictor calls of the newest traces of a route up to the cutoff, in the order of their start.
SELECT c.trace_id::VARCHAR AS trace_id, c.call_id, c.predictor, c.side, c.inputs::VARCHAR AS inputs,
       c.outputs::VARCHAR AS outputs, c.error
FROM calls c
WHERE c.route = $route AND c.program_version = $program_version
  AND c.trace_id IN (SELECT trace_id FROM traces
                     WHERE route = $route AND state <> 'open' AND ts <= make_timestamp($cutoff_us::BIGINT)
                     ORDER BY ts DESC, trace_id DESC LIMIT $at_most)
ORDER BY c.trace_id, c.seq, c.call_id;

-- name: dataset
-- One dataset without its rows.
SELECT dataset_id, sha256, predictor, counts::VARCHAR AS counts, config::VARCHAR AS config
FROM datasets WHERE dataset_id = $dataset_id;

-- name: dataset_rows_kept
-- The rows of a dataset, made again from the log; what they train with is frozen.
SELECT r.trace_id::VARCHAR AS trace_id, r.call_id, r.predictor, r.split, r.source, r.row_sha256, r.weight, r.n_dups,
       r.score, r.outputs::VARCHAR AS outputs, r.gold::VARCHAR AS gold, c.inputs::VARCHAR AS inputs,
       t.request::VARCHAR AS request, CASE WHEN t.served_by = 'teacher' THEN t.answer END AS answer
FROM dataset_rows r
JOIN traces t ON t.trace_id = r.trace_id
LEFT JOIN calls c ON c.trace_id = r.trace_id AND c.call_id = r.call_id
WHERE r.dataset_id = $dataset_id AND r.dropped IS NULL
ORDER BY r.trace_id, r.call_id;

-- name: dataset_rows_dropped
-- What a dataset left out, with the reasons.
SELECT trace_id::VARCHAR AS trace_id, call_id, predictor, split, dropped AS reason, score
FROM dataset_rows WHERE dataset_id = $dataset_id AND dropped IS NOT NULL ORDER BY trace_id, call_id;
