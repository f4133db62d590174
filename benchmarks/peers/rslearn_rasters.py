"""rslearn by itself: windows and rasters. Imports what rslearn's own command line imports."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from rslearn.dataset import Dataset
from rslearn.main import IngestHandler, MaterializeHandler, PrepareHandler, apply_on_windows
from upath import UPath

from benchmarks import layouts
from benchmarks.harness import Arguments, Side, done, measured, side_main


def windows(arguments: Arguments) -> Side:
    """Window files and labels; grids and bounds are given, only writing is measured."""
    folder = Path(arguments["dataset"])
    rows = pq.read_table(arguments["windows"]).to_pylist()
    layouts.write_config(folder, "default")
    with measured() as taken:
        layouts.save_windows(folder, rows)
    return done(taken, len(rows))


def rasters(arguments: Arguments) -> Side:
    """prepare, ingest and materialize with workers, rslearn's default layout and settings."""
    folder = Path(arguments["dataset"])
    rows = pq.read_table(arguments["windows"]).to_pylist()
    layouts.write_config(folder, "default", Path(arguments["scenes"]))
    layouts.save_windows(folder, rows)
    said = {}
    with measured() as taken:
        handlers: dict[str, Any] = {
            "prepare": PrepareHandler(force=False),
            "ingest": IngestHandler(),
            "materialize": MaterializeHandler(),
        }
        for name, handler in handlers.items():
            with measured() as stage:
                for _ in apply_on_windows(
                    handler, Dataset(UPath(folder)), workers=int(arguments["workers"])
                ):
                    pass
            said[f"{name}_cpu_s"] = stage.cpu_s
    return done(taken, len(rows), **said)


def pixels(arguments: Arguments) -> Side:
    """Every stored mosaic of a dataset against the platform's chips of the same windows."""
    from benchmarks import ours
    from geofm_assets.core.store import Store

    store, task = Store(arguments["store"]), ours.sites_task()
    dataset = Dataset(UPath(arguments["dataset"]))
    compared = different = 0
    with measured() as taken:
        for cell in ours.cells(store, task):
            mine = ours.cell_mosaics(store, task, cell)
            theirs = {w.name: w for w in dataset.load_windows(groups=[cell])}
            different += len(mine.keys() ^ theirs.keys())
            for name, window in theirs.items():
                for layer, (values, _) in mine.get(name, {}).items():
                    stored = _stored(dataset, window, layer, len(values))
                    compared += values.size
                    different += int((stored != values).sum())
    return done(taken, compared, different=different)


def _stored(dataset: Dataset, window: Any, layer: str, steps: int) -> np.ndarray:
    band_set = dataset.layers[layer].band_sets[0]
    raster_format = band_set.instantiate_raster_format()
    rasters = window.data.read_rasters(layer, band_set.bands, list(range(steps)), raster_format)
    return np.stack([raster.array[:, 0] for raster in rasters])


SIDES = {f.__name__: f for f in (windows, rasters, pixels)}

if __name__ == "__main__":
    side_main(SIDES)
