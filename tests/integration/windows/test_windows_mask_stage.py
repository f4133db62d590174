"""From perimeters in a store through a plan by groups to masks per cell."""

import datetime as dt
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import shapely

from geofm_assets.core.hashing import sha256_file
from geofm_assets.core.outcome import require_checks
from geofm_assets.core.stage import MissingUpstreamError, is_current
from geofm_assets.core.store import Store
from geofm_assets.labels.calfire.config import CalfireConfig
from geofm_assets.labels.calfire.sample_schema import CLASSES, Sample
from geofm_assets.labels.calfire.samples import make_samples
from geofm_assets.labels.calfire.samples_config import SamplesConfig
from geofm_assets.labels.calfire.schema import FIRE_YEAR, PERIMETER, FireYear, Perimeter
from geofm_assets.labels.calfire.side_tables import perimeters_key, samples_key, years_key
from geofm_assets.labels.calfire.utm import to_degrees, to_utm
from geofm_assets.labels.config import LabelsConfig
from geofm_assets.labels.schema import Collection, ReferencePoint
from geofm_assets.labels.source import label_source
from geofm_assets.labels.worldcereal.collections import collections_table
from geofm_assets.sampling.config import SamplingConfig, SplitConfig
from geofm_assets.sampling.stages import CandidatesStage, FilteredPointsStage, PlanStage
from geofm_assets.sampling.task import SamplingTask, planned_cells
from geofm_assets.windows.assets import build_mask_assets
from geofm_assets.windows.config import MasksConfig, WindowsConfig
from geofm_assets.windows.mask_stage import MasksStage
from geofm_assets.windows.stages import WindowGroupStage
from tests.fire_polygons import blob, fire, many_fires

NOTE: dict[str, Any] = {"inputs": "", "code_version": "1", "simulated": True}
LABELS = LabelsConfig(
    source="calfire",
    rule="identity",
    classes=CLASSES,
    calfire=CalfireConfig(perimeters="fires.gpkg"),
)
TASK = SamplingTask(
    "burned_area",
    label_source("burned_area", LABELS),
    LABELS,
    SamplingConfig(per_cell=10_000),
    SplitConfig(by="group", min_units=5),
    330.0,
)
WINDOWS = WindowsConfig()
STAGE = MasksStage(TASK, WINDOWS, MasksConfig())
YEARS = (2019, 2020)


def put_perimeters(store: Store, table: pa.Table) -> None:
    for year in pc.unique(table["fire_year"]).to_pylist():
        rows = table.filter(pc.equal(table["fire_year"], year))
        store.write_table(perimeters_key(TASK.source.root, year), rows, Perimeter, **NOTE)
    found = store.list_keys(f"{TASK.source.root}/perimeters", ".parquet")
    list_years(store, [int(Path(key).stem) for key in found])


def list_years(store: Store, years: Sequence[int]) -> None:
    """Say that the source has these fire years."""
    rows = [
        {"fire_year": y, "rows": 1, "prescribed_rows": 0, "sampled": True, "digest": "",
         "simulated": True} for y in years
    ]  # fmt: skip
    table = pa.Table.from_pylist(rows, schema=FIRE_YEAR)
    store.write_table(years_key(TASK.source.root), table, FireYear, **NOTE)


def add_fire(store: Store, lon: float, lat: float) -> None:
    """A fire of 2018 beside what is there."""
    shape = blob(lon, lat, 2000)
    row = fire("extra", shape, contained_date=dt.date(2018, 7, 1))
    put_perimeters(store, pa.Table.from_pylist([row], schema=PERIMETER))


@pytest.fixture(scope="module")
def laid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with everything up to the windows."""
    folder = tmp_path_factory.mktemp("laid") / "store"
    opened = Store(folder)
    table = many_fires(150, 3, box=(-122, 38, -119, 40), years=YEARS)
    put_perimeters(opened, table)
    listing = []
    for year in YEARS:
        made = make_samples(table, year, SamplesConfig(far={"min_km": 2}), 0)
        name = f"frap{year}"
        opened.write_table(samples_key(TASK.source.root, name), made.samples, Sample, **NOTE)
        opened.write_table(TASK.source.points_key(name), made.points, ReferencePoint, **NOTE)
        listing.append(name)
    none = collections_table([])
    rows = pa.Table.from_pylist(
        [
            {
                **dict.fromkeys(none.column_names, ""),
                "collection_id": name,
                "rdm_id": name,
                "feature_count": 1,
                **dict.fromkeys(("confidence_land_cover", "confidence_crop_type"), None),
                **dict.fromkeys(("west", "south", "east", "north"), None),
                "simulated": True,
            }
            for name in listing
        ],
        schema=none.schema,
    )
    opened.write_table(TASK.source.collections_key, rows, Collection, **NOTE)
    for name in listing:
        CandidatesStage(TASK).make(opened, name, False)
    require_checks(PlanStage(TASK).make(opened), "plan")
    for cell in planned_cells(opened, TASK.name):
        FilteredPointsStage(TASK).make(opened, cell, False)
        WindowGroupStage(TASK, WINDOWS).make(opened, cell, False)
    return folder


@pytest.fixture
def store(laid: Path, tmp_path: Path) -> Store:
    return Store(shutil.copytree(laid, tmp_path / "store"))


def biggest(store: Store) -> str:
    cells = store.read_table(PlanStage(TASK).key())
    return cells.sort_by([("points", "descending")])["h3_cell"][0].as_py()


def test_masks_follow_the_windows_of_a_cell(store: Store) -> None:
    cell = biggest(store)
    outcome = STAGE.make(store, cell, False)
    require_checks(outcome, cell)
    masks = store.read_table(STAGE.key(cell))
    windows = store.read_table(WindowGroupStage(TASK, WINDOWS).key(cell))
    assert masks["window_name"].equals(windows["window_name"])
    assert set(masks["size"].to_pylist()) == {32}
    assert outcome.metadata["burnt"] > 0
    assert outcome.metadata["unburnt"] > 0
    assert store.provenance(STAGE.key(cell)).simulated


def test_the_plan_keeps_fires_together(store: Store) -> None:
    sample = store.read_table(PlanStage(TASK).sample_key)
    tables = [store.read_table(samples_key(TASK.source.root, f"frap{year}")) for year in YEARS]
    group = {r["sample_id"]: r["group_id"] for t in tables for r in t.to_pylist()}
    found: dict[str, set[str]] = {}
    for row in sample.to_pylist():
        if row["split"] != "buffer":
            found.setdefault(group[row["sample_id"]], set()).add(row["split"])
    assert all(len(splits) == 1 for splits in found.values())
    assert {s for splits in found.values() for s in splits} == {"train", "val", "test"}


def test_nothing_is_made_twice_and_the_same_bytes_again(store: Store) -> None:
    cell = biggest(store)
    STAGE.make(store, cell, False)
    first = sha256_file(store.local_path(STAGE.key(cell)))
    assert STAGE.make(store, cell, False).skipped
    assert not STAGE.make(store, cell, True).skipped
    assert sha256_file(store.local_path(STAGE.key(cell))) == first


def test_a_perimeter_elsewhere_leaves_the_masks_current(store: Store) -> None:
    cell = biggest(store)
    STAGE.make(store, cell, False)
    add_fire(store, -110, 35)
    assert is_current(store, STAGE, cell)


def test_a_perimeter_among_the_windows_makes_them_stale(store: Store) -> None:
    cell = biggest(store)
    STAGE.make(store, cell, False)
    windows = store.read_table(WindowGroupStage(TASK, WINDOWS).key(cell))
    add_fire(store, windows["lon"][0].as_py(), windows["lat"][0].as_py())
    assert not is_current(store, STAGE, cell)


def test_masks_of_another_place_fail_their_check(store: Store) -> None:
    """As if perimeters had lost their projection: nothing lies where it should."""
    cell = biggest(store)
    for year in YEARS:
        key = perimeters_key(TASK.source.root, year)
        rows = store.read_table(key).slice(0, 1)
        store.write_table(key, rows, Perimeter, **NOTE)
    outcome = STAGE.make(store, cell, False)
    failed = [check.name for check in outcome.checks if not check.passed]
    assert failed == ["centres_agree"]


def test_the_middle_is_the_pixel_that_holds_the_point(store: Store) -> None:
    """Fires of one pixel, each about its sample's point, and no gap that would hide a shift."""
    cell = biggest(store)
    windows = store.read_table(WindowGroupStage(TASK, WINDOWS).key(cell))
    groups = {
        row["sample_id"]: row["group_id"]
        for year in YEARS
        for row in store.read_table(samples_key(TASK.source.root, f"frap{year}")).to_pylist()
    }
    rows = []
    for row in windows.filter(pc.equal(windows["class_name"], "burnt")).to_pylist():
        epsg = int(row["crs"].removeprefix("EPSG:"))
        x, y = (float(v[0]) for v in to_utm(epsg, np.array([row["lon"]]), np.array([row["lat"]])))
        corners = np.array([[x - 5, y - 5], [x + 5, y - 5], [x + 5, y + 5], [x - 5, y + 5]])
        pixel = shapely.Polygon(np.column_stack(to_degrees(epsg, *corners.T)))
        given = {"contained_date": row["valid_time"], "group_id": groups[row["sample_id"]]}
        rows.append(fire(row["sample_id"], shapely.MultiPolygon([pixel]), **given))
    put_perimeters(store, pa.Table.from_pylist(rows, schema=PERIMETER).sort_by("fire_id"))
    outcome = MasksStage(TASK, WINDOWS, MasksConfig(gap_m=0)).make(store, cell, False)
    (agree,) = [check for check in outcome.checks if check.name == "centres_agree"]
    assert rows
    assert agree.description.startswith(f"0 of {windows.num_rows} ")


def test_without_perimeters_it_says_what_is_missing(store: Store) -> None:
    cell = biggest(store)
    store.local_path(years_key(TASK.source.root)).unlink()
    with pytest.raises(MissingUpstreamError, match="no fire perimeters"):
        STAGE.inputs(store, cell)


def test_a_listed_year_that_was_not_made_is_named(store: Store) -> None:
    cell = biggest(store)
    list_years(store, [*YEARS, 2021])
    with pytest.raises(MissingUpstreamError, match=r"perimeters/2021\.parquet"):
        STAGE.inputs(store, cell)


def test_the_perimeters_of_a_withdrawn_year_are_not_used(store: Store) -> None:
    """Their file is still there, as is that of a collection that was withdrawn."""
    cell = biggest(store)
    before = STAGE.inputs(store, cell)
    windows = store.read_table(WindowGroupStage(TASK, WINDOWS).key(cell))
    add_fire(store, windows["lon"][0].as_py(), windows["lat"][0].as_py())
    assert STAGE.inputs(store, cell) != before
    list_years(store, YEARS)
    assert STAGE.inputs(store, cell) == before
    assert store.exists(perimeters_key(TASK.source.root, 2018))


def test_the_plan_needs_the_samples_of_every_collection(store: Store) -> None:
    store.local_path(samples_key(TASK.source.root, "frap2019")).unlink()
    with pytest.raises(MissingUpstreamError):
        PlanStage(TASK).inputs(store)


def test_the_asset_hangs_on_windows_and_perimeters() -> None:
    (asset,) = build_mask_assets(TASK, WINDOWS, MasksConfig())
    above = {key.to_user_string() for key in asset.asset_deps[asset.key]}
    assert above == {"burned_area/window_group", "calfire/perimeters"}
    assert {c.name for c in asset.check_specs} == {"schema", "centres_agree"}
    assert isinstance(asset.partitions_def, dg.DynamicPartitionsDefinition)
