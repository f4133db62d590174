/* ---
description: >
  Precision, recall and F1 of each class, for every experiment, baseline and split. A class that
  is never predicted has no precision; one that neither occurs nor is predicted has no row.
columns:
  task: task it belongs to
  experiment: experiment or baseline
  split: train, val or test
  class_name: class
  windows: windows the label says are of this class
  predicted: windows the model says are of this class
  hits: windows both say are
  precision: hits / predicted
  recall: hits / windows
  f1: 2 hits / (windows + predicted)
  model_id: hash of weights and configuration
  label_rule: label rule and version
  simulated: whether any window was simulated
tests:
  - unique: [task, experiment, split, class_name, model_id, label_rule]
  - expression: "f1 BETWEEN 0 AND 1"
--- */
WITH sides AS (
  SELECT task, experiment, split, class_name, model_id, label_rule, simulated,
    windows, 0 AS predicted,
    CASE WHEN class_name = predicted_name THEN windows ELSE 0 END AS hits
  FROM int_confusion
  UNION ALL
  SELECT task, experiment, split, predicted_name AS class_name, model_id, label_rule, simulated,
    0 AS windows, windows AS predicted, 0 AS hits
  FROM int_confusion
)

SELECT
  task,
  experiment,
  split,
  class_name,
  sum(windows)::BIGINT AS windows,
  sum(predicted)::BIGINT AS predicted,
  sum(hits)::BIGINT AS hits,
  sum(hits) / nullif(sum(predicted), 0) AS precision,
  sum(hits) / nullif(sum(windows), 0) AS recall,
  2 * sum(hits) / sum(windows + predicted) AS f1,
  model_id,
  label_rule,
  bool_or(simulated) AS simulated
FROM sides
GROUP BY task, experiment, split, class_name, model_id, label_rule
ORDER BY task, experiment, split, class_name, model_id, label_rule
