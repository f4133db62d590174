"""The sample world's imagery: plausible numbers, in the shape of the real folder."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import rasterio
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from geofm_assets.sample_world.build import world_districts
from geofm_assets.sample_world.classes import CLASSES, INDEX
from geofm_assets.sample_world.phenology import SEASON, cover, grow
from geofm_assets.sample_world.pixels import S1_NODATA, land, optical, radar
from geofm_assets.sample_world.presets import PRESETS
from geofm_assets.sample_world.spectra import S2_BANDS, lay_ground, reflectance

MID_APRIL, MID_MAY, MID_JULY, MID_SEPTEMBER = 104.0, 134.0, 195.0, 257.0


def cover_of(name, day, fields=200):
    rng = np.random.default_rng(0)
    growth = grow(np.full(fields, INDEX[name]), 45.0, rng)
    green, dry = cover(growth, day)
    return green.mean(), dry.mean()


def ndvi_of(name, day, fields=200):
    rng = np.random.default_rng(0)
    growth = grow(np.full(fields, INDEX[name]), 45.0, rng)
    seen, _ = reflectance(growth, lay_ground(fields, rng), day, 0.4)
    red, nir = seen[:, S2_BANDS.index("B04")], seen[:, S2_BANDS.index("B08")]
    return float(((nir - red) / (nir + red)).mean())


def test_every_class_has_a_season():
    assert set(SEASON) == {land.name for land in CLASSES}


@pytest.mark.parametrize("name", SEASON)
@pytest.mark.parametrize("day", range(-120, 390, 30))
def test_cover_is_a_share(name, day):
    growth = grow(np.full(50, INDEX[name]), 50.0, np.random.default_rng(1))
    green, dry = cover(growth, float(day))
    assert green.min() >= 0
    assert dry.min() >= 0
    assert (green + dry).max() <= 1 + 1e-9


def test_winter_cereals_are_green_in_spring_and_gone_in_september():
    assert cover_of("wheat", MID_MAY)[0] > 0.65
    assert cover_of("wheat", MID_SEPTEMBER)[0] < 0.3


def test_ripe_cereals_are_dry():
    assert cover_of("wheat", MID_JULY)[1] > 0.4


def test_summer_crops_are_bare_in_april_and_green_in_july():
    assert cover_of("maize", MID_APRIL)[0] < 0.15
    assert cover_of("maize", MID_JULY)[0] > 0.7


def test_spring_comes_later_in_the_north():
    fields = np.full(400, INDEX["broadleaved"])
    south = grow(fields, 43.0, np.random.default_rng(2))
    north = grow(fields, 51.0, np.random.default_rng(2))
    assert north.shift.mean() - south.shift.mean() == pytest.approx(32.0)
    assert cover(south, 112.0)[0].mean() > cover(north, 112.0)[0].mean() + 0.2


@pytest.mark.parametrize(
    ("name", "day", "low", "high"),
    [
        ("maize", MID_JULY, 0.6, 0.9),
        ("wheat", MID_MAY, 0.55, 0.9),
        ("maize", MID_APRIL, 0.1, 0.35),
        ("coniferous", MID_JULY, 0.5, 0.85),
        ("bare", MID_JULY, 0.1, 0.35),
        ("water", MID_JULY, -0.6, 0.0),
    ],
)
def test_ndvi_lies_where_it_is_reported_to_lie(name, day, low, high):
    assert low < ndvi_of(name, day) < high


def test_optical_scenes_hold_reflectance_times_ten_thousand(tiny):
    values = []
    for path in sorted(tiny.scenes.glob("S2_2022-06_*.tif")):
        with rasterio.open(path) as scene:
            assert scene.dtypes == ("uint16",) * 12
            assert scene.nodata == 0
            values.append(scene.read().reshape(12, -1))
    seen = np.concatenate(values, axis=1)
    seen = seen[:, seen[0] > 0]
    medians = dict(zip(S2_BANDS, np.median(seen, axis=1), strict=True))
    assert 150 < medians["B02"] < 1000
    assert medians["B08"] > 2 * medians["B04"]
    assert medians["B12"] < medians["B11"] < medians["B08"]
    assert seen.max() < 10_000


def test_radar_scenes_hold_decibels_with_vh_below_vv(tiny):
    values = []
    for path in sorted(tiny.scenes.glob("S1_2022-06_*.tif")):
        with rasterio.open(path) as scene:
            assert scene.dtypes == ("float32",) * 2
            assert scene.nodata == S1_NODATA
            values.append(scene.read().reshape(2, -1))
    vv, vh = np.concatenate(values, axis=1)
    assert -15 < np.median(vv) < -8
    assert 5 < np.median(vv) - np.median(vh) < 9
    assert vv.max() < 5
    assert vh.min() > -40


def test_speckle_has_the_spread_of_its_looks():
    district = next(d for d in world_districts("demo") if (d.classes == INDEX["coniferous"]).any())
    place = land(district, 0)
    month = PRESETS["demo"].month_starts()[9]
    vv = radar(place, month)[0]
    field = np.flatnonzero(district.classes == INDEX["coniferous"])
    inside = np.isin(district.labels, field[:1])
    assert 0.7 < vv[inside].std() < 1.6


def test_bands_of_twenty_metres_come_in_blocks(tiny):
    with rasterio.open(next(tiny.scenes.glob("S2_2022-07_*.tif"))) as scene:
        b11, b01 = scene.read(11), scene.read(1)
    valid = b11 > 0
    pairs = valid[:, 0::2] & valid[:, 1::2]
    assert (b11[:, 0::2][pairs] == b11[:, 1::2][pairs]).all()
    assert len(np.unique(b01[:6, :6][b01[:6, :6] > 0])) <= 1


def test_some_months_are_clouded_and_some_not_seen_at_all():
    months = PRESETS["demo"].month_starts()[:-1]
    places = [land(d, 0) for d in world_districts("demo")[:8]]
    shares = [
        1.0 if (seen := optical(place, month)) is None else float((seen[0] == 0).mean())
        for place in places
        for month in months
    ]
    assert 0.01 < np.mean([share == 1.0 for share in shares]) < 0.15
    assert np.mean([0.0 < share < 1.0 for share in shares]) > 0.3
    assert np.mean([share < 0.05 for share in shares]) > 0.3


def test_cloud_cover_is_stated_as_it_is(tiny):
    entries = json.loads((tiny.scenes / "items.json").read_text())
    optic = [e for e in entries if e["collection"] == "sentinel-2-l2a"]
    for entry in optic[:20]:
        with rasterio.open(tiny.scenes / entry["file"]) as scene:
            assert entry["cloud_cover"] == pytest.approx(100 * (scene.read(1) == 0).mean(), abs=0.1)


@pytest.mark.slow
def test_a_linear_model_of_pixels_does_well_but_not_perfectly():
    """Centre pixel, June 2022 and the months around it, districts held out: macro-F1 0.75-0.92."""
    months = PRESETS["demo"].month_starts()[3:15]
    features, labels, groups = [], [], []
    for district in world_districts("demo"):
        place = land(district, 0)
        columns, rows = district.spots[district.sites].astype(int).T
        series = []
        for month in months:
            seen = optical(place, month)
            at = np.full((len(rows), 12), np.nan)
            if seen is not None:
                at = np.where(seen[:, rows, columns] > 0, seen[:, rows, columns], np.nan).T
            series += [at, radar(place, month)[:, rows, columns].T]
        features.append(np.concatenate(series, axis=1))
        labels += [CLASSES[c].cropland for c in district.classes[district.sites]]
        groups += [district.number] * len(rows)
    values = np.concatenate(features)
    values = np.where(np.isnan(values), np.nanmean(values, axis=0), values)
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    guessed = cross_val_predict(model, values, labels, groups=groups, cv=GroupKFold(6))
    assert 0.75 < f1_score(labels, guessed, average="macro") < 0.92


@pytest.mark.real
def test_label_files_have_the_columns_of_the_real_ones(tiny, real_dir):
    real = next((real_dir / "worldcereal_corsica_2022" / "collections").glob("*/*.geoparquet"))
    theirs = pq.read_schema(real)
    for path in tiny.mirror.glob("*/2022_*.geoparquet"):
        ours = pq.read_schema(path)
        assert [n for n in ours.names if n in theirs.names] == theirs.names
        assert all(ours.field(f.name).type == f.type for f in theirs)
        assert set(ours.names) - set(theirs.names) == {"sampling_ewoc_code"}
        mine, real_geo = (json.loads(s.metadata[b"geo"]) for s in (ours, theirs))
        assert mine["primary_column"] == real_geo["primary_column"]
        column = mine["columns"]["geometry"]
        assert column["encoding"] == "WKB"
        assert column["crs"]["id"] == real_geo["columns"]["geometry"]["crs"]["id"]


@pytest.mark.real
def test_records_have_the_fields_of_the_real_ones(tiny, real_dir):
    folder = real_dir / "worldcereal_corsica_2022" / "collections"
    theirs = json.loads((folder / "collections.json").read_text())["items"][0]
    for record in json.loads((tiny.mirror / "collections.json").read_text())["items"]:
        assert set(theirs) <= set(record)


@pytest.mark.real
def test_scenes_have_the_form_of_the_real_ones(tiny, real_dir):
    folder = real_dir / "worldcereal_corsica_2022" / "scenes"

    def forms(scenes):
        found = {}
        for entry in json.loads((scenes / "items.json").read_text()):
            with rasterio.open(scenes / entry["file"]) as scene:
                found[entry["collection"]] = (
                    *(tuple(entry["bands"]), scene.descriptions, scene.dtypes, scene.nodata),
                    *(scene.crs.to_epsg(), scene.res, scene.profile["compress"]),
                )
        return found

    assert forms(tiny.scenes) == forms(folder)
