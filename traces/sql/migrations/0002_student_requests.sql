-- Everything that was sent to a student and is over: served, fallen back, or replayed. What the teacher refused as well
-- was the request's own fault; what could not fall back failed all the same. A student that its caller gave less time
-- than the policy, or left before its first byte, is left out. ts: of the request, or of its replay; ended_us: the
-- student's part was over; known_us: the whole request was, and so in the log; served: the caller got its answer.
CREATE VIEW student_requests AS
SELECT route, CASE WHEN served_by = 'student' THEN student ELSE fallback_student END AS student, ts,
       epoch_us(ts) AS began_us, epoch_us(ts) + (coalesce(student_ms, latency_ms, 0) * 1000)::BIGINT AS ended_us,
       epoch_us(ts) + (coalesce(latency_ms, 0) * 1000)::BIGINT AS known_us, coalesce(student_ms, latency_ms)::DOUBLE AS ms,
       CASE WHEN fallback IS NOT NULL THEN NOT (fallback = 'status' AND status = 400)
            ELSE status >= 500 OR status = 429 OR finish IN ('upstream_lost', 'upstream_timeout') END AS failed,
       served_by = 'student' AND status = 200 AS served
FROM traces
WHERE (served_by = 'student' OR fallback_student IS NOT NULL)
  AND state = 'done' AND fallback IS DISTINCT FROM 'stale' AND fallback IS DISTINCT FROM 'client_deadline'
  AND (served_by <> 'student' OR (finish IS DISTINCT FROM 'client_timeout'
                                  AND (finish IS DISTINCT FROM 'client_disconnect' OR ttft_ms IS NOT NULL)))
UNION ALL
-- the cost of a replay is stored with its answer
SELECT p.route, p.student, c.ts, epoch_us(c.ts) - (coalesce(p.student_ms, 0) * 1000)::BIGINT AS began_us,
       epoch_us(c.ts) AS ended_us, epoch_us(c.ts) AS known_us, p.student_ms AS ms,
       p.outcome = 'student_failed' AS failed, FALSE AS served
FROM costs c JOIN pairs p ON c.route = p.route AND c.ref = p.student || '/' || p.k || '/' || p.trace_id
WHERE p.kind = 'shadow' AND c.kind = 'shadow' AND p.student_status IS DISTINCT FROM 412;
