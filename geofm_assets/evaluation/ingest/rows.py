"""A window of a source as it was looked at."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rslearn.dataset import Window

from geofm_assets.evaluation.samples.packing import SourceImages
from geofm_assets.evaluation.samples.split import Place


@dataclass(frozen=True)
class ScannedWindow:
    """One window that can become a sample.

    Attributes:
        window: of the source.
        place: id, footprint, split of the source, classes it shows.
        lon: of the middle, degrees.
        lat: likewise.
        times: start and end of the window, else of its images; UTC.
        label: as `EvalSample.label` says it; None where it is dense and read again.
        label_text: class name, names or number; None where it is dense.
        target: of a regression, the lowest and highest value; None without any.
        timesteps: images by modality; empty if pixels were not looked at.
        images: by modality, where they were kept in memory.
    """

    window: Window
    place: Place
    lon: float
    lat: float
    times: tuple[datetime, datetime]
    label: Any
    label_text: str | None
    target: tuple[float, float] | None
    timesteps: Mapping[str, int]
    images: Mapping[str, SourceImages] | None = None


@dataclass(frozen=True)
class WindowLabel:
    """What a window's label says.

    Attributes:
        value: as `ScannedWindow.label`.
        text: as `ScannedWindow.label_text`.
        classes: names of those it shows.
        target: as `ScannedWindow.target`.
    """

    value: Any = None
    text: str | None = None
    classes: tuple[str, ...] = ()
    target: tuple[float, float] | None = None
