"""Anybody's label file: CSV or GeoParquet."""
