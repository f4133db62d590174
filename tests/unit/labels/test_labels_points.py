import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from geofm_assets.core.errors import LabelFileError
from geofm_assets.core.hashing import table_digest
from geofm_assets.core.schema import validate
from geofm_assets.labels.cells import cell_ids, cell_strings
from geofm_assets.labels.schema import QuarantinedRow, ReferencePoint
from geofm_assets.labels.worldcereal.points import read_points
from tests.servers.label_files import COLLECTION_ROW, day, geoparquet

GOOD = shapely.Point(10.5, 47.5)


def read(path, **row):
    return read_points(path, COLLECTION_ROW | row)


def cells(*points):
    x = np.array([p.x for p in points])
    return cell_strings(cell_ids(x, np.array([p.y for p in points]), 3))


def test_a_row_keeps_its_attributes(tmp_path):
    result = read(geoparquet(tmp_path / "a.parquet", [GOOD], irrigation_status=[2]))

    assert result.points.to_pylist() == [
        {
            "sample_id": "s0000",
            "collection_id": "2021tstpoint110",
            "lon": 10.5,
            "lat": 47.5,
            "h3_l3_cell": cells(GOOD)[0].as_py(),
            "valid_time": day("2021-06-01"),
            "label_raw": "1101010000",
            "ewoc_code": 1101010000,
            "quality_score_lc": 95,
            "quality_score_ct": 94,
            "irrigation_status": 2,
            "extract": 1,
            "point_rule": "point",
            "simulated": False,
            "source_row": 0,
        }
    ]


def test_both_tables_obey_their_schemas(tmp_path):
    path = geoparquet(tmp_path / "a.parquet", [GOOD, None, shapely.box(10, 47, 11, 48)])

    result = read(path)

    assert validate(result.points, ReferencePoint).passed
    assert validate(result.quarantine, QuarantinedRow).passed


def test_a_simulated_collection_makes_simulated_points(tmp_path):
    result = read(geoparquet(tmp_path / "a.parquet", [GOOD]), simulated=True)

    assert result.points["simulated"].to_pylist() == [True]


def test_absent_optional_columns_are_null(tmp_path):
    path = geoparquet(tmp_path / "a.parquet", [GOOD], drop=("quality_score_lc", "extract"))

    points = read(path).points

    assert points["quality_score_lc"].null_count == points["extract"].null_count == 1


def test_an_empty_file_gives_no_points(tmp_path):
    result = read(geoparquet(tmp_path / "a.parquet", []))

    assert (result.points.num_rows, result.quarantine.num_rows, result.rows_read) == (0, 0, 0)
    assert validate(result.points, ReferencePoint).passed


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"sample_id": [None]}, "missing_sample_id"),
        ({"sample_id": ["  "]}, "missing_sample_id"),
        ({"ewoc_code": [9900000000]}, "unknown_code"),
        ({"ewoc_code": pa.array([None], pa.int64())}, "unknown_code"),
        ({"valid_time": ["the summer of 2021"]}, "bad_date"),
        ({"valid_time": [None]}, "bad_date"),
    ],
)
def test_a_bad_row_is_quarantined_and_no_other_is_lost(tmp_path, columns, reason):
    good = {"sample_id": ["ok"], "ewoc_code": [1101010000], "valid_time": ["2021-06-01"]}
    both = {
        name: pa.concat_arrays([pa.array(good[name]), pa.array(v).cast(pa.array(good[name]).type)])
        for name, v in columns.items()
    }

    result = read(geoparquet(tmp_path / "a.parquet", [GOOD, GOOD], **both))

    assert result.points.num_rows == 1
    assert result.quarantine.select(["source_row", "reason"]).to_pylist() == [
        {"source_row": 1, "reason": reason}
    ]


def test_a_bad_geometry_is_quarantined_with_its_row_as_strict_json(tmp_path):
    path = geoparquet(
        tmp_path / "a.parquet",
        [shapely.LineString([(0, 0), (1, 1)])],
        note=pa.array([float("nan")]),
    )

    row = read(path).quarantine.to_pylist()[0]

    assert (row["reason"], row["sample_id"]) == ("unsupported_geometry", "s0000")
    values = json.loads(row["row_json"], parse_constant=pytest.fail)
    assert values["geometry"] == "LINESTRING (0 0, 1 1)"
    assert values["ewoc_code"] == 1101010000


def test_swapped_axes_are_told_by_the_source_cell(tmp_path):
    path = geoparquet(tmp_path / "a.parquet", [shapely.Point(47.5, 10.5)], h3_l3_cell=cells(GOOD))

    assert read(path).reasons == {"swapped_coordinates": 1}


def test_swapped_axes_off_the_globe_are_told_by_the_source_cell(tmp_path):
    there = shapely.Point(120, 30)
    path = geoparquet(tmp_path / "a.parquet", [shapely.Point(30, 120)], h3_l3_cell=cells(there))

    assert read(path).reasons == {"swapped_coordinates": 1}


def test_swapped_axes_are_told_by_the_box(tmp_path):
    path = geoparquet(tmp_path / "a.parquet", [shapely.Point(47.5, 10.5), GOOD])

    result = read(path, west=5, south=45, east=15, north=50)

    assert result.reasons == {"swapped_coordinates": 1}


def test_a_box_across_the_antimeridian_swaps_nothing(tmp_path):
    path = geoparquet(tmp_path / "a.parquet", [shapely.Point(-179, -17), shapely.Point(178, -17)])

    result = read(path, west=177, south=-20, east=-178, north=-15)

    assert result.points.num_rows == 2


def test_a_point_outside_the_box_is_kept_if_swapping_does_not_help(tmp_path):
    result = read(geoparquet(tmp_path / "a.parquet", [GOOD]), west=0, south=0, east=1, north=1)

    assert result.points.num_rows == 1


def test_the_rows_own_cell_outweighs_the_box(tmp_path):
    point = shapely.Point(47.5, 10.5)
    path = geoparquet(tmp_path / "a.parquet", [point], h3_l3_cell=cells(point))

    assert read(path, west=5, south=45, east=15, north=50).points.num_rows == 1


def test_on_the_diagonal_a_neighbouring_cell_is_no_sign_of_a_swap(tmp_path):
    # A field whose centroid lies in one cell while its source row names the cell beside it.
    step = np.linspace(30, 33, 4000)
    ids = cell_ids(step, step + 0.05, 3)
    other = cell_ids(step + 0.05, step, 3)
    differs = np.flatnonzero(ids != other)[:1]
    assert len(differs) == 1
    point = shapely.Point(step[differs[0]], step[differs[0]] + 0.05)
    path = geoparquet(tmp_path / "a.parquet", [point], h3_l3_cell=cell_strings(other[differs]))

    assert read(path).points.num_rows == 1


def test_a_source_cell_that_is_none_is_no_fault(tmp_path):
    path = geoparquet(tmp_path / "a.parquet", [GOOD, GOOD], h3_l3_cell=["nonsense", None])

    assert read(path).points.num_rows == 2


def test_one_of_the_rows_with_one_sample_id_is_kept(tmp_path):
    result = read(geoparquet(tmp_path / "a.parquet", [GOOD] * 3, sample_id=["a", "b", "a"]))

    assert result.points["sample_id"].to_pylist() == ["a", "b"]
    row = result.quarantine.to_pylist()[0]
    assert (row["reason"], row["source_row"]) == ("duplicate_sample_id", 2)
    assert "row 0" in row["detail"]
    assert json.loads(row["row_json"])["sample_id"] == "a"


def test_a_refused_row_does_not_count_as_a_duplicate(tmp_path):
    result = read(geoparquet(tmp_path / "a.parquet", [None, GOOD], sample_id=["a", "a"]))

    assert result.points.num_rows == 1
    assert result.reasons == {"missing_geometry": 1}


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 8),
            st.floats(5, 15),
            st.floats(45, 50),
            st.sampled_from([1101010000, 2001000000, 9900000000]),
        ),
        min_size=1,
        max_size=30,
    ),
    st.randoms(),
)
def test_the_points_do_not_depend_on_the_order_of_the_file(tmp_path_factory, rows, random):
    folder = tmp_path_factory.mktemp("order")
    shuffled = rows.copy()
    random.shuffle(shuffled)

    digests = []
    for name, order in (("a", rows), ("b", shuffled)):
        path = geoparquet(
            folder / f"{name}.parquet",
            [shapely.Point(x, y) for _, x, y, _ in order],
            sample_id=[f"s{i}" for i, *_ in order],
            ewoc_code=[code for *_, code in order],
        )
        result = read(path)
        assert result.points.num_rows + result.quarantine.num_rows == len(rows)
        digests.append(table_digest(result.points.drop_columns(["source_row"])))

    assert digests[0] == digests[1]


def test_row_groups_and_batches_change_nothing(tmp_path, monkeypatch):
    points = [shapely.Point(5 + i / 20, 47) for i in range(200)]
    path = geoparquet(tmp_path / "a.parquet", points, sample_id=[f"s{i % 190}" for i in range(200)])
    small = tmp_path / "b.parquet"
    pq.write_table(pq.read_table(path), small, row_group_size=7)

    whole = read(path)
    monkeypatch.setattr("geofm_assets.labels.geoparquet.BATCH_ROWS", 3)
    pieces = read(small)

    assert table_digest(pieces.points) == table_digest(whole.points)
    assert table_digest(pieces.quarantine) == table_digest(whole.quarantine)


@pytest.mark.parametrize("column", ["sample_id", "ewoc_code", "valid_time"])
def test_a_missing_column_is_named_with_the_file(tmp_path, column):
    path = geoparquet(tmp_path / "a.parquet", [GOOD], drop=(column,))

    with pytest.raises(LabelFileError, match=f"Missing column {column} at .*a.parquet"):
        read(path)


@pytest.mark.parametrize("geo", [True, False])
def test_a_file_without_geometry_is_refused(tmp_path, geo):
    path = geoparquet(tmp_path / "a.parquet", [GOOD], drop=("geometry",), geo=geo)

    with pytest.raises(LabelFileError, match="no geometry column"):
        read(path)


@pytest.mark.parametrize("content", [b"", b"not parquet at all", b"PAR1" + b"\0" * 50 + b"PAR1"])
def test_a_file_that_is_no_parquet_is_refused(tmp_path, content):
    path = tmp_path / "a.parquet"
    path.write_bytes(content)

    with pytest.raises(LabelFileError, match="Not a readable Parquet file"):
        read(path)


def test_a_file_damaged_in_the_middle_is_refused(tmp_path):
    path = geoparquet(tmp_path / "a.parquet", [GOOD] * 5000)
    data = bytearray(path.read_bytes())
    data[4 : len(data) // 2] = b"\xff" * (len(data) // 2 - 4)
    path.write_bytes(data)

    with pytest.raises(LabelFileError, match="Not a readable Parquet file"):
        read(path)


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(LabelFileError, match="no such file"):
        read(tmp_path / "a.parquet")


def test_projected_coordinates_are_refused(tmp_path):
    crs = {"name": "ETRS89-extended / LAEA Europe", "id": {"authority": "EPSG", "code": 3035}}
    path = geoparquet(tmp_path / "a.parquet", [GOOD], crs=crs)

    with pytest.raises(LabelFileError, match="LAEA Europe"):
        read(path)


def test_wgs_84_is_taken(tmp_path):
    crs = {"name": "WGS 84", "id": {"authority": "EPSG", "code": 4326}}

    assert read(geoparquet(tmp_path / "a.parquet", [GOOD], crs=crs)).points.num_rows == 1


def test_a_file_without_geoparquet_metadata_is_taken(tmp_path):
    assert read(geoparquet(tmp_path / "a.parquet", [GOOD], geo=False)).points.num_rows == 1


def test_geometry_that_is_not_wkb_is_refused(tmp_path):
    path = geoparquet(tmp_path / "a.parquet", [GOOD], geo=False, geometry=["POINT (1 2)"])

    with pytest.raises(LabelFileError, match="not WKB"):
        read(path)
