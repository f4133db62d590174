"""How the perimeters of a fire year and their reference points are made, stage by stage.

Plain Python: a stage can be made from a notebook with a `Store`.
"""

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from geofm_assets.core.errors import LabelFileError
from geofm_assets.core.hashing import sha256_file, table_digest
from geofm_assets.core.outcome import (
    CheckOutcome,
    Json,
    Outcome,
    kept_rows,
    schema_check,
    table_metadata,
)
from geofm_assets.core.progress import say
from geofm_assets.core.stage import MissingUpstreamError, content_of, inputs_digest
from geofm_assets.core.store import MadeFrom, Store
from geofm_assets.labels.calfire.clean import clean_year
from geofm_assets.labels.calfire.fire_years import FireYearsStage, settings
from geofm_assets.labels.calfire.fires import COLUMNS
from geofm_assets.labels.calfire.sample_schema import UNDATED, Sample
from geofm_assets.labels.calfire.schema import (
    GEO_METADATA,
    Perimeter,
    fire_year,
)
from geofm_assets.labels.calfire.side_tables import perimeters_key, samples_key
from geofm_assets.labels.calfire.unusable import listed, reasons_of
from geofm_assets.labels.schema import QuarantinedRow, ReferencePoint
from geofm_assets.labels.source import LabelSource

if TYPE_CHECKING:
    from geofm_assets.labels.calfire.samples import SamplesResult


@dataclass(frozen=True)
class PerimetersStage:
    """The cleaned perimeters of one fire year, prescribed burns among them."""

    source: LabelSource
    code_version: str = "2"

    def key(self, year: str) -> str:
        """Store key of the perimeters."""
        return perimeters_key(self.source.root, int(year))

    def quarantine_key(self, year: str) -> str:
        """Store key of the rows refused."""
        return f"{self.source.root}/quarantine/{year}.parquet"

    def wanted(self, store: Store) -> list[str]:
        """Every fire year, as partition keys, sorted."""
        years = FireYearsStage(self.source).years(store)["fire_year"].to_pylist()
        return [str(year) for year in years]

    def _row(self, store: Store, year: str) -> dict[str, Any]:
        for row in FireYearsStage(self.source).years(store).to_pylist():
            if str(row["fire_year"]) == year:
                return dict(row)
        raise MissingUpstreamError(
            "The sources have no rows of this fire year",
            where=year,
            fix="They may have been withdrawn; refresh the listing",
        )

    def inputs(self, store: Store, year: str) -> str:
        """The year's rows."""
        return inputs_digest(self, self._row(store, year)["digest"])

    def make(self, store: Store, year: str, force: bool) -> Outcome:
        """Repair what can be repaired; the rest goes to quarantine with a reason."""
        inputs = self.inputs(store, year)
        row = self._row(store, year)
        found = store.provenance(self.key(year))
        if found is not None and found.inputs == inputs and not force:
            rows, refused = store.rows(self.key(year)), store.rows(self.quarantine_key(year))
            checks = [kept_rows(rows), _usable(rows, refused, row["sampled"], {})]
            said = {"dagster/partition_row_count": rows}
            return Outcome(found.content, inputs, said, checks, True)
        records = store.read_table(FireYearsStage(self.source).records_key(int(year)))
        cleaned = clean_year(records, int(year))
        made: MadeFrom = {
            "inputs": inputs,
            "code_version": self.code_version,
            "simulated": row["simulated"],
        }
        quarantine = cleaned.quarantine
        # perimeters appear last: where they are, their quarantine is
        store.write_table(self.quarantine_key(year), quarantine, QuarantinedRow, **made)
        ref = store.write_table(
            self.key(year), cleaned.perimeters, Perimeter, file_metadata=GEO_METADATA, **made
        )
        metadata = {
            **table_metadata(cleaned.perimeters.drop_columns("geometry"), ref),
            **cleaned.counts,
            "hectares": round(float(np.sum(cleaned.perimeters["area_ha"].to_numpy())), 1),
            "quarantined": quarantine.num_rows,
            "quarantine_reasons": Json(reasons_of(quarantine)),
        }
        refused, reasons = quarantine.num_rows, reasons_of(quarantine)
        usable = _usable(ref.rows, refused, row["sampled"], reasons)
        checks = [schema_check(ref.report), usable]
        return Outcome(ref.provenance.content, inputs, metadata, checks)


@dataclass(frozen=True)
class FirePointsStage:
    """Reference points of one fire year, and beside them what kind of sample each is."""

    source: LabelSource
    code_version: str = "1"

    def key(self, collection: str) -> str:
        """Store key of the points."""
        return self.source.points_key(collection)

    def samples_key(self, collection: str) -> str:
        """Store key of the samples: kind, fire and group of each point."""
        return samples_key(self.source.root, collection)

    def quarantine_key(self, collection: str) -> str:
        """Store key of the fires that gave no sample."""
        return f"{self.source.root}/quarantine/{collection}.parquet"

    def inputs(self, store: Store, collection: str) -> str:
        """Perimeters of every year, since any may lie beside a fire, and the settings.

        What samples are not made of, such as the row a perimeter had in its file, has no say.
        """
        stage = PerimetersStage(self.source)
        contents = {year: _what_counts(store, stage.key(year)) for year in stage.wanted(store)}
        samples = settings(self.source).samples
        files = [_file_digest(path) for path in samples.files()]
        return inputs_digest(self, collection, contents, samples.model_dump(), files)

    def make(self, store: Store, collection: str, force: bool) -> Outcome:
        """Draw the year's samples; fires that give none go to quarantine with a reason."""
        from geofm_assets.labels.calfire.samples import make_samples

        inputs = self.inputs(store, collection)
        found = store.provenance(self.key(collection))
        if found is not None and found.inputs == inputs and not force:
            rows = store.rows(self.key(collection))
            refused = store.rows(self.quarantine_key(collection))
            paired = rows == store.rows(self.samples_key(collection))
            checks = _point_checks(rows, refused, paired, {})
            said = {"dagster/partition_row_count": rows}
            return Outcome(found.content, inputs, said, [kept_rows(rows), *checks], True)
        stage = PerimetersStage(self.source)
        tables = [store.read_table(stage.key(year)) for year in stage.wanted(store)]
        samples = settings(self.source).samples
        result = make_samples(
            pa.concat_tables(tables), fire_year(collection), samples, samples.seed
        )
        made: MadeFrom = {
            "inputs": inputs,
            "code_version": self.code_version,
            "simulated": any(pc.any(table["simulated"]).as_py() for table in tables),
        }
        store.write_table(
            self.quarantine_key(collection), result.quarantine, QuarantinedRow, **made
        )
        store.write_table(self.samples_key(collection), result.samples, Sample, **made)
        ref = store.write_table(self.key(collection), result.points, ReferencePoint, **made)
        refused = result.quarantine.num_rows
        metadata = {
            **table_metadata(result.points, ref),
            "kinds": Json(result.counts),
            "samples_key": self.samples_key(collection),
            "quarantined": refused,
            "quarantine_reasons": Json(reasons_of(result.quarantine)),
        }
        reasons: dict[str, int] = {}
        if ref.rows == 0:
            reasons = self._reasons(store, collection, result)
            say(f"{collection}: no fire that samples can be drawn from ({listed(reasons)})")
        paired = set(result.points["sample_id"].to_pylist()) == set(
            result.samples["sample_id"].to_pylist()
        )
        checks = [schema_check(ref.report), *_point_checks(ref.rows, refused, paired, reasons)]
        return Outcome(ref.provenance.content, inputs, metadata, checks)

    def _reasons(self, store: Store, collection: str, result: "SamplesResult") -> dict[str, int]:
        """Why a year gave no sample, rows that are no perimeter and undated fires among it."""
        key = PerimetersStage(self.source).quarantine_key(str(fire_year(collection)))
        reasons = reasons_of(result.quarantine)
        reasons.pop(UNDATED, None)  # what is wrong with the date is in the year's quarantine
        return reasons_of(store.read_table(key)) | reasons


_counted: dict[tuple[str, str], tuple[str, str]] = {}


def _what_counts(store: Store, key: str) -> str:
    """Digest of the columns of perimeters that samples are made of; read again if they changed.

    Raises:
        MissingUpstreamError: the perimeters were never made.
    """
    content = content_of(store, key)
    known = _counted.get((store.url, key))
    if known is None or known[0] != content:
        columns = [name for name in COLUMNS if name != "source_row"]
        known = (content, table_digest(store.read_table(key, columns)))
        _counted[store.url, key] = known
    return known[1]


def _usable(rows: int, refused: int, sampled: bool, reasons: dict[str, int]) -> CheckOutcome:
    """A year that nothing is drawn from may come to nothing: old records are incomplete.

    Any other is warned of; the sampling plan refuses perimeters of which no year is usable.
    """
    passed = rows > 0 or refused == 0 or not sampled
    text = f"{rows} perimeters, {refused} rows in quarantine"
    if not passed and reasons:
        text += f": {listed(reasons)}"
    return CheckOutcome("some_rows_usable", passed, text, blocking=False)


def _point_checks(
    points: int, refused: int, paired: bool, reasons: dict[str, int]
) -> list[CheckOutcome]:
    passed = points > 0
    text = f"{points} points, {refused} fires in quarantine"
    if not passed and reasons:
        text += f": {listed(reasons)}"
    return [
        CheckOutcome("unique_sample_id", True, f"{points} points, ids checked by the schema"),
        CheckOutcome("some_rows_usable", passed, text, blocking=False),
        CheckOutcome("one_sample_per_point", paired, f"{points} points"),
    ]


def _file_digest(path: Path) -> str:
    """sha256 of a file, worked out again only when it was touched."""
    try:
        stat = path.stat()
    except OSError as error:
        raise LabelFileError(
            f"The file cannot be read ({error})",
            where=str(path),
            fix="Set labels.calfire.samples.far to files that exist, or leave them out",
        ) from error
    return _digest(path, stat.st_size, stat.st_mtime_ns)


@functools.lru_cache(maxsize=16)
def _digest(path: Path, size: int, mtime_ns: int) -> str:
    return sha256_file(path)
