"""Encoding a dataset: every sample goes through the encoder once.

What an encoder says of a sample depends on the model, the sample, the normalisation and the patch
size, and on nothing else that a sweep varies. So a sweep needs one pass for each normalisation
(and patch size), whatever the number of learning rates and poolings.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import torch

from geofm_assets.core.errors import DatasetError, ModelInputError
from geofm_assets.core.hashing import json_digest
from geofm_assets.core.progress import Report, silent
from geofm_assets.core.store import Store
from geofm_assets.evaluation.backbones.base import EvalModel, ModelInfo, Normalization
from geofm_assets.evaluation.embeddings import int8
from geofm_assets.evaluation.embeddings.claim import alone
from geofm_assets.evaluation.embeddings.cost import write_cost
from geofm_assets.evaluation.embeddings.pooling import POOLINGS, pool
from geofm_assets.evaluation.embeddings.shards import Shards
from geofm_assets.evaluation.embeddings.store import (
    ENCODE_VERSION,
    EmbeddingSet,
    EncodingKey,
    open_embeddings,
    write_embeddings,
)
from geofm_assets.evaluation.embeddings.suitability import (
    choose_batch_size,
    require_shape,
    require_suitable,
)
from geofm_assets.evaluation.registry.entry import DatasetEntry
from geofm_assets.evaluation.samples.types import EvalSample

_SHARD_BYTES = 64 << 20
_SHARD_SECONDS = 30.0
_FLOAT16_LOSS = 1e-6  # of cosine: a hundredth of what int8 costs at best
_FLOAT16_LARGEST = float(np.finfo(np.float16).max)
_SHOWN = 3


class Samples(Protocol):
    """Samples of a dataset by row; `PackedSamples` is one."""

    @property
    def table(self) -> pa.Table:
        """EVAL_SAMPLE rows, in the order of `read`."""
        ...

    def __len__(self) -> int: ...

    def read(self, row: int) -> EvalSample:
        """The sample of a row."""
        ...


@dataclass(frozen=True)
class Encoded:
    """Embeddings, and what it took to have them.

    Attributes:
        embeddings: opened.
        encoded: samples that went through the encoder just now; 0 if all were there.
        seconds: that took.
    """

    embeddings: EmbeddingSet
    encoded: int
    seconds: float


def encode(
    model: EvalModel,
    samples: Samples,
    entry: DatasetEntry,
    store: Store,
    normalization: Normalization,
    patch_size: int,
    *,
    report: Report = silent,
    batch_size: int | None = None,
    force: bool = False,
) -> Encoded:
    """Embeddings of every sample, from the store or through the encoder.

    A run that was killed goes on with the samples that are not encoded yet. One process encodes
    at a time: another that needs the same waits, and finds it made.

    Args:
        model: the encoder.
        samples: of the dataset.
        entry: what the registry says of it.
        store: that keeps them.
        normalization: one of the model's.
        patch_size: one of the model's that divides the window.
        report: told of samples done.
        batch_size: samples at once, by default as many as fit; results do not depend on it but
            for rounding.
        force: encode again what is there.

    Raises:
        ModelInputError: the model cannot run so, or says something that is not a number.
        DatasetError: the store's embeddings are damaged or cannot be written.
        RegistryError: the store is a bucket and another process encodes the same.
    """
    info = model.info
    require_suitable(info, entry, normalization, patch_size)
    encoding = EncodingKey(info.model_id, entry.dataset_id, normalization, patch_size)
    if not force and (found := _current(store, encoding)) is not None:
        return Encoded(found, 0, 0.0)
    batch = batch_size or choose_batch_size(info, entry, patch_size)
    folder = f"{encoding.stem}-v{ENCODE_VERSION}.tmp"
    with alone(store, encoding, folder, len(samples), report):
        # whoever had the claim before may have made it
        if not force and (found := _current(store, encoding)) is not None:
            return Encoded(found, 0, 0.0)
        shards = Shards(store, folder)
        if force:
            shards.remove()
        began, before = time.perf_counter(), shards.rows
        _fill(shards, model, samples, entry, encoding, batch, report)
        seconds = time.perf_counter() - began
        encoded = len(samples) - before
        _gather(store, shards, info, samples, entry, encoding)
        if encoded:
            write_cost(store, encoding, entry, encoded, seconds)
        shards.remove()
    return Encoded(open_embeddings(store, encoding.key()), encoded, seconds)


def _current(store: Store, encoding: EncodingKey) -> EmbeddingSet | None:
    """Embeddings this version of the code made; None if there are none."""
    if not store.exists(encoding.key()):
        return None
    found = open_embeddings(store, encoding.key())
    return found if found.meta["code_version"] == ENCODE_VERSION else None


def describe(info: ModelInfo, embedding_size: int) -> dict[str, Any]:
    """What a header says of a model.

    Args:
        info: of the model.
        embedding_size: of its vectors here; a baseline's depends on the dataset.
    """
    return {
        "name": info.name,
        "model_id": info.model_id,
        "start": info.start,
        "embedding_size": embedding_size,
        "bands": {modality: list(bands) for modality, bands in info.bands.items()},
        "patch_sizes": list(info.patch_sizes),
        "normalizations": list(info.normalizations),
        "simulated": info.simulated,
    }


def _fill(
    shards: Shards,
    model: EvalModel,
    samples: Samples,
    entry: DatasetEntry,
    encoding: EncodingKey,
    batch_size: int,
    report: Report,
) -> None:
    """Encode what is not encoded yet."""
    waiting: list[dict[str, np.ndarray]] = []
    size, since = 0, time.perf_counter()
    total = len(samples)
    for start in range(shards.rows, total, batch_size):
        batch = [samples.read(row) for row in range(start, min(start + batch_size, total))]
        pooled = _embed(model, batch, entry, encoding)
        waiting.append(pooled)
        size += sum(array.nbytes for array in pooled.values())
        done = start + len(batch)
        late = time.perf_counter() - since > _SHARD_SECONDS
        if size >= _SHARD_BYTES or late or done == total:
            shards.add({name: np.concatenate([w[name] for w in waiting]) for name in pooled})
            waiting, size, since = [], 0, time.perf_counter()
        report(done, total, f"{encoding.normalization} ps{encoding.patch_size}")


def _embed(
    model: EvalModel, batch: list[EvalSample], entry: DatasetEntry, encoding: EncodingKey
) -> dict[str, np.ndarray]:
    """Pooled embeddings of a batch by name, and which have data behind them."""
    normalization: Normalization = "dataset"
    if encoding.normalization == "pretrained":
        normalization = "pretrained"
    with torch.inference_mode():
        tokens = model.embed(batch, normalization, entry.modalities, encoding.patch_size)
        require_shape(tokens, len(batch), model.info, entry, encoding.patch_size)
        pooled = pool(tokens, dense=entry.dense)
    arrays = {p: getattr(pooled, p).cpu().numpy() for p in POOLINGS}
    for name, array in arrays.items():
        bad = ~np.isfinite(array).reshape(len(batch), -1).all(axis=1)
        if bad.any():
            sample = batch[int(np.argmax(bad))].sample_id
            raise ModelInputError(
                f"The model's {name} embedding of a sample is not a number",
                where=f"{model.info.name}, {entry.name}, sample {sample}",
                fix="Look at the sample's pixels and the model's weights",
            )
    return {**arrays, "found": pooled.found.cpu().numpy()}


def _gather(
    store: Store,
    shards: Shards,
    info: ModelInfo,
    samples: Samples,
    entry: DatasetEntry,
    encoding: EncodingKey,
) -> None:
    """All shards as one file, in the smaller type where that loses nothing."""
    if shards.rows != len(samples):
        raise DatasetError(
            f"{shards.rows} of {len(samples)} samples were encoded",
            where=f"{entry.name}",
            fix="Ingest samples before encoding them",
        )
    losses = {p: int8.Loss() for p in POOLINGS}
    largest = dict.fromkeys(POOLINGS, 0.0)
    shape: tuple[int, ...] = ()
    without: list[int] = []
    empty_places, rows = 0, 0
    for part in shards:
        found = part["found"].reshape(len(part["found"]), -1)
        without += [rows + int(i) for i in np.flatnonzero(~found.any(axis=1))]
        empty_places += int((~found).sum())
        for pooling in POOLINGS:
            largest[pooling] = max(largest[pooling], float(np.abs(part[pooling]).max()))
            if largest[pooling] <= _FLOAT16_LARGEST:
                half = part[pooling].astype(np.float16)
                losses[pooling].add(int8.cosines(part[pooling], half))
        rows += len(found)
        shape = part[POOLINGS[0]].shape[1:]
    sample_ids = samples.table["sample_id"].to_pylist()
    suffix = "_map" if entry.dense else ""
    types = {
        p: np.dtype(np.float16 if _fits(losses[p], largest[p]) else np.float32) for p in POOLINGS
    }
    meta: dict[str, Any] = {
        "model": describe(info, shape[-1]),
        "dataset": entry.name,
        "dataset_id": entry.dataset_id,
        "dataset_content": entry.content,
        "normalization": encoding.normalization,
        "patch_size": encoding.patch_size,
        "dense": entry.dense,
        "precision": "float",
        "float16": {p: types[p] == np.float16 for p in POOLINGS},
        "code_version": ENCODE_VERSION,
        "simulated": info.simulated or entry.simulated,
        "sample_ids": sample_ids,
        "samples_digest": json_digest(sample_ids),
        "without_data": [sample_ids[row] for row in without],
        "empty_places": empty_places,
    }
    tensors = {f"{p}{suffix}": (types[p], (rows, *shape)) for p in POOLINGS}

    def chunks() -> Iterator[dict[str, np.ndarray]]:
        for part in shards:
            yield {f"{p}{suffix}": part[p].astype(types[p]) for p in POOLINGS}

    write_embeddings(store, encoding.key(), meta, tensors, chunks())


def _fits(loss: int8.Loss, largest: float) -> bool:
    """Whether half precision holds these vectors."""
    return largest <= _FLOAT16_LARGEST and 1 - loss.worst <= _FLOAT16_LOSS
