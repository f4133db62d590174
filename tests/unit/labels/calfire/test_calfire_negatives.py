"""Unburnt samples: in the ring of a fire, and far from all."""

import datetime as dt
from pathlib import Path

import geopandas
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import rasterio
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.transform import from_origin

from geofm_assets.core.errors import LabelFileError
from geofm_assets.labels.calfire.samples import SamplesResult, make_samples
from geofm_assets.labels.calfire.samples_config import SamplesConfig
from tests.fire_polygons import DAY, blob, fire, many_fires, perimeters

RING = SamplesConfig(ring={"ratio": 3}, far={"ratio": 0})
FAR = SamplesConfig(ring={"ratio": 0}, far={"ratio": 2, "min_km": 4, "h3_resolution": 5})
CROWDED = (-120.1, 39.0, -119.9, 39.2)
ONE = blob(-121, 39, 1500)
SLACK = 1.003  # of UTM's scale against true metres


def kind(made: SamplesResult, name: str) -> list[dict]:
    return made.samples.filter(pc.equal(made.samples["kind"], name)).to_pylist()


def distances(row: dict, shapes: np.ndarray) -> np.ndarray:
    """Metres from a sample to polygons, on the plane that touches the ellipsoid there."""
    sine = np.sin(np.radians(row["lat"]))
    curved = 1 - 0.00669438 * sine**2
    east = 6_378_137 / np.sqrt(curved) * np.sqrt(1 - sine**2)
    north = 6_378_137 * (1 - 0.00669438) / curved**1.5
    scale = np.radians([east, north])
    moved = shapely.transform(shapes, lambda xy: (xy - [row["lon"], row["lat"]]) * scale)
    return shapely.distance(shapely.Point(0, 0), moved)


def metres(row: dict, shape: shapely.Geometry) -> float:
    return float(distances(row, np.array([shape]))[0])


def ring_of(first: dict, *others: dict, config: SamplesConfig = RING) -> list[dict]:
    return kind(make_samples(perimeters([first, *others]), DAY.year, config, 0), "ring")


def beside(**given) -> list[dict]:
    """The ring of a fire beside which another lies."""
    other = fire("b", blob(-120.975, 39, 1500, 1), **given)
    found = ring_of(fire("a", ONE), other)
    shape = shapely.from_wkb(other["geometry"])
    return [row for row in found if row["fire_id"] == "a" and metres(row, shape) < 150 / SLACK]


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**40),
    gap=st.sampled_from([0, 150, 400]),
    width=st.sampled_from([200, 1000]),
)
def test_a_ring_sample_keeps_the_gap_from_every_fire_that_counts(seed, gap, width) -> None:
    table = many_fires(20, seed, box=CROWDED, years=(2019, 2021), largest_m=2500)
    config = SamplesConfig(
        window_extent_m=90, ring={"gap_m": gap, "width_m": width, "ratio": 2}, far={"ratio": 0}
    )
    fires = table.to_pylist()
    names = [row["fire_id"] for row in fires]
    shapes = shapely.from_wkb(table["geometry"].to_numpy())
    begun = np.array([f["alarm_date"] or dt.date(f["fire_year"], 1, 1) for f in fires])
    for row in kind(make_samples(table, 2020, config, seed), "ring"):
        own = names.index(row["fire_id"])
        assert row["valid_time"] == fires[own]["contained_date"]
        counts = begun <= row["valid_time"] + dt.timedelta(days=45)
        away = distances(row, shapes)
        assert away[own] <= (gap + width) * SLACK
        assert (away[counts] * SLACK >= gap).all()
        assert not shapely.contains_xy(shapes[counts], row["lon"], row["lat"]).any()


def test_ring_samples_lie_between_gap_and_width() -> None:
    found = ring_of(fire("a", ONE))
    away = [metres(row, ONE) for row in found]
    assert len(found) > 10
    assert min(away) >= 150 / SLACK
    assert max(away) <= 1150 * SLACK
    assert [row["distance_m"] for row in found] == pytest.approx(away, rel=0.003)


def test_an_earlier_fire_of_any_year_is_no_ring() -> None:
    assert beside(contained_date=dt.date(1950, 9, 1)) == []


def test_a_fire_that_begins_while_imagery_is_taken_is_no_ring() -> None:
    later = DAY + dt.timedelta(days=60)
    assert beside(contained_date=later, alarm_date=DAY + dt.timedelta(days=45)) == []


def test_a_fire_that_begins_later_leaves_the_ring_alone() -> None:
    later = DAY + dt.timedelta(days=60)
    assert beside(contained_date=later, alarm_date=DAY + dt.timedelta(days=46)) != []


def test_a_fire_without_alarm_may_have_burnt_all_year() -> None:
    later = DAY + dt.timedelta(days=90)
    assert beside(contained_date=later, alarm_date=None) == []


def test_a_prescribed_burn_is_no_ring() -> None:
    assert beside(prescribed=True) == []


def test_a_perimeter_of_unknown_date_is_no_ring() -> None:
    assert beside(contained_date=DAY.replace(month=12), alarm_date=None, dated=False) == []


def test_a_scar_old_enough_is_unburnt_again_if_asked() -> None:
    old = fire("b", blob(-120.975, 39, 1500, 1), contained_date=dt.date(1990, 9, 1))
    shape = shapely.from_wkb(old["geometry"])
    config = RING.model_copy(update={"scar_years": 20})
    assert any(metres(row, shape) == 0 for row in ring_of(fire("a", ONE), old, config=config))


def far(table: pa.Table, config: SamplesConfig = FAR) -> list[dict]:
    return kind(make_samples(table, DAY.year, config, 0), "far")


@pytest.fixture(scope="module")
def sparse() -> pa.Table:
    return many_fires(40, 11, box=(-121, 38.5, -119.5, 40), years=(2010, 2021), largest_m=3000)


def test_far_samples_keep_their_distance_from_every_perimeter(sparse: pa.Table) -> None:
    shapes = shapely.from_wkb(sparse["geometry"].to_numpy())
    found = far(sparse)
    assert len(found) > 20
    for row in found:
        assert distances(row, shapes).min() >= 4000


def test_far_samples_have_days_of_the_year_s_burnt_ones(sparse: pa.Table) -> None:
    made = make_samples(sparse, DAY.year, FAR, 0)
    burnt = {row["valid_time"] for row in kind(made, "burnt")}
    drawn = {row["valid_time"] for row in kind(made, "far")}
    assert drawn <= burnt
    assert len(drawn) > 1


def test_regions_get_about_equal_numbers(sparse: pa.Table) -> None:
    counts = np.unique([row["stratum"] for row in far(sparse)], return_counts=True)[1]
    assert len(counts) > 5
    assert counts.max() - counts.min() <= 1 or counts.max() <= 4


def test_a_far_sample_is_a_group_of_its_own(sparse: pa.Table) -> None:
    for row in far(sparse):
        assert row["group_id"] == row["sample_id"]
        assert row["fire_id"] is None
        assert row["distance_m"] is None


def cover(path: Path) -> str:
    """Land cover in stripes of half a degree: 10, 20, 30, 255 (nodata), from -121 eastward."""
    values = np.repeat(np.array([[10, 20, 30, 255]], np.uint8), 20, axis=0)
    with rasterio.open(
        path, "w", driver="GTiff", width=4, height=20, count=1, dtype="uint8", nodata=255,
        crs="EPSG:4326", transform=from_origin(-121, 40.5, 0.5, 0.15),
    ) as raster:  # fmt: skip
        raster.write(values, 1)
    return str(path)


def test_land_cover_gives_the_strata(sparse: pa.Table, tmp_path: Path) -> None:
    raster = cover(tmp_path / "cover.tif")
    settings_ = FAR.far.model_copy(update={"land_cover": raster, "skip_classes": [30]})
    found = far(sparse, FAR.model_copy(update={"far": settings_}))
    names, counts = np.unique([row["stratum"] for row in found], return_counts=True)
    assert names.tolist() == ["land cover 10", "land cover 20"]
    assert abs(counts[0] - counts[1]) <= 1
    assert all(row["lon"] < -120.5 for row in found if row["stratum"] == "land cover 10")


def test_far_samples_lie_within_an_area_given(sparse: pa.Table, tmp_path: Path) -> None:
    path = tmp_path / "area.gpkg"
    box = shapely.box(-120.6, 39, -119.9, 39.6)
    geopandas.GeoDataFrame(geometry=[box], crs=4326).to_crs(3310).to_file(path)
    settings_ = FAR.far.model_copy(update={"within": str(path)})
    found = far(sparse, FAR.model_copy(update={"far": settings_}))
    assert found
    assert all(shapely.contains_xy(box.buffer(1e-3), r["lon"], r["lat"]) for r in found)


@pytest.mark.parametrize("name", ["within", "land_cover"])
def test_a_file_that_is_not_there_is_named(sparse: pa.Table, name: str) -> None:
    settings_ = FAR.far.model_copy(update={name: "/nowhere/area.gpkg"})
    with pytest.raises(LabelFileError, match=f"samples.far.{name} = /nowhere"):
        far(sparse, FAR.model_copy(update={"far": settings_}))


def test_skip_classes_without_a_raster_are_refused() -> None:
    with pytest.raises(ValueError, match="needs land_cover"):
        SamplesConfig(far={"skip_classes": [1]})
