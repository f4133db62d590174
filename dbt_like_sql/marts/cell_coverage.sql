/* ---
description: >
  What each sampling cell holds: points by split, windows, and how much of the imagery asked for
  was found.
columns:
  task: task whose sample it is
  h3_cell: sampling cell
  points: sampled points
  train: points in train
  val: points in val
  test: points in test
  buffer: points held out
  windows: points with a window
  chips: points with a chip
  rasters: mosaics asked for (windows x layers x months)
  rasters_present: mosaics with an image
  present_share: of the mosaics asked for; null before any was
  nodata_share: mean share of pixels without data over the mosaics present
  simulated: whether any label was simulated
tests:
  - unique: [task, h3_cell]
  - expression: "points = train + val + test + buffer"
  - expression: "present_share IS NULL OR present_share BETWEEN 0 AND 1"
--- */
WITH held AS (
  SELECT
    task,
    h3_cell,
    count(*) AS points,
    count(*) FILTER (WHERE split = 'train') AS train,
    count(*) FILTER (WHERE split = 'val') AS val,
    count(*) FILTER (WHERE split = 'test') AS test,
    count(*) FILTER (WHERE split = 'buffer') AS buffer,
    count(*) FILTER (WHERE has_window) AS windows,
    count(*) FILTER (WHERE has_chip) AS chips,
    bool_or(simulated) AS simulated
  FROM int_points_split
  GROUP BY task, h3_cell
),

imagery AS (
  SELECT
    task,
    h3_cell,
    count(*) AS rasters,
    count(*) FILTER (WHERE present) AS rasters_present,
    avg(nodata_share) FILTER (WHERE present) AS nodata_share
  FROM rasters
  GROUP BY task, h3_cell
)

SELECT
  held.task,
  held.h3_cell,
  held.points,
  held.train,
  held.val,
  held.test,
  held.buffer,
  held.windows,
  held.chips,
  coalesce(imagery.rasters, 0) AS rasters,
  coalesce(imagery.rasters_present, 0) AS rasters_present,
  imagery.rasters_present / imagery.rasters AS present_share,
  imagery.nodata_share,
  held.simulated
FROM held
LEFT JOIN imagery ON held.task = imagery.task AND held.h3_cell = imagery.h3_cell
ORDER BY task, h3_cell
