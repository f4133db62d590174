import socket

import geopandas as gpd
import pytest
import shapely

from geofm_assets.core.errors import ConfigError, LabelFileError, SourceUnavailableError
from geofm_assets.core.schema import validate
from geofm_assets.labels.calfire.changes import changes, cursor
from geofm_assets.labels.calfire.config import CalfireConfig, PerimeterColumns
from geofm_assets.labels.calfire.feature_service import FeatureLayer, ServiceSettings
from geofm_assets.labels.calfire.read import open_sources, read_all
from geofm_assets.labels.calfire.schema import Record
from tests.frap_files import ALBERS, frap_row, square, write_frap
from tests.servers.feature_server import FeatureServer

QUICK = ServiceSettings(timeout_s=5, retries=2, backoff_s=0, page_size=1000)


def rows(count=3):
    """Rows in degrees, as a layer serves them."""
    metric = [frap_row(f"FIRE{i}", square(10_000 * i)) for i in range(count)]
    degrees = gpd.GeoSeries([row["geometry"] for row in metric], crs=ALBERS).to_crs(4326)
    return [row | {"geometry": shape} for row, shape in zip(metric, degrees, strict=True)]


@pytest.fixture
def service():
    with FeatureServer(rows()) as running:
        yield running


def layer(service, **settings):
    given = ServiceSettings(**{**QUICK.__dict__, **settings})
    return FeatureLayer(service.url, PerimeterColumns(), settings=given)


def names(table):
    return table["fire_name"].to_pylist()


def test_every_feature_becomes_a_record(service):
    records = layer(service).read()

    assert validate(records, Record).passed
    first = records.to_pylist()[0]
    assert (first["fire_name"], first["year"], first["cause"]) == ("FIRE0", "2020", "14")
    assert (first["source_layer"], first["source_row"]) == ("Fire Perimeters (all)", 0)
    assert first["global_id"] == "{FIRE0-0001}"


def test_epoch_milliseconds_become_days(service):
    record = layer(service).read().to_pylist()[0]

    assert (record["alarm_date"], record["contained_date"]) == ("2020-09-04", "2020-12-24")


def test_a_layer_and_a_file_of_the_same_fires_give_the_same_rows(service, tmp_path):
    metric = [frap_row(f"FIRE{i}", square(10_000 * i)) for i in range(3)]
    path = write_frap(tmp_path / "fires.gpkg", metric)
    from_file = read_all(open_sources(CalfireConfig(perimeters=str(path))))
    from_layer = layer(service).read()

    said = ["fire_name", "year", "agency", "acres", "global_id", "fire_year", "cause"]
    assert from_layer.select(said).equals(from_file.select(said))
    one, other = (
        shapely.from_wkb(t["geometry"].to_numpy(zero_copy_only=False))
        for t in (from_layer, from_file)
    )
    assert shapely.equals_exact(one, other, tolerance=1e-9, normalize=True).all()


@pytest.mark.parametrize(("size", "offsets"), [(1, [0, 1, 2, 3]), (2, [0, 2]), (3, [0, 3])])
def test_pages_are_read_to_the_end(service, size, offsets):
    assert names(layer(service, page_size=size).read()) == ["FIRE0", "FIRE1", "FIRE2"]
    assert service.pages() == offsets


def test_the_server_sets_the_longest_page(service):
    service.max_records = 2

    assert len(names(layer(service).read())) == 3
    assert service.pages() == [0, 2]


@pytest.mark.parametrize("in_properties", [True, False])
def test_a_short_page_that_says_there_is_more_is_not_the_last(service, in_properties):
    service.max_vertices, service.flag_in_properties = 8, in_properties

    assert names(layer(service).read()) == ["FIRE0", "FIRE1", "FIRE2"]
    assert service.pages() == [0, 1, 2]


def test_only_the_columns_needed_are_asked_for(service):
    service.rows = [row | {"C_METHOD": 1} for row in service.rows]
    layer(service).read()

    assert not any("C_METHOD" in request for request in service.requests)


@pytest.mark.parametrize(
    "fault",
    [
        {"status": 500},
        {"status": 429},
        {"drop": True},
        {"error": {"code": 504, "message": "Your request has timed out", "details": []}},
    ],
)
def test_what_may_pass_is_tried_again(service, fault):
    service.fault("resultOffset=0", times=2, **fault)

    assert len(names(layer(service).read())) == 3


def test_an_error_of_status_200_is_an_error(service):
    error = {"code": 400, "message": "Unable to perform query", "details": ["bad field"]}
    service.fault("query", times=-1, error=error)

    with pytest.raises(SourceUnavailableError, match=r"error 400 Unable to perform .*bad field"):
        layer(service).read()
    assert len(service.requests) == 2


def test_a_layer_that_needs_a_login_says_so(service):
    service.fault("f=json", times=-1, error={"code": 499, "message": "Token Required"})

    with pytest.raises(SourceUnavailableError, match="needs a login"):
        layer(service).read()


def test_a_server_that_stays_broken_is_named(service):
    service.fault("query", times=-1, status=503)

    with pytest.raises(SourceUnavailableError, match=r"after 3 tries: status 503.*FeatureServer/0"):
        layer(service).read()


def test_nobody_there():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}/arcgis/rest/services/Fires/FeatureServer/0"

    with pytest.raises(SourceUnavailableError, match="did not answer"):
        FeatureLayer(url, PerimeterColumns(), settings=QUICK).read()


def test_a_page_of_html_is_no_layer(service):
    service.fault("f=json", times=-1, body="<html>Sign in</html>")

    with pytest.raises(SourceUnavailableError, match="not JSON"):
        layer(service).info()


def test_a_redirect_to_an_unknown_host_is_refused(service):
    service.fault("f=json", times=-1, redirect="http://elsewhere.invalid/FeatureServer/0")

    with pytest.raises(SourceUnavailableError, match="not on an allowed host"):
        layer(service).info()


def test_a_layer_of_points_is_refused(service):
    service.geometry_type = "esriGeometryPoint"

    with pytest.raises(LabelFileError, match="esriGeometryPoint, not polygons"):
        layer(service).read()


def test_a_layer_that_cannot_be_paged_is_refused(service):
    service.able["supportsPagination"] = False

    with pytest.raises(LabelFileError, match="page by page"):
        layer(service).read()


def test_a_layer_without_dates_is_refused(service):
    for row in service.rows:
        del row["CONT_DATE"]

    with pytest.raises(LabelFileError, match=r"CONT_DATE \(contained_date\)"):
        layer(service).read()


def test_a_layer_edited_while_it_is_read_is_read_again(service):
    service.count_offset = 1
    with pytest.raises(SourceUnavailableError, match="3 different features came where 4"):
        layer(service).read()
    assert service.pages() == [0, 0, 0]


@pytest.mark.parametrize("url", ["https://host/FeatureServer", "https://host/fire241gdb.zip"])
def test_a_url_of_no_layer_is_refused(url):
    with pytest.raises(ConfigError, match="Not the URL of a feature-service layer"):
        FeatureLayer(url, PerimeterColumns())


def test_a_query_after_the_url_of_a_layer_is_dropped(service):
    given = FeatureLayer(f"{service.url}/?f=pjson", PerimeterColumns(), settings=QUICK)

    assert given.url == service.url


def test_null_geometry_and_3d_geometry_come_through(service):
    service.rows[0]["geometry"] = None
    service.rows[1]["geometry"] = shapely.force_3d(service.rows[1]["geometry"], 12.0)

    wkb = layer(service).read()["geometry"].to_pylist()

    assert wkb[0] is None
    assert shapely.from_wkb(wkb[1]).has_z


def test_the_state_tells_an_edit(service):
    sources = open_sources(CalfireConfig(perimeters=service.url, backoff_s=0))
    before = cursor(sources)
    assert changes(before, cursor(sources)) == []

    service.rows.append(frap_row("NEW", service.rows[0]["geometry"], YEAR_=2024))
    service.last_edit = 1_800_000_000_000

    assert changes(before, cursor(sources)) == [
        "perimeters: count 3 -> 4",
        "perimeters: last_edit 1700000000000 -> 1800000000000",
        "perimeters: max_year 2020 -> 2024",
    ]


def test_a_layer_without_statistics_has_a_state_too(service):
    service.able["supportsStatistics"] = False

    assert layer(service).state()["max_year"] is None
