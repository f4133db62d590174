"""Where perimeters and samples lie in the store, for the stages that come after the labels."""

from collections.abc import Sequence

import pyarrow as pa

from geofm_assets.core.stage import MissingUpstreamError
from geofm_assets.core.store import Store
from geofm_assets.labels.calfire.schema import fire_year


def perimeters_key(root: str, year: int) -> str:
    """Store key of the perimeters of a fire year.

    Args:
        root: store prefix of the label source.
        year: fire year.
    """
    return f"{root}/perimeters/{year}.parquet"


def years_key(root: str) -> str:
    """Store key of the fire years a source has today."""
    return f"{root}/years.parquet"


def listed_years(store: Store, root: str) -> list[int]:
    """Fire years of the last reading, sorted; a year that was withdrawn since is none of them.

    Raises:
        MissingUpstreamError: the source was never read, or has no year.
    """
    key = years_key(root)
    years: list[int] = []
    if store.exists(key):
        years = sorted(store.read_table(key, ["fire_year"])["fire_year"].to_pylist())
    if not years:
        raise MissingUpstreamError(
            "There are no fire perimeters",
            where=key,
            fix="Materialize the perimeters first; only labels of source calfire have any",
        )
    return years


def perimeter_keys(store: Store, root: str) -> list[str]:
    """Store keys of the perimeters of every listed year, by year.

    The files of a withdrawn year stay in the store, but are not among them.

    Raises:
        MissingUpstreamError: no year is listed, or the perimeters of one were not made.
    """
    keys = [perimeters_key(root, year) for year in listed_years(store, root)]
    for key in keys:
        if not store.exists(key):
            raise MissingUpstreamError(
                "The fire perimeters of a year were not made",
                where=key,
                fix="Materialize the perimeters of every fire year",
            )
    return keys


def samples_key(root: str, collection_id: str) -> str:
    """Store key of the samples that a collection's reference points are."""
    return f"{root}/samples/{fire_year(collection_id)}.parquet"


def read_samples(
    store: Store, root: str, collections: Sequence[str], columns: list[str]
) -> pa.Table:
    """Columns of the SAMPLE rows of some collections.

    Raises:
        MissingUpstreamError: a collection has no samples.
    """
    tables = []
    for collection in collections:
        key = samples_key(root, collection)
        if not store.exists(key):
            raise MissingUpstreamError(
                "A collection has no table of samples",
                where=key,
                fix="Materialize its reference points; only labels of source calfire have groups",
            )
        tables.append(store.read_table(key, columns))
    return pa.concat_tables(tables)
