"""The command line with its store in a bucket: what a folder would hold, whatever breaks."""

import json
import re
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import rasterio
import rasterio.warp
from typer.testing import CliRunner

from geofm_assets.cli import app
from geofm_assets.core.errors import GeofmError
from geofm_assets.core.leases import VARIABLE as LEASE
from geofm_assets.core.scratch import VARIABLE
from geofm_assets.core.stage import content_of
from geofm_assets.core.store import Store
from geofm_assets.sample_world.build import SampleWorld
from tests.e2e.conftest import EXPERIMENT, TASK, Geofm, environment
from tests.servers.s3 import KEY_ID, SECRET, S3Server

CHECKPOINT = f"checkpoint:{TASK}/{EXPERIMENT}"
TIMED = {"comparison.parquet": "training_seconds", "tiles.parquet": "seconds"}
"""Tables with a column that says how long something took."""

pytestmark = pytest.mark.slow


class Bucket(Geofm):
    """`geofm` on a store in a bucket."""

    @property
    def variables(self) -> dict[str, str]:
        """What a process needs beside the store's URL."""
        names = ("DAGSTER_HOME", VARIABLE)
        return {k: v for k, v in self.environment.items() if k in names or k.startswith("AWS_")}


class Killing:
    """Faults of a server: one put it cannot take now, and one during which its writer is killed."""

    def __init__(self) -> None:
        self.refused = False
        self.reached = threading.Event()

    def __call__(self, method: str, path: str, query: dict[str, list[str]]) -> int | str | None:
        if method == "PUT" and "/windows/" in path and not self.refused:
            self.refused = True
            return 503
        if method == "PUT" and re.search(r"/chips/.*\.safetensors$", path):
            self.reached.set()
            return "hang"
        return None


@pytest.fixture(scope="module")
def broken_off(
    s3: S3Server, world: SampleWorld, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Bucket, list[str]]:
    """A run that was killed while it put a cell's chips, and the keys that were there then."""
    root = tmp_path_factory.mktemp("bucket")
    (root / "home").mkdir()
    more = {"DAGSTER_HOME": str(root / "home"), VARIABLE: str(root / "scratch")}
    geofm = Bucket(f"s3://geofm/{root.name}", environment(**s3.environment(), **more))  # type: ignore[arg-type]
    s3.fault = faults = Killing()
    output = root / "killed.txt"
    short = {LEASE: "10"}  # or the next run waits a minute
    run = ("run", TASK, *geofm.inputs(world, EXPERIMENT))
    process = geofm.started(output, *run, **short)
    reached = faults.reached.wait(300)
    process.kill()
    process.wait()
    s3.fault = None
    assert reached, output.read_text()[-3000:]
    assert faults.refused
    with pytest.MonkeyPatch.context() as patched:
        for name, value in geofm.variables.items():
            patched.setenv(name, value)
        return geofm, geofm.opened().list_keys(f"tasks/{TASK}")


@pytest.fixture(scope="module")
def made(
    broken_off: tuple[Bucket, list[str]],
    s3: S3Server,
    world: SampleWorld,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Bucket, str, list[str]]:
    """The same run again, to its end: what it printed and the paths it put. Tests only read it."""
    geofm, _ = broken_off
    s3.asked.clear()
    done = geofm.here("run", TASK, *geofm.inputs(world, EXPERIMENT))
    return geofm, done.stdout + done.stderr, [p for m, p, _ in s3.asked if m in ("PUT", "POST")]


@pytest.fixture
def here(made: tuple[Bucket, str, list[str]], monkeypatch: pytest.MonkeyPatch) -> Store:
    """The bucket's store, for this process."""
    monkeypatch.delenv("GEOFM_STORE", raising=False)
    for name, value in made[0].variables.items():
        monkeypatch.setenv(name, value)
    return made[0].opened()


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """`geofm` in this process, on a store with an instance of its own."""

    def invoke(store: Store, *arguments: str) -> None:
        with monkeypatch.context() as patched:
            if store.is_local:
                patched.delenv("DAGSTER_HOME", raising=False)
            result = CliRunner().invoke(app, [*arguments, "--store", store.url])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == 0, result.output

    return invoke


@pytest.fixture
def local(finished: Geofm, tmp_path: Path) -> Store:
    """A copy of the finished store in a folder."""
    shutil.copytree(finished.store, tmp_path / "store")
    return Store(tmp_path / "store")


def require_alike(bucket: Store, local: Store, prefix: str) -> list[str]:
    """Both must hold the same keys, tables with the same content, other files with the same bytes.

    Left out are files that say how fast something was or where the store is.
    """
    keys = local.list_keys(prefix)
    assert bucket.list_keys(prefix) == keys
    for key in keys:
        name = key.rsplit("/", 1)[1]
        if name in TIMED:
            tables = [store.read_table(key).drop_columns(TIMED[name]) for store in (bucket, local)]
            assert tables[0] == tables[1], key
        elif name.endswith(".parquet") and "/raw/" not in key:
            assert content_of(bucket, key) == content_of(local, key), key
        elif name.endswith((".parquet", ".safetensors", ".tif", ".gpkg", ".yaml", ".png")):
            assert bucket.read_bytes(key) == local.read_bytes(key), key
    return keys


def test_a_run_killed_while_it_puts_a_file_leaves_nothing_that_names_it(
    broken_off: tuple[Bucket, list[str]],
) -> None:
    _, keys = broken_off
    assert any("/windows/" in key for key in keys)
    # the server may still take a file whose last byte it had; what names it was never put
    assert [key for key in keys if key.endswith(("/chips.json", "/rasters.parquet"))] == []


def test_the_next_run_makes_the_rest_and_nothing_again(
    made: tuple[Bucket, str, list[str]], broken_off: tuple[Bucket, list[str]]
) -> None:
    _, printed, put = made
    assert "baseline logistic" in printed
    assert [path for path in put if "/windows/" in path or "/candidates/" in path] == []
    assert [path for path in put if "/chips/" in path] != []


def test_the_bucket_holds_what_a_folder_would(here: Store, local: Store) -> None:
    keys = [key for top in ("reference", "tasks", "sql") for key in require_alike(here, local, top)]
    assert len(keys) > 50
    note = f"tasks/{TASK}/experiments/{EXPERIMENT}/checkpoint.json"
    assert here.read_json(note)["model_id"] == local.read_json(note)["model_id"]


def test_no_credentials_are_printed_or_kept(
    made: tuple[Bucket, str, list[str]], here: Store
) -> None:
    geofm, printed, _ = made
    places = [Path(geofm.variables[name]) for name in ("DAGSTER_HOME", VARIABLE)]
    kept = [path.read_bytes() for root in places for path in root.rglob("*") if path.is_file()]
    kept += [printed.encode(), here.read_bytes("settings.json")]
    for secret in (SECRET, KEY_ID):
        assert not any(secret.encode() in data for data in kept)


def test_a_map_whose_mosaic_is_refused_is_finished_by_asking_again(
    here: Store,
    local: Store,
    world: SampleWorld,
    tmp_path: Path,
    s3: S3Server,
    command: Callable[..., None],
) -> None:
    request = tmp_path / "area.geojson"
    request.write_text(json.dumps(middle_of(world)))
    asked = ("predict", TASK, "--request", str(request), "--experiment", EXPERIMENT)
    s3.fault = lambda method, path, _: 403 if method == "PUT" and "/mosaic/" in path else None
    with pytest.raises(GeofmError, match=r"bucket refuses.*mosaic"):
        command(here, *asked)
    s3.fault = None
    tiles = [key for key in here.list_keys("maps") if key.endswith(".tif")]
    assert len(tiles) == 1
    assert not [key for key in here.list_keys("maps") if key.endswith("request.json")]
    s3.asked.clear()
    command(here, *asked)
    assert not [p for m, p, _ in s3.asked if m == "PUT" and p.endswith(tiles[0])]
    command(local, *asked)
    names = {key.rsplit("/", 1)[1] for key in require_alike(here, local, "maps")}
    assert {"request.json", "item.json", "polygons.gpkg", "preview.png"} <= names


def test_models_are_swept_as_in_a_folder(
    here: Store, local: Store, command: Callable[..., None]
) -> None:
    sweep = ("evals", "run", "--model", CHECKPOINT, "--model", "raw_pixels", "--tasks", TASK)
    for store in (here, local):
        command(store, *sweep, "--sweep", "defaults")
    keys = require_alike(here, local, "evaluation")
    assert {"leaderboard.html", "registry.json"} <= {key.rsplit("/", 1)[1] for key in keys}
    command(here, *sweep, "--sweep", "defaults", "--dry-run")


def middle_of(world: SampleWorld) -> dict[str, Any]:
    """A request for some hundred metres in the middle of a district."""
    with rasterio.open(sorted(world.scenes.glob("S2_*.tif"))[0]) as scene:
        x, y = scene.xy(scene.height // 2, scene.width // 2)
        bounds = (x - 100, y - 100, x + 100, y + 100)
        west, south, east, north = rasterio.warp.transform_bounds(scene.crs, "EPSG:4326", *bounds)
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    times = {"oe_start_time": "2022-05-23T00:00:00Z", "oe_end_time": "2022-06-22T00:00:00Z"}
    geometry = {"type": "Polygon", "coordinates": [ring]}
    feature = {"type": "Feature", "properties": times, "geometry": geometry}
    return {"type": "FeatureCollection", "features": [feature]}
