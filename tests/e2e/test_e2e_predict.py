"""`geofm predict` as a person uses it."""

import json
import time

import pytest
import rasterio
import rasterio.warp

TASK = "worldcereal_cropland"
EXPERIMENT = "olmoearth_v1_2_nano-s1_s2-ps4-ws8-t6"

pytestmark = pytest.mark.slow


@pytest.fixture
def area(world, tmp_path):
    """A request for three districts of the world, each in tiles of its own."""
    features = []
    for district in ("d00", "d05", "d11"):
        with rasterio.open(next(world.scenes.glob(f"S2_*_{district}.tif"))) as scene:
            west, south, east, north = rasterio.warp.transform_bounds(
                scene.crs, "EPSG:4326", *scene.bounds
            )
        ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
        times = {"oe_start_time": "2022-05-23T00:00:00Z", "oe_end_time": "2022-06-22T00:00:00Z"}
        geometry = {"type": "Polygon", "coordinates": [ring]}
        features.append({"type": "Feature", "properties": times, "geometry": geometry})
    path = tmp_path / "my area.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path


def test_a_map_is_made_killed_resumed_and_then_left_alone(copied, area):
    arguments = ("predict", TASK, "--request", str(area), "--experiment", EXPERIMENT)
    process = copied.started(copied.store.parent / "killed.txt", *arguments)
    limit = time.monotonic() + 300
    while not (notes := list(copied.store.glob("maps/*/*/tiles/*/*.json"))):
        assert process.poll() is None, "ended before a tile was made"
        assert time.monotonic() < limit, "no tile was made"
        time.sleep(0.02)
    process.kill()
    process.wait()
    before = {path: path.stat().st_mtime_ns for path in notes}
    made = copied.json(*arguments)
    assert made["made"]
    assert made["map"].startswith("2022-05-23-")
    assert sum(made["tiles"].values()) >= 3
    assert made["simulated"]
    assert made["pixels"] > 3 * 70 * 70
    assert sum(made["class_pixels"].values()) == made["pixels"]
    assert {path: path.stat().st_mtime_ns for path in notes} == before
    printed = copied.here(*arguments).stdout
    assert "nothing was made" in printed
    assert "SIMULATED" in printed
    assert "Mapped for 2022-06-07" in printed
