"""Embeddings: every sample encoded once, kept packed, read by every probe."""
