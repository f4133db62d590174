/* ---
description: >
  The two points of different splits that lie nearest to each other, for each pair of splits.
  Great-circle metres on the mean Earth sphere. Exact, without comparing every pair: the finest
  grid in which some bin holds both splits bounds the distance from above, and only points whose
  bins touch in a grid of that width can be nearer.
columns:
  task: task whose sample it is
  split_a: one split
  split_b: the other
  distance_m: metres between the nearest points of the two
  sample_a: the point in split_a
  sample_b: the point in split_b
  simulated: whether either label was simulated
tests:
  - unique: [task, split_a, split_b]
  - not_null: [distance_m, sample_a, sample_b]
  - expression: "distance_m >= 0"
--- */
WITH placed AS (
  SELECT
    task,
    sample_id,
    split,
    simulated,
    radians(lon) AS lam,
    radians(lat) AS phi,
    cos(radians(lat)) * cos(radians(lon)) + 1 AS x,
    cos(radians(lat)) * sin(radians(lon)) + 1 AS y,
    sin(radians(lat)) + 1 AS z
  FROM int_points_split
  WHERE split <> 'buffer'
),

-- cubes around the unit sphere: one of side 4 at level 0, half as wide at each level, about 1.5 m
-- wide at the last
levels AS (
  SELECT level, 4 / pow(2, level) AS side
  FROM (SELECT unnest(range(25)) AS level)
),

bins AS (
  SELECT DISTINCT
    placed.task,
    placed.split,
    levels.side,
    floor(placed.x / levels.side)::BIGINT AS i,
    floor(placed.y / levels.side)::BIGINT AS j,
    floor(placed.z / levels.side)::BIGINT AS k
  FROM placed
  CROSS JOIN levels
),

-- two points of one cube are at most its diagonal apart; the margin covers rounding
bounds AS (
  SELECT a.task, a.split AS split_a, b.split AS split_b, sqrt(3) * min(a.side) * 1.0001 AS width
  FROM bins AS a
  INNER JOIN bins AS b
    ON
      a.task = b.task
      AND a.side = b.side
      AND a.i = b.i
      AND a.j = b.j
      AND a.k = b.k
  WHERE
    (a.split = 'train' AND b.split = 'val')
    OR (a.split = 'train' AND b.split = 'test')
    OR (a.split = 'val' AND b.split = 'test')
  GROUP BY a.task, a.split, b.split
),

steps AS (
  SELECT unnest([-1, 0, 1]) AS step
),

side_a AS (
  SELECT
    bounds.task,
    bounds.split_a,
    bounds.split_b,
    placed.sample_id,
    placed.lam,
    placed.phi,
    placed.simulated,
    floor(placed.x / bounds.width)::BIGINT AS i,
    floor(placed.y / bounds.width)::BIGINT AS j,
    floor(placed.z / bounds.width)::BIGINT AS k
  FROM bounds
  INNER JOIN placed ON bounds.task = placed.task AND bounds.split_a = placed.split
),

side_b AS (
  SELECT
    bounds.task,
    bounds.split_a,
    bounds.split_b,
    placed.sample_id,
    placed.lam,
    placed.phi,
    placed.simulated,
    floor(placed.x / bounds.width)::BIGINT + di.step AS i,
    floor(placed.y / bounds.width)::BIGINT + dj.step AS j,
    floor(placed.z / bounds.width)::BIGINT + dk.step AS k
  FROM bounds
  INNER JOIN placed ON bounds.task = placed.task AND bounds.split_b = placed.split
  CROSS JOIN steps AS di
  CROSS JOIN steps AS dj
  CROSS JOIN steps AS dk
),

near AS (
  SELECT
    a.task,
    a.split_a,
    a.split_b,
    2 * 6371008.8 * asin(least(1, sqrt(
      pow(sin((b.phi - a.phi) / 2), 2)
      + cos(a.phi) * cos(b.phi) * pow(sin((b.lam - a.lam) / 2), 2)
    ))) AS distance_m,
    a.sample_id AS sample_a,
    b.sample_id AS sample_b,
    a.simulated OR b.simulated AS simulated
  FROM side_a AS a
  INNER JOIN side_b AS b
    ON
      a.task = b.task
      AND a.split_a = b.split_a
      AND a.split_b = b.split_b
      AND a.i = b.i
      AND a.j = b.j
      AND a.k = b.k
),

nearest AS (
  SELECT task, split_a, split_b, min(distance_m) AS distance_m
  FROM near
  GROUP BY task, split_a, split_b
)

SELECT
  near.task,
  near.split_a,
  near.split_b,
  near.distance_m,
  near.sample_a,
  near.sample_b,
  near.simulated
FROM near
INNER JOIN nearest
  ON
    near.task = nearest.task
    AND near.split_a = nearest.split_a
    AND near.split_b = nearest.split_b
    AND near.distance_m = nearest.distance_m
QUALIFY row_number() OVER (
  PARTITION BY near.task, near.split_a, near.split_b ORDER BY near.sample_a, near.sample_b
) = 1
ORDER BY task, split_a, split_b
