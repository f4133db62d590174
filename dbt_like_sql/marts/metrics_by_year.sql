/* ---
description: >
  Accuracy and macro-F1 of every experiment, baseline and split by year. Macro-F1 is the mean of
  F1 over the classes that occur there, in the labels or in the predictions. Read it with the
  number of windows: a few windows say little.
columns:
  task: task it belongs to
  experiment: experiment or baseline
  split: train, val or test
  year: year the label is for
  windows: windows predicted on
  accuracy: share predicted right
  macro_f1: mean F1 over the classes that occur there
  classes: how many classes that is
  model_id: hash of weights and configuration
  label_rule: label rule and version
  simulated: whether any window was simulated
tests:
  - unique: [task, experiment, split, year, model_id, label_rule]
  - expression: "windows > 0"
  - expression: "accuracy BETWEEN 0 AND 1"
  - expression: "macro_f1 BETWEEN 0 AND 1"
--- */
WITH sides AS (
  SELECT task, experiment, split, year, class_name, model_id, label_rule, simulated,
    windows, 0 AS predicted,
    CASE WHEN class_name = predicted_name THEN windows ELSE 0 END AS hits
  FROM int_confusion
  UNION ALL
  SELECT task, experiment, split, year, predicted_name AS class_name, model_id, label_rule,
    simulated, 0 AS windows, windows AS predicted, 0 AS hits
  FROM int_confusion
),

by_class AS (
  SELECT
    task,
    experiment,
    split,
    year,
    class_name,
    model_id,
    label_rule,
    sum(windows)::BIGINT AS windows,
    sum(hits)::BIGINT AS hits,
    2 * sum(hits) / sum(windows + predicted) AS f1,
    bool_or(simulated) AS simulated
  FROM sides
  GROUP BY task, experiment, split, year, class_name, model_id, label_rule
)

SELECT
  task,
  experiment,
  split,
  year,
  sum(windows)::BIGINT AS windows,
  sum(hits) / sum(windows) AS accuracy,
  avg(f1) AS macro_f1,
  count(*) AS classes,
  model_id,
  label_rule,
  bool_or(simulated) AS simulated
FROM by_class
GROUP BY task, experiment, split, year, model_id, label_rule
ORDER BY task, experiment, split, year, model_id, label_rule
