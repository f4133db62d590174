"""Windows with labels, and the start of an epoch over all of them."""

import shutil

from benchmarks.bench_points import make_store, store_of
from benchmarks.harness import run_side
from benchmarks.ours import EPOCH_PX
from benchmarks.results import Result, compared
from benchmarks.workplace import Workplace, linked_copy

_FILES_A_WINDOW_BYTES = 40_000  # small files, each of at least a block, and their folders


def run(place: Workplace) -> list[Result]:
    """Windows and labels of the sample against rslearn's own files."""
    sizes = place.sizes
    make_store(place, sizes.windows_from, 1)
    store = {"store": str(store_of(place, sizes.windows_from))}
    tables = run_side("sides", "cell_points", store, repeat=sizes.repeat)
    ours = run_side("sides", "windows", store, repeat=sizes.repeat)
    folder = place.work("windows-peer", fresh=True)
    place.require(sizes.windows * _FILES_A_WINDOW_BYTES, "rslearn's window files")
    file = str(folder / "windows.parquet")
    given = {**store, "task": "points", "file": file, "at_most": sizes.windows}
    run_side("sides", "export_windows", given)
    theirs = run_side(
        *("peers.rslearn_rasters", "windows"), {"dataset": str(folder / "dataset"), "windows": file}
    )
    place.clear_work("windows-peer")
    return [
        compared(
            *("windows with labels, CPU a window", ours, theirs),
            "rslearn Window.save and a GeoJSON label, file storage",
            unit="ms",
            per_row=1e3,
            at_least=10,
            note="Ours begins at the cells' points and finds zones and bounds; the peer is given "
            "them and only writes.",
            more={"cells": ours.said["cells"]},
        ),
        Result(
            "points of a cell, CPU a cell",
            tables.cpu_s * 1e3 / max(1, tables.rows),
            "ms",
            cpu_s=tables.cpu_s,
            peak_mb=tables.peak_mb,
            rows=tables.rows,
            note="The plan's sample to one table a cell (filtered_points); nothing like it in the "
            "seed.",
        ),
    ]


def run_epoch(place: Workplace) -> list[Result]:
    """What is done before the first batch of an epoch can be asked for."""
    sizes = place.sizes
    make_store(place, sizes.epoch_from, 1)
    folder = place.work("epoch")
    store = folder / "store"
    shutil.rmtree(folder)
    linked_copy(store_of(place, sizes.epoch_from), store)
    scenes = place.sites(sizes.raster_cells, sizes.raster_windows, clouds=True).scenes
    arguments = {"store": str(store), "scenes": str(scenes), "random_chips": True}
    laid = run_side("sides", "epoch_windows", arguments)
    place.require(laid.rows * (_FILES_A_WINDOW_BYTES + 1500 * EPOCH_PX**2), "chips and windows")
    run_side("sides", "random_chips", arguments)
    run_side("sides", "manifest", arguments)
    file = str(folder / "windows.parquet")
    run_side("sides", "export_windows", {"store": str(store), "task": "epoch", "file": file})
    dataset = {"dataset": str(folder / "dataset"), "windows": file}
    run_side("peers.rslearn_training", "lay_out_scan", dataset)
    ours = run_side("sides", "start_of_epoch", arguments, repeat=sizes.repeat)
    theirs = run_side("peers.rslearn_training", "start_of_epoch", dataset, repeat=sizes.repeat)
    place.clear_work("epoch")
    return [
        compared(
            *(f"start of an epoch, {ours.rows:,} windows in {laid.said['cells']:,} cells", ours),
            *(theirs, "rslearn ModelDataset's scan, file storage, no index"),
            at_least=100,
            note=f"From a stored dataset to a loader whose first batch can be asked for, imports "
            f"excluded. Windows of {EPOCH_PX} x {EPOCH_PX} pixels with random values: neither side "
            "reads pixels here. rslearn's scan runs in one process, over windows, labels and the "
            "marks of finished layers; rasters it does not look at were left out.",
            more={"equal": ours.rows == theirs.rows},
        )
    ]
