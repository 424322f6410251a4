-- name: next_student_number
-- The number of a route's next student; numbers are never used again.
SELECT coalesce(max(regexp_extract(student, '^s([0-9]+)-', 1)::INTEGER), 0) + 1 AS number
FROM students WHERE route = $route;

-- name: insert_student
-- A published student with its lineage.
INSERT INTO students (student, ts, route, dataset_id, job_id, trainer, program_version, metric_hash, cutoff,
                      served_models, artefact_sha256, manifest)
VALUES ($student, make_timestamp($now_us::BIGINT), $route, $dataset_id, $job_id, $trainer, $program_version,
        $metric_hash, make_timestamp($cutoff_us::BIGINT), $served_models::JSON, $artefact_sha256, $manifest::JSON);

-- name: students_of_distillation
-- The students that a distillation made.
SELECT s.student, s.route, s.dataset_id, s.job_id, s.trainer, s.program_version, s.metric_hash,
       epoch(s.cutoff) AS cutoff, s.served_models::VARCHAR AS served_models, s.artefact_sha256, epoch(s.ts) AS ts
FROM students s JOIN jobs j ON j.job_id = s.job_id
WHERE j.distillation_id = $distillation_id ORDER BY s.ts, s.student;

-- name: students_of_route
-- All students of a route, newest first.
SELECT student, route, dataset_id, job_id, trainer, program_version, metric_hash, epoch(cutoff) AS cutoff,
       served_models::VARCHAR AS served_models, artefact_sha256, epoch(ts) AS ts
FROM students WHERE route = $route ORDER BY ts DESC, student DESC;

-- name: insert_exam
-- What a candidate, or the teacher, reached in the exam.
INSERT INTO exams (exam_id, ts, route, dataset_id, candidate, kind, n, score, low, high, smallest_gap, detail)
SELECT $exam_id, make_timestamp($now_us::BIGINT), $route, $dataset_id, $candidate, 'frozen', $n, $score, $low, $high,
       $smallest_gap, $detail::JSON
WHERE NOT EXISTS (SELECT 1 FROM exams WHERE exam_id = $exam_id);

-- name: exam_details
-- The results of a distillation's exam.
SELECT candidate, detail::VARCHAR AS detail FROM exams
WHERE starts_with(exam_id, $distillation_id || '/') ORDER BY candidate;
