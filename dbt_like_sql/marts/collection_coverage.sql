/* ---
description: >
  What became of each reference collection: rows read, rows refused, points sampled by each task.
  A collection no task uses has one row without a task.
columns:
  task: task that uses it; null if none does
  collection_id: reference collection
  title: as its publisher calls it
  features_listed: rows the listing promises
  reference_points: rows that could be read
  refused_at_reading: rows quarantined when the file was read
  set_aside_by_task: rows the task left out (ignored or unknown label, quality, duplicates)
  sampled: points in the task's sample
  cells: sampling cells with one of them
  simulated: whether the collection is simulated
tests:
  - not_null: collection_id
  - unique: [task, collection_id]
  - expression: "sampled <= reference_points OR reference_points = 0"
--- */
WITH listed AS (
  SELECT collection_id, any_value(title) AS title, sum(feature_count)::BIGINT AS features_listed,
    bool_or(simulated) AS simulated
  FROM (SELECT * FROM collections ORDER BY collection_id, task NULLS FIRST)
  GROUP BY collection_id
),

points AS (
  SELECT collection_id, count(*) AS reference_points, bool_or(simulated) AS simulated
  FROM reference_points
  GROUP BY collection_id
),

refused AS (
  SELECT collection_id, count(*) AS refused_at_reading
  FROM quarantine
  WHERE stage = 'reading'
  GROUP BY collection_id
),

set_aside AS (
  SELECT task, collection_id, count(*) AS set_aside_by_task
  FROM quarantine
  WHERE stage = 'sampling'
  GROUP BY task, collection_id
),

sampled AS (
  SELECT task, collection_id, count(*) AS sampled, count(DISTINCT h3_cell) AS cells,
    bool_or(simulated) AS simulated
  FROM stg_points
  GROUP BY task, collection_id
),

used AS (
  SELECT task, collection_id FROM sampled
  UNION
  SELECT task, collection_id FROM set_aside
),

known AS (
  SELECT collection_id FROM listed
  UNION
  SELECT collection_id FROM points
  UNION
  SELECT collection_id FROM refused
),

pairs AS (
  SELECT task, collection_id FROM used
  UNION ALL
  SELECT NULL::VARCHAR AS task, known.collection_id
  FROM known
  ANTI JOIN used ON known.collection_id = used.collection_id
)

SELECT
  pairs.task,
  pairs.collection_id,
  listed.title,
  listed.features_listed,
  coalesce(points.reference_points, 0) AS reference_points,
  coalesce(refused.refused_at_reading, 0) AS refused_at_reading,
  coalesce(set_aside.set_aside_by_task, 0) AS set_aside_by_task,
  coalesce(sampled.sampled, 0) AS sampled,
  coalesce(sampled.cells, 0) AS cells,
  coalesce(sampled.simulated, points.simulated, listed.simulated, FALSE) AS simulated
FROM pairs
LEFT JOIN listed ON pairs.collection_id = listed.collection_id
LEFT JOIN points ON pairs.collection_id = points.collection_id
LEFT JOIN refused ON pairs.collection_id = refused.collection_id
LEFT JOIN set_aside
  ON pairs.task = set_aside.task AND pairs.collection_id = set_aside.collection_id
LEFT JOIN sampled ON pairs.task = sampled.task AND pairs.collection_id = sampled.collection_id
ORDER BY task, collection_id
