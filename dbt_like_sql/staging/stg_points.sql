/* ---
description: Every sampled point of every task, one row a point, with its class and split.
columns:
  task: task whose sample it is in
  sample_id: key of the labelled location
  collection_id: reference collection it comes from
  h3_cell: sampling cell
  split_unit: block that was given to one split whole
  split: train, val, test, or buffer (held out, too near to another split)
  class_name: class under the task's label rule
  valid_time: day the label is for
  year: year of that day
  lon: degrees, EPSG:4326
  lat: degrees, EPSG:4326
  simulated: whether the label was simulated
tests:
  - unique: [task, sample_id]
  - not_null: [split, class_name, lon, lat]
  - accepted_values: {column: split, values: [train, val, test, buffer]}
--- */
SELECT
  task,
  sample_id,
  collection_id,
  h3_cell,
  split_unit,
  split,
  class_name,
  valid_time,
  year(valid_time)::INTEGER AS year,
  lon,
  lat,
  simulated
FROM sampled_points
ORDER BY task, sample_id
