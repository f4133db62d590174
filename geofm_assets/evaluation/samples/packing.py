"""Pack samples into parts: one file for up to 256 of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from geofm_assets.core.errors import DatasetError
from geofm_assets.core.progress import Report, silent
from geofm_assets.core.store import Store
from geofm_assets.evaluation.registry.entry import TaskType
from geofm_assets.evaluation.samples.part_file import Layout, open_part, part_bytes

PART_SAMPLES = 256
PART_BYTES = 256 << 20  # pixels of a part; larger samples make smaller parts
LABEL_DTYPE: dict[TaskType, str] = {
    "classification": "<i8",
    "multilabel": "|u1",
    "segmentation": "<i2",
    "window_regression": "<f8",
    "per_pixel_regression": "<f4",
}
"""By task type, how labels are stored."""


@dataclass(frozen=True)
class SourceImages:
    """One modality of one sample, before packing.

    Attributes:
        values: (T, C, H, W) in the layout's bands, dtype and nodata; every image has valid pixels.
        timestamps: (T, 2) int64 microseconds since 1970 UTC.
    """

    values: np.ndarray
    timestamps: np.ndarray


@dataclass(frozen=True)
class SourceSample:
    """One sample, before packing: images by modality, and the label `EvalSample.label` says."""

    images: Mapping[str, SourceImages]
    label: Any


def samples_key(name: str) -> str:
    """Store key of a dataset's table of samples."""
    return f"evaluation/datasets/{name}/samples.parquet"


def part_key(name: str, part: int) -> str:
    """Store key of a part."""
    return f"evaluation/datasets/{name}/parts/part-{part:05d}.safetensors"


def samples_per_part(layout: Layout, timesteps: Mapping[str, int]) -> int:
    """How many samples a part holds: 256, or fewer where they are large."""
    pixels = layout.window_size**2
    size = sum(
        timesteps[name] * len(m.bands) * pixels * np.dtype(m.dtype).itemsize
        for name, m in layout.modalities.items()
    )
    return int(min(PART_SAMPLES, max(1, PART_BYTES // max(1, size))))


def write_parts(
    store: Store,
    name: str,
    layout: Layout,
    timesteps: Mapping[str, int],
    sample_ids: Sequence[str],
    read: Callable[[int], SourceSample],
    report: Report = silent,
) -> list[tuple[int, int]]:
    """Pack samples into parts; parts that are there with the same inputs are left alone.

    Args:
        store: where to.
        name: of the dataset.
        layout: how; `layout.inputs` decides what is current.
        timesteps: the most images any sample has, by modality.
        sample_ids: sorted.
        read: the sample of a row.
        report: told of samples done.

    Returns:
        Part and row of every sample.

    Raises:
        DatasetError: a sample cannot be read.
    """
    size = samples_per_part(layout, timesteps)
    places: list[tuple[int, int]] = []
    for part, start in enumerate(range(0, len(sample_ids), size)):
        ids = sample_ids[start : start + size]
        places += [(part, row) for row in range(len(ids))]
        key = part_key(name, part)
        if not _is_current(store, key, layout, ids):
            samples = [read(start + row) for row in range(len(ids))]
            images = {
                modality: _stack(samples, modality, layout, timesteps[modality])
                for modality in layout.modalities
            }
            label = np.stack([np.asarray(s.label) for s in samples])
            stored = label.astype(LABEL_DTYPE[layout.task_type])
            store.write_bytes(key, part_bytes(layout, ids, images, stored))
        report(min(start + size, len(sample_ids)), len(sample_ids), f"part {part}")
    return places


def _is_current(store: Store, key: str, layout: Layout, ids: Sequence[str]) -> bool:
    if not store.exists(key):
        return False
    try:
        found = open_part(store, key)
        for modality in layout.modalities:  # one cut by a crash or damaged is made again
            for row in range(len(ids)):
                found.values(modality, row)
    except (DatasetError, KeyError, IndexError):
        return False
    return found.layout == layout and found.sample_ids == tuple(ids)


def _stack(
    samples: Sequence[SourceSample], modality: str, layout: Layout, timesteps: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values, present and timestamps of a part, samples with fewer images filled up."""
    said, size, count = layout.modalities[modality], layout.window_size, len(samples)
    values = said.empty((count, timesteps, len(said.bands), size, size))
    present = np.zeros((count, timesteps), bool)
    timestamps = np.zeros((count, timesteps, 2), "<i8")
    for row, sample in enumerate(samples):
        images = sample.images.get(modality)
        if images is None or len(images.values) == 0:
            continue
        there = len(images.values)
        values[row, :there] = images.values
        present[row, :there] = True
        timestamps[row, :there] = images.timestamps
    return values, present, timestamps
