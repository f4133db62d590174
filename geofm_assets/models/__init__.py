"""Encoders: which architecture, from which weights, with proof of what was loaded."""
