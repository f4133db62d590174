"""rslearn by itself: training samples, and the scan before an epoch."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from rslearn.config import DType
from rslearn.dataset import Dataset
from rslearn.models.olmoearth_pretrain.norm import OlmoEarthNormalize
from rslearn.train.dataset import DataInput, ModelDataset, SplitConfig
from rslearn.train.tasks.classification import ClassificationTask
from upath import UPath

from benchmarks import layouts
from benchmarks.harness import Arguments, Side, done, measured, side_main

CLASSES = ["Cropland", "Non-Cropland"]


def lay_out(arguments: Arguments) -> Side:
    """Copy the platform's chips into a dataset of some layout, through rslearn's writers."""
    from benchmarks import ours
    from geofm_assets.core.store import Store

    store, task, folder = Store(arguments["store"]), ours.sites_task(), Path(arguments["dataset"])
    layout: layouts.Layout = arguments["layout"]
    layouts.write_config(folder, layout)
    count = 0
    with measured() as taken:
        for cell in ours.cells(store, task):
            rows = ours.windows(store, task, cell).to_pylist()
            made = ours.cell_mosaics(store, task, cell)
            written = layouts.save_windows(folder, [r for r in rows if r["window_name"] in made])
            layouts.write_pixels(folder, written, made)
            count += len(written)
    return done(taken, count)


def loader(arguments: Arguments) -> Side:
    """Samples of ModelDataset with OlmoEarth's normalisation, in one process; second pass."""
    import torch

    torch.set_num_threads(1)
    dataset = model_dataset(Path(arguments["dataset"]))
    rows = np.random.default_rng(1).permutation(len(dataset)).tolist()
    rows = rows[: int(arguments["samples"])]
    with measured() as first:
        for row in rows:
            dataset[row]
    with measured() as taken:
        for row in rows:
            dataset[row]
    said: dict[str, Any] = {}
    if arguments.get("inputs_file"):
        said = _compare(dataset, str(arguments["inputs_file"]))
    return done(taken, len(rows), first_pass_cpu_s=first.cpu_s, **said)


def start_of_epoch(arguments: Arguments) -> Side:
    """The scan for windows and their layers that constructing ModelDataset is."""
    folder = Path(arguments["dataset"])
    with measured() as taken:
        dataset = model_dataset(folder)
        dataset.get_dataset_examples()  # done at the first sample otherwise
    return done(taken, len(dataset))


def lay_out_scan(arguments: Arguments) -> Side:
    """Windows with labels and the marks a scan looks at; no pixels."""
    folder = Path(arguments["dataset"])
    layouts.write_config(folder, "default")
    rows = pq.read_table(arguments["windows"]).to_pylist()
    with measured() as taken:
        for batch in _batches(rows, 1000):
            layouts.mark_first_groups(layouts.save_windows(folder, batch))
    return done(taken, len(rows))


def model_dataset(folder: Path) -> ModelDataset:
    """Training inputs as docs/rslearn/model.yaml names them; all windows, in this process."""
    inputs = {
        name: DataInput(
            data_type="raster",
            layers=[name],
            bands=list(bands),
            passthrough=True,
            load_all_layers=True,
            load_all_item_groups=True,
            dtype=DType.FLOAT32,
        )
        for name, bands in layouts.BANDS.items()
    }
    inputs["targets"] = DataInput(data_type="vector", layers=["label"], is_target=True)
    normalise = OlmoEarthNormalize({name: list(bands) for name, bands in layouts.BANDS.items()})
    return ModelDataset(
        dataset=Dataset(UPath(folder)),
        split_config=SplitConfig(transforms=[normalise]),
        inputs=inputs,
        task=ClassificationTask(property_name="category", classes=CLASSES),
        workers=0,
    )


def _compare(dataset: ModelDataset, file: str) -> dict[str, Any]:
    """Largest difference of normalised inputs, and how many values were compared."""
    rows = {window.name: i for i, window in enumerate(dataset.get_dataset_examples())}
    saved = np.load(file)
    worst, compared, samples = 0.0, 0, set()
    for key in saved.files:
        name, layer = key.split("|")
        inputs = dataset[rows[name]][0]
        theirs = inputs[layer].image.numpy()
        mine = saved[key]
        if theirs.shape != mine.shape:
            return {"compared_values": compared, "worst_difference": float("inf")}
        worst = max(worst, float(np.abs(theirs - mine).max()))
        compared += mine.size
        samples.add(name)
    said = {"compared_samples": len(samples), "compared_values": compared}
    return {**said, "worst_difference": worst}


def _batches(rows: list[Any], size: int) -> Iterator[list[Any]]:
    rest = iter(rows)
    while batch := list(itertools.islice(rest, size)):
        yield batch


SIDES = {f.__name__: f for f in (lay_out, loader, start_of_epoch, lay_out_scan)}

if __name__ == "__main__":
    side_main(SIDES)
