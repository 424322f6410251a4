-- name: answers_to_score
-- Teacher-served answers without a score under this metric, or with a label newer than their score; oldest first.
-- The label is the one that a dataset takes (see `dataset_traces`): evidence before what was volunteered.
WITH label AS (
    SELECT f.trace_id, f.ts, f.gold, f.confirmed FROM feedback f
    JOIN traces t ON t.trace_id = f.trace_id
    LEFT JOIN feedback_sources s ON s.route = $route AND s.source = f.source
    WHERE t.route = $route AND (f.gold IS NOT NULL OR f.confirmed IS NOT NULL)
      AND f.trace_id IN (SELECT trace_id FROM feedback WHERE ts >= make_timestamp($since_us::BIGINT))
    QUALIFY row_number() OVER (PARTITION BY f.trace_id
        ORDER BY coalesce(s.coverage = 'all' OR (s.coverage = 'audit' AND t.audit), FALSE) DESC,
                 (f.gold IS NULL), f.ts DESC, f.feedback_id) = 1
), known AS (
    SELECT t.trace_id, t.ts, l.ts AS label_ts, l.gold, l.confirmed
    FROM traces t LEFT JOIN label l ON l.trace_id = t.trace_id
    WHERE t.route = $route AND t.state = 'done' AND t.status = 200 AND t.answer IS NOT NULL AND t.served_by = 'teacher'
      AND (l.trace_id IS NOT NULL OR (NOT $needs_label AND t.ts >= make_timestamp($since_us::BIGINT)))
), unscored AS MATERIALIZED (
    SELECT k.* FROM known k
    LEFT JOIN (
        SELECT trace_id, max(ts) AS ts FROM scores
        WHERE route = $route AND side = 'served' AND metric_hash = $metric_hash
          AND trace_id IN (SELECT trace_id FROM known)
        GROUP BY trace_id
    ) s ON s.trace_id = k.trace_id
    WHERE s.trace_id IS NULL OR k.label_ts > s.ts
    ORDER BY k.ts LIMIT $at_most
)
SELECT u.trace_id::VARCHAR AS trace_id, epoch_us(coalesce(u.label_ts, u.ts)) AS known_us,
       t.request::VARCHAR AS request, t.answer, u.gold::VARCHAR AS gold, u.confirmed
FROM unscored u JOIN traces t ON t.trace_id = u.trace_id
ORDER BY u.ts, u.trace_id;
