/* ---
description: Every prediction of every experiment and baseline, one row a window, right or wrong.
columns:
  task: task it belongs to
  experiment: experiment or baseline that predicted
  window_name: window predicted on
  sample_id: labelled location in its centre
  collection_id: reference collection of that location
  h3_cell: sampling cell
  split: train, val or test
  year: year the label is for
  class_name: class the label says
  predicted_name: class the model says
  correct: whether they agree
  confidence: probability the model gave to the class it chose
  model_id: hash of weights and configuration
  label_rule: label rule and version
  simulated: whether label or imagery was simulated
tests:
  - unique: [task, experiment, window_name]
  - not_null: [class_name, predicted_name, model_id, label_rule]
  - accepted_values: {column: split, values: [train, val, test, buffer]}
  - expression: "confidence BETWEEN 0 AND 1.0001"
--- */
SELECT
  task,
  experiment,
  window_name,
  sample_id,
  collection_id,
  h3_cell,
  split,
  year(valid_time)::INTEGER AS year,
  class_name,
  predicted_name,
  class_name = predicted_name AS correct,
  list_max(probabilities)::DOUBLE AS confidence,
  model_id,
  label_rule,
  simulated
FROM predictions
ORDER BY task, experiment, window_name
