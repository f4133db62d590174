"""From a sampled point to an rslearn window with its label layer."""
