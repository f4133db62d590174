"""Evaluation samples: pixels, label and split of a window, packed for reading many times."""
