"""Our sides of the comparisons, each run in a process of its own (see harness)."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks import ours
from benchmarks.generate_points import add_collection
from benchmarks.harness import Arguments, Side, done, measured, side_main
from geofm_assets.core.store import Store
from geofm_assets.training.stages import TrainingTask


def prepare_points(arguments: Arguments) -> Side:
    """A store with every collection's file, nothing made of them yet."""
    store = Store(arguments["store"])
    with measured() as taken:
        ids = ours.fetch(store, Path(arguments["mirror"]))
    return done(taken, len(ids))


def points(arguments: Arguments) -> Side:
    """All collections' files to the plan's sample."""
    store, task = Store(arguments["store"]), ours.task()
    ids = ours.listed(store)
    ours.warm_up(Path(arguments["store"]).parent)
    with measured() as taken:
        ours.make_points(store, task, ids, force=True)
        digest = ours.make_plan(store, task)
    sample = ours.sample_table(store, task)
    return done(
        taken, sum(ids.values()), digest=digest, sampled=sample.num_rows, collections=len(ids),
        cells=len(ours.cells(store, task)), most_a_cell=ours.rows_a_cell(sample),
        quarantined=ours.quarantined(store, ids),
    )  # fmt: skip


def add_one(arguments: Arguments) -> Side:
    """One more collection into a store whose plan is made; the added one is listed and fetched."""
    store, task, mirror = Store(arguments["store"]), ours.task(), Path(arguments["mirror"])
    ids = ours.listed(store)
    ours.make_points(store, task, ids, force=False)
    ours.make_plan(store, task)
    record = add_collection(mirror, int(arguments["rows"]))
    new = [one for one in ours.fetch(store, mirror) if one not in ids]
    ours.warm_up(mirror.parent)
    with measured() as taken:
        ours.make_points(store, task, new, force=False)
        digest = ours.make_plan(store, task)
    return done(taken, int(arguments["rows"]), digest=digest, added=str(record["collectionId"]))


def cell_points(arguments: Arguments) -> Side:
    """The plan's sample to a table a cell."""
    store, task = Store(arguments["store"]), ours.task()
    wanted = ours.cells(store, task)
    with measured() as taken:
        made = ours.make_cell_points(store, task, wanted, force=True)
    return done(taken, made)


def windows(arguments: Arguments) -> Side:
    """Windows with labels of every cell that has points; held out points get none."""
    store, task = Store(arguments["store"]), ours.task()
    wanted = ours.cells(store, task)
    with measured() as taken:
        rows = ours.make_windows(store, task, wanted, force=True)
    return done(taken, rows, cells=len(wanted))


def prepare_sites(arguments: Arguments) -> Side:
    """Generated scenes' points to windows, everything before imagery."""
    store, task = Store(arguments["store"]), ours.sites_task()
    with measured() as taken:
        ids = ours.fetch(store, Path(arguments["mirror"]))
        ours.make_points(store, task, ids, force=False)
        ours.make_plan(store, task)
        wanted = ours.cells(store, task)
        ours.make_cell_points(store, task, wanted, force=False)
        rows = ours.make_windows(store, task, wanted, force=False)
    return done(taken, rows, cells=len(wanted))


def rasters(arguments: Arguments) -> Side:
    """Scenes to rasters and chips of every window: pixels on disk, checked."""
    store, task = Store(arguments["store"]), ours.sites_task()
    wanted = ours.cells(store, task)
    rows = sum(ours.windows(store, task, cell).num_rows for cell in wanted)
    with measured() as taken:
        ours.set_up_imagery(store, task, Path(arguments["scenes"]))
        ours.make_rasters(store, task, wanted, force=True)
        ours.make_chips(store, task, wanted, force=True)
    return done(taken, rows, cells=len(wanted))


def manifest(arguments: Arguments) -> Side:
    """The split manifest of made chips."""
    store = Store(arguments["store"])
    random = bool(arguments.get("random_chips"))
    task = epoch_task() if random else ours.sites_task()
    with measured() as taken:
        rows = ours.make_manifest(store, task, whole=not random)
    return done(taken, rows)


def random_chips(arguments: Arguments) -> Side:
    """Chips of random pixels for every window of a store, small, so that only counts matter."""
    from benchmarks.layouts import month_periods, random_pixels

    store, task = Store(arguments["store"]), epoch_task()
    rng = np.random.default_rng(0)
    rows = 0
    ours.set_up_imagery(store, task, Path(arguments["scenes"]))
    with measured() as taken:
        for cell in ours.cells(store, task):
            count = ours.windows(store, task, cell).num_rows
            if count:
                pixels = random_pixels(count, ours.EPOCH_PX, rng)
                ours.write_cell_chips(store, task, cell, pixels, month_periods())
            rows += count
    return done(taken, rows)


def epoch_windows(arguments: Arguments) -> Side:
    """Windows of `EPOCH_PX` pixels about the points of the plan, each of them in a split."""
    store, task = Store(arguments["store"]), epoch_task()
    with measured() as taken:
        ours.make_plan(store, task)
        wanted = ours.cells(store, task)
        ours.make_cell_points(store, task, wanted, force=False)
        rows = ours.make_windows(store, task, wanted, force=False)
    return done(taken, rows, cells=len(wanted))


def loader(arguments: Arguments) -> Side:
    """Training samples, one at a time, in one process; the second pass counts."""
    import torch

    torch.set_num_threads(1)
    training = ours.open_training(Store(arguments["store"]), ours.sites_task(), 32)
    dataset = training.dataset
    rows = np.random.default_rng(1).permutation(len(dataset)).tolist()
    rows = rows[: int(arguments["samples"])]
    with measured() as first:
        for row in rows:
            dataset[row]
    with measured() as taken:
        for row in rows:
            dataset[row]
    out = arguments.get("inputs_file")
    if out:
        names = sorted(training.order)[: int(arguments["compared"])]
        inputs = {
            f"{name}|{layer}": image
            for name in names
            for layer, image in ours.model_inputs(training, name).items()
        }
        np.savez(str(out), **inputs)  # type: ignore[arg-type]
    return done(taken, len(rows), first_pass_cpu_s=first.cpu_s)


def start_of_epoch(arguments: Arguments) -> Side:
    """A stored manifest to the point where the first batch can be asked for, imports done."""
    import geofm_assets.training.data
    import geofm_assets.training.loading  # noqa: F401

    store, task = Store(arguments["store"]), epoch_task()
    with measured() as taken:
        training = ours.open_training(store, task, ours.EPOCH_PX)
    batch = next(iter(training.loader))
    return done(taken, len(training.order), first_batch=len(batch.targets))


def export_windows(arguments: Arguments) -> Side:
    """One table of the windows of a store, in which a peer finds what it has to write."""
    store = Store(arguments["store"])
    task = {"points": ours.task, "sites": ours.sites_task, "epoch": epoch_task}[arguments["task"]]()
    with measured() as taken:
        tables = [ours.windows(store, task, cell) for cell in ours.cells(store, task)]
        table = pa.concat_tables(tables)
        at_most = int(arguments.get("at_most") or table.num_rows)
        # spread over the cells, as a sample of all windows would be
        step = max(1, table.num_rows // at_most)
        table = table.take(pa.array(range(0, table.num_rows, step))).slice(0, at_most)
        pq.write_table(table, arguments["file"])
    return done(taken, table.num_rows)


def epoch_task() -> TrainingTask:
    """The task whose windows are as small as can be."""
    return ours.task(**ours.NO_BUFFER, windows__size=ours.EPOCH_PX)


SIDES = {
    f.__name__: f
    for f in (
        prepare_points, points, add_one, cell_points, windows, prepare_sites, rasters, manifest,
        random_chips, epoch_windows, export_windows, loader, start_of_epoch,
    )
}  # fmt: skip

if __name__ == "__main__":
    side_main(SIDES)
