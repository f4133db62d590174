"""Statistics of every band over the valid pixels of train, exact, in fixed memory.

Three passes over the memory-mapped parts: extremes and mean; spread and a histogram; and the values
in those bins of it that hold a percentile.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from geofm_assets.core.errors import DatasetError
from geofm_assets.evaluation.registry.entry import BandStatistics, ModalityEntry
from geofm_assets.evaluation.samples.packed import PackedSamples

_BINS = 65536
_PERCENTILES = (2.0, 50.0, 98.0)


@dataclass
class _Band:
    """What is gathered of one band."""

    count: int = 0
    total: float = 0.0
    low: float = np.inf
    high: float = -np.inf
    squares: float = 0.0
    histogram: np.ndarray = field(default_factory=lambda: np.zeros(_BINS, np.int64))
    wanted: dict[int, dict[float, int]] = field(default_factory=dict)

    @property
    def mean(self) -> float:
        return self.total / self.count

    def bins(self, values: np.ndarray) -> np.ndarray:
        """Which bin each value lies in."""
        width = (self.high - self.low) / _BINS
        if width == 0:
            return np.zeros(len(values), np.int64)
        return np.minimum(((values - self.low) / width).astype(np.int64), _BINS - 1)

    def ranks(self) -> list[int]:
        """Positions in sorted order that the percentiles are made of."""
        found = set()
        for percentile in _PERCENTILES:
            position = percentile / 100 * (self.count - 1)
            found |= {int(np.floor(position)), int(np.ceil(position))}
        return sorted(found)


def modality_entries(samples: PackedSamples) -> dict[str, ModalityEntry]:
    """Bands, timesteps and statistics of every modality of a dataset.

    Returns:
        By modality; statistics are of the train split, nodata left out, in the stored unit
        (Sentinel-1 in dB). Percentiles interpolate linearly between neighbours, as numpy does.

    Raises:
        DatasetError: no modality has a valid pixel in train.
    """
    entries = {}
    for name, layout in samples.layout.modalities.items():
        bands = _gather(samples, name)
        timesteps = max(
            (
                int(samples.part(p).images[name].present.sum(axis=1).max())
                for p in range(samples.parts)
            ),
            default=0,
        )
        entries[name] = ModalityEntry(
            bands=layout.bands,
            timesteps=max(1, timesteps),
            nodata=layout.nodata,
            statistics={
                band: _statistics(found)
                for band, found in zip(layout.bands, bands, strict=True)
                if found.count
            },
            filled_bands=tuple(
                band for band, found in zip(layout.bands, bands, strict=True) if not found.count
            ),
        )
    if not any(entry.statistics for entry in entries.values()):
        raise DatasetError(
            "No pixel of the train split has data",
            where=f"dataset {samples.name}",
            fix="Materialize its imagery",
        )
    return entries


def _gather(samples: PackedSamples, modality: str) -> list[_Band]:
    bands = [_Band() for _ in samples.layout.modalities[modality].bands]
    for number, values in _valid(samples, modality):
        band = bands[number]
        band.count += len(values)
        band.total += float(values.sum())
        band.low = min(band.low, float(values.min()))
        band.high = max(band.high, float(values.max()))
    for number, values in _valid(samples, modality):
        band = bands[number]
        band.squares += float(np.square(values - band.mean).sum())
        band.histogram += np.bincount(band.bins(values), minlength=_BINS)
    for band in bands:
        if band.count:
            reached = np.cumsum(band.histogram)
            held = {int(np.searchsorted(reached, rank, side="right")) for rank in band.ranks()}
            band.wanted = {number: {} for number in sorted(held)}
    for number, values in _valid(samples, modality):
        band = bands[number]
        places = band.bins(values)
        for bin_, held_values in band.wanted.items():
            distinct, counts = np.unique(values[places == bin_], return_counts=True)
            for value, count in zip(distinct.tolist(), counts.tolist(), strict=True):
                held_values[value] = held_values.get(value, 0) + count
    return bands


def _valid(samples: PackedSamples, modality: str) -> Iterator[tuple[int, np.ndarray]]:
    """Valid pixels of train as float64, sample by sample and band by band."""
    layout = samples.layout.modalities[modality]
    parts, rows = samples.table["part"].to_pylist(), samples.table["row"].to_pylist()
    for row in samples.rows("train").tolist():
        values = samples.part(parts[row]).values(modality, rows[row])
        if not len(values):
            continue
        valid = ~layout.is_nodata(values)
        for number in range(len(layout.bands)):
            chosen = values[:, number][valid[:, number]]
            if chosen.size:
                yield number, chosen.astype(np.float64)


def _statistics(band: _Band) -> BandStatistics:
    low, middle, high = (_percentile(band, p) for p in _PERCENTILES)
    return BandStatistics(
        count=band.count,
        mean=band.mean,
        std=float(np.sqrt(band.squares / band.count)),
        min=band.low,
        max=band.high,
        p02=low,
        p50=middle,
        p98=high,
    )


def _percentile(band: _Band, percentile: float) -> float:
    position = percentile / 100 * (band.count - 1)
    below, above = int(np.floor(position)), int(np.ceil(position))
    first, second = _ranked(band, below), _ranked(band, above)
    return first + (second - first) * (position - below)


def _ranked(band: _Band, rank: int) -> float:
    """The value at a position of the sorted values."""
    reached = np.cumsum(band.histogram)
    bin_ = int(np.searchsorted(reached, rank, side="right"))
    before = int(reached[bin_ - 1]) if bin_ else 0
    for value, count in sorted(band.wanted[bin_].items()):
        before += count
        if rank < before:
            return value
    raise AssertionError("a bin holds fewer values than it counted")
