/* ---
description: >
  Points of each class in each split, zeros included. A class that is rare in one split makes that
  split's score for it unsure.
columns:
  task: task whose sample it is
  split: train, val, test or buffer
  class_name: class under the task's label rule
  points: sampled points
  share: of the split's points
  simulated: whether any label of the task was simulated
tests:
  - unique: [task, split, class_name]
  - accepted_values: {column: split, values: [train, val, test, buffer]}
  - expression: "share BETWEEN 0 AND 1"
--- */
WITH splits AS (
  SELECT task, split, bool_or(simulated) AS simulated
  FROM int_points_split
  GROUP BY task, split
),

classes AS (
  SELECT DISTINCT task, class_name
  FROM int_points_split
),

counted AS (
  SELECT task, split, class_name, count(*) AS points
  FROM int_points_split
  GROUP BY task, split, class_name
)

SELECT
  splits.task,
  splits.split,
  classes.class_name,
  coalesce(counted.points, 0) AS points,
  coalesce(counted.points, 0)
  / sum(coalesce(counted.points, 0)) OVER (PARTITION BY splits.task, splits.split) AS share,
  splits.simulated
FROM splits
INNER JOIN classes ON splits.task = classes.task
LEFT JOIN counted
  ON
    splits.task = counted.task
    AND splits.split = counted.split
    AND classes.class_name = counted.class_name
ORDER BY task, split, class_name
