"""The sample world of fires: repeatable, plausible, and flawed as such files are."""

import json
import shutil

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import rasterio.features
import shapely

from geofm_assets.core.errors import ConfigError
from geofm_assets.sample_world.build_fires import CODE_VERSION, build_fires, fires_of
from geofm_assets.sample_world.burns import Scar, burnt_share
from geofm_assets.sample_world.fires import FIRST_MONTH, LAST_MONTH, YEARS, fire_year, is_calm
from geofm_assets.sample_world.pixels import EPOCH, land, optical
from geofm_assets.sample_world.spectra import S2_BANDS

PRESET = "tiny_fires"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return build_fires(tmp_path_factory.mktemp("fires") / "world", preset=PRESET)


def nbr(values):
    nir, swir = (values[S2_BANDS.index(b)].astype(float) for b in ("B8A", "B12"))
    return (nir - swir) / (nir + swir)


def test_the_same_seed_gives_the_same_bytes(world, tmp_path):
    again = build_fires(tmp_path / "again", preset=PRESET)
    for path in sorted(world.perimeters.parent.rglob("*")):
        if path.is_file():
            twin = again.perimeters.parent / path.relative_to(world.perimeters.parent)
            assert twin.read_bytes() == path.read_bytes(), path.name


def test_a_build_broken_off_goes_on(world, tmp_path):
    folder = tmp_path / "half"
    shutil.copytree(world.perimeters.parent, folder)
    (folder / "sample_fires.json").unlink()
    started = {"code": CODE_VERSION, "preset": PRESET, "seed": 0, "simulated": True}
    (folder / "sample_fires.started.json").write_text(json.dumps(started))
    (folder / "perimeters.gpkg").unlink()
    whole = next((folder / "scenes").glob("S2_*.tif"))
    before = whole.stat().st_mtime_ns
    build_fires(folder, preset=PRESET)
    assert (folder / "perimeters.gpkg").read_bytes() == world.perimeters.read_bytes()
    assert whole.stat().st_mtime_ns == before


def test_a_folder_with_other_things_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(ConfigError, match="other things"):
        build_fires(tmp_path, preset=PRESET)
    assert (tmp_path / "mine.txt").read_text() == "keep"


def test_a_fire_lowers_the_burn_ratio_where_it_burnt():
    districts, fires = fires_of(PRESET)
    fire = next(f for f in fires if f.kind == "wildfire")
    district = districts[fire.district]
    with_fire = land(district, 0, (fire.scar,))
    year = fire_year(district)
    after = fire.contained.replace(year=year, month=fire.contained.month + 1, day=1)
    burnt, unburnt = optical(with_fire, after), optical(land(district, 0), after)
    seen = (burnt[0] > 0) & (unburnt[0] > 0)
    drop = nbr(unburnt) - nbr(burnt)
    severe, outside = fire.severity > 0.6, fire.severity == 0
    # 0.27 and more: moderate severity and up in Key and Benson's table
    assert np.median(drop[seen & severe]) > 0.27
    assert abs(np.median(drop[seen & outside])) < 0.02


def test_a_scar_fades():
    severity = np.full((2, 2), 0.8, np.float32)
    shown = [burnt_share([Scar(100.0, severity)], day).max() for day in (99.0, 101.0, 465.0)]
    assert shown[0] == 0
    assert shown[1] > 3 * shown[2] > 0


def test_perimeters_hold_what_burnt_and_say_they_are_simulated(world):
    districts, fires = fires_of(PRESET)
    table = gpd.read_file(world.perimeters, layer="firep_sim").to_crs("EPSG:32632")
    assert table["simulated"].all()
    fire = next(f for f in fires if f.kind == "wildfire" and f.name not in {"SIM D00 A"})
    row = table[(table["FIRE_NAME"] == fire.name)].iloc[0]
    district = districts[fire.district]
    side = fire.severity.shape[0]
    grid = rasterio.transform.from_origin(district.left, district.top, 10, 10)
    inside = rasterio.features.rasterize([row.geometry], (side, side), transform=grid)
    assert (inside[fire.severity > 0] == 1).mean() > 0.95
    islands = fire.severity[inside == 1] == 0
    assert 0 < islands.mean() < 0.5


def test_the_file_has_the_flaws_such_files_have(world):
    table = gpd.read_file(world.perimeters, layer="firep_sim")
    assert table["CONT_DATE"].isna().sum() == 1
    assert (table["CONT_DATE"].dt.year == 1970).sum() == 1
    assert (table["CONT_DATE"] < table["ALARM_DATE"]).sum() == 2
    assert table.duplicated("GlobalID").sum() == 1
    assert (~table.is_valid).sum() == 1
    assert table["COMPLEX_ID"].value_counts().max() >= 2


def test_fires_are_imaged_the_month_before_and_after(world):
    districts, fires = fires_of(PRESET)
    for fire in fires:
        if fire.kind == "wildfire":
            assert fire.alarm.year == fire_year(districts[fire.district])
            assert FIRST_MONTH < fire.alarm.month <= fire.contained.month < LAST_MONTH
            assert fire.contained >= fire.alarm > EPOCH


def test_calm_places_are_imaged_in_every_year(world):
    districts, _ = fires_of(PRESET)
    names = {path.name for path in world.scenes.glob("S2_*.tif")}
    imaged = gpd.read_file(world.imaged).to_crs("EPSG:32632")
    assert imaged["simulated"].all()
    for district in districts:
        years = {name[3:7] for name in names if district.name in name}
        everywhere = years == {str(year) for year in YEARS}
        assert everywhere == is_calm(district)
        middle = shapely.Point(district.left + 800, district.top - 800)
        assert imaged.contains(middle).any() == everywhere


def test_a_split_of_the_demo_world_can_hold_several_fires():
    districts, fires = fires_of("fires")
    burnt = {fire.district for fire in fires if fire.kind == "wildfire"}
    assert len(burnt) >= 25  # a fifth of them are five
    assert sum(is_calm(district) for district in districts) >= 8


def test_land_cover_is_that_of_the_districts(world):
    districts, _ = fires_of(PRESET)
    with rasterio.open(world.land_cover) as raster:
        for district in districts:
            east, north = district.left + 755.0, district.top - 755.0
            value = next(raster.sample([(east, north)]))[0]
            near = district.classes[district.labels[65:86, 65:86]] + 1
            assert value in near
        assert next(raster.sample([(districts[0].left - 5000, districts[0].top)]))[0] == 0


def test_earlier_and_prescribed_fires_are_there():
    _, fires = fires_of(PRESET)
    kinds = [f.kind for f in fires]
    assert {"wildfire", "earlier", "prescribed"} == set(kinds)
    assert all(shapely.is_valid(f.outline) and f.outline.area > 3000 for f in fires)
