"""Probes on frozen embeddings: kNN and linear, their metrics and intervals."""
