"""A small code location, an instance that launches its runs, and what tests ask of them."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from geofm_assets.core.settings import Settings, load_settings
from geofm_assets.core.store import Store
from geofm_assets.platform import workers as platform_workers
from geofm_assets.platform.instance import open_instance
from geofm_assets.platform.workers import Workers, open_workers
from tests.code_locations import enter, load

LOCATION = Path(__file__).with_name("small_location")
CELLS = [f"c{number:02}" for number in range(12)]
MODELS = ["m0", "m1"]


@dataclass
class World:
    """A store with an instance, and the job of the small code location."""

    settings: Settings
    instance: dg.DagsterInstance
    job: dg.JobDefinition
    reports: list[tuple[int, int, str]] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    @property
    def root(self) -> Path:
        return Path(self.settings.store)

    @contextmanager
    def workers(self, count: int = 2) -> Iterator[Workers]:
        with open_workers(self.instance, self.job, self.settings, count) as workers:
            yield workers

    def make(self, asset: str, keys: Sequence[str] = (), count: int = 2) -> list[str]:
        """Make partitions of an asset in launched runs; what failed."""
        order = CELLS if asset == "points" else MODELS
        with self.workers(count) as workers:
            return workers.make(
                [dg.AssetKey(asset)],
                order,
                list(keys) or order,
                lambda *r: self.reports.append(r),
                say=self.said.append,
            )

    def order(self, name: str) -> Path:
        """A file that tells steps to misbehave."""
        path = self.root / "orders" / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
        return path

    def lines(self, asset: str, key: str) -> list[dict[str, Any]]:
        """What steps wrote when they made a partition."""
        path = self.root / asset / f"{key}.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def records(self, asset: str) -> list[str]:
        """The partition of each materialization on record."""
        found = self.instance.fetch_materializations(dg.AssetKey(asset), limit=1000).records
        return sorted(record.partition_key or "" for record in found)

    def runs(self) -> list[dg.DagsterRun]:
        return list(self.instance.get_runs())


def open_world(
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    executor: str,
    location: Path = LOCATION,
    **variables: str,
) -> World:
    """A store whose runs are launched by `executor`."""
    monkeypatch.setattr(platform_workers, "_POLL_SECONDS", 0.1)
    monkeypatch.setattr(platform_workers, "_WATCH_SECONDS", 0.5)
    enter(root, monkeypatch, location, executor, **variables)
    world = opened(location)
    world.instance.add_dynamic_partitions("cells", CELLS)
    world.instance.add_dynamic_partitions("models", MODELS)
    return world


def opened(location: Path = LOCATION) -> World:
    """The store and instance of the environment."""
    settings = load_settings()
    instance = open_instance(Store(settings.store), settings)
    job = load(location).defs.resolve_implicit_global_asset_job_def()
    return World(settings, instance, job)
