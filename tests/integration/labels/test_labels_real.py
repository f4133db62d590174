"""500 real samples of 2022_FRA_LPIS_POLY_110, through mirror and HTTP."""

import numpy as np
import pyarrow as pa
import pytest

from geofm_assets.core.hashing import table_digest
from geofm_assets.core.schema import validate
from geofm_assets.labels.config import LabelsConfig, MinConfidence
from geofm_assets.labels.points import PointsResult
from geofm_assets.labels.rules import UNKNOWN, get_rule
from geofm_assets.labels.schema import Collection, QuarantinedRow, ReferencePoint
from geofm_assets.labels.worldcereal.collections import accepted, collections_table
from geofm_assets.labels.worldcereal.points import read_points
from geofm_assets.labels.worldcereal.rdm import HttpRdm, MirrorRdm, RdmSource
from tests.servers.rdm_server import RdmServer

pytestmark = pytest.mark.real


def points_of(source: RdmSource, folder) -> PointsResult:
    records = source.list_collections()
    row = accepted(collections_table(records), MinConfidence()).to_pylist()[0]
    return read_points(source.fetch(records[0], folder).path, row)


@pytest.fixture
def mirror(real_dir):
    return real_dir / "worldcereal_corsica_2022" / "collections"


@pytest.fixture
def result(mirror, tmp_path) -> PointsResult:
    return points_of(MirrorRdm(mirror), tmp_path)


def test_the_listing_obeys_its_schema(mirror):
    table = collections_table(MirrorRdm(mirror).list_collections())

    assert validate(table, Collection).passed
    assert table["collection_id"].to_pylist() == ["2022fralpispoly110"]


def test_every_row_is_read_and_none_quarantined(result):
    assert (result.points.num_rows, result.quarantine.num_rows, result.rows_read) == (500, 0, 500)
    assert validate(result.points, ReferencePoint).passed
    assert validate(result.quarantine, QuarantinedRow).passed


def test_51_percent_are_cropland_under_ai2_v1(result):
    rule = get_rule(LabelsConfig(source="worldcereal", rule="ai2_v1"))

    ids = rule.apply(result.points["label_raw"])

    assert np.bincount(ids).tolist() == [255, 245]


@pytest.mark.parametrize("name", ["worldcereal_temporary", "worldcereal_landcover10"])
def test_every_code_is_known(result, name):
    rule = get_rule(LabelsConfig(source="worldcereal", rule=name))

    assert UNKNOWN not in rule.apply(result.points["label_raw"])


def test_http_and_mirror_give_the_same_points(mirror, result, tmp_path):
    with RdmServer(mirror) as server:
        over_http = points_of(HttpRdm(server.url), tmp_path / "http")

    assert table_digest(over_http.points) == table_digest(result.points)


def test_two_readings_give_the_same_bytes(mirror, result, tmp_path):
    again = points_of(MirrorRdm(mirror), tmp_path / "again")

    assert table_digest(again.points) == table_digest(result.points)


def test_the_collections_table_is_plain_arrow(mirror):
    assert isinstance(collections_table(MirrorRdm(mirror).list_collections()), pa.Table)
