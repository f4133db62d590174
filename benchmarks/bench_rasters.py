"""Rasters: scenes to the pixels of every window."""

from pathlib import Path

from benchmarks.harness import run_side
from benchmarks.results import Result, compared
from benchmarks.workplace import Workplace, count_files

WORKERS = 2
_BYTES_A_WINDOW = 1_500_000  # of both sides
PEER = f"rslearn prepare, ingest, materialize; default layout, {WORKERS} workers"


def run(place: Workplace) -> list[Result]:
    """Rasters against rslearn's own way, pixels compared."""
    sizes = place.sizes
    world = place.sites(sizes.raster_cells, sizes.raster_windows, clouds=True)
    folder = place.work("rasters", fresh=True)
    count = sizes.raster_cells * sizes.raster_windows
    place.require(count * _BYTES_A_WINDOW, "rasters of both sides")
    given = {"store": str(folder / "store"), "mirror": str(world.mirror)}
    given |= {"scenes": str(world.scenes), "dataset": str(folder / "dataset")}
    given |= {"windows": str(folder / "windows.parquet"), "workers": str(WORKERS)}
    run_side("sides", "prepare_sites", given)
    ours = run_side("sides", "rasters", given, repeat=sizes.repeat)
    run_side("sides", "export_windows", {**given, "task": "sites", "file": given["windows"]})
    theirs = run_side("peers.rslearn_rasters", "rasters", given)
    pixels = run_side("peers.rslearn_rasters", "pixels", given)
    theirs_files = count_files(Path(given["dataset"]))
    result = compared(
        *("rasters, CPU a window", ours, theirs, PEER),
        unit="ms",
        per_row=1e3,
        at_least=4,
        note="Sentinel-2 (12 bands) and Sentinel-1, 12 months, windows of 32 px, local scenes with "
        "gaps under cloud. Ours: dataset_config, rasters and chips with their checks. Same "
        "scenes, order of scenes, nearest resampling, first valid pixel and nodata values.",
        more={
            "equal": pixels.said["different"] == 0,
            "pixels_compared": pixels.rows,
            "cells": ours.said["cells"],
            "peer_files": theirs_files,
            **{key: value for key, value in theirs.said.items() if key.endswith("_cpu_s")},
        },
    )
    place.clear_work("rasters")
    return [result]
