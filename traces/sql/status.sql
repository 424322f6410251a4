-- name: route_counts
-- What each route has recorded.
SELECT t.route AS route, count(*) AS traces,
       count(*) FILTER (WHERE t.served_by = 'student') AS student_served,
       count(*) FILTER (WHERE t.fallback IS NOT NULL) AS fallbacks,
       count(*) FILTER (WHERE t.status >= 500) AS failed,
       coalesce(sum(t.cost_usd), 0)::DOUBLE AS cost_usd,
       count(*) FILTER (WHERE t.state = 'done' AND t.cost_usd IS NULL) AS cost_unknown
FROM traces t WHERE t.route <> '' GROUP BY t.route;

-- name: route_labels
-- Requests of each route with a gold label or a confirmation, of any coverage; of those, answered by a student.
SELECT t.route AS route, count(DISTINCT f.trace_id) AS labelled,
       count(DISTINCT f.trace_id) FILTER (WHERE t.served_by = 'student') AS by_student
FROM feedback f JOIN traces t ON t.trace_id = f.trace_id
WHERE f.gold IS NOT NULL OR f.confirmed IS NOT NULL GROUP BY t.route;

-- name: route_scores
-- Scored answers of a route under one metric: the newest score of each answer; the commonest reason of those without.
-- The mean leaves out the scores that a volunteered label made (they have its time): people correct what is wrong.
WITH every AS MATERIALIZED (
    SELECT trace_id, ts, score, not_scored FROM scores
    WHERE route = $route AND side = 'served' AND metric_hash = $metric_hash
), newest AS (
    SELECT score, not_scored FROM every QUALIFY row_number() OVER (PARTITION BY trace_id ORDER BY ts DESC) = 1
), volunteered AS (
    SELECT f.trace_id, f.ts FROM feedback f
    JOIN traces t ON t.trace_id = f.trace_id
    LEFT JOIN feedback_sources s ON s.route = $route AND s.source = f.source
    WHERE t.route = $route AND (f.gold IS NOT NULL OR f.confirmed IS NOT NULL)
      AND NOT coalesce(s.coverage = 'all' OR (s.coverage = 'audit' AND t.audit), FALSE)
), unbiased AS (
    SELECT e.score FROM every e ANTI JOIN volunteered v ON v.trace_id = e.trace_id AND v.ts = e.ts
    QUALIFY row_number() OVER (PARTITION BY e.trace_id ORDER BY e.ts DESC) = 1
), reasons AS (
    SELECT not_scored AS why, count(*) AS n FROM newest WHERE score IS NULL AND not_scored IS NOT NULL
    GROUP BY not_scored ORDER BY n DESC, why LIMIT 1
)
SELECT count(*) FILTER (WHERE score IS NOT NULL) AS scored,
       count(*) FILTER (WHERE score >= $pass_score) AS passing,
       count(*) FILTER (WHERE score IS NULL) AS not_scored,
       (SELECT avg(score) FROM unbiased)::DOUBLE AS mean,
       (SELECT why FROM reasons) AS why_not,
       coalesce((SELECT n FROM reasons), 0) AS why_not_n
FROM newest;

-- name: usable_rows
-- Teacher-served answers that pass, or whose right output is known: what a training job could use.
SELECT count(*) AS n FROM traces t
WHERE t.route = $route AND t.state = 'done' AND t.status = 200 AND t.served_by = 'teacher'
  AND t.bucket BETWEEN 30 AND 99
  AND t.ts <= make_timestamp($before_us::BIGINT)
  AND (t.program_version = $program_version
       -- a request that came before control knew the version: its host recorded the one that ran
       OR (t.program_version = '' AND t.trace_id IN (
               SELECT trace_id FROM calls WHERE route = $route AND program_version = $program_version)))
  AND (t.trace_id IN (SELECT trace_id FROM scores
                      WHERE route = $route AND side = 'served' AND metric_hash = $metric_hash
                      GROUP BY trace_id HAVING arg_max(coalesce(score, -1), ts) >= $pass_score)
       OR t.trace_id IN (SELECT trace_id FROM feedback WHERE gold IS NOT NULL));

-- name: pair_outcomes
-- How the pairs of a candidate ended, by kind.
SELECT kind, outcome, count(*) AS n, count(seq) AS consumed FROM pairs
WHERE route = $route AND student = $student AND k = $k GROUP BY kind, outcome ORDER BY kind, outcome;

-- name: recent_traces
-- The newest requests, for people to look at.
SELECT trace_id::VARCHAR AS trace_id, epoch(ts) AS ts, route, model, state, served_by, student, stage, reason, fallback,
       status, latency_ms, tokens_in, tokens_out, cost_usd, audit, conversation_id, text, answer
FROM traces
WHERE ($route IS NULL OR route = $route) AND ($served_by IS NULL OR served_by = $served_by)
  AND ($trace_id IS NULL OR trace_id = $trace_id::UUID)
ORDER BY ts DESC, trace_id DESC LIMIT $at_most;

-- name: served_in
-- Requests that began in a span and that a student answered, as far as they had ended by a moment.
SELECT count(*) AS n FROM traces
WHERE route = $route AND student = $student AND served_by = 'student' AND state = 'done' AND status = 200
  AND ts >= make_timestamp($since_us::BIGINT) AND ts <= make_timestamp($through_us::BIGINT)
  AND epoch_us(ts) + (coalesce(latency_ms, 0) * 1000)::BIGINT <= $through_us::BIGINT;

-- name: teacher_p95
-- The teacher's latency over its newest answers, milliseconds.
SELECT quantile_cont(latency_ms, 0.95)::DOUBLE AS ms, count(*) AS n FROM (
    SELECT latency_ms FROM traces
    WHERE route = $route AND served_by = 'teacher' AND fallback IS NULL AND state = 'done' AND status = 200
    ORDER BY ts DESC LIMIT 1000);

-- name: sent_by_hour
-- How much was sent to a student in each hour up to a moment, by the hour in which it was over; `began_us`: a time of the
-- day on which that began, as a day's requests are counted by their beginnings.
SELECT known_us // 3600000000 * 3600000000 AS hour_us, min(began_us) AS began_us, count(*) AS n,
       count(*) FILTER (WHERE failed) AS failed, coalesce(max(ended_us) FILTER (WHERE failed), 0) AS last_failure_us
FROM student_requests WHERE route = $route AND student = $student AND known_us <= $through_us::BIGINT
GROUP BY hour_us, began_us // 86400000000 ORDER BY hour_us, began_us;

-- name: oldest_unconsumed
-- Where the evidence of a candidate goes on: its oldest pair without a place, or else its newest.
SELECT epoch_us(coalesce(min(ts) FILTER (WHERE seq IS NULL), max(ts))) AS ts_us FROM pairs
WHERE route = $route AND student = $student AND k = $k;

-- name: sent_to_student
-- Every request sent to a student that ended in a span, in the order of their ends. None of them began before $from_us.
SELECT began_us, ended_us, known_us, ms, failed, served FROM student_requests
WHERE route = $route AND student = $student
  AND ts > make_timestamp($from_us::BIGINT) AND ts <= make_timestamp($through_us::BIGINT)
  AND known_us > $after_us::BIGINT AND known_us <= $through_us::BIGINT
ORDER BY known_us, began_us, failed LIMIT $at_most;

-- name: teacher_runs
-- Of the teacher's requests that ended in a span, in the order of their ends: the failures, the first answer behind
-- each run of them, and the last request; each with its place in the span. Replays count as well: where students serve
-- everything, only those say how the teacher is. Where the caller gave less time than the policy, or left before the
-- first byte, it is left out: of a teacher that hangs that would be an answer. No request that ends in the span began
-- before $from_us.
WITH ended AS (
    SELECT trace_id, epoch_us(ts) AS began_us, epoch_us(ts) + (coalesce(latency_ms, 0) * 1000)::BIGINT AS ended_us,
           (status >= 500 OR status = 429 OR finish IN ('upstream_lost', 'upstream_timeout')) AS failed
    FROM traces
    WHERE route = $route AND served_by = 'teacher' AND state = 'done' AND finish IS DISTINCT FROM 'client_timeout'
      AND (finish IS DISTINCT FROM 'client_disconnect' OR ttft_ms IS NOT NULL)
      AND ts > make_timestamp($from_us::BIGINT) AND ts <= make_timestamp($through_us::BIGINT)
    UNION ALL
    -- the cost of a replay is stored with its answer, and that is the time at which its pair says the teacher was asked
    SELECT p.trace_id, epoch_us(c.ts) AS began_us, epoch_us(c.ts) AS ended_us, p.outcome = 'teacher_failed' AS failed
    FROM costs c JOIN pairs p ON c.ref = p.student || '/' || p.k || '/' || p.trace_id
    WHERE p.route = $route AND p.kind = 'reverse_shadow' AND c.route = $route AND c.kind = 'reverse_shadow'
      AND c.ts > make_timestamp($after_us::BIGINT) AND c.ts <= make_timestamp($through_us::BIGINT)
), placed AS (
    SELECT began_us, ended_us, failed, row_number() OVER turn AS place, lag(failed) OVER turn AS before,
           count(*) OVER () AS n
    FROM ended WHERE ended_us > $after_us::BIGINT AND ended_us <= $through_us::BIGINT
    WINDOW turn AS (ORDER BY ended_us, trace_id)
)
SELECT began_us, ended_us, failed, place FROM placed
-- what came before the first one of the span is not known here
WHERE failed OR coalesce(before, TRUE) OR place = n ORDER BY place;

-- name: oldest_open
-- Start of the oldest request of each route that is still open.
SELECT t.route AS route, epoch(min(t.ts)) AS ts FROM traces t
WHERE t.state = 'open' AND t.trace_id IN (SELECT trace_id FROM open_requests)
GROUP BY t.route;

-- name: forget_feedback_sources
-- The declared sources of all routes go; the configuration in force brings them back.
DELETE FROM feedback_sources;

-- name: insert_feedback_source
-- One declared source of feedback.
INSERT INTO feedback_sources VALUES ($route, $source, $coverage);

-- name: latest_program_version
-- The program version seen last on a route.
SELECT program_version, body::VARCHAR AS body FROM program_versions
WHERE route = $route ORDER BY first_seen DESC LIMIT 1;

-- name: insert_program_version
-- A program version is seen for the first time.
INSERT INTO program_versions VALUES ($route, $program_version, make_timestamp($ts_us::BIGINT), $body::JSON);
