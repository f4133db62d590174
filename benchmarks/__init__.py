"""Benchmarks of the platform against named peers, at the size of the world. See README.md."""
