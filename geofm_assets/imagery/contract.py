"""The band contract, checked from the source scenes over a cell's rasters to the model's input.

It says of every layer: which bands in which order, dtype, scale and unit, nodata value, and what
range is physically plausible. Bands a source never has (all nodata) are not a failure: they are
reported as absent and reach the model as the band's mean, masked (see `normalize`).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from geofm_assets.core.errors import ContractError
from geofm_assets.imagery import plausibility
from geofm_assets.imagery.bands import LAYERS, SENTINEL1, SENTINEL2, LayerSpec

if TYPE_CHECKING:
    from geofm_assets.imagery.index import Scene, SceneIndex

_MIN_SPREAD = 0.005
_MANY_PIXELS = 100


@dataclass(frozen=True)
class BandContract:
    """What every array of a layer must be.

    Attributes:
        layer: bands in order, dtype, unit, scale and nodata value.
        low: least plausible value, in the layer's unit.
        high: greatest plausible value.
    """

    layer: LayerSpec
    low: float
    high: float

    def describe(self) -> dict[str, Any]:
        """The contract as JSON-encodable values."""
        spec = self.layer
        return {
            "bands": list(spec.band_names),
            "dtype": spec.dtype,
            "unit": spec.unit,
            "scale": spec.scale,
            "nodata": spec.nodata,
            "plausible": [self.low, self.high],
        }


CONTRACTS = {
    SENTINEL2: BandContract(LAYERS[SENTINEL2], 1, 40000),
    SENTINEL1: BandContract(LAYERS[SENTINEL1], -100.0, 60.0),
}


@dataclass(frozen=True)
class ContractReport:
    """What a check found.

    Attributes:
        failures: one line each, saying what is wrong and where.
        absent_bands: bands without a single valid pixel, in stored order.
        metadata: what was measured, JSON-encodable.
    """

    failures: tuple[str, ...] = ()
    absent_bands: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether the contract holds."""
        return not self.failures

    @classmethod
    def unchecked(
        cls, why: str = "a catalogue is checked by what is cut from it"
    ) -> "ContractReport":
        """A report of a source that cannot be looked at beforehand."""
        return cls(metadata={"checked": False, "why": why})

    def require(self, where: str) -> None:
        """Raise if the contract is broken.

        Raises:
            ContractError: lists what failed.
        """
        if self.failures:
            raise ContractError("; ".join(self.failures), where=where)


_reports: "dict[Path, tuple[SceneIndex, ContractReport]]" = {}


def check_source(folder: str | Path) -> ContractReport:
    """Check every scene of a folder: dtype, band names inside the file, scale, unit, order.

    A folder whose files have not changed since this process checked it is not read again.

    Args:
        folder: folder with items.json.

    Raises:
        ImageryError: the folder or a scene cannot be read at all.
    """
    from rasterio.env import ensure_env

    return ensure_env(_check_source)(folder)  # one for all, as in scenes_info


def _check_source(folder: str | Path) -> ContractReport:
    from geofm_assets.imagery.index import scenes_info

    index = scenes_info(folder)  # the same one as long as nothing changes
    known = _reports.get(index.folder)
    if known is None or known[0] is not index:
        known = _reports[index.folder] = (index, _check_scenes(index))
    return known[1]


def _check_scenes(index: "SceneIndex") -> ContractReport:
    from geofm_assets.imagery.scene_sample import sample_pixels

    failures: list[str] = []
    absent: list[str] = []
    metadata: dict[str, Any] = {"scenes": len(index.scenes), "simulated": index.simulated}
    for name in index.modalities:
        spec = LAYERS[name]
        gathered = []
        for scene in index.of(spec.collection):
            failures += _file_failures(scene, spec)
            pixels = sample_pixels(scene)
            values = _by_band(pixels, scene, spec)
            failures += [f"{scene.file}: {f}" for f in pixel_failures(values, spec)]
            gathered.append(values)
        pooled = {b: np.concatenate([v[b] for v in gathered]) for b in spec.band_names}
        if not any(f for f in failures):
            failures += [f"all scenes of {name}: {f}" for f in pixel_failures(pooled, spec)]
        lacking = [b for b, v in pooled.items() if not np.isfinite(v).any()]
        absent += lacking
        if len(lacking) == len(spec.bands):
            failures.append(f"{name}: no scene has a valid pixel in the blocks looked at")
        metadata[name] = {
            "contract": CONTRACTS[name].describe(),
            "scenes": len(gathered),
            "pixels": int(max(v.size for v in pooled.values())),
            "medians": {b: _median(v) for b, v in pooled.items()},
            "absent_bands": lacking,
        }
    return ContractReport(tuple(failures), tuple(absent), metadata)


def check_cell(bands: pa.Table) -> ContractReport:
    """Check a cell's rasters by their statistics.

    Args:
        bands: BAND_STATS rows of one cell or more; none for a cell without windows.
    """
    failures: list[str] = []
    absent: list[str] = []
    metadata: dict[str, Any] = {}
    rows = bands.to_pylist()
    for cell, name in sorted({(row["h3_cell"], row["layer"]) for row in rows}):
        mine = [row for row in rows if (row["h3_cell"], row["layer"]) == (cell, name)]
        spec = LAYERS.get(name)
        order = tuple(row["band"] for row in mine)
        if spec is None or order != spec.band_names:
            failures.append(f"cell {cell}: {name} has bands {', '.join(order)}, out of contract")
            continue
        seen = [row for row in mine if row["count"]]
        lacking = [row["band"] for row in mine if not row["count"]]
        absent += [b for b in lacking if b not in absent]
        failures += [f"cell {cell}, {name}: {f}" for f in _stats_failures(seen, spec)]
        metadata[f"{cell}/{name}" if len(rows) > len(mine) else name] = {
            "nodata_share": float(np.mean([row["nodata_share"] for row in mine])),
            "absent_bands": lacking,
        }
    return ContractReport(tuple(failures), tuple(absent), metadata)


def check_model_input(
    values: np.ndarray,
    layer: str,
    valid: np.ndarray | None = None,
    bands: Sequence[str] | None = None,
) -> ContractReport:
    """Check what the model is about to read: normalised values.

    Args:
        values: (..., C, H, W) as `normalize.normalize` gives them.
        layer: name of the layer.
        valid: where values were measured, shaped as `values`; None for everywhere.
        bands: the order the caller believes the bands are in.

    Raises:
        ContractError: no such layer.
    """
    if layer not in LAYERS:
        raise ContractError(f"No layer {layer!r}", fix=f"Use one of {', '.join(sorted(LAYERS))}")
    spec = LAYERS[layer]
    if bands is not None and tuple(bands) != spec.band_names:
        return ContractReport(
            (f"{layer}: bands are {', '.join(bands)}, not {', '.join(spec.band_names)}",)
        )
    if values.ndim < 3 or values.shape[-3] != len(spec.bands):
        return ContractReport((f"{layer}: {values.shape} does not hold {len(spec.bands)} bands",))
    failures = []
    if values.dtype != np.float32:
        failures.append(f"{layer}: {values.dtype} instead of float32")
    if not np.isfinite(values).all():
        failures.append(f"{layer}: values that are not numbers")
    absent, metadata = [], {}
    for index, name in enumerate(spec.band_names):
        band = values[..., index, :, :]
        measured = band if valid is None else band[valid[..., index, :, :]]
        measured = measured[np.isfinite(measured)]
        if measured.size == 0:
            absent.append(name)
            continue
        median, spread = float(np.median(measured)), float(np.std(measured))
        metadata[name] = {"median": median, "std": spread}
        if not -1.0 <= median <= 3.0:
            failures.append(f"{layer} {name}: median {median:.3g} is not normalised")
        elif measured.size >= _MANY_PIXELS and spread < _MIN_SPREAD:
            failures.append(
                f"{layer} {name}: nearly constant at {median:.3g} (std {spread:.1g}): wrong unit "
                "or scale before normalisation"
            )
    return ContractReport(tuple(failures), tuple(absent), {layer: metadata})


def pixel_failures(values: Mapping[str, np.ndarray], spec: LayerSpec) -> list[str]:
    """Failures of scale, unit and order of sampled pixels (NaN where there is no data)."""
    seen = {b: v[np.isfinite(v)] for b, v in values.items()}
    seen = {b: v for b, v in seen.items() if v.size}
    if not seen:
        return []
    minima = {b: float(v.min()) for b, v in seen.items()}
    maxima = {b: float(v.max()) for b, v in seen.items()}
    if spec.name == SENTINEL1:
        return plausibility.decibels(_medians(seen), minima, maxima)
    p98 = {b: float(np.percentile(v, 98)) for b, v in seen.items()}
    failures = plausibility.reflectance_scale(p98, maxima)
    if failures:
        return failures
    land = _land(values)
    on_land = {b: values[b][land] for b in seen}
    medians = _medians({b: v[np.isfinite(v)] for b, v in on_land.items()})
    failures = plausibility.reflectance_order(medians, int(land.sum()))
    return failures + plausibility.nearest_neighbour(on_land)


def _stats_failures(seen: Iterable[Mapping[str, Any]], spec: LayerSpec) -> list[str]:
    rows = {row["band"]: row for row in seen}
    if not rows:
        return []
    column = {
        key: {b: float(row[key]) for b, row in rows.items()}
        for key in ("minimum", "median", "p98", "maximum")
    }
    if spec.name == SENTINEL1:
        return plausibility.decibels(column["median"], column["minimum"], column["maximum"])
    failures = plausibility.reflectance_scale(column["p98"], column["maximum"])
    if failures:
        return failures
    pixels = min(int(row["count"]) for row in rows.values())
    return plausibility.reflectance_order(column["median"], pixels)


def _file_failures(scene: "Scene", spec: LayerSpec) -> list[str]:
    from geofm_assets.imagery.scene_sample import band_names_inside

    failures = []
    wanted = np.dtype(spec.dtype).kind
    if np.dtype(scene.dtype).kind != wanted:
        hint = ": reflectance of 0 to 1?" if spec.name == SENTINEL2 else ""
        failures.append(f"{scene.file}: dtype {scene.dtype} instead of {spec.dtype}{hint}")
    names = band_names_inside(scene)
    if names is not None and names != scene.bands and set(names) == set(scene.bands):
        failures.append(
            f"{scene.file}: its bands are {', '.join(names)}, items.json says "
            f"{', '.join(scene.bands)}"
        )
    return failures


def _by_band(pixels: np.ndarray, scene: "Scene", spec: LayerSpec) -> dict[str, np.ndarray]:
    """Sampled pixels by band as float64, NaN where there is no data."""
    from geofm_assets.imagery.scene_sample import missing

    values = pixels.astype(np.float64)
    values[missing(pixels, scene)] = np.nan
    return {name: values[scene.bands.index(name)] for name in spec.band_names}


def _land(values: Mapping[str, np.ndarray]) -> np.ndarray:
    """Where the near infrared is bright enough for ratios to mean something."""
    infrared = np.stack([values[b] for b in ("B06", "B07", "B08", "B8A")])
    bright: np.ndarray = np.nan_to_num(infrared, nan=0.0).max(axis=0) > plausibility.LAND_NIR
    return bright


def _medians(seen: Mapping[str, np.ndarray]) -> dict[str, float]:
    return {band: float(np.median(v)) for band, v in seen.items() if v.size}


def _median(values: np.ndarray) -> float | None:
    finite = values[np.isfinite(values)]
    return round(float(np.median(finite)), 4) if finite.size else None
