"""The rows of a task's sources as they are today, and the fire years among them."""

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import shapely

from geofm_assets.core.errors import ConfigError, LabelFileError
from geofm_assets.core.hashing import table_digest
from geofm_assets.core.outcome import Json, Outcome, kept_rows, schema_check, table_metadata
from geofm_assets.core.stage import MissingUpstreamError, inputs_digest
from geofm_assets.core.store import MadeFrom, Store
from geofm_assets.labels.calfire.changes import cursor, is_decisive
from geofm_assets.labels.calfire.clean import without_year
from geofm_assets.labels.calfire.config import CalfireConfig
from geofm_assets.labels.calfire.schema import FIRE_YEAR, FireYear, Record, collection_id
from geofm_assets.labels.calfire.side_tables import years_key
from geofm_assets.labels.schema import COLLECTION, Collection, QuarantinedRow
from geofm_assets.labels.source import LabelSource
from geofm_assets.labels.worldcereal.collections import UNSTATED

YEARS_PARTITIONS = "calfire_years"
_READING = ("layer", "columns", "prescribed_layer", "prescribed_columns")
_CHOOSING = ("first_year", "last_year", "oldest_year")


def settings(source: LabelSource) -> CalfireConfig:
    """The section of the task file that a source was made of.

    Raises:
        ConfigError: the source is none of fire perimeters.
    """
    if source.config is None or source.config.calfire is None:
        raise ConfigError("The label source has no fire perimeters", where=source.root)
    return source.config.calfire


@dataclass(frozen=True)
class FireYearsStage:
    """The rows of the sources as they are today, and the fire years among them."""

    source: LabelSource
    code_version: str = "1"

    def records_key(self, year: int) -> str:
        """Store key of a fire year's rows as read."""
        return f"{self.source.root}/records/{year}.parquet"

    @property
    def years_key(self) -> str:
        """Store key of the fire years."""
        return years_key(self.source.root)

    @property
    def state_key(self) -> str:
        """Store key of what the sources said of themselves."""
        return f"{self.source.root}/source.json"

    def years(self, store: Store) -> pa.Table:
        """FIRE_YEAR of the last reading.

        Raises:
            MissingUpstreamError: the sources were never read.
        """
        if not store.exists(self.years_key):
            raise MissingUpstreamError(
                "The fire perimeters were never read",
                where=self.years_key,
                fix=f"Materialize {'/'.join(self.source.prefix)}/collections first",
            )
        return store.read_table(self.years_key)

    def make(self, store: Store) -> Outcome:
        """Read the sources, unless they say that nothing has changed.

        Raises:
            LabelFileError: a source cannot be used, or has no fire of the years asked for.
            SourceUnavailableError: a feature service does not answer.
        """
        from geofm_assets.labels.calfire.read import open_sources, read_all

        config = settings(self.source)
        sources = open_sources(config)
        state = cursor(sources)
        inputs = inputs_digest(self, state, config.model_dump(include={*_READING, *_CHOOSING}))
        found = store.provenance(self.source.collections_key)
        decided = all(is_decisive(said) for said in state.values())
        if found is not None and found.inputs == inputs and decided:
            rows = store.rows(self.source.collections_key)
            return Outcome(
                found.content, inputs, {"dagster/row_count": rows}, [kept_rows(rows)], True
            )
        records = read_all(sources)
        parts = rows_by_year(records, config.oldest_year)
        years = fire_years(parts, config)
        listing = collections(parts, years)
        if listing.num_rows == 0:
            raise LabelFileError(
                f"No fire of {config.first_year} to {config.last_year or 'today'} among "
                f"{records.num_rows} rows ({span(years)})",
                where=sources[0].label,
                fix="Set labels.calfire.first_year and last_year",
            )
        made: MadeFrom = {
            "inputs": inputs,
            "code_version": self.code_version,
            "simulated": bool(pc.any(records["simulated"]).as_py()),
        }
        for year, part in parts.items():
            store.write_table(self.records_key(year), part, Record, **made)
        nowhere = without_year(records.filter(records["fire_year"].is_null()))
        store.write_table(
            f"{self.source.root}/quarantine/no_year.parquet", nowhere, QuarantinedRow, **made
        )
        store.write_json(self.state_key, state)
        store.write_table(self.years_key, years, FireYear, **made)
        # the listing appears last: where it is, the rows are
        ref = store.write_table(self.source.collections_key, listing, Collection, **made)
        metadata = {
            **table_metadata(listing, ref),
            "dagster/row_count": listing.num_rows,
            "source": Json(state),
            "rows_read": records.num_rows,
            "rows_kept": int(pc.sum(years["rows"]).as_py()),
            "rows_without_year": nowhere.num_rows,
            "fire_years": span(years),
        }
        return Outcome(ref.provenance.content, inputs, metadata, [schema_check(ref.report)])


def rows_by_year(records: pa.Table, oldest: int | None) -> dict[int, pa.Table]:
    """RECORD of each fire year, in order; rows without a year or before the oldest are left out."""
    years = sorted(set(records["fire_year"].drop_null().to_pylist()))
    return {
        year: records.filter(pc.equal(records["fire_year"], year)).combine_chunks()
        for year in years
        if oldest is None or year >= oldest
    }


def fire_years(parts: Mapping[int, pa.Table], config: CalfireConfig) -> pa.Table:
    """FIRE_YEAR of the rows of each year."""
    rows = []
    for year, part in parts.items():
        burns = int(pc.sum(part["prescribed"]).as_py())
        rows.append(
            {
                "fire_year": year,
                "rows": part.num_rows,
                "prescribed_rows": burns,
                "sampled": config.sampled(year) and burns < part.num_rows,
                "digest": table_digest(part),
                "simulated": bool(pc.any(part["simulated"]).as_py()),
            }
        )
    return pa.Table.from_pylist(rows, schema=FIRE_YEAR)


def span(years: pa.Table) -> str:
    """First and last fire year, in words."""
    if years.num_rows == 0:
        return "no fire year"
    stated = years["fire_year"]
    return f"fire years {stated[0]} to {stated[-1]}"


def collections(parts: Mapping[int, pa.Table], years: pa.Table) -> pa.Table:
    """COLLECTION of the years that points are drawn from."""
    rows = []
    for year in years.filter(years["sampled"]).to_pylist():
        part = parts[year["fire_year"]]
        name = collection_id(year["fire_year"])
        layers = ", ".join(sorted(set(part["source_layer"].to_pylist())))
        west, south, east, north = _box(part["geometry"].combine_chunks())
        rows.append(
            {
                "collection_id": name,
                "rdm_id": name,
                "title": f"Fire perimeters of {year['fire_year']} ({layers})",
                "feature_count": year["rows"] - year["prescribed_rows"],
                "type": "Polygon",
                "access_type": UNSTATED,
                "observation_method": UNSTATED,
                "confidence_land_cover": None,
                "confidence_crop_type": None,
                "modified_at": f"sha256:{year['digest']}",
                "west": west,
                "south": south,
                "east": east,
                "north": north,
                "simulated": year["simulated"],
            }
        )
    return pa.Table.from_pylist(rows, schema=COLLECTION)


def _box(wkb: pa.Array) -> tuple[float | None, ...]:
    """West, south, east, north of geometries in degrees; all None if they leave the globe."""
    geometries = shapely.from_wkb(wkb.to_numpy(zero_copy_only=False), on_invalid="ignore")
    west, south, east, north = (float(v) for v in shapely.total_bounds(geometries))
    on_globe = -180 <= west <= east <= 180 and -90 <= south <= north <= 90
    return (west, south, east, north) if on_globe else (None,) * 4
