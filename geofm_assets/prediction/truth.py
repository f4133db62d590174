"""A map against known polygons: per fire what was found, missed and invented."""

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import geopandas as gpd
import numpy as np
import pyarrow as pa
import shapely
from shapely.geometry.base import BaseGeometry

from geofm_assets.core.errors import LabelFileError
from geofm_assets.evaluation.bootstrap import interval
from geofm_assets.prediction.ground import WGS84, moved, zone_side, zones_of
from geofm_assets.prediction.legend import Legend
from geofm_assets.prediction.mosaic import Mosaic
from geofm_assets.prediction.request import Area
from geofm_assets.prediction.truth_pixels import MARGIN_M, Tally, ZoneFire, tally_zone
from geofm_assets.prediction.truth_schema import LEFT_OUT, MAP_SCORE, MAP_SUMMARY, METRICS, SCORED

_EQUAL_AREA = "EPSG:6933"
_RESAMPLES = 1000
_COLUMNS = ("fire_id", "contained_date")


@dataclass(frozen=True)
class Fire:
    """One known polygon that a request's area touches.

    Attributes:
        id: unique.
        group: fires of one group are drawn together by the bootstrap.
        alarm: first day; None if unknown.
        contained: last day; None if unknown.
        geometry: degrees EPSG:4326.
        asked: what of it lies in areas of its time; empty if it is left out.
        reason: why it is left out; None if it is not.
        simulated: whether it is.
    """

    id: str
    group: str
    alarm: dt.date | None
    contained: dt.date | None
    geometry: BaseGeometry
    asked: BaseGeometry
    reason: str | None
    simulated: bool


def select_fires(
    truth: pa.Table | gpd.GeoDataFrame,
    areas: Sequence[Area],
    recent_days: int = 0,
    imaged_from: Callable[[Area], dt.date] | None = None,
) -> list[Fire]:
    """Fires that touch a request, and which of them its map must show.

    A fire belongs to an area if it was contained between the area's start and end, or up to
    `recent_days` before the start. One that was contained when the last image of the area had
    begun is left out, however late the area ends: the image shows it in part or not at all.

    Args:
        truth: `fire_id`, `contained_date` and `geometry` (WKB in degrees, or a GeoDataFrame's);
            if there are such columns `alarm_date`, `group_id`, `dated`, `prescribed`, `simulated`.
        areas: of the request.
        recent_days: see above.
        imaged_from: day the last image of an area begins; None where images are of all its time.

    Returns:
        By fire_id.

    Raises:
        LabelFileError: a column is missing, a geometry is or an id repeats.
    """
    rows, geometries = _rows(truth)
    tree = shapely.STRtree(geometries)
    near: dict[int, list[Area]] = {}
    for area in areas:
        for index in tree.query(area.geometry, predicate="intersects").tolist():
            near.setdefault(index, []).append(area)
    fires = []
    for index, around in near.items():
        row, geometry = rows[index], geometries[index]
        why, fit = _reason(row), []
        if why is None:
            fit = [a for a in around if _fits(row["contained_date"], a, recent_days)]
            why = None if fit else _other_time(row["contained_date"], around)
        if fit and imaged_from is not None:
            last = max(imaged_from(area) for area in fit)
            fit = [area for area in fit if row["contained_date"] < imaged_from(area)]
            why = None if fit else _after_imagery(row["contained_date"], last)
        parts = [shapely.intersection(geometry, area.geometry) for area in fit]
        asked = shapely.union_all(parts) if parts else shapely.Polygon()
        if why is None and asked.area == 0:
            continue  # it only touches the area's edge
        fires.append(
            Fire(
                str(row["fire_id"]),
                str(row.get("group_id") or row["fire_id"]),
                row.get("alarm_date"),
                row["contained_date"],
                geometry,
                asked,
                why,
                bool(row.get("simulated", False)),
            )
        )
    return sorted(fires, key=lambda fire: fire.id)


def score_against(
    mosaics: Sequence[Mosaic],
    fires: Sequence[Fire],
    legend: Legend,
    *,
    simulated: bool,
    margin_m: float = MARGIN_M,
) -> pa.Table:
    """MAP_SCORE rows of the fires.

    Args:
        mosaics: one a zone.
        fires: from `select_fires`.
        legend: its positive class is what fires are compared with.
        simulated: whether the map is.
        margin_m: how far from a fire a positive pixel still counts as its commission.

    Raises:
        LabelFileError: the legend has no positive class.
    """
    if legend.positive is None:
        raise LabelFileError("The map has no positive class to compare", where=f"{legend.classes}")
    tallies = {fire.id: Tally() for fire in fires if fire.reason is None}
    by_zone = {mosaic.epsg: mosaic for mosaic in mosaics}
    asked_in = {epsg for fire in fires for epsg in zones_of(fire.asked)}
    for epsg in sorted(asked_in):
        side, crs = zone_side(epsg), f"EPSG:{epsg}"
        here = [fire for fire in fires if shapely.intersects(fire.geometry, side)]
        whole = moved(_clipped([f.geometry for f in here], side), WGS84, crs)
        asked = moved(_clipped([f.asked for f in here], side), WGS84, crs)
        given = [
            ZoneFire(fire.id, fire.reason is None, shape, part)
            for fire, shape, part in zip(here, whole, asked, strict=True)
        ]
        for fire_id, tally in tally_zone(
            by_zone.get(epsg), epsg, given, legend.positive, margin_m
        ).items():
            tallies[fire_id] += tally
    rows = [_row(fire, tallies.get(fire.id), simulated) for fire in fires]
    return pa.Table.from_pylist(rows, schema=MAP_SCORE)


def summarize(scores: pa.Table, seed: int = 0) -> pa.Table:
    """MAP_SUMMARY rows of MAP_SCORE rows.

    Args:
        scores: of one map.
        seed: of the bootstrap.
    """
    rows = [row for row in scores.to_pylist() if row["status"] == SCORED and row["pixels"]]
    groups = sorted({row["group_id"] for row in rows})
    sums = np.zeros((len(groups), 3))  # both, commission, omission
    for row in rows:
        sums[groups.index(row["group_id"])] += [
            row["both_ha"], row["commission_ha"], row["omission_ha"]
        ]  # fmt: skip
    values = _metrics(sums.sum(axis=0))
    drawn: dict[str, np.ndarray] = {}
    if len(groups) > 1:  # of one group every draw is the same
        weights = np.random.default_rng(seed).multinomial(
            len(groups), np.full(len(groups), 1 / len(groups)), size=_RESAMPLES
        )
        drawn = _metrics(weights @ sums)
    simulated = any(scores["simulated"].to_pylist())
    found = []
    for metric in METRICS:
        known = drawn[metric][np.isfinite(drawn[metric])] if drawn else np.empty(0)
        low, high = interval(known) if len(known) else (np.nan, np.nan)
        made = {"fires": len(rows), "groups": len(groups), "simulated": simulated}
        numbers = {"value": values[metric], "low": low, "high": high}
        found.append({"metric": metric, **{k: _known(v) for k, v in numbers.items()}, **made})
    return pa.Table.from_pylist(found, schema=MAP_SUMMARY)


def _metrics(sums: np.ndarray) -> dict[str, np.ndarray]:
    """METRICS of (..., 3) hectares; NaN where there is no denominator."""
    both, more, less = np.moveaxis(sums, -1, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return {
            "iou": both / (both + more + less),
            "commission": more / (both + more),
            "omission": less / (both + less),
            "area_ratio": np.where(both + less > 0, (both + more) / (both + less), np.nan),
        }


def _row(fire: Fire, tally: Tally | None, simulated: bool) -> dict[str, Any]:
    row: dict[str, Any] = {
        "fire_id": fire.id,
        "group_id": fire.group,
        "alarm_date": fire.alarm,
        "contained_date": fire.contained,
        "status": LEFT_OUT if tally is None else SCORED,
        "reason": fire.reason,
        "perimeter_ha": _hectares(fire.geometry),
        "simulated": simulated or fire.simulated,
    }
    if tally is None:
        return row
    metrics = _metrics(np.array([tally.both_ha, tally.commission_ha, tally.omission_ha]))
    true, mapped = tally.both_ha + tally.omission_ha, tally.both_ha + tally.commission_ha
    return row | {
        "true_ha": true,
        "mapped_ha": mapped,
        "error_ha": mapped - true,
        "nodata_ha": tally.nodata_ha,
        "both_ha": tally.both_ha,
        "margin_ha": tally.margin_ha,
        "commission_ha": tally.commission_ha,
        "omission_ha": tally.omission_ha,
        **{name: _known(metrics[name]) for name in ("iou", "commission", "omission")},
        "pixels": tally.pixels,
    }


def _hectares(geometry: BaseGeometry) -> float:
    """Equal-area hectares of a polygon in degrees."""
    return float(shapely.area(moved(np.array([geometry]), WGS84, _EQUAL_AREA))[0]) / 10_000


def _known(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None


def _clipped(geometries: list[BaseGeometry], side: BaseGeometry) -> np.ndarray:
    out = np.empty(len(geometries), dtype=object)
    out[:] = [shapely.intersection(geometry, side) for geometry in geometries]
    return out


def _rows(truth: pa.Table | gpd.GeoDataFrame) -> tuple[list[dict[str, Any]], np.ndarray]:
    if isinstance(truth, gpd.GeoDataFrame):
        frame = truth if truth.crs is None else truth.to_crs(WGS84)
        if truth.crs is None:
            raise LabelFileError("The known polygons have no CRS", where="truth")
        geometries = np.asarray(frame.geometry.values)
        table = pa.Table.from_pandas(frame.drop(columns=frame.geometry.name), preserve_index=False)
    else:
        _require(truth.column_names, (*_COLUMNS, "geometry"))
        geometries = shapely.from_wkb(truth["geometry"].to_numpy())
        table = truth.drop_columns("geometry")
    _require(table.column_names, _COLUMNS)
    rows = [_dates(row) for row in table.to_pylist()]
    ids = [row["fire_id"] for row in rows]
    if len(set(ids)) < len(ids):
        raise LabelFileError("Two known polygons share a fire_id", where="truth, fire_id")
    if shapely.is_missing(geometries).any():
        raise LabelFileError("A known polygon has no geometry", where="truth, geometry")
    return rows, geometries


def _require(names: Sequence[str], wanted: Sequence[str]) -> None:
    lost = [name for name in wanted if name not in names]
    if lost:
        raise LabelFileError(f"The known polygons have no {', '.join(lost)}", where="truth")


def _dates(row: dict[str, Any]) -> dict[str, Any]:
    """Moments become days."""
    days = {k: v.date() for k, v in row.items() if isinstance(v, dt.datetime)}
    return {**row, **days}


def _reason(row: Mapping[str, Any]) -> str | None:
    if row.get("prescribed"):
        return "a prescribed burn"
    if row["contained_date"] is None or row.get("dated") is False:
        return "its containment date is not known"
    return None


def _fits(day: dt.date, area: Area, recent_days: int) -> bool:
    first = area.start.date() - dt.timedelta(days=recent_days)
    return first <= day <= area.end.date()


def _after_imagery(day: dt.date, begun: dt.date) -> str:
    return f"contained on {day}, the map's last image is from {begun} on"


def _other_time(day: dt.date, areas: Sequence[Area]) -> str:
    times = "; ".join(f"{a.start.date()} to {a.end.date()}" for a in areas)
    return f"contained on {day}, the map is of {times}"
