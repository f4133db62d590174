"""What Dagster takes: for each H3 cell, to show an asset's page, and for a step of its own."""

import statistics
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.harness import Side, run_side
from benchmarks.platform_world import BATCH, postgres
from benchmarks.results import Result
from benchmarks.workplace import Workplace, linked_copy

if TYPE_CHECKING:
    from tests.servers.postgres import PostgresServer


@dataclass(frozen=True)
class _Sizes:
    """Sizes of these benchmarks; not fields of Sizes, or results of others would be outdated.

    Attributes:
        cells: of the run whose overhead is measured.
        batch_cells: of the runs with the other batch setting; fewer, for the time they take.
        pages: cells of the asset whose page is opened.
        visits: of each page.
        steps: one after the other.
        test: whether seconds matter: pages and steps of a code location without the platform's
            assets, no second storage of pages, no cluster, and one setting of batches.
    """

    cells: int
    batch_cells: int
    pages: tuple[int, ...]
    visits: int
    steps: int
    test: bool = False


_SIZES = {
    "tiny": _Sizes(5, 5, (20,), 2, 1, test=True),
    "small": _Sizes(100, 100, (100, 1_378), 5, 2),
    "full": _Sizes(1_378, 172, (1_378, 10_000, 50_000), 10, 2),
}
NO_POSTGRES = "no PostgreSQL here"
_IN_TEST = "left out of the tests"
_BATCH = {"SQLite": 0, "PostgreSQL": 1000}
"""Storages, and the batch setting the platform has there: 0 is none."""
_DIRECT, _FEW = "the stage's function alone", "the same page, 10 cells"
_CELLS_NOTE = (
    "Beyond what the stage's function takes for the same cells: `geofm run`'s driver makes the "
    "points of the cells (20 each) in one run of the platform's code location, from asking which "
    "are out of date to the end of the run; six events a cell, three of them checks. CPU of the "
    "run's process; the database server's is more.server_cpu_ms."
)
_PAGE_NOTE = (
    "Median of more.visits answers of the web server over HTTP to the query as the installed UI "
    "has it, after a first that is not counted (more.first_ms); where that took over 1.5 s, of "
    "three. Ten cells were recorded by Dagster, the others are copies of a cell's rows. Cells have "
    "three checks each. dagster.yaml is geofm's, with its own storage of events, which answers for "
    "all cells of a check at once. Not the browser's own time."
)
_STEP_NOTE = (
    "A step that does nothing, from asking for it until the next is asked for or the run has "
    "ended; mean of a chain. The cluster is a stand-in: pods are processes of this machine, "
    "images, scheduling and network take no time. Each process imports the code location."
)


def run(place: Workplace) -> list[Result]:
    """Overhead for a cell, pages of assets with many cells, and seconds for a step."""
    sizes = _SIZES[place.sizes.name]
    with ExitStack() as stack:
        server = stack.enter_context(postgres())
        results = [*_cells(place, sizes, server), *_pages(place, sizes, server)]
    return [*results, *_steps(place, sizes)]


def _cells(place: Workplace, sizes: _Sizes, server: "PostgresServer | None") -> list[Result]:
    results = []
    worlds = {
        count: _World(place.work(f"platform-cells-{count}", fresh=True), count, place.sizes.seed)
        for count in {sizes.cells, sizes.batch_cells}
    }
    for storage, batch in product(_BATCH, (0, 1000)):
        as_is = batch == _BATCH[storage]
        setting = "" if as_is else f", batches of {batch}" if batch else ", no batches"
        name = f"a cell, {storage}{setting}"
        used = server if storage == "PostgreSQL" else None
        if storage == "PostgreSQL" and server is None:
            results.append(_unmeasured(name, "CPU ms", NO_POSTGRES))
        elif sizes.test and not as_is:
            results.append(_unmeasured(name, "CPU ms", _IN_TEST))
        else:
            count = sizes.cells if as_is else sizes.batch_cells
            results.append(worlds[count].compare(name, used, batch))
    place.clear_work("platform-cells")
    return results


class _World:
    """A store with a plan of so many cells, and what making them directly takes."""

    def __init__(self, folder: Path, cells: int, seed: int) -> None:
        self._given = {"folder": str(folder), "cells": cells, "seed": seed}
        self._folder = folder
        run_side("platform_cells", "prepare", self._given)
        self._direct = self._side("direct", "direct")

    def compare(self, name: str, server: "PostgresServer | None", batch: int) -> Result:
        """The driver's run beside the direct calls."""
        ours, theirs = self._driven(server, batch), self._direct
        value, peer = _each_ms(ours.cpu_s - theirs.cpu_s, ours), _each_ms(theirs.cpu_s, theirs)
        more = {
            "equal": ours.said["content"] == theirs.said["content"],
            "with_stage_cpu_ms": _each_ms(ours.cpu_s, ours),
            "server_cpu_ms": _each_ms(ours.said["server_cpu_s"], ours),
            "wall_ms": _each_ms(ours.wall_s - theirs.wall_s, ours),
            "with_stage_wall_ms": _each_ms(ours.wall_s, ours),
            "peer_wall_ms": _each_ms(theirs.wall_s, theirs),
            "peer_peak_mb": theirs.peak_mb,
            "events": ours.said["events"] / ours.rows,
            "batch": batch,
        }
        return Result(
            *(name, value, "CPU ms", _DIRECT, peer, peer / value),
            cpu_s=ours.cpu_s, peak_mb=ours.peak_mb, rows=ours.rows, note=_CELLS_NOTE, more=more,
        )  # fmt: skip

    def _driven(self, server: "PostgresServer | None", batch: int) -> Side:
        return self._side(
            f"driven-{'postgres' if server else 'sqlite'}-{batch}",
            "driven",
            url=server.new_database() if server else "",
            server=server.pid if server else 0,
            environment={BATCH: str(batch)},
        )

    def _side(self, name: str, side: str, **given: Any) -> Side:
        linked_copy(self._folder / "store", self._folder / name)
        return run_side("platform_cells", side, {**self._given, "name": name, **given})


def _pages(place: Workplace, sizes: _Sizes, server: "PostgresServer | None") -> list[Result]:
    results = []
    shown = {"its cells": "PartitionHealthQuery", "state of its checks": "AssetGraphLiveQuery"}
    for storage in _BATCH:
        side, why = None, _IN_TEST if sizes.test else NO_POSTGRES
        if storage == "SQLite" or (server is not None and not sizes.test):
            folder = place.work(f"platform-page-{storage.lower()}", fresh=True)
            given = {
                "folder": str(folder),
                "url": server.new_database() if storage == "PostgreSQL" and server else "",
                "cells": list(sizes.pages),
                "visits": sizes.visits,
                "alone": sizes.test,
            }
            side = run_side("platform_page", "page", given)
            place.clear_work("platform-page")
        for what, query in shown.items():
            for cells in sizes.pages:
                name = f"asset page, {what}, {cells:,} cells, {storage}"
                if side is None:
                    results.append(_unmeasured(name, "ms", why))
                else:
                    results.append(_page(name, query, side, cells))
    return results


def _page(name: str, query: str, side: Side, cells: int) -> Result:
    pages = side.said["pages"]
    few, many = (pages[str(count)] for count in (min(map(int, pages)), cells))
    found = many[query]
    if "not_asked" in found:
        return _unmeasured(name, "ms", f"not asked: {found['not_asked']}", **found)
    value, peer = found["median_ms"], few[query]["median_ms"]
    header = many["AssetViewDefinitionQuery"]["median_ms"]
    return Result(
        *(name, value, "ms", _FEW, peer, peer / value),
        peak_mb=side.peak_mb, rows=cells, note=_PAGE_NOTE,
        more={"query": query, **found, "peer_ms": few[query], "header_ms": header},
    )  # fmt: skip


def _steps(place: Workplace, sizes: _Sizes) -> list[Result]:
    def side(executor: str) -> Side:
        folder = place.work(f"platform-steps-{executor}", fresh=True)
        given = {"folder": str(folder), "steps": sizes.steps, "alone": sizes.test}
        found = run_side("platform_steps", executor, given)
        place.clear_work("platform-steps")
        return found

    own, processes = side("in_process"), side("multiprocess")
    alone = _step("a step, a process", processes, own, "the run's own process")
    if sizes.test:
        return [_unmeasured("a step, a Job", "s", _IN_TEST), alone]
    return [_step("a step, a Job", side("kubernetes"), processes, "a process a step"), alone]


def _step(name: str, ours: Side, theirs: Side, peer: str) -> Result:
    parts, others = _means(ours), _means(theirs)
    value, other = sum(parts.values()), sum(others.values())
    return Result(
        *(name, value, "s", peer, other, other / value),
        cpu_s=ours.cpu_s, peak_mb=ours.peak_mb, rows=ours.rows, note=_STEP_NOTE,
        more={**parts, "peer": others, "run_wall_s": ours.wall_s, "peer_run_wall_s": theirs.wall_s},
    )  # fmt: skip


def _means(side: Side) -> dict[str, float]:
    return {name: statistics.fmean(side.said[name]) for name in ("start_s", "step_s", "notice_s")}


def _each_ms(seconds: float, side: Side) -> float:
    return 1000 * seconds / side.rows


def _unmeasured(name: str, unit: str, why: str, **more: Any) -> Result:
    return Result(name, None, unit, note=f"Not measured: {why}.", more=more)
