"""Whether a modality's pixels are in the right unit and order, from a sample of them."""

from typing import Literal

import numpy as np

from geofm_assets.evaluation.ingest.modalities import ModalityPlan
from geofm_assets.evaluation.ingest.report import Findings
from geofm_assets.imagery.bands import SENTINEL1, SENTINEL2
from geofm_assets.imagery.plausibility import (
    LAND_NIR,
    decibels,
    reflectance_order,
    reflectance_scale,
)

_WINDOWS, _PIXELS = 256, 512


class PixelSample:
    """Pixels of some windows of a modality, evenly spread over all.

    Args:
        plan: of the modality.
        windows: how many windows there are.
    """

    def __init__(self, plan: ModalityPlan, windows: int) -> None:
        self._plan = plan
        self._every = max(1, windows // _WINDOWS)
        self._seen = 0
        self._held: list[np.ndarray] = []

    def add(self, values: np.ndarray) -> None:
        """Look at a window's images (T, C, H, W)."""
        self._seen += 1
        if (self._seen - 1) % self._every or not len(values):
            return
        flat = np.moveaxis(values, 1, 0).reshape(values.shape[1], -1)
        chosen = flat[:, :: max(1, flat.shape[1] // _PIXELS)]
        pixels = chosen.astype(np.float64)
        pixels[self._plan.layout.is_nodata(chosen)] = np.nan
        self._held.append(pixels)

    def judge(self, findings: Findings, sentinel1_unit: Literal["decibels", "linear"]) -> None:
        """Write down what is wrong."""
        if not self._held:
            return
        name, pixels = self._plan.name, np.concatenate(self._held, axis=1)
        bands = {
            band: row[np.isfinite(row)]
            for band, row in zip(self._plan.layout.bands, pixels, strict=True)
        }
        empty = [band for band, row in bands.items() if not row.size]
        if empty:
            what = f"No window looked at has a valid pixel in {' '.join(empty)}"
            fix = "Models will see these bands as missing; take them out of config.json if they are"
            findings.add("warning", what, f"modality {name}", fix)
        bands = {band: row for band, row in bands.items() if row.size}
        if name == SENTINEL1:
            medians = {band: float(np.median(row)) for band, row in bands.items()}
            minima = {band: float(row.min()) for band, row in bands.items()}
            maxima = {band: float(row.max()) for band, row in bands.items()}
            for failure in decibels(medians, minima, maxima):
                linear = "instead of dB" in failure or "linear power" in failure
                fix = (
                    "Say --sentinel1-unit linear to have it converted"
                    if (linear and sentinel1_unit == "decibels")
                    else "Look at the layer's bands and nodata_value"
                )
                findings.add("error" if linear else "warning", failure, f"modality {name}", fix)
        if name == SENTINEL2:
            p98 = {band: float(np.percentile(row, 98)) for band, row in bands.items()}
            maxima = {band: float(row.max()) for band, row in bands.items()}
            for failure in reflectance_scale(p98, maxima):
                fix = "Store digital numbers (reflectance x 10000), or declare the nodata_value"
                level = "error" if "instead of" in failure else "warning"
                findings.add(
                    "error" if level == "error" else "warning", failure, f"modality {name}", fix
                )
            self._judge_order(findings, pixels)

    def _judge_order(self, findings: Findings, pixels: np.ndarray) -> None:
        names = list(self._plan.layout.bands)
        if "B08" not in names:
            return
        land = pixels[:, pixels[names.index("B08")] >= LAND_NIR]
        with np.errstate(invalid="ignore"):
            medians = {
                band: float(np.median(row[np.isfinite(row)]))
                for band, row in zip(names, land, strict=True)
                if np.isfinite(row).any()
            }
        for failure in reflectance_order(medians, land.shape[1]):
            findings.add("warning", failure, f"modality {self._plan.name}")
