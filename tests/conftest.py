"""Fixtures every test may use."""

import contextlib
import gc
import os
import signal
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

if TYPE_CHECKING:
    from geofm_assets.core.store import Store
    from tests.servers.postgres import PostgresServer
    from tests.servers.s3 import S3Server

# no test is timed: the first call of a compiled kernel loads it
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")
os.environ["DAGSTER_DISABLE_TELEMETRY"] = "1"
# Workers and their children share the cores: threads of torch that wait for one spin, which took
# 80 % more CPU time. Tests of what threads change set their number themselves.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# A tenth of the CPU time went into looking for garbage after every 700 new objects.
gc.set_threshold(50_000)
REPOSITORY = Path(__file__).resolve().parents[1]
# With `-n` whole files go to the workers: those of minutes first, longest first, so that none is
# left with one of them while the others have nothing to do. There are three workers for two cores
# because tests wait for pods, servers and disks a quarter of their time.
LONG_FILES = (
    "test_e2e_kubernetes.py",
    "test_e2e_scale_out.py",
    "test_benchmarks_run.py",
    "test_e2e_bucket.py",
    "test_e2e_burned_area.py",
    "test_e2e_run.py",
    "test_e2e_postgres.py",
    "test_e2e_incremental.py",
    "test_e2e_many_cells.py",
    "test_platform_execution_kubernetes.py",
    "test_training_ddp.py",
    "test_e2e_ui.py",
    "test_e2e_sources.py",
    "test_training_fit.py",
    "test_prediction_stage.py",
    "test_e2e_predict.py",
    "test_e2e_evals.py",
)


def pytest_configure(config: pytest.Config) -> None:
    # A shell's background job ignores SIGINT, Dagster then has SIGTERM ignored too, and servers
    # that tests start inherit it: none of them could be ended.
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if config.pluginmanager.has_plugin("xdist"):
        config.option.loadscopereorder = False  # else files of few tests go last, however long


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not hasattr(config, "workerinput"):
        return  # one process: fast ones first
    first = {name: place for place, name in enumerate(LONG_FILES)}
    items.sort(key=lambda item: _place(item.path, first))


def pytest_collection_finish() -> None:
    gc.freeze()  # what all modules imported is not looked through for garbage again and again


def pytest_unconfigure() -> None:
    gc.unfreeze()  # nanobind calls what is left at the end leaked


def _place(path: Path, first: dict[str, int]) -> int:
    if path.name in first:
        return first[path.name]
    return len(first) + ("unit" in path.parts)


@pytest.fixture(scope="session")
def real_dir() -> Path:
    """Folder of real WorldCereal samples; tests that need it skip where it is absent."""
    folder = Path(os.environ.get("GEOFM_REAL_DATA", REPOSITORY.parent / "shared" / "real"))
    if not (folder / "worldcereal_corsica_2022").is_dir():
        pytest.skip(f"no real WorldCereal samples at {folder} (set GEOFM_REAL_DATA)")
    return folder


@pytest.fixture(scope="session")
def s3() -> "Iterator[S3Server]":
    """An S3 server with one bucket, `geofm`."""
    from tests.servers.s3 import serve  # moto loads slowly

    with serve() as server:
        server.client().create_bucket(Bucket="geofm")
        yield server


@pytest.fixture
def bucket_store(s3: "S3Server", tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> "Store":
    """An empty store in a bucket, its scratch folder and credentials in the environment."""
    from geofm_assets.core.store import Store

    for name, value in s3.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("GEOFM_SCRATCH", str(tmp_path / "scratch"))
    s3.fault = None
    s3.asked.clear()
    return Store(f"s3://geofm/{uuid.uuid4().hex}")


@pytest.fixture(scope="session")
def postgres() -> "Iterator[PostgresServer]":
    """A PostgreSQL server without databases."""
    from tests.servers.postgres import NoPostgresError, PostgresServer

    try:
        server = PostgresServer().__enter__()
    except NoPostgresError as missing:
        pytest.skip(str(missing))
    with contextlib.closing(server):
        yield server
