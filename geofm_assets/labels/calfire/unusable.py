"""What to say of perimeters that give no sample: reasons with counts, file, field, what to do."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from geofm_assets.core.errors import LabelFileError
from geofm_assets.core.store import Store
from geofm_assets.labels import refusals as why
from geofm_assets.labels.calfire import clean
from geofm_assets.labels.calfire.columns import FRAP_NAMES
from geofm_assets.labels.calfire.config import CalfireConfig
from geofm_assets.labels.calfire.sample_schema import TOO_SMALL, UNDATED
from geofm_assets.labels.calfire.schema import fire_year
from geofm_assets.labels.schema import QUARANTINED_ROW
from geofm_assets.labels.source import LabelSource

_DATE = frozenset(
    {
        clean.MISSING_DATE,
        clean.EPOCH_DATE,
        clean.DATE_OUT_OF_YEAR,
        clean.REVERSED_DATES,
        why.BAD_DATE,
        UNDATED,
    }
)
_SHAPE = frozenset(
    {
        why.MISSING_GEOMETRY,
        why.EMPTY_GEOMETRY,
        why.UNREADABLE_GEOMETRY,
        why.UNSUPPORTED_GEOMETRY,
        why.DEGENERATE_GEOMETRY,
        why.BAD_COORDINATES,
    }
)


def reasons_of(quarantine: pa.Table) -> dict[str, int]:
    """QUARANTINED_ROW rows by reason, the most frequent first."""
    return _ordered(Counter(quarantine["reason"].to_pylist()))


def listed(reasons: Mapping[str, int]) -> str:
    """Reasons with their counts: `3 missing_contained_date, 1 too_small`."""
    return ", ".join(f"{count:,} {reason}" for reason, count in reasons.items()) or "no row"


def require_points(store: Store, source: LabelSource, collections: Sequence[str]) -> None:
    """Refuse perimeters of which no year gives a point; other labels are left to others.

    Args:
        store: where the points are.
        source: of the labels.
        collections: ids of its collections.

    Raises:
        LabelFileError: reasons with counts, the file, the field and what to do.
    """
    config = None if source.config is None else source.config.calfire
    if config is None or any(store.rows(source.points_key(c)) for c in collections):
        return
    raise unusable(store, source.root, config, collections)


def unusable(
    store: Store, root: str, config: CalfireConfig, collections: Iterable[str]
) -> LabelFileError:
    """The error of perimeters of which no year gives a sample.

    Args:
        store: where the quarantines of years and of their samples are.
        root: store prefix of the label source.
        config: where the perimeters are, and which column holds what.
        collections: ids of the years, `frap2022`.
    """
    reasons: Counter[str] = Counter()
    for collection in collections:
        rows = _quarantine(store, f"{root}/quarantine/{fire_year(collection)}.parquet")
        reasons.update(reasons_of(rows))
        fires = _quarantine(store, f"{root}/quarantine/{collection}.parquet")
        # an undated fire is in both
        reasons.update(reasons_of(fires.filter(pc.not_equal(fires["reason"], UNDATED))))
    found = _ordered(reasons)
    column = config.columns.contained_date or FRAP_NAMES["contained_date"][0]
    fields, advice = [], []
    if _DATE & set(found):
        fields.append(f"column {column}")
        advice.append(
            "fill in the day each fire was contained, or name the column that holds it with "
            "--set labels.calfire.columns.contained_date=NAME"
        )
    if _SHAPE & set(found):
        fields.append("geometry")
        layer = "" if config.layer else ", if need be named with --set labels.calfire.layer=NAME"
        advice.append(f"give a layer of polygons{layer}")
    if TOO_SMALL in found:
        fields.append("area")
        advice.append("lower labels.calfire.samples.min_area_ha")
    where = ", ".join([config.perimeters, *([f"layer {config.layer}"] if config.layer else [])])
    fix = "; ".join(advice) or "Look into the quarantine of each fire year"
    return LabelFileError(
        f"No fire year has a fire that samples can be drawn from: {listed(found)}",
        where="; ".join([where, *fields]),
        fix=fix[0].upper() + fix[1:],
    )


def _quarantine(store: Store, key: str) -> pa.Table:
    return store.read_table(key) if store.exists(key) else QUARANTINED_ROW.empty_table()


def _ordered(reasons: Counter[str]) -> dict[str, int]:
    return dict(sorted(reasons.items(), key=lambda found: (-found[1], found[0])))
