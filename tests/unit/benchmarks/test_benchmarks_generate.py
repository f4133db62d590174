"""What is generated: the same bytes for the same seed, and a mirror the platform can read."""

import hashlib
import json
from pathlib import Path

import h3
import numpy as np
import pyarrow.parquet as pq
import pytest
import shapely

from benchmarks import generate_points, generate_scenes
from benchmarks.disk import DiskSpaceError, require_space
from benchmarks.places import plan_mirror
from benchmarks.wkb import draw_shapes
from geofm_assets.labels.worldcereal.legend import known_codes


def digest(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def table_of(mirror: Path, part: str):
    (path,) = mirror.glob(f"*{part}*/*.geoparquet")
    return pq.read_table(path)


@pytest.fixture(scope="module")
def mirror(tmp_path_factory) -> Path:
    return generate_points.generate(
        tmp_path_factory.mktemp("points") / "mirror", 4_000, collections=6
    )


def test_the_same_seed_gives_the_same_bytes_and_another_gives_others(mirror, tmp_path):
    again = generate_points.generate(tmp_path / "again", 4_000, collections=6)
    other = generate_points.generate(tmp_path / "other", 4_000, collections=6, seed=1)
    assert digest(again) == digest(mirror)
    assert digest(other) != digest(mirror)


def test_chunks_do_not_show_in_the_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(generate_points, "BLOCK", 256)
    monkeypatch.setattr(generate_points, "ROW_GROUP", 1024)
    monkeypatch.setattr("benchmarks.mirror.ROW_GROUP", 1024)
    for blocks in (1, 3, 64):
        folder = tmp_path / str(blocks)
        generate_points.generate(folder, 6_000, collections=3, chunk_blocks=blocks)
    assert digest(tmp_path / "1") == digest(tmp_path / "3") == digest(tmp_path / "64")
    groups = pq.read_metadata(next((tmp_path / "1").glob("*lpis*/*.geoparquet")))
    assert groups.num_row_groups > 1
    assert groups.row_group(0).num_rows == 1024


def test_the_mirror_says_that_it_is_simulated_and_counts_its_rows(mirror):
    listing = json.loads((mirror / "collections.json").read_text())
    assert sum(item["featureCount"] for item in listing["items"]) == 4_000
    assert all(item["additionalData"]["simulated"] for item in listing["items"])
    assert all(item["title"].startswith("SIMULATED") for item in listing["items"])


def test_rows_lie_in_the_cell_they_name_and_codes_are_known(mirror):
    table = table_of(mirror, "lpis01")
    shapes = shapely.from_wkb(table["geometry"].to_numpy(zero_copy_only=False))
    middles = shapely.centroid(shapes)
    cells = [
        h3.latlng_to_cell(y, x, 3)
        for x, y in zip(shapely.get_x(middles), shapely.get_y(middles), strict=True)
    ]
    assert cells == table["h3_l3_cell"].to_pylist()
    assert known_codes(table["ewoc_code"].to_numpy()).all()
    useful = (table["ewoc_code"].to_numpy() > 0).mean()
    assert 0.89 < useful < 0.95
    assert len(set(table["sample_id"].to_pylist())) == table.num_rows


def test_shapes_are_the_mixture_asked_for():
    rng = np.random.default_rng(0)
    lon, lat = rng.uniform(-10, 10, 20_000), rng.uniform(40, 60, 20_000)
    shapes = shapely.from_wkb(np.array(draw_shapes(lon, lat, 0.75, rng).to_pylist(), object))
    kinds = shapely.get_type_id(shapes)
    assert (kinds == 0).mean() == pytest.approx(0.25, abs=0.02)
    assert (kinds == 6).mean() == pytest.approx(0.0075, abs=0.003)
    assert shapely.is_valid(shapes).all()
    corners = shapely.get_num_coordinates(shapes[kinds == 3]) - 1
    assert corners.mean() == pytest.approx(10, abs=0.7)
    assert shapely.get_x(shapes[kinds == 0]).tolist() == lon[kinds == 0].tolist()


def test_sizes_are_those_of_the_world():
    plans = plan_mirror(54_000_000)
    rows = [plan.rows for plan in plans]
    assert sum(rows) == 54_000_000
    assert max(rows) / sum(rows) == pytest.approx(0.27, abs=0.02)
    cells = {cell for plan in plans for cell in plan.cells}
    assert 1_250 <= len(cells) <= 1_450


def test_scenes_are_the_same_for_the_same_seed(tmp_path):
    first = generate_scenes.generate(tmp_path / "a", cells=2, windows=5)
    second = generate_scenes.generate(tmp_path / "b", cells=2, windows=5)
    assert digest(first.scenes) == digest(second.scenes)
    entries = json.loads((first.scenes / "items.json").read_text())
    assert len(entries) == 2 * 2 * 2 * 12
    assert all(entry["simulated"] for entry in entries)


def test_sites_lie_in_more_than_one_utm_zone():
    assert len({site.epsg for site in generate_scenes.make_sites(8, 128, 0)}) > 1


def test_what_will_not_fit_is_not_begun(tmp_path):
    with pytest.raises(DiskSpaceError, match=r"the points needs .* GiB are free"):
        require_space(tmp_path / "not" / "there", 1 << 60, "the points")
