import pyarrow as pa
import pytest
import shapely

from geofm_assets.core.schema import validate
from geofm_assets.labels.schema import REFERENCE_POINT, ReferencePoint
from geofm_assets.labels.worldcereal.points import read_points
from tests.servers.label_files import COLLECTION_ROW, geoparquet


@pytest.fixture
def points(tmp_path) -> pa.Table:
    path = geoparquet(tmp_path / "a.parquet", [shapely.Point(10, 47), shapely.Point(11, 48)])
    return read_points(path, COLLECTION_ROW).points


def replace(table: pa.Table, column: str, values: list) -> pa.Table:
    index = table.schema.get_field_index(column)
    field = table.schema.field(index)
    return table.set_column(index, field, pa.array(values, field.type))


def test_good_points_pass(points):
    assert points.schema == REFERENCE_POINT
    assert validate(points, ReferencePoint).passed


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("sample_id", ["a", "a"]),
        ("sample_id", ["a", ""]),
        ("sample_id", ["a", None]),
        ("collection_id", ["A-b", "ab"]),
        ("lon", [10, 200]),
        ("lat", [47, float("nan")]),
        ("lon", [10, 60]),
        ("h3_l3_cell", ["831f8dfffffffff", "none"]),
        ("valid_time", [None, None]),
        ("label_raw", ["", "x"]),
        ("ewoc_code", [1101010000, 9900000000]),
        ("point_rule", ["point", "guess"]),
        ("source_row", [-1, 0]),
    ],
)
def test_a_broken_rule_is_reported(points, column, values):
    report = validate(replace(points, column, values), ReferencePoint)

    assert not report.passed


def test_a_null_code_is_allowed(points):
    assert validate(replace(points, "ewoc_code", [None, 1101010000]), ReferencePoint).passed
