-- name: sampling_span
-- The finished requests of a route in a span, oldest first, that have no pair with this candidate yet.
SELECT t.trace_id::VARCHAR AS trace_id, epoch_us(t.ts) AS ts_us, t.served_by, t.student, t.reason, t.propensity,
       t.conversation_id, t.inputs_hash, t.audit, t.audit_propensity, t.answer
FROM traces t
WHERE t.route = $route AND t.state = 'done' AND t.status = 200 AND t.finish = 'stop' AND t.answer IS NOT NULL
  AND t.fallback IS NULL AND NOT coalesce(t.no_shadow, FALSE) AND NOT coalesce(t.retry, FALSE)
  AND t.ts > make_timestamp($after_us::BIGINT) AND t.ts <= make_timestamp($through_us::BIGINT)
  AND NOT EXISTS (SELECT 1 FROM pairs p WHERE p.route = $route AND p.student = $student AND p.k = $k
                  AND p.trace_id = t.trace_id AND p.ts > make_timestamp($after_us::BIGINT))
ORDER BY t.ts, t.trace_id;

-- name: newest_pair
-- When the newest request came that was drawn for a candidate.
SELECT epoch(max(p.ts)) AS ts FROM pairs p WHERE p.route = $route AND p.student = $student AND p.k = $k;

-- name: paired_conversations
-- The conversations of a route that already have their one pair with this candidate.
SELECT DISTINCT t.conversation_id AS conversation_id
FROM pairs p JOIN traces t ON t.trace_id = p.trace_id
WHERE p.route = $route AND p.student = $student AND p.k = $k AND t.conversation_id IS NOT NULL;

-- name: insert_pair
-- A request enters the evidence: sampled, not yet replayed.
INSERT INTO pairs (route, student, k, trace_id, ts, kind, outcome, metric_hash, pair_weight, propensity, coverage,
                   cluster, deadline, teacher_answer, student_answer, attempts)
VALUES ($route, $student, $k, $trace_id::UUID, make_timestamp($ts_us::BIGINT), $kind, $outcome, $metric_hash, 1.0,
        $propensity, $coverage, $cluster, make_timestamp($deadline_us::BIGINT), $teacher_answer, $student_answer, 0);

-- name: pairs_to_replay
-- Pending pairs that lack the answer of the side that did not serve, oldest first.
SELECT p.trace_id::VARCHAR AS trace_id, p.kind, t.request::VARCHAR AS request
FROM pairs p JOIN traces t ON t.trace_id = p.trace_id
WHERE p.route = $route AND p.student = $student AND p.k = $k AND p.outcome = 'pending'
  AND (p.teacher_answer IS NULL OR p.student_answer IS NULL)
ORDER BY p.ts, p.trace_id LIMIT $at_most;

-- name: record_replays
-- What replays brought, one element of each list a pair: the missing answer, or why there is no pair.
UPDATE pairs SET outcome = r.outcome,
    teacher_answer = CASE WHEN pairs.kind = 'reverse_shadow' THEN r.answer ELSE pairs.teacher_answer END,
    student_answer = CASE WHEN pairs.kind = 'shadow' THEN r.answer ELSE pairs.student_answer END,
    student_status = CASE WHEN pairs.kind = 'shadow' THEN r.status ELSE pairs.student_status END,
    student_ms = CASE WHEN pairs.kind = 'shadow' THEN r.ms ELSE pairs.student_ms END,
    cost_usd = r.cost_usd, attempts = pairs.attempts + 1
FROM (SELECT unnest($trace_ids::UUID[]) AS trace_id, unnest($outcomes::VARCHAR[]) AS outcome,
             unnest($answers::VARCHAR[]) AS answer, unnest($statuses::SMALLINT[]) AS status,
             unnest($ms::DOUBLE[]) AS ms, unnest($costs_usd::DOUBLE[]) AS cost_usd) r
WHERE pairs.route = $route AND pairs.student = $student AND pairs.k = $k AND pairs.trace_id = r.trace_id
  AND pairs.outcome = 'pending';

-- name: drop_pairs
-- Pairs leave the evidence, in both arms, each with its reason.
UPDATE pairs SET outcome = d.outcome
FROM (SELECT unnest($trace_ids::UUID[]) AS trace_id, unnest($outcomes::VARCHAR[]) AS outcome) d
WHERE pairs.route = $route AND pairs.student = $student AND pairs.k = $k AND pairs.trace_id = d.trace_id
  AND pairs.outcome = 'pending';

-- name: pairs_to_judge
-- Pending pairs with both answers, oldest first, with the newest label in time that may be evidence.
-- A source that has ever refused an answer of the route without the right output would drop a student's failures and
-- keep its successes, so none of its labels counts on student-served requests: that is decided by source, never by pair.
WITH waiting AS MATERIALIZED (
    SELECT p.trace_id, p.ts, p.kind, p.deadline, p.teacher_answer, p.student_answer FROM pairs p
    WHERE p.route = $route AND p.student = $student AND p.k = $k AND p.outcome = 'pending'
      AND p.teacher_answer IS NOT NULL AND p.student_answer IS NOT NULL
), refusing AS MATERIALIZED (
    SELECT DISTINCT f.source FROM feedback f
    WHERE NOT f.confirmed AND f.gold IS NULL AND f.trace_id IN (SELECT trace_id FROM traces WHERE route = $route)
), covering AS MATERIALIZED (
    SELECT w.trace_id, w.deadline, s.source, s.coverage,
           w.kind = 'reverse_shadow' AND s.source IN (SELECT source FROM refusing) AS refuses
    FROM waiting w
    JOIN traces t ON t.trace_id = w.trace_id
    JOIN feedback_sources s ON s.route = $route AND (s.coverage = 'all' OR (s.coverage = 'audit' AND t.audit))
), refused AS (
    SELECT trace_id FROM covering GROUP BY trace_id HAVING bool_and(refuses)
), label AS (
    SELECT f.trace_id, f.gold, f.confirmed, f.ts, c.coverage
    FROM feedback f
    JOIN covering c ON c.trace_id = f.trace_id AND c.source = f.source AND NOT c.refuses AND f.ts <= c.deadline
    WHERE f.gold IS NOT NULL OR f.confirmed IS NOT NULL
    QUALIFY row_number() OVER (PARTITION BY f.trace_id ORDER BY (f.gold IS NULL), f.ts DESC) = 1
), ready AS MATERIALIZED (
    SELECT w.*, l.gold, l.confirmed, l.coverage, r.trace_id IS NOT NULL AS refused
    FROM waiting w
    LEFT JOIN label l ON l.trace_id = w.trace_id
    LEFT JOIN refused r ON r.trace_id = w.trace_id
    -- behind a refusal the right output may still come
    WHERE NOT $waits OR l.gold IS NOT NULL OR l.confirmed OR r.trace_id IS NOT NULL
       OR l.ts <= make_timestamp($now_us::BIGINT - $correction_us::BIGINT)
       OR w.deadline <= make_timestamp($now_us::BIGINT)
    ORDER BY w.ts, w.trace_id LIMIT $at_most
)
-- requests are long: only those of the pairs that are judged now are read
SELECT r.trace_id::VARCHAR AS trace_id, epoch_us(r.ts) AS ts_us, r.kind, epoch_us(r.deadline) AS deadline_us,
       r.teacher_answer, r.student_answer, t.request::VARCHAR AS request, r.gold::VARCHAR AS gold, r.confirmed,
       r.coverage, r.refused
FROM ready r JOIN traces t ON t.trace_id = r.trace_id
ORDER BY r.ts, r.trace_id;

-- name: expire_replays
-- Pairs whose replay did not happen in time: dropped, in both arms.
UPDATE pairs SET outcome = 'not_replayed'
WHERE route = $route AND student = $student AND k = $k AND outcome = 'pending'
  AND (teacher_answer IS NULL OR student_answer IS NULL) AND deadline <= make_timestamp($now_us::BIGINT);

-- name: students_answers
-- The student's answers from the last one before a moment up to another moment, in request order.
SELECT p.trace_id::VARCHAR AS trace_id, epoch_us(p.ts) AS ts_us, p.student_answer AS answer FROM pairs p
WHERE p.route = $route AND p.student = $student AND p.k = $k AND p.student_answer IS NOT NULL
  AND p.ts <= make_timestamp($to_us::BIGINT)
  AND p.ts >= coalesce((SELECT max(b.ts) FROM pairs b WHERE b.route = $route AND b.student = $student AND b.k = $k
                        AND b.student_answer IS NOT NULL AND b.ts < make_timestamp($from_us::BIGINT)),
                       make_timestamp($from_us::BIGINT))
ORDER BY p.ts, p.trace_id;

-- name: record_scores
-- Both sides and the negative control of some pairs, scored by one metric; one element of each list a pair.
UPDATE pairs SET outcome = 'scored', teacher_score = m.teacher_score, student_score = m.student_score,
    control_score = m.control_score, coverage = m.coverage, metric_hash = $metric_hash
FROM (SELECT unnest($trace_ids::UUID[]) AS trace_id, unnest($teacher_scores::DOUBLE[]) AS teacher_score,
             unnest($student_scores::DOUBLE[]) AS student_score, unnest($control_scores::DOUBLE[]) AS control_score,
             unnest($coverages::VARCHAR[]) AS coverage) m
WHERE pairs.route = $route AND pairs.student = $student AND pairs.k = $k AND pairs.trace_id = m.trace_id
  AND pairs.outcome = 'pending';

-- name: next_pairs
-- What lies behind the watermark, in request order, with the moment of the replay; the first pending pair ends it.
WITH waiting AS MATERIALIZED (
    SELECT trace_id, ts, student, k, kind, outcome, metric_hash, teacher_score, student_score, control_score,
           pair_weight, propensity, coverage, cluster
    FROM pairs p
    WHERE p.route = $route AND p.student = $student AND p.k = $k AND p.seq IS NULL
      AND p.ts <= make_timestamp($through_us::BIGINT)
    ORDER BY p.ts, p.trace_id LIMIT $at_most
), replays AS (
    SELECT c.ref, max(c.ts) AS ts FROM costs c
    WHERE c.route = $route AND c.kind IN ('shadow', 'reverse_shadow') AND c.ts >= (SELECT min(ts) FROM waiting)
    GROUP BY c.ref
)
SELECT p.trace_id::VARCHAR AS trace_id, epoch_us(p.ts) AS ts_us, epoch_us(r.ts) AS replayed_us, p.kind, p.outcome,
       p.metric_hash, p.teacher_score, p.student_score, p.control_score, p.pair_weight, p.propensity, p.coverage,
       p.cluster
FROM waiting p LEFT JOIN replays r ON r.ref = p.student || '/' || p.k || '/' || p.trace_id
ORDER BY p.ts, p.trace_id;

-- name: consume_pairs
-- Pairs get their places behind the watermark; one element of each list a pair.
UPDATE pairs SET seq = c.seq, outcome = c.outcome
FROM (SELECT unnest($trace_ids::UUID[]) AS trace_id, unnest($seqs::BIGINT[]) AS seq,
             unnest($outcomes::VARCHAR[]) AS outcome) c
WHERE pairs.route = $route AND pairs.student = $student AND pairs.k = $k AND pairs.trace_id = c.trace_id
  AND pairs.seq IS NULL;

-- name: consumed_pairs
-- All pairs behind the watermark, in the order in which they were consumed.
SELECT p.trace_id::VARCHAR AS trace_id, epoch_us(p.ts) AS ts_us, p.kind, p.outcome, p.metric_hash, p.teacher_score,
       p.student_score, p.control_score, p.pair_weight, p.propensity, p.coverage, p.cluster, p.seq
FROM pairs p
WHERE p.route = $route AND p.student = $student AND p.k = $k AND p.seq IS NOT NULL
ORDER BY p.seq;

-- name: last_consumed
-- The last place, and where the watermark stands: a late pair got its place behind it.
SELECT max(p.seq) AS seq, epoch_us(max(p.ts)) AS ts_us FROM pairs p
WHERE p.route = $route AND p.student = $student AND p.k = $k AND p.seq IS NOT NULL HAVING count(*) > 0;

-- name: evidence_checkpoint
-- The state of the evidence after the last consumed pair.
SELECT seq, state::VARCHAR AS state FROM evidence
WHERE route = $route AND student = $student AND k = $k ORDER BY seq DESC LIMIT 1;

-- name: forget_checkpoints
-- Older states of the evidence; run in the transaction that writes the new one.
DELETE FROM evidence WHERE route = $route AND student = $student AND k = $k;

-- name: insert_checkpoint
-- The state of the evidence, written in the transaction that consumed the pairs.
INSERT INTO evidence VALUES ($route, $student, $k, $seq, make_timestamp($ts_us::BIGINT), $state::JSON);

-- name: spent_on_replays
-- What the replays of a route cost since a moment; a cost that nobody knows is counted apart.
SELECT coalesce(sum(usd), 0)::DOUBLE AS usd, count(*) FILTER (WHERE usd IS NULL) AS unknown
FROM costs WHERE route = $route AND kind IN ('shadow', 'reverse_shadow') AND ts >= make_timestamp($after_us::BIGINT);
