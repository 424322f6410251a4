-- name: answers_to_score
-- Teacher-served answers without a score under this metric, or with a label newer than their score; oldest first.
WITH label AS (
    SELECT f.trace_id, f.ts, f.gold, f.confirmed FROM feedback f
    WHERE (f.gold IS NOT NULL OR f.confirmed IS NOT NULL)
      AND f.trace_id IN (SELECT trace_id FROM feedback WHERE ts >= make_timestamp($since_us::BIGINT))
    QUALIFY row_number() OVER (PARTITION BY f.trace_id ORDER BY (f.gold IS NULL), f.ts DESC) = 1
)
SELECT t.trace_id::VARCHAR AS trace_id, epoch_us(coalesce(l.ts, t.ts)) AS known_us, t.request::VARCHAR AS request,
       t.answer, l.gold::VARCHAR AS gold, l.confirmed
FROM traces t
LEFT JOIN label l ON l.trace_id = t.trace_id
LEFT JOIN (
    SELECT trace_id, max(ts) AS ts FROM scores WHERE route = $route AND side = 'served' AND metric_hash = $metric_hash
    GROUP BY trace_id
) s ON s.trace_id = t.trace_id
WHERE t.route = $route AND t.state = 'done' AND t.status = 200 AND t.answer IS NOT NULL
  AND t.served_by = 'teacher'
  AND (l.trace_id IS NOT NULL OR (NOT $needs_label AND t.ts >= make_timestamp($since_us::BIGINT)))
  AND (s.trace_id IS NULL OR l.ts > s.ts)
ORDER BY t.ts LIMIT $at_most;

-- name: insert_score
-- One metric value, or the reason why there is none.
INSERT INTO scores VALUES ($trace_id::UUID, make_timestamp($known_us::BIGINT), $route, 'served', $metric_hash, $score,
                           $not_scored);

-- name: all_scores
-- Every score of a route, in the order in which answers and labels became known.
SELECT trace_id::VARCHAR AS trace_id, epoch_us(ts) AS ts_us, score, not_scored, metric_hash FROM scores
WHERE route = $route ORDER BY ts, trace_id;
