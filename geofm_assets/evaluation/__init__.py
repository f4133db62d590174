"""Scores and what they are compared with, made from prediction rows alone."""
