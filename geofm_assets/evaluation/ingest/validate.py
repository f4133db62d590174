"""Validate a source: everything that is wrong with it, at once."""

from pathlib import Path

from upath import UPath

from geofm_assets.core.progress import Report, silent
from geofm_assets.evaluation.ingest.options import IngestOptions
from geofm_assets.evaluation.ingest.report import Fact, Finding, ValidationReport
from geofm_assets.evaluation.ingest.scan import scan_source

__all__ = ["Fact", "Finding", "ValidationReport", "validate_source"]


def validate_source(
    source: str | Path | UPath, options: IngestOptions, report: Report = silent
) -> ValidationReport:
    """Look at every window: structure, bands, labels, dates, duplicates, leakage, sizes, pixels.

    Nothing is written. A source that is not there is a finding like any other.

    Args:
        source: an rslearn dataset, a folder or any URL fsspec knows.
        options: what was said.
        report: told of windows done.
    """
    return scan_source(source, options, report).report
