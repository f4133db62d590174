"""Imagery: layers, scenes, rslearn's prepare, ingest and materialize, band contract, chips."""
