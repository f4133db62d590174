"""The page of an asset with ever more cells, as Dagster's web server answers its queries."""

import gzip
import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import dagster as dg
import h3

from benchmarks.harness import Arguments, Side, done, measured, side_main
from benchmarks.platform_world import ALONE, LOCATION, PATHS, environment, free_port, load_location
from benchmarks.recorded_cells import copy, record
from benchmarks.ui_queries import ui_query
from geofm_assets.core.store import Store
from geofm_assets.platform.instance import open_instance

KEY, PARTITION_SET = dg.AssetKey(["bench", "cells"]), "bench_cells"
FEW = 10
"""Cells of the page that others are compared with."""
# what opens the page: its header, its partitions, and the state of it and of its checks
QUERIES: dict[str, dict[str, Any]] = {
    "AssetViewDefinitionQuery": {"assetKey": {"path": KEY.path}},
    "PartitionHealthQuery": {"assetKey": {"path": KEY.path}},
    "AssetGraphLiveQuery": {"assetKeys": [{"path": KEY.path}]},
}
_RESOLUTION, _MIDDLE, _RINGS = 6, (47.0, 10.0), 130  # 51,091 cells
_START_S = 300
_SLOW_S, _SLOW_VISITS = 1.5, 3
PATIENCE_S = 30
"""Seconds after which a page is closed: what a query should then still take is not waited for."""


def page(arguments: Arguments) -> Side:
    """Times of every query at `FEW` cells, then at each of the sizes, in one web server."""
    folder, sizes = Path(arguments["folder"]), [FEW, *arguments["cells"]]
    cells = sorted(h3.grid_disk(h3.latlng_to_cell(*_MIDDLE, _RESOLUTION), _RINGS))[: max(sizes)]
    given = {ALONE: "1"} if arguments["alone"] else {}
    pages: dict[str, Any] = {}
    with environment(folder / "home", arguments["url"], GEOFM_STORE=str(folder / "store"), **given):
        instance = open_instance(Store(folder / "store"))
        job = load_location().resolve_implicit_global_asset_job_def()
        record(instance, job, KEY, PARTITION_SET, cells[:FEW])
        with measured() as taken, _server(folder) as ui:
            known = FEW
            for size in sizes:
                copy(instance, KEY, PARTITION_SET, cells[known:size], of=cells[0])
                known = size
                pages[str(size)] = {
                    name: ui.times(name, arguments["visits"], cells[:size]) for name in QUERIES
                }
    return done(taken, max(sizes), pages=pages)


class _Ui:
    """A browser's side of one connection to the web server."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20 * PATIENCE_S)
        self._queries = {name: ui_query(name) for name in QUERIES}
        self._seen: dict[str, list[tuple[int, float]]] = {name: [] for name in QUERIES}

    def ask(self, name: str) -> tuple[float, bytes]:
        """Seconds until the whole answer was there, and the answer."""
        body = json.dumps(
            {"operationName": name, "query": self._queries[name], "variables": QUERIES[name]}
        )
        headers = {"Content-Type": "application/json", "Accept-Encoding": "gzip"}
        began = time.perf_counter()
        self._connection.request("POST", "/graphql", body, headers)
        answer = self._connection.getresponse()
        data = answer.read()
        seconds = time.perf_counter() - began
        packed = answer.headers.get("Content-Encoding") == "gzip"
        return seconds, gzip.decompress(data) if packed else data

    def times(self, name: str, count: int, cells: list[str]) -> dict[str, Any]:
        """Ask once after the data changed, then so many times; what is slow, a few times.

        What would take longer than that, on a line through the last two sizes, is not asked.
        """
        if (expected := self._expected_s(name, len(cells))) > PATIENCE_S:
            fewer, seconds = self._seen[name][-1]
            return {"not_asked": f"{seconds:.1f} s with {fewer:,} cells", "expected_s": expected}
        self._connection.close()  # the server closes it after 5 s of silence; asking opens it
        first, data = self.ask(name)
        _require_cells(name, data, cells)
        visits = count if first <= _SLOW_S else min(count, _SLOW_VISITS)
        found = [self.ask(name)[0] for _ in range(visits)]
        self._seen[name].append((len(cells), median(found)))
        return {"first_ms": 1000 * first, "bytes": len(data), **_spread(found)}

    def _expected_s(self, name: str, cells: int) -> float:
        if len(self._seen[name]) < 2:
            return 0.0
        (few, quick), (many, slow) = self._seen[name][-2:]
        return slow + max(0.0, slow - quick) / (many - few) * (cells - many)


def _require_cells(name: str, data: bytes, cells: list[str]) -> None:
    """The page must show what was recorded."""
    answer = json.loads(data)
    if "errors" in answer:
        raise RuntimeError(f"{name}: {answer['errors']}")
    shown = len(cells)
    if name == "PartitionHealthQuery":
        found = answer["data"]["assetNodeOrError"]["assetPartitionStatuses"]
        shown = len(set(found["materializedPartitions"]) & set(cells))
    elif name == "AssetGraphLiveQuery":
        (node,) = answer["data"]["assetNodes"]
        shown = node["partitionStats"]["numMaterialized"]
    if shown != len(cells):
        raise RuntimeError(f"{name} shows {shown} of {len(cells)} cells")


def _spread(seconds: list[float]) -> dict[str, float]:
    """Milliseconds: least, quartiles, most; and how many there are."""
    several = seconds if len(seconds) > 1 else 2 * seconds
    low, middle, high = quantiles(several, n=4, method="inclusive")
    found = {"least": min(seconds), "lower": low, "median": middle, "upper": high}
    named = {**found, "most": max(seconds)}
    return {**{f"{name}_ms": 1000 * s for name, s in named.items()}, "visits": len(seconds)}


@contextmanager
def _server(folder: Path) -> Iterator[_Ui]:
    """Dagster's web server on the benchmarks' code location."""
    port, log = free_port(), folder / "webserver.log"
    command = [sys.executable, "-m", "dagster_webserver", "-m", "definitions", "-a", "defs"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "-h", "127.0.0.1", "-p", str(port)],
            cwd=LOCATION,
            env={**os.environ, "PYTHONPATH": PATHS},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield _answering(port, process, log)
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _answering(port: int, process: "subprocess.Popen[bytes]", log: Path) -> _Ui:
    until = time.monotonic() + _START_S
    while process.poll() is None and time.monotonic() < until:
        try:
            ui = _Ui(port)
            _, data = ui.ask("PartitionHealthQuery")
        except OSError:
            time.sleep(0.3)
            continue
        answer: Mapping[str, Any] = json.loads(data)
        if "assetPartitionStatuses" in (answer.get("data") or {}).get("assetNodeOrError", {}):
            return ui
        time.sleep(0.3)
    raise RuntimeError(f"The web server did not start: {log.read_text('utf-8')[-3000:]}")


SIDES = {"page": page}

if __name__ == "__main__":
    side_main(SIDES)
