"""The demo: a sample world for each task, and for burned area a map of a fire. SIMULATED."""

import datetime as dt
import json

import pyarrow.compute as pc
import shapely
from rich.console import Console

from geofm_assets.core.errors import ConfigError, GeofmError
from geofm_assets.core.settings import Settings, load_settings
from geofm_assets.core.store import Store
from geofm_assets.labels.calfire.side_tables import perimeter_keys
from geofm_assets.platform.instance import config_path
from geofm_assets.platform.maps import MapDriver
from geofm_assets.platform.report import Reporter
from geofm_assets.prediction.asked import Asked
from geofm_assets.prediction.request import read_request
from geofm_assets.sample_world.build import build
from geofm_assets.sample_world.build_fires import build_fires
from geofm_assets.sample_world.fire_perimeters import FIRE_LAYER, PRESCRIBED_LAYER
from geofm_assets.sample_world.fires import YEARS
from geofm_assets.tasks.config import PERIMETERS_KEY

BURNED_AREA = "burned_area"
REQUEST_KEY = "sample_fires/request.geojson"
_AROUND_DEGREES = 0.006  # of a fire that is mapped, some 500 m
_DAYS = 30


def demo_settings(settings: Settings, task: str, preset: str | None) -> Settings:
    """Build the task's sample world in the store; of a bucket, which has no files, beside it.

    Args:
        settings: of the store.
        task: name of the task.
        preset: size of the world; None for the task's usual.

    Returns:
        Settings that point there.

    Raises:
        ConfigError: there is no such preset, the store was set up with other scenes, or nothing
            says where its Dagster instance is.
    """
    store = Store(settings.store)
    config_path(store)  # before the work, not after it
    if task != BURNED_AREA:
        world = build(store.working_folder("sample_world"), preset=preset or "demo")
        _require_own_scenes(settings, str(world.scenes))
        return load_settings(
            settings.store, profile="demo", rdm=str(world.mirror), scenes=str(world.scenes)
        )
    fires = build_fires(store.working_folder("sample_fires"), preset=preset or "fires")
    _require_own_scenes(settings, str(fires.scenes))
    settings = load_settings(settings.store, profile="demo", scenes=str(fires.scenes))
    places = {
        PERIMETERS_KEY: str(fires.perimeters),
        "labels.calfire.layer": FIRE_LAYER,
        "labels.calfire.prescribed_layer": PRESCRIBED_LAYER,
        "labels.calfire.first_year": YEARS[0],
        "labels.calfire.samples.far.land_cover": str(fires.land_cover),
        "labels.calfire.samples.far.within": str(fires.imaged),
    }
    tuned = {
        # the world is small: what was imaged and lies away from fires lies not far
        "labels.calfire.samples.far.min_km": 1.0,
        "labels.calfire.samples.far.h3_resolution": 3,
        "labels.calfire.samples.far.ratio": 0.35,
        "labels.calfire.samples.ring.width_m": 400,
        "labels.calfire.samples.ring.ratio": 1.0,
        "labels.calfire.samples.points.growth": 0.9,
        # 8 of 30 fires in test, and far samples in each: fewer would say nothing
        "split.fractions": {"train": 0.6, "val": 0.2, "test": 0.2},
        "split.tolerance": 0.15,
        "split.min_units": 10,
        # after 15 epochs, as in other demos, whole crops are still called burnt
        "training.epochs": 25,
    }
    # what `geofm run --set` put into the store since stays, but the world is this one
    overrides = {**tuned, **settings.overrides.get(task, {}), **places}
    return settings.model_copy(update={"overrides": {**settings.overrides, task: overrides}})


def _require_own_scenes(settings: Settings, scenes: str) -> None:
    if settings.scenes and settings.scenes != scenes:
        raise ConfigError(
            "The store was set up with other scenes",
            where=f"{settings.store}: {settings.scenes}",
            fix="Give the demo a store of its own with --store",
        )


def map_a_fire(settings: Settings, console: Console) -> str:
    """Map the largest fire of the test split with the demo's model.

    Returns:
        The map's id.

    Raises:
        GeofmError: no fire is in the test split.
    """
    store = Store(settings.store)
    driver = MapDriver(settings, BURNED_AREA, Reporter(console))
    text = json.dumps(_request(store, driver), indent=1) + "\n"
    store.write_bytes(REQUEST_KEY, text.encode())
    console.print("Mapping the largest fire of the test split, which the model has not seen.")
    experiment = driver.file.grid().default
    request = read_request(store.fetch_file(REQUEST_KEY))
    # a model of two minutes' training judges a crop as a whole: many crops smooth that
    asked = Asked(request, experiment.name, overlap=experiment.window_size * 3 // 4)
    map_id, _ = driver.make_map(asked)
    return map_id


def _request(store: Store, driver: MapDriver) -> dict[str, object]:
    """A request for the largest fire whose samples are in the test split."""
    root = driver.task.imagery.sampling.source.root
    manifest = store.read_table(f"tasks/{BURNED_AREA}/split_manifest.parquet")
    burnt = pc.and_(pc.equal(manifest["split"], "test"), pc.equal(manifest["class_name"], "burnt"))
    samples = set(manifest.filter(burnt)["sample_id"].to_pylist())
    fires = {
        row["fire_id"]
        for key in store.list_keys(f"{root}/samples", ".parquet")
        for row in store.read_table(key, ["sample_id", "fire_id"]).to_pylist()
        if row["sample_id"] in samples
    }
    rows = [
        row
        for key in perimeter_keys(store, root)
        for row in store.read_table(key).to_pylist()
        if row["fire_id"] in fires
    ]
    if not rows:
        raise GeofmError("No fire is in the test split", where=store.url, fix="Use a larger preset")
    fire = max(rows, key=lambda row: (row["area_ha"], row["fire_id"]))
    west, south, east, north = shapely.from_wkb(fire["geometry"]).bounds
    area = shapely.box(
        west - _AROUND_DEGREES, south - _AROUND_DEGREES,
        east + _AROUND_DEGREES, north + _AROUND_DEGREES,
    )  # fmt: skip
    start = dt.datetime.combine(fire["contained_date"], dt.time(), dt.UTC)
    return {
        "type": "FeatureCollection",
        "features": [
            {
                "type": "Feature",
                "geometry": shapely.geometry.mapping(area),
                "properties": {
                    "oe_start_time": start.isoformat(),
                    "oe_end_time": (start + dt.timedelta(days=_DAYS)).isoformat(),
                    "fire": fire["fire_name"],
                    "simulated": bool(fire["simulated"]),
                },
            }
        ],
    }
