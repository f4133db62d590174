/* ---
description: How large each split is, in points, blocks, cells, collections, windows and chips.
columns:
  task: task whose sample it is
  split: train, val, test or buffer
  points: sampled points
  share: of all points of the task, the buffer included
  units: blocks given to this split whole
  cells: sampling cells with a point in it
  collections: reference collections with a point in it
  windows: points with a window
  chips: points with a chip
  simulated: whether any label was simulated
tests:
  - unique: [task, split]
  - expression: "chips <= windows AND windows <= points"
--- */
SELECT
  task,
  split,
  count(*) AS points,
  count(*) / sum(count(*)) OVER (PARTITION BY task) AS share,
  count(DISTINCT split_unit) AS units,
  count(DISTINCT h3_cell) AS cells,
  count(DISTINCT collection_id) AS collections,
  count(*) FILTER (WHERE has_window) AS windows,
  count(*) FILTER (WHERE has_chip) AS chips,
  bool_or(simulated) AS simulated
FROM int_points_split
GROUP BY task, split
ORDER BY task, split
