/* ---
description: >
  Sampled points with what became of them: whether a window was made and whether it has a chip to
  train on. A point without a chip had no imagery, or has not been processed yet.
columns:
  task: task whose sample it is in
  sample_id: key of the labelled location
  collection_id: reference collection it comes from
  h3_cell: sampling cell
  split_unit: block that was given to one split whole
  split: train, val, test or buffer
  class_name: class under the task's label rule
  year: year the label is for
  lon: degrees, EPSG:4326
  lat: degrees, EPSG:4326
  has_window: whether a window exists at the point
  has_chip: whether the split manifest lists it, so that it is trained or scored on
  simulated: whether the label was simulated
tests:
  - unique: [task, sample_id]
  - not_null: [has_window, has_chip]
--- */
WITH windowed AS (
  SELECT DISTINCT task, sample_id
  FROM stg_windows
),

chipped AS (
  SELECT DISTINCT task, sample_id
  FROM split_manifest
)

SELECT
  points.task,
  points.sample_id,
  points.collection_id,
  points.h3_cell,
  points.split_unit,
  points.split,
  points.class_name,
  points.year,
  points.lon,
  points.lat,
  windowed.sample_id IS NOT NULL AS has_window,
  chipped.sample_id IS NOT NULL AS has_chip,
  points.simulated
FROM stg_points AS points
LEFT JOIN windowed ON points.task = windowed.task AND points.sample_id = windowed.sample_id
LEFT JOIN chipped ON points.task = chipped.task AND points.sample_id = chipped.sample_id
ORDER BY task, sample_id
