"""From samples to arrays in a model's own order of bands."""

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import torch

from geofm_assets.core.errors import ModelInputError
from geofm_assets.evaluation.backbones.alignment import Timeline, align, middles
from geofm_assets.evaluation.backbones.base import ModelInfo, Normalization
from geofm_assets.evaluation.registry.entry import ModalityEntry
from geofm_assets.evaluation.samples.types import EvalSample

_LOG = logging.getLogger(__name__)
_PADDED = re.compile(r"^B0+(?=[0-9])")
_told: set[tuple[str, str, tuple[str, ...]]] = set()


@dataclass(frozen=True)
class Cube:
    """One modality of one sample in a model's band order.

    Attributes:
        values: float32 (T, C, H, W) in the stored unit, oldest first, NaN where there is no data;
            every time has some.
        centres: T middles of acquisition.
        timestamps: T starts and ends.
    """

    values: np.ndarray
    centres: tuple[datetime, ...]
    timestamps: tuple[tuple[datetime, datetime], ...]


def band_key(name: str) -> str:
    """A band's name without what providers write differently: `b02`, `B2` and `B02` are one."""
    return _PADDED.sub("B", name.upper())


def matched_bands(wanted: Sequence[str], stored: Sequence[str]) -> list[str | None]:
    """For each wanted band the stored one's name, None where there is none."""
    by_key = {band_key(name): name for name in stored}
    return [by_key.get(band_key(name)) for name in wanted]


def require_runnable(
    info: ModelInfo,
    samples: Sequence[EvalSample],
    normalization: Normalization,
    modalities: Mapping[str, ModalityEntry],
    patch_size: int,
) -> int:
    """Check what a model was asked for, once for a batch.

    Returns:
        Side of the samples in pixels.

    Raises:
        ModelInputError: a rule or patch size the model does not have, no sample, sizes that differ
            or do not fit, or no modality the model reads.
    """
    where = f"model {info.name}"
    if normalization not in info.normalizations:
        known = ", ".join(info.normalizations)
        raise ModelInputError(
            f"It has no normalisation {normalization!r}", where=where, fix=f"Use {known}"
        )
    if patch_size not in info.patch_sizes:
        known = ", ".join(str(size) for size in info.patch_sizes)
        raise ModelInputError(
            f"It does not run with patch size {patch_size}", where=where, fix=f"Use {known}"
        )
    readable = [name for name in info.bands if name in modalities]
    if not readable:
        raise ModelInputError(
            f"The dataset has {', '.join(sorted(modalities))}, the model reads "
            f"{', '.join(info.bands)}",
            where=where,
            fix="Choose another model",
        )
    any_band = False
    for name in readable:
        stored = modalities[name]
        bands = matched_bands(info.bands[name], stored.bands)
        empty = {band_key(band) for band in stored.filled_bands}
        lacking = tuple(
            wanted
            for wanted, band in zip(info.bands[name], bands, strict=True)
            if band is None or band_key(wanted) in empty
        )
        any_band |= len(lacking) < len(bands)
        if lacking and (info.name, name, lacking) not in _told:
            _told.add((info.name, name, lacking))
            _LOG.info("%s: %s lacks %s, which are filled", info.name, name, ", ".join(lacking))
    if not any_band:
        raise ModelInputError(
            f"The dataset has none of the bands the model reads of {', '.join(readable)}",
            where=where,
            fix="Choose another model",
        )
    sizes = {i.values.shape[-2:] for s in samples for i in s.images.values()}
    if not sizes:  # no sample has any data; a dense label still says how large it is
        sizes = {s.label.shape for s in samples if getattr(s.label, "ndim", 0) == 2}
    if not samples or len(sizes) > 1:
        raise ModelInputError(
            f"A batch needs samples of one size, not {sorted(sizes)}",
            where=where,
            fix="Ingest anew",
        )
    if not sizes:
        return patch_size  # one place stands for a window without any pixel
    height, width = sizes.pop()
    if height != width or height % patch_size:
        raise ModelInputError(
            f"Samples of {height} x {width} pixels are not cut into patches of {patch_size}",
            where=where,
            fix="Choose a patch size that divides the window",
        )
    return int(height)


def read_cube(sample: EvalSample, modality: str, bands: Sequence[str]) -> Cube | None:
    """A modality of a sample in the order of `bands`, None if it has no valid pixel of them.

    Times without a single valid pixel are left out. The sample is not changed.
    """
    image = sample.images.get(modality)
    if image is None:
        return None
    stored = {name: i for i, name in enumerate(image.bands)}
    steps, _, height, width = image.values.shape
    values = np.full((steps, len(bands), height, width), np.nan, dtype=np.float32)
    for index, name in enumerate(matched_bands(bands, image.bands)):
        if name is not None:
            values[:, index] = image.values[:, stored[name]]
    values[~np.isfinite(values)] = np.nan
    centres = middles(image.timestamps)
    seen = ~np.isnan(values).all(axis=(1, 2, 3))
    kept = sorted(np.flatnonzero(seen).tolist(), key=lambda i: (centres[i], i))
    if not kept:
        return None
    return Cube(
        np.ascontiguousarray(values[kept]),
        tuple(centres[i] for i in kept),
        tuple(image.timestamps[i] for i in kept),
    )


def read_cubes(
    sample: EvalSample, bands: Mapping[str, Sequence[str]], modalities: Mapping[str, ModalityEntry]
) -> dict[str, Cube]:
    """Every modality of a sample that a model reads, in the model's order."""
    cubes: dict[str, Cube] = {}
    for name, wanted in bands.items():
        cube = read_cube(sample, name, wanted) if name in modalities else None
        if cube is not None:
            cubes[name] = cube
    return cubes


def timeline(cubes: Mapping[str, Cube]) -> Timeline:
    """The moments of a sample's cubes."""
    return align({name: cube.centres for name, cube in cubes.items()})


def on_timeline(values: np.ndarray, rows: np.ndarray, steps: int) -> np.ndarray:
    """Images (T, C, H, W) laid out on `steps` moments, NaN at moments without one."""
    laid = np.full((steps, *values.shape[1:]), np.nan, dtype=np.float32)
    laid[rows] = values
    return laid


def patches_with_data(seen: np.ndarray, patch_size: int) -> np.ndarray:
    """Where a patch holds a True: bool (..., H, W) to (..., H / p, W / p)."""
    *lead, height, width = seen.shape
    p = patch_size
    cut = seen.reshape(*lead, height // p, p, width // p, p)
    return np.asarray(cut.any(axis=(-3, -1)))


def device_of(module: torch.nn.Module) -> torch.device:
    """Where a module's weights lie."""
    return next(module.parameters()).device
