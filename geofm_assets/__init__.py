"""GeoFM Assets: from a label file to a metric, every artifact a Dagster asset."""

__version__ = "0.1.0"
