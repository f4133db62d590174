"""Evaluation samples that look enough like a year of Sentinel-2: SIMULATED, the same every time.

Each class has its own yearly curve of every band; pixels add noise, so that a probe has something
to learn and something to miss.
"""

from datetime import UTC, datetime
from itertools import pairwise

import numpy as np
import pyarrow as pa

from geofm_assets.core.store import Store
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
from geofm_assets.imagery.bands import LAYERS, SENTINEL2

NAME = "bench"
CLASSES = ("bare", "crop", "forest", "grass", "water")
WINDOW = 16
MONTHS = 12
_SPLITS = ("train", "train", "val", "test", "train", "train", "train")
_YEAR = 2022
_BANDS = LAYERS[SENTINEL2].band_names
_SHARED = 0.35  # how much of a class's curve is its own; the rest is noise between samples


def generate(store: Store, count: int, seed: int, months: int = MONTHS) -> DatasetEntry:
    """Write and register a dataset of `count` windows of 16 x 16 pixels, at most twelve months."""
    rng = np.random.default_rng(seed)
    curves = rng.normal(0, 1, (len(CLASSES), months, len(_BANDS)))
    edges = [datetime(_YEAR + m // 12, m % 12 + 1, 1, tzinfo=UTC) for m in range(months + 1)]
    micro = [int(moment.timestamp() * 1_000_000) for moment in edges]
    times = np.array(list(pairwise(micro)), dtype=np.int64)
    layout = Layout(
        "classification",
        CLASSES,
        WINDOW,
        {SENTINEL2: ModalityLayout(_BANDS, "uint16", 0)},
        True,
        f"{seed:064x}",
    )

    def read(row: int) -> SourceSample:
        own = np.random.default_rng([seed, row])
        label = row % len(CLASSES)
        curve = _SHARED * curves[label] + own.normal(0, 1, curves[label].shape)
        pixels = curve[:, :, None, None] + own.normal(0, 0.5, (months, len(_BANDS), WINDOW, WINDOW))
        values = np.clip(2000 + 600 * pixels, 1, 10_000).astype(np.uint16)
        return SourceSample({SENTINEL2: SourceImages(values, times)}, label)

    ids = [f"w{row:06d}" for row in range(count)]
    places = write_parts(store, NAME, layout, {SENTINEL2: months}, ids, read)
    rows = [
        {
            "sample_id": ids[row],
            "group": "default",
            "window_name": ids[row],
            "split": _split(row),
            "lon": 10.0,
            "lat": 45.0,
            "start_time": edges[0],
            "end_time": edges[-1],
            "label_text": CLASSES[row % len(CLASSES)],
            "subset_rank": None,
            "part": part,
            "row": place,
        }
        for row, (part, place) in enumerate(places)
    ]
    table = pa.Table.from_pylist(rows, schema=EVAL_SAMPLE)
    store.write_table(
        samples_key(NAME), table, EvalSampleRow,
        inputs=layout.inputs, code_version="1", simulated=True,
    )  # fmt: skip
    entry = _entry(PackedSamples(store, NAME), count, months)
    Registry(store).put(entry, overwrite=True)
    return entry


def _split(row: int) -> str:
    """Split of a sample: as many of each class in each."""
    return _SPLITS[row // len(CLASSES) % len(_SPLITS)]


def _entry(samples: PackedSamples, count: int, months: int) -> DatasetEntry:
    """What an ingest would register."""
    train = np.stack(
        [samples.read(int(row)).images[SENTINEL2].values for row in samples.rows("train")]
    )
    statistics = {}
    for index, band in enumerate(_BANDS):
        values = train[:, :, index].astype(np.float64)
        low, middle, high = np.percentile(values, [2, 50, 98])
        statistics[band] = {
            "count": values.size,
            "mean": values.mean(),
            "std": values.std(),
            "min": values.min(),
            "max": values.max(),
            "p02": low,
            "p50": middle,
            "p98": high,
        }
    splits = [_split(row) for row in range(count)]
    return DatasetEntry.model_validate(
        {
            "name": NAME,
            "display_name": "Generated windows",
            "source": "generated",
            "content": samples.content,
            "task_type": "classification",
            "classes": CLASSES,
            "modalities": {
                SENTINEL2: {
                    "bands": _BANDS,
                    "timesteps": months,
                    "nodata": 0.0,
                    "statistics": statistics,
                }
            },
            "window_size": WINDOW,
            "split": {
                "rule": "kept",
                "seed": 0,
                "counts": {s: splits.count(s) for s in ("train", "val", "test")},
            },
            "metric": "accuracy",
            "simulated": True,
        }
    )
