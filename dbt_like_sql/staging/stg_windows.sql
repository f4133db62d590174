/* ---
description: Every window of every task, one row a window, with its size in metres and its dates.
columns:
  task: task it belongs to
  window_name: key of the window
  sample_id: labelled location in its centre
  collection_id: reference collection of that location
  h3_cell: sampling cell; also the rslearn group
  split: train, val, test or buffer
  class_name: class under the task's label rule
  crs: projection of the window
  width_m: east-west extent in metres
  height_m: north-south extent in metres
  time_start: first instant of the window's time range
  time_end: end of the window's time range
  simulated: whether the label was simulated
tests:
  - unique: [task, window_name]
  - not_null: [sample_id, crs]
  - expression: "width_m > 0 AND height_m > 0"
  - expression: "time_start < time_end"
--- */
SELECT
  task,
  window_name,
  sample_id,
  collection_id,
  h3_cell,
  split,
  class_name,
  crs,
  (col_max - col_min) * resolution AS width_m,
  (row_max - row_min) * resolution AS height_m,
  time_start,
  time_end,
  simulated
FROM windows
ORDER BY task, window_name
