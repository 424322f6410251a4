-- The truth for everything that happened. No PRIMARY KEY and no index on big tables: exactly-once comes from the
-- ledger, and UUID v7 in insert order gives useful zone maps.

CREATE TABLE traces (
    trace_id UUID, ts TIMESTAMP, route VARCHAR, model VARCHAR, key_name VARCHAR,
    program_version VARCHAR, metric_hash VARCHAR, config_hash VARCHAR, snapshot_version BIGINT,
    state VARCHAR,                        -- done, open, aborted
    served_by VARCHAR, student VARCHAR, stage VARCHAR, weight DOUBLE, reason VARCHAR, propensity DOUBLE,
    audit BOOLEAN, audit_propensity DOUBLE,
    fallback VARCHAR, fallback_student VARCHAR, student_ms DOUBLE,
    upstream VARCHAR, upstream_model VARCHAR, status SMALLINT, finish VARCHAR, error_code VARCHAR,
    stream BOOLEAN, latency_ms DOUBLE, ttft_ms DOUBLE,
    tokens_in BIGINT, tokens_out BIGINT, cost_usd DOUBLE,    -- NULL: unknown, never 0
    user_hash VARCHAR, conversation_id VARCHAR, group_id VARCHAR, bucket SMALLINT, inputs_hash VARCHAR,
    no_shadow BOOLEAN, retry BOOLEAN, tags VARCHAR, worker VARCHAR,
    text VARCHAR,                         -- last user message
    answer VARCHAR,                       -- content of the first choice; of a stream: joined
    request JSON, response JSON           -- of a stream: the assembled completion
);

CREATE TABLE calls (
    trace_id UUID, call_id VARCHAR, seq INTEGER, ts TIMESTAMP, route VARCHAR, program_version VARCHAR,
    side VARCHAR, predictor VARCHAR, model VARCHAR, inputs JSON, outputs JSON, error VARCHAR,
    messages JSON, completion VARCHAR, tools_ran BOOLEAN,
    tokens_in BIGINT, tokens_out BIGINT, cost_usd DOUBLE, latency_ms DOUBLE
);

CREATE TABLE feedback (
    feedback_id UUID, ts TIMESTAMP, trace_id UUID, conversation_id VARCHAR, key_name VARCHAR,
    name VARCHAR, value JSON, gold JSON, confirmed BOOLEAN, source VARCHAR, comment VARCHAR, tags JSON
);

-- The coverage that the configuration declares for a route's feedback source; rewritten when the configuration changes.
CREATE TABLE feedback_sources (route VARCHAR, source VARCHAR, coverage VARCHAR);

CREATE TABLE scores (
    trace_id UUID, ts TIMESTAMP, route VARCHAR, side VARCHAR,   -- side: served, or the id of the answering student
    metric_hash VARCHAR, score DOUBLE, not_scored VARCHAR       -- why there is no score
);

CREATE TABLE costs (
    ts TIMESTAMP, route VARCHAR, kind VARCHAR,                  -- shadow, reverse_shadow, exam, train, fallback
    usd DOUBLE, ref VARCHAR
);

CREATE TABLE program_versions (
    route VARCHAR, program_version VARCHAR, first_seen TIMESTAMP, body JSON
);

CREATE TABLE datasets (
    dataset_id VARCHAR, ts TIMESTAMP, route VARCHAR, predictor VARCHAR, program_version VARCHAR, metric_hash VARCHAR,
    cutoff TIMESTAMP, sha256 VARCHAR, counts JSON, config JSON
);

CREATE TABLE dataset_rows (
    dataset_id VARCHAR, trace_id UUID, call_id VARCHAR, predictor VARCHAR, split VARCHAR,
    source VARCHAR,                       -- teacher, correction; exam and calibration: gold
    dropped VARCHAR,                      -- the reason; NULL: in the dataset
    row_sha256 VARCHAR, weight DOUBLE, n_dups INTEGER, score DOUBLE,
    outputs JSON, gold JSON               -- what it trains with, what the exam's metric gets: frozen
);

-- A distillation says how far it is; what it made is in `datasets`, `jobs`, `students` and `exams`.
CREATE TABLE distillations (
    distillation_id VARCHAR, ts TIMESTAMP, route VARCHAR,
    stage VARCHAR,                        -- requested, frozen, training, publishing, examining, ended
    settings JSON, dataset_id VARCHAR,
    chosen VARCHAR,                       -- the student that the exam chose; NULL: none
    reason VARCHAR,                       -- why it ended so
    since TIMESTAMP                       -- start of the present stage
);

CREATE TABLE jobs (
    job_id VARCHAR, ts TIMESTAMP, route VARCHAR, predictor VARCHAR, dataset_id VARCHAR, trainer VARCHAR,
    job_key VARCHAR, status VARCHAR, file_id VARCHAR, validation_file_id VARCHAR, provider_job_id VARCHAR,
    fine_tuned_model VARCHAR, artefact VARCHAR, error VARCHAR, progress DOUBLE, updated TIMESTAMP,
    distillation_id VARCHAR, settings JSON    -- adapter, dropped output fields, hyperparameters
);

CREATE TABLE students (
    student VARCHAR, ts TIMESTAMP, route VARCHAR, dataset_id VARCHAR, job_id VARCHAR, trainer VARCHAR,
    program_version VARCHAR, metric_hash VARCHAR, cutoff TIMESTAMP, served_models JSON,
    artefact_sha256 VARCHAR, manifest JSON, expires_at TIMESTAMP
);

CREATE TABLE exams (
    exam_id VARCHAR, ts TIMESTAMP, route VARCHAR, dataset_id VARCHAR, candidate VARCHAR,  -- a student, or teacher
    kind VARCHAR, n INTEGER, score DOUBLE, low DOUBLE, high DOUBLE, smallest_gap DOUBLE, detail JSON
);

CREATE TABLE pairs (
    route VARCHAR, student VARCHAR, k INTEGER, trace_id UUID, ts TIMESTAMP,
    kind VARCHAR,                         -- shadow, reverse_shadow
    seq BIGINT,                           -- place behind the watermark; NULL: not consumed yet
    outcome VARCHAR,                      -- pending, scored, or why it was dropped
    metric_hash VARCHAR, teacher_score DOUBLE, student_score DOUBLE, control_score DOUBLE,
    pair_weight DOUBLE, propensity DOUBLE, coverage VARCHAR, cluster VARCHAR, deadline TIMESTAMP,
    teacher_answer VARCHAR, student_answer VARCHAR,
    student_status SMALLINT, student_ms DOUBLE, cost_usd DOUBLE, attempts INTEGER
);

-- State of the evidence after the last consumed pair, in the transaction that consumed it.
CREATE TABLE evidence (
    route VARCHAR, student VARCHAR, k INTEGER, seq BIGINT, ts TIMESTAMP, state JSON
);

CREATE TABLE rollout_events (
    seq BIGINT, ts TIMESTAMP, route VARCHAR, student VARCHAR, event VARCHAR, stage_from VARCHAR, stage_to VARCHAR,
    actor VARCHAR, reason VARCHAR, report VARCHAR, body JSON, prev_hash VARCHAR, hash VARCHAR
);

CREATE TABLE reports (report VARCHAR, ts TIMESTAMP, route VARCHAR, student VARCHAR, body JSON);

CREATE TABLE gaps (ts_from TIMESTAMP, ts_to TIMESTAMP, worker VARCHAR, reason VARCHAR, n BIGINT);

CREATE TABLE ingest_ledger (segment VARCHAR, read_to BIGINT);

-- Requests with a start frame whose end frame is awaited; a row of `traces` is `open` meanwhile.
CREATE TABLE open_requests (trace_id UUID, writer VARCHAR, deadline TIMESTAMP);

CREATE TABLE dead_letters (ts TIMESTAMP, segment VARCHAR, raw BLOB, error VARCHAR);

-- The last gold, confirmation or score for a trace, with the coverage of its source.
CREATE VIEW labels AS
SELECT f.trace_id, t.route, f.ts, f.gold, f.confirmed, f.name, f.value, f.source,
       coalesce(s.coverage, 'volunteered') AS coverage
FROM feedback f
JOIN traces t ON t.trace_id = f.trace_id
LEFT JOIN feedback_sources s ON s.route = t.route AND s.source = f.source
WHERE f.gold IS NOT NULL OR f.confirmed IS NOT NULL
QUALIFY row_number() OVER (PARTITION BY f.trace_id, coalesce(s.coverage, 'volunteered') ORDER BY f.ts DESC, f.feedback_id DESC) = 1;

-- What a request cost: its own usage, else the sum over its predictor calls. NULL: unknown, never 0.
CREATE VIEW trace_costs AS
SELECT t.trace_id, t.ts, t.route, t.served_by, t.student, coalesce(t.cost_usd, c.cost_usd) AS cost_usd
FROM traces t
LEFT JOIN (
    SELECT trace_id, CASE WHEN count(*) = count(cost_usd) THEN sum(cost_usd) END AS cost_usd
    FROM calls GROUP BY trace_id
) c ON c.trace_id = t.trace_id;
