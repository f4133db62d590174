/* ---
description: >
  Predictions counted by what the label says and what the model says. Every metric below is a sum
  of these counts.
columns:
  task: task it belongs to
  experiment: experiment or baseline that predicted
  split: train, val or test
  collection_id: reference collection
  h3_cell: sampling cell
  year: year the label is for
  class_name: class the label says
  predicted_name: class the model says
  windows: how many windows
  model_id: hash of weights and configuration
  label_rule: label rule and version
  simulated: whether any of them was simulated
tests:
  - expression: "windows > 0"
--- */
SELECT
  task,
  experiment,
  split,
  collection_id,
  h3_cell,
  year,
  class_name,
  predicted_name,
  count(*) AS windows,
  model_id,
  label_rule,
  bool_or(simulated) AS simulated
FROM stg_predictions
GROUP BY
  task, experiment, split, collection_id, h3_cell, year, class_name, predicted_name, model_id,
  label_rule
ORDER BY ALL
