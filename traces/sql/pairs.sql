-- name: sampling_span
-- The finished requests of a route in a span, oldest first, that have no pair with this candidate yet.
SELECT t.trace_id::VARCHAR AS trace_id, epoch_us(t.ts) AS ts_us, t.served_by, t.student, t.reason, t.propensity,
       t.conversation_id, t.inputs_hash, t.audit, t.audit_propensity, t.answer
FROM traces t
WHERE t.route = $route AND t.state = 'done' AND t.status = 200 AND t.finish = 'stop' AND t.answer IS NOT NULL
  AND t.fallback IS NULL AND NOT coalesce(t.no_shadow, FALSE) AND NOT coalesce(t.retry, FALSE)
  AND t.ts > make_timestamp($after_us::BIGINT) AND t.ts <= make_timestamp($through_us::BIGINT)
  AND NOT EXISTS (SELECT 1 FROM pairs p WHERE p.route = $route AND p.student = $student AND p.k = $k
                  AND p.trace_id = t.trace_id)
ORDER BY t.ts, t.trace_id;

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

-- name: record_replay
-- What a replay brought: the missing answer, or the reason why there is no pair.
UPDATE pairs SET outcome = $outcome,
    teacher_answer = CASE WHEN kind = 'reverse_shadow' THEN $answer ELSE teacher_answer END,
    student_answer = CASE WHEN kind = 'shadow' THEN $answer ELSE student_answer END,
    student_status = CASE WHEN kind = 'shadow' THEN $status::SMALLINT ELSE student_status END,
    student_ms = CASE WHEN kind = 'shadow' THEN $ms::DOUBLE ELSE student_ms END,
    cost_usd = $cost_usd, attempts = attempts + 1
WHERE route = $route AND student = $student AND k = $k AND trace_id = $trace_id::UUID AND outcome = 'pending';

-- name: drop_pair
-- A pair leaves the evidence, in both arms, with the reason.
UPDATE pairs SET outcome = $outcome
WHERE route = $route AND student = $student AND k = $k AND trace_id = $trace_id::UUID AND outcome = 'pending';

-- name: pairs_to_judge
-- Pending pairs with both answers, oldest first, with the newest label that may be evidence.
SELECT p.trace_id::VARCHAR AS trace_id, epoch_us(p.ts) AS ts_us, p.kind, epoch_us(p.deadline) AS deadline_us,
       p.teacher_answer, p.student_answer, t.request::VARCHAR AS request,
       l.gold::VARCHAR AS gold, l.confirmed, l.coverage
FROM pairs p
JOIN traces t ON t.trace_id = p.trace_id
LEFT JOIN (
    SELECT f.trace_id, f.gold, f.confirmed, s.coverage
    FROM feedback f
    JOIN feedback_sources s ON s.route = $route AND s.source = f.source AND s.coverage IN ('all', 'audit')
    JOIN traces a ON a.trace_id = f.trace_id AND (s.coverage = 'all' OR a.audit)
    WHERE f.gold IS NOT NULL OR f.confirmed IS NOT NULL
    QUALIFY row_number() OVER (PARTITION BY f.trace_id ORDER BY (f.gold IS NULL), f.ts DESC) = 1
) l ON l.trace_id = p.trace_id
WHERE p.route = $route AND p.student = $student AND p.k = $k AND p.outcome = 'pending'
  AND p.teacher_answer IS NOT NULL AND p.student_answer IS NOT NULL
  AND (NOT $waits OR l.trace_id IS NOT NULL OR p.deadline <= make_timestamp($now_us::BIGINT))
ORDER BY p.ts, p.trace_id LIMIT $at_most;

-- name: expire_replays
-- Pairs whose replay did not happen in time: dropped, in both arms.
UPDATE pairs SET outcome = 'not_replayed'
WHERE route = $route AND student = $student AND k = $k AND outcome = 'pending'
  AND (teacher_answer IS NULL OR student_answer IS NULL) AND deadline <= make_timestamp($now_us::BIGINT);

-- name: answer_before
-- The student's answer of the pair before this one: the negative control's answer.
SELECT student_answer AS answer FROM pairs
WHERE route = $route AND student = $student AND k = $k AND student_answer IS NOT NULL
  AND (ts, trace_id) < (make_timestamp($ts_us::BIGINT), $trace_id::UUID)
ORDER BY ts DESC, trace_id DESC LIMIT 1;

-- name: record_scores
-- Both sides and the negative control, scored by one metric.
UPDATE pairs SET outcome = 'scored', teacher_score = $teacher_score, student_score = $student_score,
    control_score = $control_score, coverage = $coverage, metric_hash = $metric_hash
WHERE route = $route AND student = $student AND k = $k AND trace_id = $trace_id::UUID AND outcome = 'pending';

-- name: next_pairs
-- What lies behind the watermark, in request order; the first pending pair ends it.
SELECT p.trace_id::VARCHAR AS trace_id, epoch_us(p.ts) AS ts_us, p.kind, p.outcome, p.metric_hash, p.teacher_score,
       p.student_score, p.control_score, p.pair_weight, p.propensity, p.coverage, p.cluster
FROM pairs p
WHERE p.route = $route AND p.student = $student AND p.k = $k AND p.seq IS NULL
  AND p.ts <= make_timestamp($through_us::BIGINT)
ORDER BY p.ts, p.trace_id LIMIT $at_most;

-- name: consume_pair
-- The pair gets its place behind the watermark.
UPDATE pairs SET seq = $seq, outcome = $outcome
WHERE route = $route AND student = $student AND k = $k AND trace_id = $trace_id::UUID AND seq IS NULL;

-- name: consumed_pairs
-- All pairs behind the watermark, in the order in which they were consumed.
SELECT p.trace_id::VARCHAR AS trace_id, epoch_us(p.ts) AS ts_us, p.kind, p.outcome, p.metric_hash, p.teacher_score,
       p.student_score, p.control_score, p.pair_weight, p.propensity, p.coverage, p.cluster, p.seq
FROM pairs p
WHERE p.route = $route AND p.student = $student AND p.k = $k AND p.seq IS NOT NULL
ORDER BY p.seq;

-- name: last_consumed
-- Where the watermark stands: the newest consumed pair.
SELECT p.seq, epoch_us(p.ts) AS ts_us FROM pairs p
WHERE p.route = $route AND p.student = $student AND p.k = $k AND p.seq IS NOT NULL
ORDER BY p.seq DESC LIMIT 1;

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

-- name: insert_cost
-- Money spent by limbeck itself.
INSERT INTO costs VALUES (make_timestamp($ts_us::BIGINT), $route, $kind, $usd, $ref);

-- name: all_pairs
-- Every pair of a candidate, in request order.
SELECT trace_id::VARCHAR AS trace_id, epoch_us(ts) AS ts_us, kind, outcome, seq, teacher_score, student_score,
       control_score, propensity, coverage, deadline IS NOT NULL AS has_deadline
FROM pairs WHERE route = $route AND student = $student AND k = $k ORDER BY ts, trace_id;
