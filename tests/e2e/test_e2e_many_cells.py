"""A store of more than a hundred cells: one more collection costs the cells it touches."""

import io
import re
from pathlib import Path

import geopandas as gpd
import h3
import numpy as np
import pytest
import shapely
from rich.console import Console

from geofm_assets.core.settings import load_settings
from geofm_assets.core.store import Store
from geofm_assets.platform.report import Reporter
from geofm_assets.sample_world.build import SampleWorld, build, world_districts
from geofm_assets.sample_world.classes import CLASSES
from geofm_assets.sample_world.collections import samples, write_collection
from geofm_assets.sample_world.terrain import District, to_degrees
from geofm_assets.sampling.task import planned_cells
from tests.e2e.conftest import StagesOnly

pytestmark = pytest.mark.slow
TASK = "worldcereal_cropland"
NEW = "2023simnewpoint110"
PER_CELL = ("filtered_points", "window_group", "rasters", "chips")
RESOLUTION = 9  # cells of about 350 m, so that a small world has many
SETTINGS = {
    "sampling.h3_resolution": RESOLUTION,
    "sampling.per_cell": 2,
    "windows.size": 4,
    "imagery.months": 1,
    "imagery.modalities": ["sentinel2_l2a"],
    "experiments.modality": ["s2"],
    "experiments.timesteps": [1],
}


def scatter(mirror: Path, title: str, districts: tuple[District, ...], count: int) -> None:
    """A collection of points anywhere in some districts, labelled by the field they fall in."""
    rng = np.random.default_rng([count, len(districts)])
    collection = write_collection(
        mirror, title, samples(districts[:1], 1, 0), confidence=97, polygons=False
    )
    path = mirror / collection / f"{title}.geoparquet"
    template = gpd.read_parquet(path)
    frame = template.iloc[np.zeros(count, dtype=int)].reset_index(drop=True)
    for row in range(count):
        district = districts[row % len(districts)]
        column, line = rng.uniform(10, district.labels.shape[0] - 10, 2)
        land = CLASSES[district.classes[district.labels[int(line), int(column)]]]
        east, north = district.left + 10 * column, district.top - 10 * line
        lon, lat = (float(d[0]) for d in to_degrees(np.array([east]), np.array([north])))
        frame.loc[row, "sample_id"] = f"{title}_{row:05}"
        frame.loc[row, "ewoc_code"] = land.ewoc_code
        frame.loc[row, "h3_l3_cell"] = h3.latlng_to_cell(lat, lon, 3)
        frame.loc[row, "geometry"] = shapely.Point(lon, lat)
    frame.to_parquet(path)


def drive(store: Path, world: SampleWorld) -> tuple[dict[str, list[str]], dict[str, int], str]:
    """Run the task up to its data; per asset partitions made, how many left alone; the output."""
    said = Console(file=io.StringIO(), width=160)
    settings = load_settings(
        str(store), {}, rdm=str(world.mirror), scenes=str(world.scenes)
    ).model_copy(update={"overrides": {TASK: SETTINGS}})
    driver = StagesOnly(settings, TASK, Reporter(said))
    last = next(n for n, view in enumerate(driver.stages) if view.key.path[-1] == PER_CELL[-1])
    driver.stages = driver.stages[: last + 1]
    results = driver.run([])
    made = {r.name.split("/")[-1]: r.made for r in results}
    left = {r.name.split("/")[-1]: r.current for r in results}
    return made, left, said.file.getvalue()


def contents(store: Path) -> dict[str, str]:
    opened = Store(store)
    keys = opened.list_keys(f"tasks/{TASK}", ".parquet")
    return {key: opened.provenance(key).content for key in keys}


def test_a_thousand_more_points_cost_only_the_cells_they_fall_in(tmp_path: Path) -> None:
    world = build(tmp_path / "world", preset="many_cells")
    districts = world_districts("many_cells")
    scatter(world.mirror, "2022_SIM_BASE_POINT_110", districts, 78)
    store = tmp_path / "store"
    drive(store, world)
    cells = planned_cells(Store(store), TASK)
    before = contents(store)
    assert len(cells) >= 100

    scatter(world.mirror, "2023_SIM_NEW_POINT_110", districts[:2], 1000)
    made, left, said = drive(store, world)

    assert Store(store).rows(f"reference/points/{NEW}.parquet") == 1000
    # a point may also push a neighbouring cell's point into the buffer between two splits
    touched = {district.cell for district in districts[:2]}
    now = planned_cells(Store(store), TASK)
    assert made["reference_collection"] == made["candidates"] == [NEW]
    for stage in PER_CELL:
        assert {h3.cell_to_parent(cell, 3) for cell in made[stage]} <= touched
        assert left[stage] == len(now) - len(made[stage]) >= 90
        assert re.search(rf"{stage}.*{left[stage]}", said)
    untouched = [
        key
        for key in before
        if "h3_cell=" in key and h3.cell_to_parent(key.split("=")[1][:15], 3) not in touched
    ]
    after = contents(store)
    assert len(untouched) >= 3 * 90
    assert all(after[key] == before[key] for key in untouched)
