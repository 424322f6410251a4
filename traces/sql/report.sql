-- name: report_traffic
-- Who served a route: volume, failures, latency and known cost.
SELECT served_by, count(*)::BIGINT AS n, count(*) FILTER (status >= 400)::BIGINT AS failed,
       count(*) FILTER (fallback IS NOT NULL)::BIGINT AS fallbacks,
       quantile_cont(latency_ms, 0.5) AS p50_ms, quantile_cont(latency_ms, 0.95) AS p95_ms,
       avg(cost_usd) AS mean_cost_usd, count(*) FILTER (status < 400 AND cost_usd IS NULL)::BIGINT AS no_cost
FROM traces
WHERE route = $route AND state = 'done' AND student IS NOT DISTINCT FROM
      CASE WHEN served_by = 'student' THEN $student ELSE student END
GROUP BY served_by ORDER BY served_by DESC;

-- name: report_replays
-- What a student's replayed answers took and cost; no row before the first.
SELECT 'student, replayed' AS served_by, count(*)::BIGINT AS n,
       count(*) FILTER (outcome = 'student_failed')::BIGINT AS failed, 0::BIGINT AS fallbacks,
       quantile_cont(student_ms, 0.5) AS p50_ms, quantile_cont(student_ms, 0.95) AS p95_ms,
       avg(cost_usd) FILTER (outcome <> 'student_failed') AS mean_cost_usd,
       count(*) FILTER (cost_usd IS NULL)::BIGINT AS no_cost
FROM pairs
WHERE route = $route AND student = $student AND k = $k AND kind = 'shadow' AND attempts > 0
HAVING count(*) > 0;

-- name: report_shares
-- Requests of a route over time, and those that one student answered, in slices of some seconds
-- from the first one on.
SELECT ($first + least(floor((epoch(ts) - $first) / $slice_s), $slices - 1) * $slice_s)::DOUBLE AS at,
       count(*)::BIGINT AS n,
       count(*) FILTER (served_by = 'student' AND student = $student)::BIGINT AS by_student
FROM traces WHERE route = $route AND state = 'done'
GROUP BY 1 ORDER BY 1;

-- name: report_span
-- The first and the last finished request of a route.
SELECT epoch(min(ts)) AS first, epoch(max(ts)) AS last, count(*)::BIGINT AS n
FROM traces WHERE route = $route AND state = 'done';

-- name: report_outcomes
-- What became of the sampled requests of a candidate.
SELECT kind, outcome, count(*)::BIGINT AS n, sum(cost_usd) AS cost_usd,
       count(*) FILTER (attempts > 0 AND cost_usd IS NULL)::BIGINT AS unknown
FROM pairs WHERE route = $route AND student = $student AND k = $k GROUP BY ALL ORDER BY kind, n DESC;

-- name: report_disagreements
-- Pairs in which the two sides got different scores, the worst for the student first.
SELECT p.trace_id::VARCHAR AS trace_id, t.text, p.teacher_answer, p.student_answer,
       p.teacher_score, p.student_score
FROM pairs p JOIN traces t ON t.trace_id = p.trace_id
WHERE p.route = $route AND p.student = $student AND p.k = $k AND p.outcome = 'scored'
  AND p.student_score <> p.teacher_score
ORDER BY p.student_score - p.teacher_score, p.ts LIMIT $most;

-- name: report_student
-- A student with its lineage.
SELECT s.student, epoch(s.ts) AS ts, s.trainer, s.program_version, s.metric_hash, s.dataset_id,
       s.job_id, s.artefact_sha256, epoch(s.cutoff) AS cutoff, s.manifest::VARCHAR AS manifest,
       d.sha256 AS dataset_sha256, d.counts::VARCHAR AS counts
FROM students s LEFT JOIN datasets d ON d.dataset_id = s.dataset_id
WHERE s.route = $route AND s.student = $student;

-- name: report_exams
-- The exams that belong to a dataset: each candidate beside the teacher.
SELECT e.candidate, s.trainer, e.kind, e.n, e.score, e.low, e.high, e.smallest_gap
FROM exams e LEFT JOIN students s ON s.route = e.route AND s.student = e.candidate
WHERE e.route = $route AND e.dataset_id = $dataset_id ORDER BY e.candidate;

-- name: report_events
-- The transitions of a route.
SELECT seq, epoch(ts) AS ts, student, event, stage_from, stage_to, actor, reason, hash
FROM rollout_events WHERE route = $route ORDER BY seq;

-- name: report_costs
-- What evidence and training cost.
SELECT kind, sum(usd) AS usd, count(*) FILTER (usd IS NULL)::BIGINT AS unknown FROM costs
WHERE route = $route GROUP BY kind ORDER BY kind;

-- name: newest_report
-- The newest report on a student.
SELECT body::VARCHAR AS body FROM reports WHERE route = $route AND student = $student ORDER BY ts DESC LIMIT 1;

-- name: save_report
-- Keep a report: an approval names its hash.
INSERT INTO reports SELECT $report, make_timestamp(($now * 1000000)::BIGINT), $route, $student, $body::JSON
WHERE NOT EXISTS (SELECT 1 FROM reports WHERE report = $report);
