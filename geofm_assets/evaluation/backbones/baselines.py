"""Two floors every model has to beat: the pixels themselves, and statistics of the window."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from geofm_assets.core.hashing import json_digest
from geofm_assets.evaluation.backbones.base import ModelInfo, Tokens
from geofm_assets.evaluation.backbones.frozen import Batch, FrozenModel
from geofm_assets.evaluation.backbones.inputs import Cube
from geofm_assets.evaluation.backbones.names import (
    IMAGE_STATISTICS,
    PIXEL,
    RAW_PIXELS,
    normalizations,
)
from geofm_assets.evaluation.backbones.normalize import dataset_factors
from geofm_assets.evaluation.backbones.olmoearth import BANDS
from geofm_assets.evaluation.registry.entry import ModalityEntry

READER = 1
PERCENTILES = (5, 25, 50, 75, 95)
STATISTICS = ("mean", "std", "min", "max", *(f"p{p:02d}" for p in PERCENTILES))
# Up to this many images a sample's vector has a slot for each in order of time; beyond, a slot
# for each month of the year, so that a sample without one month still lines up with the others.
MOST_IN_ORDER = 4
_MONTHS = 12


def _info(name: str) -> ModelInfo:
    """What is known of a baseline; D is that of the dataset, so 0 stands for it."""
    return ModelInfo(
        name=name,
        model_id=json_digest({"baseline": name, "reader": READER}),
        start="no weights",
        embedding_size=0,
        bands=BANDS,
        patch_sizes=PIXEL,
        normalizations=normalizations(name),
    )


class _Baseline(FrozenModel):
    """Reads what the dataset has; `embedding_size` is 0, for it is the dataset's.

    Args:
        name: of the model.
    """

    def __init__(self, name: str) -> None:
        super().__init__(_info(name))

    def _bands(self, modalities: Mapping[str, ModalityEntry]) -> Mapping[str, Sequence[str]]:
        """The dataset's bands with statistics."""
        return {
            name: tuple(b for b in modalities[name].bands if b in modalities[name].statistics)
            for name in BANDS
            if name in modalities and modalities[name].statistics
        }


class RawPixels(_Baseline):
    """Every pixel's bands at all times, standardised by the dataset, 0 where there is no data.

    Tokens are (B, H, W, 1, D), D being the sum over modalities of slots times bands.
    """

    def __init__(self) -> None:
        super().__init__(RAW_PIXELS)

    def _tokens(self, batch: Batch) -> Tokens:
        bands, modalities, size = batch.bands, batch.modalities, batch.size
        slots = {name: _slots(modalities[name]) for name in bands}
        width = sum(slots[name] * len(bands[name]) for name in bands)
        values = np.zeros((len(batch.ids), width, size, size), dtype=np.float32)
        valid = np.zeros((len(batch.ids), size, size), dtype=bool)
        begin = 0
        for name, wanted in bands.items():
            end = begin + slots[name] * len(wanted)
            factors = dataset_factors("baseline", modalities[name], wanted, name)
            for index, found in enumerate(batch.cubes):
                if name not in found:
                    continue
                laid = _in_slots(found[name], slots[name])
                valid[index] |= ~np.isnan(laid).all(axis=(0, 1))
                values[index, begin:end] = factors.apply(laid).reshape(end - begin, size, size)
            begin = end
        tokens = torch.from_numpy(values).permute(0, 2, 3, 1).unsqueeze(3).contiguous()
        return Tokens(tokens, torch.from_numpy(valid).unsqueeze(-1), (0,))


def _slots(entry: ModalityEntry) -> int:
    """How many times a pixel's vector has of a modality."""
    return entry.timesteps if entry.timesteps <= MOST_IN_ORDER else _MONTHS


def _in_slots(cube: Cube, slots: int) -> np.ndarray:
    """Images (T, C, H, W) in `slots`; images of one slot are averaged, NaN where there is none.

    Sums are taken in order of time, so the result does not depend on how they were stored.
    """
    months = slots == _MONTHS
    places = [c.month - 1 if months else min(i, slots - 1) for i, c in enumerate(cube.centres)]
    total = np.zeros((slots, *cube.values.shape[1:]), dtype=np.float64)
    count = np.zeros(total.shape, dtype=np.int64)
    for place, image in zip(places, cube.values, strict=True):
        seen = ~np.isnan(image)
        total[place] += np.where(seen, image, 0.0)
        count[place] += seen
    laid = np.full(total.shape, np.nan)
    np.divide(total, count, out=laid, where=count > 0)
    return laid.astype(np.float32)


class ImageStatistics(_Baseline):
    """Mean, deviation, extremes and percentiles of each band over all times and pixels.

    The same vector stands at every place: what a dense task can learn from it is what the window
    as a whole looks like. Tokens are (B, H, W, 1, D), D being bands times STATISTICS, of
    standardised values.
    """

    def __init__(self) -> None:
        super().__init__(IMAGE_STATISTICS)

    def _tokens(self, batch: Batch) -> Tokens:
        bands, count = batch.bands, len(batch.ids)
        rows = np.zeros((count, sum(map(len, bands.values())), len(STATISTICS)), np.float32)
        valid = np.zeros(count, dtype=bool)
        begin = 0
        for name, wanted in bands.items():
            factors = dataset_factors("baseline", batch.modalities[name], wanted, name)
            for index, found in enumerate(batch.cubes):
                if name not in found:
                    continue
                raw = found[name].values
                scaled = np.where(np.isnan(raw), np.nan, factors.apply(raw))
                for column in range(len(wanted)):
                    rows[index, begin + column] = _statistics(scaled[:, column])
                valid[index] = True
            begin += len(wanted)
        shape = (count, batch.size, batch.size, 1)
        tokens = torch.from_numpy(rows.reshape(count, 1, 1, 1, -1)).expand(*shape, -1)
        mask = torch.from_numpy(valid.reshape(-1, 1, 1, 1)).expand(shape)
        return Tokens(tokens, mask, (0,))


def _statistics(values: np.ndarray) -> np.ndarray:
    """STATISTICS of the values that are not NaN, zeros if there are none; float32."""
    seen = values[~np.isnan(values)].astype(np.float64)
    if not seen.size:
        return np.zeros(len(STATISTICS), dtype=np.float32)
    fixed = [seen.mean(), seen.std(), seen.min(), seen.max()]
    return np.array([*fixed, *np.percentile(seen, PERCENTILES)], dtype=np.float32)
