-- name: job
-- One job.
SELECT job_id, route, predictor, dataset_id, distillation_id, trainer, job_key, status, file_id, validation_file_id,
       provider_job_id, fine_tuned_model, error, progress, settings::VARCHAR AS settings, epoch(ts) AS ts
FROM jobs WHERE job_id = $job_id;

-- name: jobs_of_distillation
-- The jobs of a distillation, in the order in which they were opened.
SELECT job_id, route, predictor, dataset_id, distillation_id, trainer, job_key, status, file_id, validation_file_id,
       provider_job_id, fine_tuned_model, error, progress, settings::VARCHAR AS settings, epoch(ts) AS ts
FROM jobs WHERE distillation_id = $distillation_id ORDER BY ts, job_id;

-- name: recent_jobs
-- The newest jobs of a route, or of all.
SELECT job_id, route, predictor, dataset_id, distillation_id, trainer, job_key, status, file_id, validation_file_id,
       provider_job_id, fine_tuned_model, error, progress, settings::VARCHAR AS settings, epoch(ts) AS ts
FROM jobs WHERE $route IS NULL OR route = $route ORDER BY ts DESC, job_id LIMIT $at_most;

-- name: open_job
-- A job that nobody has been asked to do yet.
INSERT INTO jobs (job_id, ts, route, predictor, dataset_id, distillation_id, trainer, job_key, status, settings, updated)
VALUES ($job_id, make_timestamp($now_us::BIGINT), $route, $predictor, $dataset_id, $distillation_id, $trainer, $job_key,
        'new', $settings::JSON, make_timestamp($now_us::BIGINT));

-- name: update_job
-- What became known about a job; an id that is known stays.
UPDATE jobs SET status = $status, file_id = coalesce(file_id, $file_id),
    validation_file_id = coalesce(validation_file_id, $validation_file_id),
    provider_job_id = coalesce(provider_job_id, $provider_job_id),
    fine_tuned_model = $fine_tuned_model, error = $error, progress = $progress,
    settings = $settings::JSON, updated = make_timestamp($now_us::BIGINT)
WHERE job_id = $job_id;

-- name: open_distillation
-- Somebody, or the schedule, wants a new student.
INSERT INTO distillations (distillation_id, ts, route, stage, settings, since)
VALUES ($distillation_id, make_timestamp($now_us::BIGINT), $route, 'requested', $settings::JSON,
        make_timestamp($now_us::BIGINT));

-- name: move_distillation
-- A distillation enters another stage.
UPDATE distillations SET stage = $stage, dataset_id = $dataset_id, chosen = $chosen, reason = $reason,
    since = make_timestamp($now_us::BIGINT)
WHERE distillation_id = $distillation_id;

-- name: unfinished_distillations
-- What `advance` has to do with, oldest first.
SELECT distillation_id, route, stage, settings::VARCHAR AS settings, dataset_id, chosen, reason, epoch(ts) AS ts,
       epoch(since) AS since
FROM distillations WHERE stage <> 'ended' AND ($route IS NULL OR route = $route) ORDER BY ts, distillation_id;

-- name: recent_distillations
-- The newest distillations of a route.
SELECT distillation_id, route, stage, settings::VARCHAR AS settings, dataset_id, chosen, reason, epoch(ts) AS ts,
       epoch(since) AS since
FROM distillations WHERE route = $route ORDER BY ts DESC, distillation_id DESC LIMIT $at_most;
