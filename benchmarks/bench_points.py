"""Reference points: collections' files to the sample of every H3 cell."""

import json
import shutil
from dataclasses import asdict
from pathlib import Path

from benchmarks.harness import Side, run_side
from benchmarks.results import Result, compared
from benchmarks.workplace import Workplace, linked_copy

_STORE_BYTES_A_ROW = 200  # the files as published, and the points
SEED = "seed's way: geopandas, iterrows, CSV, groupby sample"
READ = "pyarrow reading the needed columns"
_SCOPE = (
    "Ours: reference_points, candidates and sampling_plan, schemas and checks included, fetching "
    "excluded, modules and compiled kernels loaded before; the seed's: process and analyze, from "
    "files on disk to the CSV of sampled points."
)
_SEED_ROWS = "The seed's way holds everything in memory and is linear in rows; it is measured once."


def run(place: Workplace) -> list[Result]:
    """Points per row against the seed's way and the floor, at every size."""
    sizes = place.sizes
    out = place.work("points-seed", fresh=True)
    mirror = str(place.mirror(sizes.seed_points))
    seed = run_side("peers.points_seed", "points", {"mirror": mirror, "out": str(out)})
    results = []
    for rows in sizes.points:
        repeat = sizes.repeat if rows <= 2_000_000 else 1
        ours = make_store(place, rows, repeat)
        read = run_side(
            *("peers.pyarrow_read", "read", {"mirror": str(place.mirror(rows))}), repeat=repeat
        )
        more = {key: ours.said[key] for key in ("sampled", "cells", "most_a_cell", "quarantined")}
        name = f"points, {rows:,} rows"
        results += [
            compared(
                *(f"{name}, CPU a row", ours, seed, SEED),
                unit="us",
                per_row=1e6,
                at_least=40,
                note=f"{_SCOPE} {_SEED_ROWS}",
                more=more,
            ),
            compared(
                *(f"{name}, CPU", ours, read, READ),
                at_least=0.2,
                note="Aim: at most five times the CPU of reading alone.",
            ),
            Result(
                f"{name}, peak memory",
                ours.peak_mb,
                "MiB",
                SEED,
                seed.peak_mb,
                seed.peak_mb / ours.peak_mb,
                at_most=1024,
                cpu_s=ours.cpu_s,
                peak_mb=ours.peak_mb,
                rows=ours.rows,
                note=f"The seed's memory is that of {sizes.seed_points:,} rows, ours of those "
                "named and with the whole platform imported, torch included (`start_mb`).",
                more={"start_mb": ours.said["start_mb"]},
            ),
        ]
    place.clear_work("points-seed")
    return results


def run_incremental(place: Workplace) -> list[Result]:
    """A collection of a hundredth of the rows is added; against making everything again."""
    sizes = place.sizes
    rows, added = sizes.incremental, max(30, sizes.incremental // 100)
    make_store(place, rows, 1)
    first, mirror = store_of(place, rows), place.mirror(rows)
    ours: Side | None = None
    for _ in range(sizes.repeat):
        store = place.work("added") / "store"
        plus = place.work("added") / "mirror"
        for folder in (store, plus):
            shutil.rmtree(folder, ignore_errors=True)
        linked_copy(first, store)
        linked_copy(mirror, plus)
        arguments = {"store": str(store), "mirror": str(plus), "rows": added}
        once = run_side("sides", "add_one", arguments)
        ours = once if ours is None or once.cpu_s < ours.cpu_s else ours
    assert ours is not None
    again = run_side("sides", "points", {"store": str(place.work("added") / "store")})
    result = compared(
        *(f"points, one collection of {added:,} rows added to {rows:,}", ours, again),
        "making all collections again",
        at_least=60,
        note="Both end with the sampling plan; `equal` says whether it is the same sample.",
        more={"equal": ours.said["digest"] == again.said["digest"]},
    )
    place.clear_work("added")
    return [result]


def store_of(place: Workplace, rows: int) -> Path:
    """Where the store of a mirror of so many rows lies."""
    return place.work(f"points-{rows}") / "store"


def make_store(place: Workplace, rows: int, repeat: int) -> Side:
    """Our side on a mirror of so many rows, into a store that later benchmarks start from."""
    mirror, store = place.mirror(rows), store_of(place, rows)
    fetched = store.parent / "fetched"
    if not fetched.exists():
        place.require(rows * _STORE_BYTES_A_ROW, f"the store of {rows:,} points")
        run_side("sides", "prepare_points", {"store": str(store), "mirror": str(mirror)})
        fetched.touch()
    done = store.parent / "points.json"
    if done.exists():  # measured in this run already
        return Side(**json.loads(done.read_text("utf-8")))
    side = run_side("sides", "points", {"store": str(store)}, repeat=repeat)
    done.write_text(json.dumps(asdict(side)), "utf-8")
    return side
