"""The command line as a person uses it: real processes, a real Dagster instance, a small world."""

import fcntl
import gc
import hashlib
import io
import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pyarrow.parquet as pq
import pytest

from geofm_assets.cli import main
from geofm_assets.core.store import Store
from geofm_assets.platform.driver import Driver, StageResult
from geofm_assets.sample_world.build import SampleWorld, build
from tests.servers.forks import ForkedProcess, shared_template

TASK = "worldcereal_cropland"
EXPERIMENT = "olmoearth_v1_2_nano-s1_s2-ps4-ws8-t6"
# A task cut down to what two cores do in seconds; every stage is still there.
SMALL = (
    "windows.size=8",
    "imagery.months=6",
    "training.epochs=2",
    "experiments.timesteps=[1, 6]",
    "experiments.window_size=[1, 4, 8]",
    "split.tolerance=0.15",
    "split.min_units=6",
)


# Options after those for what no series of images is needed for: one image a place.
ONE_IMAGE = [
    *("--set", "imagery.months=1"),
    *("--set", "imagery.modalities=[sentinel2_l2a]"),
    *("--set", "experiments.modality=[s2]"),
    *("--set", "experiments.timesteps=[1]"),
]


@dataclass
class Geofm:
    """Runs `geofm` on one store."""

    store: Path
    environment: dict[str, str]

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "geofm_assets.cli", *arguments, "--store", str(self.store)]

    def __call__(self, *arguments: str, ok: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            self.command(*arguments),
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        if ok:
            assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done

    def here(self, *arguments: str, ok: bool = True) -> subprocess.CompletedProcess[str]:
        """The same in this process, which need not import everything anew."""
        command = ["geofm", *arguments, "--store", str(self.store)]
        out, err, before = io.StringIO(), io.StringIO(), dict(os.environ)
        records = logging.getLogRecordFactory()
        with pytest.MonkeyPatch.context() as patched, redirect_stdout(out), redirect_stderr(err):
            patched.setattr(sys, "argv", command)
            try:
                os.environ.clear()
                os.environ.update(self.environment)
                with pytest.raises(SystemExit) as ended:
                    main()
            finally:
                os.environ.clear()
                os.environ.update(before)
                logging.setLogRecordFactory(records)
                gc.collect()  # closes what the command left open of the store
        if ok:
            assert ended.value.code == 0, out.getvalue()[-3000:] + err.getvalue()[-3000:]
        return subprocess.CompletedProcess(
            command, int(str(ended.value.code)), out.getvalue(), err.getvalue()
        )

    def started(self, output: Path, *arguments: str, **variables: str) -> ForkedProcess:
        """The same in a process of its own that is left to run, what it says in a file.

        Its imports are done: they take longer than most of what a test has such a process for.
        """
        script = Path(sys.executable).with_name("geofm")
        command = [str(script), *arguments, "--store", str(self.store)]
        environment = {**self.environment, **variables}
        with output.open("w") as said:
            return shared_template().start(command, environment, Path.cwd(), said.fileno())

    def run(self, world: SampleWorld, *experiments: str, ok: bool = True):
        return self("run", TASK, *self.inputs(world, *experiments), ok=ok)

    @staticmethod
    def inputs(world: SampleWorld, *experiments: str) -> list[str]:
        """Options for a world; without experiments nothing is trained."""
        sets = [part for item in SMALL for part in ("--set", item)]
        places = ["--mirror", str(world.mirror), "--scenes", str(world.scenes)]
        return [*places, *sets, *(part for name in experiments for part in ("--experiment", name))]

    def json(self, *arguments: str):
        return json.loads(self.here(*arguments, "--json").stdout)

    def opened(self) -> Store:
        return Store(self.store)


class StagesOnly(Driver):
    """A driver that leaves out the SQL models, which every run makes again."""

    def _models(self, keys: list[dg.AssetKey], place: tuple[int, int]) -> StageResult:
        return StageResult("sql models", [])


def environment(**more: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("GEOFM_", "DAGSTER_"))}
    return {**kept, "DAGSTER_DISABLE_TELEMETRY": "1", "COLUMNS": "160", **more}


def artifacts(store: Path) -> dict[str, str]:
    """Content digest of every artifact that must be the same wherever it was made."""
    found = {}
    for pattern in (
        "reference/points/*.parquet",
        f"tasks/{TASK}/sample.parquet",
        f"tasks/{TASK}/cells.parquet",
        f"tasks/{TASK}/points/*/points.parquet",
        f"tasks/{TASK}/windows/*/windows.parquet",
        f"tasks/{TASK}/rasters/*/*.parquet",
        f"tasks/{TASK}/chips/*/*",
        f"tasks/{TASK}/split_manifest.parquet",
        f"tasks/{TASK}/experiments/*/predictions.parquet",
        f"tasks/{TASK}/experiments/*/metrics.parquet",
    ):
        for path in sorted(store.glob(pattern)):
            key = str(path.relative_to(store))
            if path.suffix == ".parquet":
                found[key] = pq.read_schema(path).metadata[b"geofm.content"].decode()
            else:
                found[key] = hashlib.sha256(path.read_bytes()).hexdigest()
    assert len(found) > 10
    return found


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """A folder that is made by the first worker to need it, and that all only read."""
    shared = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    folder, finished = shared / name, shared / f"{name}.made"
    with (shared / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not finished.exists():
            shutil.rmtree(folder, ignore_errors=True)  # of a worker that failed to make it
            folder.mkdir()
            make(folder)
            finished.touch()
    return folder


@pytest.fixture(scope="session")
def world(tmp_path_factory) -> SampleWorld:
    folder = made_once(tmp_path_factory, "world", lambda to: build(to, preset="tiny"))
    return SampleWorld(folder / "mirror", folder / "scenes")


@pytest.fixture
def new_store(tmp_path):
    def make(name: str = "store", **variables: str) -> Geofm:
        return Geofm(tmp_path / name, environment(**variables))

    return make


@pytest.fixture(scope="session")
def finished(world, tmp_path_factory) -> Geofm:
    """A store in which the small task has been run once. Tests only read it."""

    def run_once(folder: Path) -> None:
        done = Geofm(folder / "store", environment()).run(world, EXPERIMENT)
        (folder / "stdout.txt").write_text(done.stdout)

    made = made_once(tmp_path_factory, "finished_once", run_once)
    # reading opens SQLite files, which must not come and go while another worker copies them
    folder = tmp_path_factory.mktemp("finished")
    shutil.copytree(made, folder, dirs_exist_ok=True)
    return Geofm(folder / "store", environment())


@pytest.fixture
def copied(finished, tmp_path) -> Geofm:
    """A copy of the finished store that a test may change."""
    shutil.copytree(finished.store, tmp_path / "store")
    return Geofm(tmp_path / "store", environment())
