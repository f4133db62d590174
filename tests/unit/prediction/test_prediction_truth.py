"""Maps against known polygons: hectares counted by hand, and fires left out for a reason."""

import datetime as dt

import geopandas as gpd
import numpy as np
import pyarrow as pa
import pytest
import shapely

from geofm_assets.core.errors import LabelFileError
from geofm_assets.core.schema import validate
from geofm_assets.prediction.ground import hectares
from geofm_assets.prediction.truth import score_against, select_fires, summarize
from geofm_assets.prediction.truth_schema import MapScore, MapSummary
from tests.map_files import FIRE, NORTH, ORIGINS, SOUTH, area, ground_box, write_mosaic

DAY = dt.date(2022, 6, 20)


def fire(fire_id, box, epsg=NORTH, day=DAY, **columns):
    shape = shapely.to_wkb(ground_box(epsg, *box))
    usual = {"dated": True, "prescribed": False, "group_id": fire_id, "geometry": shape}
    return {"fire_id": fire_id, "contained_date": day, **usual, **columns}


def score(mosaics, fires, areas, **options):
    found = select_fires(pa.Table.from_pylist(fires), areas, options.pop("recent_days", 0))
    table = score_against(mosaics, found, FIRE, simulated=True, **options)
    assert validate(table, MapScore).passed, validate(table, MapScore).describe()
    return {row["fire_id"]: row for row in table.to_pylist()}, table


def pixel_ha(epsg) -> float:
    column, row = ORIGINS[epsg]
    box = shapely.box(10 * column, -10 * row - 4000, 10 * column + 4000, -10 * row)
    return float(hectares(np.array([box]), epsg)[0]) / 160_000


def burnt(left, top, right, bottom, side=400):
    pixels = np.zeros((side, side), np.uint8)
    pixels[top:bottom, left:right] = 1
    return pixels


@pytest.mark.parametrize("epsg", [NORTH, SOUTH])
def test_found_missed_and_invented_hectares(tmp_path, epsg):
    # a perimeter of 100 x 100 pixels mapped 20 pixels too far east
    pixels = burnt(120, 100, 220, 200)
    pixels[100:110, 100:200] = 255
    mosaic = write_mosaic(tmp_path, pixels, epsg)
    whole = area(ground_box(epsg, 0, 0, 400, 400))
    rows, _ = score([mosaic], [fire("a", (100, 100, 200, 200), epsg)], [whole])
    row, ha = rows["a"], pixel_ha(epsg)
    assert row["pixels"] == 9_000
    for name, pixels in {
        "true_ha": 9_000,
        "both_ha": 7_200,
        "omission_ha": 1_800,
        "commission_ha": 2_000,
        "nodata_ha": 1_000,
        "perimeter_ha": 10_000,
        "error_ha": 200,
    }.items():
        assert row[name] == pytest.approx(pixels * ha, rel=1e-3), name
    assert row["iou"] == pytest.approx(7_200 / 11_000)
    assert row["commission"] == pytest.approx(2_000 / 9_200)
    assert row["omission"] == pytest.approx(0.2)


def test_hectares_are_those_on_the_ellipsoid():
    import pyproj

    box = ground_box(NORTH, 0, 0, 300, 200)
    column, row = ORIGINS[NORTH]
    metres = shapely.box(10 * column, -10 * row - 2000, 10 * column + 3000, -10 * row)
    found = hectares(np.array([metres]), NORTH)[0]
    geodesic = abs(pyproj.Geod(ellps="WGS84").geometry_area_perimeter(box)[0]) / 10_000
    assert found == pytest.approx(geodesic, rel=1e-4)


def test_a_pixel_is_the_commission_of_the_nearest_fire_within_the_margin(tmp_path):
    pixels = burnt(150, 100, 152, 110) | burnt(240, 100, 242, 110) | burnt(390, 390, 400, 400)
    mosaic = write_mosaic(tmp_path, pixels)
    fires = [fire("a", (100, 100, 120, 120)), fire("b", (250, 100, 270, 120))]
    rows, _ = score([mosaic], fires, [area(ground_box(NORTH, 0, 0, 400, 400))])
    ha = pixel_ha(NORTH)
    assert rows["a"]["commission_ha"] == pytest.approx(20 * ha, rel=1e-6)
    assert rows["b"]["commission_ha"] == pytest.approx(20 * ha, rel=1e-6)
    assert rows["a"]["iou"] == 0


def test_an_older_fire_is_left_out_and_its_scar_is_nobodys_commission(tmp_path):
    mosaic = write_mosaic(tmp_path, burnt(100, 100, 160, 120))
    old = fire("old", (120, 100, 160, 120), day=dt.date(2022, 5, 20))
    new = fire("new", (100, 100, 120, 120))
    whole = [area(ground_box(NORTH, 0, 0, 400, 400))]
    rows, _ = score([mosaic], [old, new], whole)
    assert rows["new"]["iou"] == 1
    assert rows["old"]["status"] == "left_out"
    assert "contained on 2022-05-20" in rows["old"]["reason"]
    rows, _ = score([mosaic], [old, new], whole, recent_days=30)
    assert rows["old"]["iou"] == 1


def test_a_fire_that_the_last_image_cannot_show_whole_is_left_out_however_late_an_area_ends():
    box = (100, 100, 120, 120)
    fires = [
        fire("before", box, day=dt.date(2022, 6, 14)),
        fire("at", box, day=dt.date(2022, 6, 15)),
    ]
    areas = [area(ground_box(NORTH, 0, 0, 400, 400))]
    found = select_fires(pa.Table.from_pylist(fires), areas, 0, lambda _: dt.date(2022, 6, 15))
    reasons = {f.id: f.reason for f in found}
    assert reasons["before"] is None
    assert reasons["at"] == "contained on 2022-06-15, the map's last image is from 2022-06-15 on"
    assert all(f.reason is None for f in select_fires(pa.Table.from_pylist(fires), areas))


def test_fires_that_cannot_be_compared_say_why(tmp_path):
    mosaic = write_mosaic(tmp_path, burnt(0, 0, 1, 1))
    fires = [
        fire("undated", (10, 10, 20, 20), dated=False),
        fire("prescribed", (30, 10, 40, 20), prescribed=True),
        fire("later", (50, 10, 60, 20), day=dt.date(2023, 1, 1)),
        fire("elsewhere", (900, 900, 910, 910)),
    ]
    rows, table = score([mosaic], fires, [area(ground_box(NORTH, 0, 0, 400, 400))])
    assert set(rows) == {"undated", "prescribed", "later"}
    assert {row["status"] for row in rows.values()} == {"left_out"}
    assert rows["prescribed"]["reason"] == "a prescribed burn"
    assert {row["value"] for row in summarize(table).to_pylist()} == {None}


def test_only_what_was_asked_for_counts(tmp_path):
    mosaic = write_mosaic(tmp_path, burnt(100, 100, 150, 200))
    asked = [area(ground_box(NORTH, 0, 0, 150, 400))]
    rows, _ = score([mosaic], [fire("a", (100, 100, 200, 200))], asked)
    assert rows["a"]["iou"] == 1
    assert rows["a"]["true_ha"] == pytest.approx(5_000 * pixel_ha(NORTH), rel=1e-3)
    assert rows["a"]["nodata_ha"] == 0


def test_a_part_that_no_tile_reaches_is_without_data(tmp_path):
    mosaic = write_mosaic(tmp_path, np.ones((400, 400), np.uint8))
    asked = [area(ground_box(NORTH, 0, 0, 600, 400))]
    rows, _ = score([mosaic], [fire("a", (300, 100, 500, 200))], asked)
    assert rows["a"]["nodata_ha"] == pytest.approx(10_000 * pixel_ha(NORTH), rel=1e-2)
    assert rows["a"]["omission"] == 0


def test_a_fire_across_two_zones_is_counted_once(tmp_path):
    edge = -120.0  # between zones 10 and 11
    shape = shapely.box(edge - 0.01, 36.0, edge + 0.01, 36.01)
    mosaics = []
    for epsg in (32610, 32611):
        west, north = shapely.get_coordinates(
            gpd.GeoSeries([shape.envelope], crs=4326).to_crs(epsg)
        ).T
        at = (int(west.min() // 10) - 20, int(-north.max() // 10) - 20)
        mosaics.append(write_mosaic(tmp_path, np.ones((200, 260), np.uint8), epsg, at=at))
    truth = [{"fire_id": "a", "contained_date": DAY, "geometry": shapely.to_wkb(shape)}]
    rows, _ = score(mosaics, truth, [area(shape.buffer(0.002))])
    assert rows["a"]["true_ha"] == pytest.approx(rows["a"]["perimeter_ha"], rel=2e-3)
    assert rows["a"]["omission"] == 0


def test_the_interval_is_over_groups_of_fires(tmp_path):
    pixels = burnt(100, 100, 120, 120) | burnt(200, 100, 210, 120) | burnt(300, 100, 305, 120)
    fires = [
        fire(str(n), (100 * n, 100, 100 * n + 20, 120), group_id="g" if n < 3 else "h")
        for n in (1, 2, 3)
    ]
    _, table = score(
        [write_mosaic(tmp_path, pixels)], fires, [area(ground_box(NORTH, 0, 0, 400, 400))]
    )
    summary = summarize(table)
    assert validate(summary, MapSummary).passed
    assert summary.equals(summarize(table))
    iou = summary.to_pylist()[0]
    assert (iou["fires"], iou["groups"], iou["simulated"]) == (3, 2, True)
    assert iou["low"] == pytest.approx(0.25, abs=0.01)
    assert iou["low"] < iou["value"] < iou["high"] == pytest.approx(0.75, abs=0.01)


def test_one_group_of_fires_has_no_interval(tmp_path):
    mosaic = write_mosaic(tmp_path, burnt(100, 100, 120, 120))
    whole = [area(ground_box(NORTH, 0, 0, 400, 400))]
    _, table = score([mosaic], [fire("a", (100, 100, 120, 130))], whole)
    iou = summarize(table).to_pylist()[0]
    assert iou["value"] == pytest.approx(2 / 3, abs=0.01)
    assert (iou["groups"], iou["low"], iou["high"]) == (1, None, None)


def test_any_frame_of_polygons_will_do(tmp_path):
    box = ground_box(NORTH, 100, 100, 120, 120)
    columns = {"fire_id": ["a"], "contained_date": [dt.datetime(2022, 6, 20)]}
    frame = gpd.GeoDataFrame(columns, geometry=[box], crs=4326).to_crs(3310)
    areas = [area(ground_box(NORTH, 0, 0, 400, 400))]
    (found,) = select_fires(frame, areas)
    assert found.reason is None
    assert found.contained == DAY
    assert shapely.hausdorff_distance(found.geometry, box) < 1e-7
    with pytest.raises(LabelFileError, match="no CRS"):
        select_fires(frame.set_crs(None, allow_override=True), areas)
    with pytest.raises(LabelFileError, match="contained_date"):
        select_fires(frame.drop(columns="contained_date"), areas)
