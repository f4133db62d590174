"""One sample as every model and probe sees it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np

IGNORE = -1
"""Class id of a pixel or sample without a usable label."""


@dataclass(frozen=True)
class SampleImage:
    """One modality of a sample.

    Attributes:
        values: float32 (T, C, H, W) in the stored unit (Sentinel-2 digital numbers, reflectance x
            10,000; Sentinel-1 dB), oldest first, NaN where there is no data.
        bands: names.
        timestamps: T pairs of start and end, UTC, of what was really acquired.
    """

    values: np.ndarray
    bands: tuple[str, ...]
    timestamps: tuple[tuple[datetime, datetime], ...]


@dataclass(frozen=True)
class EvalSample:
    """One sample.

    Attributes:
        sample_id: unique in its dataset.
        images: by modality; a modality without any valid pixel in this sample is left out.
        label: by task type: int (classification; IGNORE if unknown), uint8 (K,) (multilabel),
            int64 (H, W) with IGNORE (segmentation), float (window regression), float32 (H, W)
            with NaN (per-pixel regression).
        lon: of the middle, degrees EPSG:4326; Galileo and v1.3 may read it.
        lat: likewise.
    """

    sample_id: str
    images: dict[str, SampleImage]
    label: Any
    lon: float
    lat: float
