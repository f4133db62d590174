"""A tiny evaluation dataset in memory and a model that reads it, for tests of sweeps.

The pixels of a sample carry its class, so that a probe can learn it; everything is SIMULATED.
"""

from collections import Counter
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import torch

from geofm_assets.core.hashing import json_digest
from geofm_assets.evaluation.backbones.base import ModelInfo, Tokens
from geofm_assets.evaluation.registry.entry import DatasetEntry
from geofm_assets.evaluation.registry.registry import Registry
from geofm_assets.evaluation.samples.packed import (
    PackedSamples,
    SourceImages,
    SourceSample,
    samples_key,
    write_parts,
)
from geofm_assets.evaluation.samples.part_file import Layout, ModalityLayout
from geofm_assets.evaluation.samples.schema import EVAL_SAMPLE, EvalSampleRow
from geofm_assets.evaluation.samples.types import EvalSample, SampleImage
from geofm_assets.training.schema import MANIFEST, Manifest
from tests.training_world import CELLS as CELL_IDS
from tests.training_world import manifest_row

CLASSES = ("water", "crop", "forest")
SIZE = 8
BANDS = {"sentinel2_l2a": ("B02", "B03"), "sentinel1": ("vv",)}
MONTHS = 2
TIMES = tuple((datetime(2022, m, 1, tzinfo=UTC), datetime(2022, m, 9, tzinfo=UTC)) for m in (5, 6))
SPLITS = ("train",) * 6 + ("val",) * 2 + ("test",) * 2
STATISTICS = {
    "count": 10,
    "mean": 1.0,
    "std": 1.0,
    "min": 0.0,
    "max": 5.0,
    "p02": 0.1,
    "p50": 1.0,
    "p98": 4.0,
}
DEFAULT_METRIC = {
    "classification": "accuracy",
    "multilabel": "micro_f1",
    "segmentation": "miou",
    "window_regression": "rmse",
    "per_pixel_regression": "rmse",
}


def make_entry(task_type="classification", count=60, name="toy", content="a" * 64, **fields):
    """What the registry would say of `Samples(task_type, count)`."""
    regression = task_type.endswith("regression")
    counts = {s: sum(SPLITS[i % 10] == s for i in range(count)) for s in ("train", "val", "test")}
    return DatasetEntry.model_validate(
        {
            "name": name,
            "display_name": f"Toy {task_type}",
            "source": "generated",
            "content": content,
            "task_type": task_type,
            "classes": () if regression else CLASSES,
            "target": {"mean": 1.0, "std": 0.8} if regression else None,
            "modalities": {
                modality: {
                    "bands": bands,
                    "timesteps": MONTHS,
                    "nodata": None,
                    "statistics": dict.fromkeys(bands, STATISTICS),
                }
                for modality, bands in BANDS.items()
            },
            "window_size": SIZE,
            "split": {"rule": "kept", "seed": 0, "counts": counts},
            "metric": DEFAULT_METRIC[task_type],
            "simulated": True,
            **fields,
        }
    )


class MemorySamples:
    """Samples without files; the class of sample i is i modulo 3, in the left half of the window.

    Args:
        task_type: of the dataset.
        count: of samples.
        gaps: rows without any Sentinel-1.
    """

    def __init__(self, task_type="classification", count=60, gaps=(), noise=0.3):
        self.task_type, self.count, self.gaps, self.noise = task_type, count, frozenset(gaps), noise
        moment = datetime(2022, 5, 1, tzinfo=UTC)
        rows = [
            {
                "sample_id": f"s{i:05d}",
                "group": "default",
                "window_name": f"w{i}",
                "split": SPLITS[i % len(SPLITS)],
                "lon": 1.0,
                "lat": 2.0,
                "start_time": moment,
                "end_time": moment,
                "label_text": CLASSES[i % 3],
                "subset_rank": (i // 3 % 20) / 20 if SPLITS[i % len(SPLITS)] == "train" else None,
                "part": 0,
                "row": i,
            }
            for i in range(count)
        ]
        self.table = pa.Table.from_pylist(rows, schema=EVAL_SAMPLE)
        self.reads = Counter()

    def __len__(self):
        return self.count

    def class_map(self, row):
        """(H, W) class ids."""
        classes = np.full((SIZE, SIZE), row % 3)
        classes[:, SIZE // 2 :] = (row + 1) % 3
        return classes

    def label(self, row):
        kind = row % 3
        match self.task_type:
            case "classification":
                return kind
            case "multilabel":
                return np.eye(3, dtype=np.uint8)[kind] | np.eye(3, dtype=np.uint8)[(kind + 1) % 3]
            case "window_regression":
                return float(kind)
            case "segmentation":
                return self.class_map(row).astype(np.int64)
            case _:
                return self.class_map(row).astype(np.float32)

    def labels(self, rows):
        return np.stack([np.asarray(self.label(int(row))) for row in rows])

    def read(self, row):
        self.reads[row] += 1
        rng = np.random.default_rng(row)
        classes = self.class_map(row)
        images = {}
        for modality, bands in BANDS.items():
            if modality == "sentinel1" and row in self.gaps:
                continue
            shape = (MONTHS, len(bands), SIZE, SIZE)
            values = rng.normal(0, self.noise, shape) + np.eye(3)[classes].transpose(2, 0, 1)[0]
            values[:, 0] += (classes == 1) * 2.0
            images[modality] = SampleImage(values.astype(np.float32), bands, TIMES)
        return EvalSample(f"s{row:05d}", images, self.label(row), 1.0, 2.0)


class ToyModel:
    """An encoder: a fixed random matrix of each patch's mean bands, one token a month.

    Args:
        seed: of the matrix; part of the model's id.
        fails_at: raise like a killed process at this batch.
    """

    def __init__(self, seed=0, name="toy_model", fails_at=None, patch_sizes=(4, 8), width=8):
        rng = np.random.default_rng(seed)
        self.matrix = rng.normal(size=(3, width)).astype(np.float32)
        self.fails_at, self.batches, self.embedded = fails_at, 0, 0
        self.info = ModelInfo(
            name=name,
            model_id=f"{seed:064x}",
            start=f"random initialisation, seed {seed}",
            embedding_size=width,
            bands=BANDS,
            patch_sizes=patch_sizes,
            normalizations=("pretrained", "dataset"),
        )

    def embed(self, samples, normalization, modalities, patch_size):
        if self.batches == self.fails_at:
            raise KeyboardInterrupt
        self.batches += 1
        self.embedded += len(samples)
        side = SIZE // patch_size
        tokens = 2 * MONTHS
        values = np.zeros((len(samples), side, side, tokens, self.info.embedding_size), np.float32)
        valid = np.zeros(values.shape[:-1], bool)
        scale = 2.0 if normalization == "dataset" else 1.0
        for i, sample in enumerate(samples):
            for m, modality in enumerate(("sentinel2_l2a", "sentinel1")):
                if modality not in sample.images:
                    continue
                pixels = sample.images[modality].values
                cut = pixels.reshape(MONTHS, -1, side, patch_size, side, patch_size).mean((3, 5))
                at = slice(m * MONTHS, (m + 1) * MONTHS)
                rows = self.matrix[:2] if m == 0 else self.matrix[2:]
                values[i, :, :, at] = scale * np.einsum("tchw,cd->hwtd", cut, rows)
                valid[i, :, :, at] = True
        owner = (0,) * MONTHS + (1,) * MONTHS
        return Tokens(torch.from_numpy(values), torch.from_numpy(valid), owner)


def store_dataset(store, samples, entry):
    """Write samples as an ingest would, register them, and return the entry with their content."""
    timesteps = dict.fromkeys(BANDS, MONTHS)
    inputs = json_digest([samples.task_type, samples.count, sorted(samples.gaps), samples.noise])
    layout = Layout(
        entry.task_type,
        entry.classes,
        SIZE,
        {m: ModalityLayout(bands, "float32", None) for m, bands in BANDS.items()},
        True,
        inputs,
    )

    def source(row):
        sample = samples.read(row)
        images = {
            m: SourceImages(
                i.values, np.array([[_micro(t) for t in pair] for pair in i.timestamps])
            )
            for m, i in sample.images.items()
        }
        return SourceSample(images, sample.label)

    ids = samples.table["sample_id"].to_pylist()
    places = write_parts(store, entry.name, layout, timesteps, ids, source)
    table = samples.table
    for name, values in zip(("part", "row"), zip(*places, strict=True), strict=True):
        index = table.schema.get_field_index(name)
        table = table.set_column(index, name, pa.array(values, pa.int32()))
    store.write_table(
        samples_key(entry.name), table, EvalSampleRow,
        inputs=inputs, code_version="1", simulated=True,
    )  # fmt: skip
    content = PackedSamples(store, entry.name).content
    entry = entry.model_copy(update={"content": content})
    Registry(store).put(entry, overwrite=True)
    return entry


def write_manifest(store, places):
    """A split manifest of the task `crops`, of (split, lon, lat); returns its content."""
    file = f"rasters-{'0' * 16}.safetensors"
    rows = [
        manifest_row(i, CELL_IDS[0], file, i, split=split, lon=lon, lat=lat)
        for i, (split, lon, lat) in enumerate(places)
    ]
    table = pa.Table.from_pylist(rows, schema=MANIFEST)
    ref = store.write_table(
        "tasks/crops/split_manifest.parquet",
        table,
        Manifest,
        inputs="i",
        code_version="1",
        simulated=True,
    )
    return ref.provenance.content


def _micro(moment):
    return int(moment.timestamp() * 1_000_000)
