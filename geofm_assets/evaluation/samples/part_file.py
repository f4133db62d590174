"""A part: some samples of a dataset in one safetensors file, named tensors and one JSON key.

Pixels are memory-mapped and compared with a checksum when they are read; everything else is
compared when the file is opened. The file is put in place whole, so a reader sees it or none.
"""

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xxhash
from safetensors.numpy import save

from geofm_assets.core.errors import DatasetError
from geofm_assets.core.hashing import json_digest
from geofm_assets.core.store import Store
from geofm_assets.evaluation.registry.entry import TaskType

FORMAT = "geofm-eval-samples"
VERSION = 1
_KEY = "geofm"
_LENGTH_BYTES = 8
_LARGEST_HEADER = 100 << 20  # safetensors' own limit
_DTYPES = {
    "BOOL": "|b1",
    "U8": "|u1",
    "I8": "|i1",
    "U16": "<u2",
    "I16": "<i2",
    "U32": "<u4",
    "I32": "<i4",
    "U64": "<u8",
    "I64": "<i8",
    "F16": "<f2",
    "F32": "<f4",
    "F64": "<f8",
}
_FIX = "Ingest the dataset again with --overwrite"


@dataclass(frozen=True)
class ModalityLayout:
    """How one modality is stored.

    Attributes:
        bands: in stored order.
        dtype: numpy name, such as uint16.
        nodata: stored value of a pixel without data; None if only NaN is.
    """

    bands: tuple[str, ...]
    dtype: str
    nodata: float | None

    def is_nodata(self, values: np.ndarray) -> np.ndarray:
        """Where an array has no data: the nodata value, or not a finite number."""
        missing = np.zeros(values.shape, bool)
        if self.nodata is not None:
            missing |= values == self.nodata  # a Python number takes on the array's type
        if values.dtype.kind == "f":
            missing |= ~np.isfinite(values)
        return missing

    def empty(self, shape: tuple[int, ...]) -> np.ndarray:
        """An array without data."""
        fill = np.nan if self.nodata is None else self.nodata
        return np.full(shape, fill, np.dtype(self.dtype).newbyteorder("<"))


@dataclass(frozen=True)
class Layout:
    """What every part of a dataset says alike.

    Attributes:
        task_type: what is predicted.
        classes: names by class id.
        window_size: side of a sample in pixels.
        modalities: by name.
        simulated: whether the data was simulated.
        inputs: digest of what the samples are made from; no part of their content.
    """

    task_type: TaskType
    classes: tuple[str, ...]
    window_size: int
    modalities: Mapping[str, ModalityLayout]
    simulated: bool
    inputs: str

    def as_json(self) -> dict[str, Any]:
        """For the header."""
        return {
            "task_type": self.task_type,
            "classes": list(self.classes),
            "window_size": self.window_size,
            "modalities": {
                name: {"bands": list(m.bands), "dtype": m.dtype, "nodata": m.nodata}
                for name, m in sorted(self.modalities.items())
            },
            "simulated": self.simulated,
            "inputs": self.inputs,
        }

    @classmethod
    def from_json(cls, said: Mapping[str, Any]) -> "Layout":
        """What `as_json` wrote."""
        modalities = {
            name: ModalityLayout(tuple(m["bands"]), m["dtype"], m["nodata"])
            for name, m in said["modalities"].items()
        }
        return cls(
            said["task_type"],
            tuple(said["classes"]),
            said["window_size"],
            modalities,
            said["simulated"],
            said["inputs"],
        )


@dataclass(frozen=True)
class PartImages:
    """One modality of a part's N samples.

    Attributes:
        values: (N, T, C, H, W) in the stored dtype.
        present: (N, T) bool: there is an image with valid pixels; such images come first.
        timestamps: (N, T, 2) int64 microseconds since 1970 UTC, 0 where nothing is present.
        checksums: (N,) uint64, xxh3_64 of `values[n]`.
    """

    values: np.ndarray
    present: np.ndarray
    timestamps: np.ndarray
    checksums: np.ndarray


@dataclass(frozen=True)
class Part:
    """An opened part.

    Attributes:
        where: for errors.
        layout: of the dataset.
        sample_ids: in row order.
        images: by modality.
        label: (N, ...) as stored; see `labels_of`.
        content: digest of everything but `layout.inputs`.
    """

    where: str
    layout: Layout
    sample_ids: tuple[str, ...]
    images: Mapping[str, PartImages]
    label: np.ndarray
    content: str

    def values(self, modality: str, row: int) -> np.ndarray:
        """Pixels (T, C, H, W) of the images a sample has, compared with their checksum.

        Raises:
            DatasetError: they are not what was written.
        """
        images = self.images[modality]
        values: np.ndarray = images.values[row]
        if _checksum(values) != int(images.checksums[row]):
            raise DatasetError(
                "Pixels of a sample are not what was written",
                where=f"{self.where}, {modality}, sample {self.sample_ids[row]}",
                fix=_FIX,
            )
        return values[: int(images.present[row].sum())]


def part_bytes(
    layout: Layout,
    sample_ids: Sequence[str],
    images: Mapping[str, tuple[np.ndarray, np.ndarray, np.ndarray]],
    label: np.ndarray,
) -> bytes:
    """The file of a part; the same content gives the same bytes.

    Args:
        layout: of the dataset.
        sample_ids: N, in row order.
        images: by modality: values, present and timestamps, as in `PartImages`.
        label: (N, ...) as stored.
    """
    tensors = {"label": np.ascontiguousarray(label)}
    for name, (values, present, timestamps) in images.items():
        tensors[f"{name}/values"] = np.ascontiguousarray(values)
        tensors[f"{name}/present"] = np.ascontiguousarray(present)
        tensors[f"{name}/timestamps"] = np.ascontiguousarray(timestamps.astype("<i8"))
        sums = np.array([_checksum(row) for row in values], np.uint64)
        tensors[f"{name}/checksums"] = sums
    meta = {
        "format": FORMAT,
        "version": VERSION,
        **layout.as_json(),
        "sample_ids": list(sample_ids),
        "xxh3_128": {name: _digest(tensors[name]) for name in sorted(tensors)},
    }
    text = json.dumps({**meta, "content_digest": _content(meta)}, sort_keys=True)
    data: bytes = save(dict(sorted(tensors.items())), metadata={_KEY: text})
    return data


def open_part(store: Store, key: str) -> Part:
    """Open a part, its pixels memory-mapped; of a bucket those of a copy on this machine.

    Raises:
        DatasetError: it is missing, cut short, changed, or of another version.
        StoreError: the bucket does not answer.
    """
    where = f"{store.url}/{key}"
    try:
        return _parse(_mapped(store.fetch_file(key)), where)
    except FileNotFoundError as error:
        raise DatasetError("A part of the samples is missing", where=where, fix=_FIX) from error
    except (KeyError, TypeError, ValueError, IndexError, struct.error) as error:
        raise DatasetError(
            f"Not a part that can be read ({error})", where=where, fix=_FIX
        ) from error


def _mapped(path: Path) -> np.ndarray:
    if path.stat().st_size == 0:
        raise ValueError("it is empty")
    return np.memmap(path, np.uint8, "r")


def _parse(data: np.ndarray, where: str) -> Part:
    (length,) = struct.unpack("<Q", data[:_LENGTH_BYTES].tobytes())
    if length > min(_LARGEST_HEADER, len(data) - _LENGTH_BYTES):
        raise ValueError(f"its header should be {length} bytes long, the file has {len(data)}")
    start = _LENGTH_BYTES + int(length)
    header = json.loads(data[_LENGTH_BYTES:start].tobytes())
    meta = json.loads(header.pop("__metadata__")[_KEY])
    if meta.get("format") != FORMAT or meta.get("version") != VERSION:
        raise ValueError(f"format {meta.get('format')} {meta.get('version')}")
    content = meta.pop("content_digest")
    if content != _content(meta):
        raise ValueError("its header was changed")
    tensors = {name: _tensor(data, said, start) for name, said in header.items()}
    layout, count = Layout.from_json(meta), len(meta["sample_ids"])
    for name, array in tensors.items():
        if len(array) != count:
            raise ValueError(f"{name} has {len(array)} rows of {count} samples")
        if not name.endswith("/values") and _digest(array) != meta["xxh3_128"][name]:
            raise ValueError(f"{name} is not what was written")
    images = {
        name: PartImages(
            tensors[f"{name}/values"],
            np.array(tensors[f"{name}/present"]),
            np.array(tensors[f"{name}/timestamps"]),
            np.array(tensors[f"{name}/checksums"]),
        )
        for name in layout.modalities
    }
    label = np.array(tensors["label"])
    return Part(where, layout, tuple(meta["sample_ids"]), images, label, content)


def _tensor(data: np.ndarray, said: Mapping[str, Any], start: int) -> np.ndarray:
    begin, end = said["data_offsets"]
    dtype, shape = np.dtype(_DTYPES[said["dtype"]]), tuple(said["shape"])
    expected = dtype.itemsize * int(np.prod(shape, dtype=np.int64))
    if begin < 0 or end - begin != expected or start + end > len(data):
        raise ValueError(f"{end - begin} bytes for {dtype} {shape}, the file has {len(data)}")
    return data[start + begin : start + end].view(dtype).reshape(shape)


def _content(meta: Mapping[str, Any]) -> str:
    return json_digest({k: v for k, v in meta.items() if k != "inputs"})


def _checksum(values: np.ndarray) -> int:
    return xxhash.xxh3_64_intdigest(np.ascontiguousarray(values).data)


def _digest(values: np.ndarray) -> str:
    return xxhash.xxh3_128_hexdigest(np.ascontiguousarray(values).data)
