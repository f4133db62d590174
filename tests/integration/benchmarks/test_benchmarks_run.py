"""Every benchmark runs from end to end at a tiny size."""

import gc
import importlib
import json
from pathlib import Path

import pytest

from benchmarks import bench_rasters, generate_points, harness, ours
from benchmarks.__main__ import BENCHMARKS, run
from benchmarks.results import read_results
from benchmarks.sizes import SIZES
from geofm_assets.core.store import Store

TINY = SIZES["tiny"]


@pytest.fixture(scope="session")
def cache(tmp_path_factory) -> Path:
    """Generated data is shared by the tests, stores are not."""
    return tmp_path_factory.mktemp("cache")


def test_generated_collections_pass_without_a_row_in_quarantine(tmp_path):
    mirror = generate_points.generate(tmp_path / "mirror", 3_000, collections=6)
    store, task = Store(tmp_path / "store"), ours.task()
    ids = ours.fetch(store, mirror)
    assert len(ids) == 6
    assert sum(ours.listed(store).values()) == 3_000
    ours.make_points(store, task, ids, force=False)
    assert ours.quarantined(store, ids) == 0
    ours.make_plan(store, task)
    assert ours.sample_table(store, task).num_rows > 1_000


APART = {"points": {"points", "read"}}
"""Sides that are measured as users measure them, in processes of their own, by benchmark."""


@pytest.fixture
def one_process(monkeypatch, name):
    """Sides run here, rslearn's workers as well: processes would spend their time on imports."""
    apart = APART.get(name, set())
    run_apart = harness._run_once

    def run_here(module: str, side: str, arguments: harness.Arguments, timeout_s: float):
        if side in apart:
            return run_apart(module, side, arguments, timeout_s)
        sides = importlib.import_module(f"benchmarks.{module}").SIDES
        gc.freeze()  # rslearn collects garbage after every scene, and modules are many objects
        result = sides[side](json.loads(json.dumps(arguments)))
        result.peak_mb = 1.0
        return result

    monkeypatch.setattr(harness, "_run_once", run_here)
    monkeypatch.setattr(bench_rasters, "WORKERS", 0)


@pytest.mark.slow
@pytest.mark.parametrize("name", list(BENCHMARKS))
def test_a_benchmark_gives_results(name, cache, tmp_path, one_process):
    failed = run(TINY, cache, tmp_path, [name], again=False, keep=False)
    assert failed == []
    records = read_results(tmp_path / f"{name}.json")
    assert records
    said_how = {record["more"].get("memory_measured_as") for record in records}
    assert said_how > {None} or name not in APART
    for record in records:
        assert record["simulated"]
        assert record["more"].get("equal", True), record
        if record["verdict"] != "not measured":
            assert record["value"] > 0
        if record["peer_value"] is not None:
            assert record["ratio"] > 0
    before = (tmp_path / f"{name}.json").stat().st_mtime_ns
    run(TINY, cache, tmp_path, [name], again=False, keep=False)
    assert (tmp_path / f"{name}.json").stat().st_mtime_ns == before
    assert "SIMULATED" in (tmp_path / "table.md").read_text()
