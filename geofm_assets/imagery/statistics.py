"""Band statistics gathered window by window in fixed memory."""

from typing import Any

import numpy as np

from geofm_assets.imagery.bands import LayerSpec

# Bins of float layers: 1/256 dB from -128 to 128, so a percentile is off by 0.002 dB at most.
_FLOAT_LOW, _FLOAT_HIGH, _FLOAT_BINS = -128.0, 128.0, 65536


class BandHistogram:
    """Counts of the valid pixels of each band of a layer.

    Whole numbers are counted exactly. Fractions are counted in bins of 1/256, with what lies
    outside -128..128 in the end bins; minimum, maximum and mean are exact either way.

    Args:
        layer: whose bands are counted.
    """

    def __init__(self, layer: LayerSpec) -> None:
        self.layer = layer
        count = len(layer.bands)
        self.counts = np.zeros((count, 65536), dtype=np.int64)
        self.pixels = 0
        self.sums = np.zeros(count, dtype=np.float64)
        self.minima = np.full(count, np.inf)
        self.maxima = np.full(count, -np.inf)

    def add(self, values: np.ndarray) -> None:
        """Count the pixels of an array (T, C, H, W)."""
        self.pixels += values.size // values.shape[1]
        missing = self.layer.is_nodata(values)
        for band in range(values.shape[1]):
            valid = values[:, band][~missing[:, band]]
            if valid.size == 0:
                continue
            self.counts[band] += np.bincount(self._bins(valid), minlength=65536)
            self.sums[band] += valid.sum(dtype=np.float64)
            self.minima[band] = min(self.minima[band], float(valid.min()))
            self.maxima[band] = max(self.maxima[band], float(valid.max()))

    def rows(self, cell: str) -> list[dict[str, Any]]:
        """BAND_STATS rows in stored band order."""
        return [
            {"h3_cell": cell, "layer": self.layer.name, **self._row(band)}
            for band in range(len(self.layer.bands))
        ]

    def _bins(self, valid: np.ndarray) -> np.ndarray:
        if valid.dtype.kind == "u":
            return valid.astype(np.int64)
        position = (valid - _FLOAT_LOW) * (_FLOAT_BINS / (_FLOAT_HIGH - _FLOAT_LOW))
        return np.clip(position, 0, _FLOAT_BINS - 1).astype(np.int64)

    def _row(self, band: int) -> dict[str, Any]:
        counts = self.counts[band]
        count = int(counts.sum())
        row: dict[str, Any] = {
            "band": self.layer.bands[band].name,
            "count": count,
            "nodata_share": 1.0 - count / self.pixels if self.pixels else 1.0,
        }
        if count == 0:
            return row | dict.fromkeys(("minimum", "p02", "median", "p98", "maximum", "mean"))
        low, high = float(self.minima[band]), float(self.maxima[band])
        reached = np.cumsum(counts)

        def percentile(share: float) -> float:
            """Smallest value with at least this share of the pixels at or below it."""
            bin_ = int(np.searchsorted(reached, max(1, int(np.ceil(share * count)))))
            if np.dtype(self.layer.dtype).kind == "u":
                return float(bin_)
            middle = _FLOAT_LOW + (bin_ + 0.5) * (_FLOAT_HIGH - _FLOAT_LOW) / _FLOAT_BINS
            return min(max(middle, low), high)

        return row | {
            "minimum": low,
            "p02": percentile(0.02),
            "median": percentile(0.5),
            "p98": percentile(0.98),
            "maximum": high,
            "mean": float(self.sums[band]) / count,
        }
