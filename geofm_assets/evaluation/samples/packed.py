"""Packed samples: the table of an evaluation dataset and the parts its arrays lie in."""

import datetime as dt
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from geofm_assets.core.errors import DatasetError
from geofm_assets.core.hashing import json_digest
from geofm_assets.core.store import Store
from geofm_assets.evaluation.registry.entry import TaskType
from geofm_assets.evaluation.samples.packing import (
    LABEL_DTYPE,
    SourceImages,
    SourceSample,
    part_key,
    samples_key,
    write_parts,
)
from geofm_assets.evaluation.samples.part_file import (
    FORMAT,
    VERSION,
    Layout,
    ModalityLayout,
    Part,
    open_part,
)
from geofm_assets.evaluation.samples.types import EvalSample, SampleImage

__all__ = [
    "PackedSamples",
    "SourceImages",
    "SourceSample",
    "part_key",
    "samples_key",
    "write_parts",
]

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


class PackedSamples:
    """Samples of an ingested dataset.

    Args:
        store: where it lies.
        name: of the dataset.

    Raises:
        DatasetError: it was never ingested, or only in part.
    """

    def __init__(self, store: Store, name: str) -> None:
        self._store, self.name = store, name
        key = samples_key(name)
        provenance = store.provenance(key)
        if provenance is None:
            raise DatasetError(
                "The dataset has no samples",
                where=f"{store.url}/{key}",
                fix=f"Run geofm evals ingest --name {name} --source DIR",
            )
        self.inputs, self._table_content = provenance.inputs, provenance.content
        self.table: pa.Table = store.read_table(key)
        self._part = self.table["part"].to_numpy()
        self._row = self.table["row"].to_numpy()
        self._lon, self._lat = self.table["lon"].to_numpy(), self.table["lat"].to_numpy()
        self._ids: list[str] = self.table["sample_id"].to_pylist()
        self._parts: dict[int, Part] = {}

    def __len__(self) -> int:
        return self.table.num_rows

    @property
    def layout(self) -> Layout:
        """Task type, classes, bands, nodata and window size."""
        return self.part(0).layout

    @property
    def task_type(self) -> TaskType:
        """What is predicted."""
        return self.layout.task_type

    @property
    def classes(self) -> tuple[str, ...]:
        """Names by class id; empty for regressions."""
        return self.layout.classes

    @property
    def parts(self) -> int:
        """How many parts there are."""
        return int(self._part.max()) + 1 if len(self) else 0

    @property
    def content(self) -> str:
        """sha256 of samples, labels, splits and pixels."""
        digests = [self.part(number).content for number in range(self.parts)]
        return json_digest([FORMAT, VERSION, self._table_content, digests])

    def part(self, number: int) -> Part:
        """One part, opened once.

        Raises:
            DatasetError: it is missing, damaged, or of another ingest than the table.
        """
        if number not in self._parts:
            key = part_key(self.name, number)
            found = open_part(self._store, key)
            if found.layout.inputs != self.inputs:
                raise DatasetError(
                    "The part and the table of samples are of different ingests",
                    where=found.where,
                    fix="Ingest the dataset again; it goes on where it was stopped",
                )
            self._parts[number] = found
        return self._parts[number]

    def rows(self, split: str, percent: float | None = None) -> np.ndarray:
        """Row numbers of a split.

        Args:
            split: train, val or test.
            percent: of train only: the nested subset of so many percent.
        """
        mask = pc.equal(self.table["split"], split)
        if percent is not None:
            small = pc.less(self.table["subset_rank"], percent / 100)
            mask = pc.and_(mask, pc.fill_null(small, False))
        return np.flatnonzero(mask.to_numpy(zero_copy_only=False))

    def read(self, row: int) -> EvalSample:
        """One sample, its own copy.

        Raises:
            DatasetError: its pixels are not what was written.
        """
        part, place = self._place(row)
        images = {}
        for modality, said in part.layout.modalities.items():
            values = part.values(modality, place)
            if len(values) == 0:
                continue
            timestamps = part.images[modality].timestamps[place, : len(values)]
            images[modality] = SampleImage(
                _as_float(values, said), said.bands, tuple(_moments(t) for t in timestamps)
            )
        label = _label(part.label[place], part.layout.task_type)
        return EvalSample(
            self._ids[row], images, label, float(self._lon[row]), float(self._lat[row])
        )

    def labels(self, rows: Sequence[int] | np.ndarray | None = None) -> np.ndarray:
        """Labels of some rows, of all if none are named.

        Returns:
            int64 (n,) of class ids; uint8 (n, K) multilabel; int64 (n, H, W) segmentation;
            float64 (n,) window regression; float32 (n, H, W) per-pixel regression, NaN unknown.
        """
        chosen = np.arange(len(self)) if rows is None else np.asarray(rows, np.int64)
        found = [part.label[place] for part, place in map(self._place, chosen.tolist())]
        stored = LABEL_DTYPE[self.task_type]
        dtype = "<i8" if self.task_type == "segmentation" else stored
        if not found:
            return np.zeros((0, *self.part(0).label.shape[1:]), dtype)
        return np.stack(found).astype(dtype)

    def _place(self, row: int) -> tuple[Part, int]:
        return self.part(int(self._part[row])), int(self._row[row])


def _as_float(values: np.ndarray, said: ModalityLayout) -> np.ndarray:
    """float32 with NaN where there is no data."""
    out = np.array(values, np.float32)
    out[said.is_nodata(values)] = np.nan
    return out


def _moments(pair: np.ndarray) -> tuple[dt.datetime, dt.datetime]:
    start, end = (_EPOCH + dt.timedelta(microseconds=int(value)) for value in pair)
    return start, end


def _label(stored: np.ndarray, task_type: TaskType) -> Any:
    """The label as `EvalSample` says it."""
    match task_type:
        case "classification":
            return int(stored)
        case "window_regression":
            return float(stored)
        case "segmentation":
            return stored.astype(np.int64)
        case _:
            return np.array(stored)
