"""The sample world's labels: places, classes, and what providers do with them later."""

import json
import shutil

import h3
import numpy as np
import pyarrow.compute as pc
import pytest

from geofm_assets.core.errors import ConfigError
from geofm_assets.imagery.periods import calendar_months, request_offset
from geofm_assets.labels.config import LabelsConfig, MinConfidence
from geofm_assets.labels.csv.points import csv_collection, infer_columns
from geofm_assets.labels.csv.points import read_points as read_csv_points
from geofm_assets.labels.rules import get_rule
from geofm_assets.labels.worldcereal.collections import accepted, collections_table, cursor
from geofm_assets.labels.worldcereal.collections import changes as differences
from geofm_assets.labels.worldcereal.legend import known_codes
from geofm_assets.labels.worldcereal.points import read_points
from geofm_assets.labels.worldcereal.rdm import open_rdm
from geofm_assets.sample_world.build import SampleWorld, add_collection, world_districts
from geofm_assets.sample_world.classes import CLASSES
from geofm_assets.sample_world.collections import (
    change_collection,
    listed,
    samples,
    withdraw_collection,
    write_labels_csv,
)
from geofm_assets.sample_world.presets import PRESETS
from geofm_assets.sample_world.samples import accepted_samples, doubtful_samples
from geofm_assets.windows.config import WindowsConfig
from geofm_assets.windows.geometry import time_range

SEEDS = (0, 1, 7)


@pytest.fixture
def mirrored(tiny, tmp_path):
    """The tiny world with a mirror of its own that the test may change."""
    shutil.copytree(tiny.mirror, tmp_path / "mirror")
    return SampleWorld(tmp_path / "mirror", tiny.scenes)


def table(world):
    return collections_table(listed(world.mirror))


def read(world, collection_id, tmp_path):
    row = next(r for r in table(world).to_pylist() if r["collection_id"] == collection_id)
    fetched = open_rdm(str(world.mirror)).fetch(row, tmp_path / "raw")
    return read_points(fetched.path, row)


def sides(rows):
    return np.array([s.land.cropland for s in rows])


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("seed", SEEDS)
def test_cropland_is_about_half_in_every_cell(preset, seed):
    size = PRESETS[preset]
    seen, declared = accepted_samples(world_districts(preset, seed), size, seed)
    rows = [*seen, *declared]
    assert len(rows) == size.cells * size.districts_per_cell * size.points
    for cell in {s.district.cell for s in rows}:
        share = sides([s for s in rows if s.district.cell == cell]).mean()
        assert 0.45 <= share <= 0.65


@pytest.mark.parametrize("seed", SEEDS)
def test_every_district_of_the_demo_has_both_sides_in_the_promised_shares(seed):
    for district in world_districts("demo", seed):
        crops = [CLASSES[c].cropland for c in district.classes[district.sites]]
        assert 0.5 <= np.mean(crops) <= 0.6


def test_the_demo_has_the_points_it_is_meant_to_have():
    seen, declared = accepted_samples(world_districts("demo"), PRESETS["demo"], 0)
    assert 260 <= len(seen) + len(declared) <= 320
    assert {s.land.name for s in [*seen, *declared]} >= {"wheat", "maize", "meadow", "water"}


def test_many_cells_are_enough_to_be_split_whole():
    assert len({d.cell for d in world_districts("many_cells")}) >= 24


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("seed", SEEDS)
def test_windows_of_points_share_no_pixel_and_lie_inside_their_scene(preset, seed):
    side = PRESETS[preset].side_px
    for district in world_districts(preset, seed):
        spots = district.spots[district.sites]
        gaps = np.abs(spots[:, None] - spots[None]).max(axis=-1) + 999 * np.eye(len(spots))
        assert gaps.min() >= 33
        assert spots.min() >= 17
        assert spots.max() <= side - 17


@pytest.mark.parametrize("preset", PRESETS)
def test_every_district_lies_in_a_block_of_its_own(preset):
    resolution = PRESETS[preset].block_resolution
    blocks = set()
    for district in world_districts(preset):
        lon, lat = district.lonlat(np.arange(len(district.spots)))
        here = {h3.latlng_to_cell(y, x, resolution) for y, x in zip(lat, lon, strict=True)}
        assert len(here) == 1
        assert h3.cell_to_parent(next(iter(here)), 3) == district.cell
        blocks |= here
    assert len(blocks) == len(world_districts(preset)) >= 20


@pytest.mark.parametrize("preset", PRESETS)
def test_a_point_lies_in_the_field_it_is_said_to_be_in(preset):
    for district in world_districts(preset)[:4]:
        columns, rows = district.spots.astype(int).T
        assert (district.labels[rows, columns] == np.arange(len(district.spots))).all()


def test_every_code_is_in_the_legend():
    assert known_codes(np.array([c.ewoc_code for c in CLASSES])).all()


def test_cropland_is_what_the_reference_rule_calls_so():
    rule = get_rule(LabelsConfig(source="worldcereal", rule="ai2_v1"))
    import pyarrow as pa

    classes = rule.apply(pa.array([f"{c.ewoc_code:010d}" for c in CLASSES]))
    assert [rule.classes[i] == "Cropland" for i in classes] == [c.cropland for c in CLASSES]


@pytest.mark.parametrize("preset", PRESETS)
def test_the_months_asked_for_around_every_point_have_scenes(preset):
    size = PRESETS[preset]
    months = 12 if preset == "demo" else 6
    starts = size.month_starts()
    for day in (size.valid_from, size.valid_to):
        window = time_range(day, WindowsConfig())
        asked = calendar_months(window[0] + request_offset(months), months)
        assert starts[0] <= asked[0][0].date()
        assert asked[-1][1].date() <= starts[-1]


@pytest.mark.parametrize("collection_id", ["2022simsurveypoint110", "2022simlpispoly110"])
def test_every_row_is_read_as_a_point_where_it_was_put(tiny, tmp_path, collection_id):
    result = read(tiny, collection_id, tmp_path)
    assert result.quarantine.num_rows == 0
    assert result.points.num_rows == 24
    assert all(result.points["simulated"].to_pylist())
    seen, declared = accepted_samples(world_districts("tiny"), PRESETS["tiny"], 0)
    rows = seen if "survey" in collection_id else declared
    rules = result.points["point_rule"].to_pylist()
    lonlat = [s.district.lonlat(np.array([s.field])) for s in rows]
    for (lon, lat), x, y, rule in zip(
        lonlat,
        result.points["lon"].to_pylist(),
        result.points["lat"].to_pylist(),
        rules,
        strict=True,
    ):
        tolerance = 1e-6 if rule == "point" else 1e-3
        assert abs(lon[0] - x) < tolerance
        assert abs(lat[0] - y) < tolerance


def test_some_outlines_do_not_hold_their_centroid(tiny, tmp_path):
    result = read(tiny, "2022simlpispoly110", tmp_path)
    assert set(result.points["point_rule"].to_pylist()) == {"centroid", "representative_point"}


def test_the_crowd_is_not_trusted(tiny):
    kept = accepted(table(tiny), MinConfidence())["collection_id"].to_pylist()
    assert kept == ["2022simlpispoly110", "2022simsurveypoint110"]


def test_the_crowd_is_wrong_about_some_fields():
    rows = doubtful_samples(world_districts("demo"), PRESETS["demo"], 0)
    wrong = [s.land != CLASSES[s.district.classes[s.field]] for s in rows]
    assert 0.1 < np.mean(wrong) < 0.5


def test_an_added_collection_touches_only_the_cells_asked_for(mirrored, tmp_path):
    added = add_collection(mirrored, "2022_SIM_LATE_POINT_110", seed=0, preset="tiny", cells=1)
    points = read(mirrored, added, tmp_path).points
    assert points.num_rows == 8
    assert len(set(points["h3_l3_cell"].to_pylist())) == 1
    assert added in accepted(table(mirrored), MinConfidence())["collection_id"].to_pylist()
    assert all(points["simulated"].to_pylist())


def test_an_added_collection_labels_fields_nobody_has_labelled(mirrored, tmp_path):
    added = add_collection(mirrored, "2022_SIM_LATE_POINT_110", cells=2, points=20)
    new = read(mirrored, added, tmp_path).points
    places = set(zip(new["lon"].to_pylist(), new["lat"].to_pylist(), strict=True))
    assert len(places) == 20
    for other in ("2022simsurveypoint110", "2022simlpispoly110"):
        old = read(mirrored, other, tmp_path).points
        assert not places & set(zip(old["lon"].to_pylist(), old["lat"].to_pylist(), strict=True))


def test_an_added_collection_is_the_same_every_time(mirrored, tiny, tmp_path):
    shutil.copytree(tiny.mirror, tmp_path / "second")
    second = SampleWorld(tmp_path / "second", tiny.scenes)
    for world in (mirrored, second):
        add_collection(world, "2022_SIM_LATE_POINT_110")
    name = "2022simlatepoint110/2022_SIM_LATE_POINT_110.geoparquet"
    assert (mirrored.mirror / name).read_bytes() == (second.mirror / name).read_bytes()


def test_a_world_without_marker_needs_seed_and_preset(tiny, tmp_path):
    world = SampleWorld(tiny.mirror, tmp_path / "scenes")
    with pytest.raises(ConfigError, match="no finished sample world"):
        add_collection(world, "2022_SIM_LATE_POINT_110")


def test_a_changed_collection_is_seen_to_have_changed(mirrored, tmp_path):
    before = cursor(table(mirrored))
    change_collection(mirrored.mirror, "2022simlpispoly110", drop_rows=3)
    found = differences(before, cursor(table(mirrored)))
    assert found.changed == ("2022simlpispoly110",)
    assert read(mirrored, "2022simlpispoly110", tmp_path).points.num_rows == 21


def test_a_collection_can_lose_its_confidence(mirrored):
    change_collection(mirrored.mirror, "2022simlpispoly110", confidenceCropType=50)
    kept = accepted(table(mirrored), MinConfidence())["collection_id"].to_pylist()
    assert kept == ["2022simsurveypoint110"]


def test_a_withdrawn_collection_is_gone_from_the_listing(mirrored):
    before = cursor(table(mirrored))
    withdraw_collection(mirrored.mirror, "2022simsurveypoint110")
    assert differences(before, cursor(table(mirrored))).vanished == ("2022simsurveypoint110",)
    assert json.loads((mirrored.mirror / "collections.json").read_text())["totalCount"] == 2


def test_a_collection_nobody_lists_cannot_be_withdrawn(mirrored):
    with pytest.raises(ConfigError, match="does not list"):
        withdraw_collection(mirrored.mirror, "2022simnothingpoint110")


def test_labels_as_csv_are_read_but_for_the_bad_rows(tmp_path):
    rows = samples(world_districts("tiny"), 3, 0)
    file = tmp_path / "labels.csv"
    expected = write_labels_csv(file, rows)
    result = read_csv_points(file, infer_columns(file), csv_collection(file))
    assert result.points.num_rows == len(rows) > 48
    assert result.reasons == expected == {"bad_coordinates": 2, "bad_date": 1, "missing_label": 1}
    assert pc.all(result.points["simulated"]).as_py()
    assert set(result.points["label_raw"].to_pylist()) == {"crop", "no crop"}
