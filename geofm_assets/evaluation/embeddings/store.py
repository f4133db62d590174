"""Embeddings of a dataset under a model, one packed file for each normalisation and patch size.

`evaluation/embeddings/<model_id>/<dataset_id>/<normalization>-ps<k>.safetensors`: tensors `mean`
and `max` (N, D), of dense tasks `mean_map` and `max_map` (N, h, w, D), rows as in the dataset's
table of samples. The header says whose they are, which samples, and a hash of each tensor. The
key holds the model's id and the dataset's content, so a file is never out of date: another model
or another split has another key.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import xxhash

from geofm_assets.core.errors import DatasetError, StoreError
from geofm_assets.core.store import Store
from geofm_assets.evaluation.embeddings import int8
from geofm_assets.evaluation.embeddings.layout import (
    FORMAT,
    LENGTH_BYTES,
    NO_DIGEST,
    VERSION,
    Placed,
    broken,
    place,
    read_header,
    read_length,
)

PREFIX = "evaluation/embeddings"
ENCODE_VERSION = "1"
"""Version of the code that encodes."""
Pooling = Literal["mean", "max"]
Precision = Literal["float", "int8"]
_ROWS_AT_ONCE = 1024


@dataclass(frozen=True)
class EncodingKey:
    """Which encoding: all that an encoder's output depends on.

    Attributes:
        model_id: of the model.
        dataset_id: of the dataset; holds its content.
        normalization: `pretrained` or `dataset`.
        patch_size: pixels of a token's side.
    """

    model_id: str
    dataset_id: str
    normalization: str
    patch_size: int

    @property
    def stem(self) -> str:
        """Store key without what it is stored as."""
        folder = f"{PREFIX}/{self.model_id}/{self.dataset_id}"
        return f"{folder}/{self.normalization}-ps{self.patch_size}"

    def key(self, precision: Precision = "float") -> str:
        """Store key of the file."""
        return f"{self.stem}{'-int8' if precision == 'int8' else ''}.safetensors"

    @property
    def cost_key(self) -> str:
        """Store key of what making it took, kept apart so that equal content is equal bytes."""
        return f"{self.stem}.cost.json"


@dataclass(frozen=True)
class EmbeddingSet:
    """A file of embeddings, opened: arrays memory-mapped, of a bucket those of a copy.

    Attributes:
        key: its store key.
        meta: what its header says.
        arrays: `mean` and `max`, as stored.
    """

    key: str
    meta: Mapping[str, Any]
    arrays: Mapping[str, np.ndarray]

    @property
    def content(self) -> str:
        """Digest of everything in it."""
        return str(self.meta["content"])

    @property
    def sample_ids(self) -> list[str]:
        """Of the rows, in order."""
        return list(self.meta["sample_ids"])

    def __len__(self) -> int:
        return len(self.meta["sample_ids"])

    def take(self, pooling: Pooling, rows: np.ndarray) -> np.ndarray:
        """Embeddings of some rows in the smallest floating type that holds them, a copy."""
        stored = self.arrays[pooling]
        if stored.dtype == np.int8:
            return self.read(pooling, rows)
        return np.array(stored[rows])

    def read(self, pooling: Pooling, rows: np.ndarray | slice | None = None) -> np.ndarray:
        """Embeddings as float32: (N, D), of dense tasks (N, h, w, D).

        Those kept as int8 come back at unit length; their norms are not kept.

        Args:
            pooling: which.
            rows: which rows; all by default.
        """
        stored = self.arrays[pooling][slice(None) if rows is None else rows]
        if stored.dtype == np.int8:
            return int8.dequantize(stored)
        return np.array(stored, dtype=np.float32)


def write_embeddings(
    store: Store,
    key: str,
    meta: Mapping[str, Any],
    tensors: Mapping[str, tuple[np.dtype[Any], tuple[int, ...]]],
    chunks: Iterable[Mapping[str, np.ndarray]],
) -> None:
    """Write a file, seen whole or not at all; the same content gives the same bytes.

    Args:
        store: where to.
        key: of the file.
        meta: what the header says, without format, version and hashes.
        tensors: dtype and shape by name; all have as many rows as there are samples.
        chunks: the tensors' next rows by name, until all are written.

    Raises:
        DatasetError: the disk is full or cannot be written; nothing is left behind.
        StoreError: the bucket does not take it.
    """
    said = {
        **meta,
        "format": FORMAT,
        "version": VERSION,
        "xxh3_128": dict.fromkeys(sorted(tensors), NO_DIGEST),
    }
    _, placed = place(said, tensors)
    try:
        with store.new_file(key) as temporary, temporary.open("wb") as stream:
            hashes = {name: xxhash.xxh3_128() for name in tensors}
            written = dict.fromkeys(tensors, 0)
            for chunk in chunks:
                for name, rows in chunk.items():
                    data = np.ascontiguousarray(rows, dtype=tensors[name][0]).data.cast("B")
                    stream.seek(placed[name].begin + written[name])
                    stream.write(data)
                    hashes[name].update(data)
                    written[name] += len(data)
            short = [name for name in tensors if written[name] != placed[name].size]
            assert not short, f"{short} of {key} were not given whole"
            said["xxh3_128"] = {name: hashes[name].hexdigest() for name in sorted(tensors)}
            stream.seek(0)
            stream.write(place(said, tensors)[0])
            stream.flush()
            os.fsync(stream.fileno())
    except StoreError:
        raise
    except OSError as error:
        raise DatasetError(
            f"The embeddings cannot be written: {error}",
            where=f"{store.url}/{key}",
            fix="Make room and run again; what was encoded is kept",
        ) from error


def open_embeddings(store: Store, key: str, *, verify: bool = True) -> EmbeddingSet:
    """Open a file and compare every tensor with its hash.

    Raises:
        DatasetError: there is none, it was cut short or changed, or it is of another version.
    """
    where = f"{store.url}/{key}"
    try:
        path = store.fetch_file(key)
    except FileNotFoundError as error:
        raise DatasetError(
            "There are no such embeddings", where=where, fix="Run the sweep"
        ) from error
    if path.stat().st_size == 0:
        raise broken(where, "it is empty")
    data = np.memmap(path, np.uint8, "r")
    length = read_length(data[:LENGTH_BYTES].tobytes(), where)
    text = data[LENGTH_BYTES : LENGTH_BYTES + length].tobytes()
    meta, placed = read_header(text, where)
    arrays = {name.removesuffix("_map"): _view(data, placed[name], name, where) for name in placed}
    if sorted(arrays) != ["max", "mean"]:
        raise broken(where, f"it holds {', '.join(sorted(placed))}")
    for name, tensor in placed.items():
        array = arrays[name.removesuffix("_map")]
        if tensor.shape[0] != len(meta["sample_ids"]):
            raise broken(where, f"{name} has {tensor.shape[0]} rows")
        found = xxhash.xxh3_128_hexdigest(array.data.cast("B")) if verify else None
        if verify and found != meta["xxh3_128"].get(name):
            raise broken(where, f"{name} is not what was written")
    return EmbeddingSet(key, meta, arrays)


def read_meta(store: Store, key: str) -> dict[str, Any]:
    """What a file's header says, without reading its tensors.

    Raises:
        DatasetError: it is not a file of embeddings.
    """
    where = f"{store.url}/{key}"
    length = read_length(store.read_part(key, 0, LENGTH_BYTES), where)
    return read_header(store.read_part(key, LENGTH_BYTES, LENGTH_BYTES + length), where)[0]


def list_encodings(store: Store) -> Iterator[tuple[EncodingKey, dict[str, Any]]]:
    """Every encoding there is, with what its header says.

    A file that cannot be used is as good as none here; whoever opens it is told.
    """
    for key in store.list_keys(PREFIX, ".safetensors"):
        parts = key.removeprefix(f"{PREFIX}/").split("/")
        if len(parts) != 3 or key.endswith("-int8.safetensors"):
            continue
        try:
            meta = read_meta(store, key)
        except DatasetError:
            continue
        yield EncodingKey(parts[0], parts[1], meta["normalization"], meta["patch_size"]), meta


def quantized(store: Store, floats: EmbeddingSet) -> EmbeddingSet:
    """The int8 form of embeddings, made unless it is there; what it loses is in its header.

    Args:
        store: that holds them.
        floats: what it is made of.
    """
    key = floats.key.removesuffix(".safetensors") + "-int8.safetensors"
    if store.exists(key):
        found = open_embeddings(store, key)
        if found.meta["made_of"] == floats.content:
            return found
    starts = range(0, len(floats), _ROWS_AT_ONCE)
    poolings: tuple[Pooling, ...] = ("mean", "max")
    losses = {p: int8.Loss() for p in poolings}

    def parts(pooling: Pooling) -> Iterator[np.ndarray]:
        for start in starts:
            yield floats.read(pooling, slice(start, start + _ROWS_AT_ONCE))

    for pooling in poolings:
        for part in parts(pooling):
            losses[pooling].look(part, int8.quantize(part))
    suffix = "_map" if floats.meta["dense"] else ""
    left_out = ("format", "version", "xxh3_128", "content", "float16")
    meta = {
        **{name: value for name, value in floats.meta.items() if name not in left_out},
        "made_of": floats.content,
        "precision": "int8",
        "scheme": int8.SCHEME,
        "cosine": {p: losses[p].as_dict() for p in poolings},
    }
    tensors = {f"{p}{suffix}": (np.dtype(np.int8), floats.arrays[p].shape) for p in poolings}
    chunks = ({f"{p}{suffix}": int8.quantize(part)} for p in poolings for part in parts(p))
    write_embeddings(store, key, meta, tensors, chunks)
    return open_embeddings(store, key)


def _view(data: np.ndarray, tensor: Placed, name: str, where: str) -> np.ndarray:
    if tensor.begin + tensor.size > len(data):
        raise broken(where, f"{len(data)} bytes are too few for {name}")
    part = data[tensor.begin : tensor.begin + tensor.size]
    return part.view(tensor.dtype).reshape(tensor.shape)
