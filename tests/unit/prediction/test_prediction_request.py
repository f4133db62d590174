"""Requests: what is read, what is refused, and by which name a map goes."""

import datetime as dt
import json
import re

import pytest
import shapely

from geofm_assets.core.errors import RequestError
from geofm_assets.prediction.request import parse_request, read_request, request_id
from tests.prediction_world import TIMES, box, collection, feature

HERE = box(7.0, 45.0, 7.1, 45.1)


def parse(*features, **members):
    return parse_request(collection(*features, **members), "area.geojson")


def test_places_and_times_are_read_in_utc():
    area = parse(feature(HERE, oe_start_time="2022-06-01T02:00:00+02:00", crop="wheat")).areas[0]
    assert area.start == dt.datetime(2022, 6, 1, tzinfo=dt.UTC)
    assert area.properties == {"crop": "wheat"}
    assert area.geometry.bounds == (7.0, 45.0, 7.1, 45.1)


def test_what_is_kept_reads_back_as_the_same_request():
    request = parse(feature(HERE, field=3), feature(box(179.9, -1, 180.1, 1)))
    again = parse_request(request.as_geojson(), "store")
    assert again.digest == request.digest


def test_the_digest_does_not_depend_on_order_or_on_where_rings_start():
    ring = HERE[0]
    turned = [[*ring[2:], *ring[1:3]]]
    east = feature(box(8, 45, 8.1, 45.1))
    assert parse(feature(HERE), east).digest == parse(east, feature(turned)).digest


def test_another_time_or_choice_is_another_map():
    one = parse(feature(HERE))
    other = parse(feature(HERE, oe_start_time="2022-06-02T00:00:00Z"))
    ids = {request_id(one, "a"), request_id(one, "b"), request_id(other, "a")}
    assert len(ids) == 3


def test_an_id_begins_with_the_day_and_is_the_same_whatever_the_file_is_called(tmp_path):
    ids = set()
    for name in ("area.geojson", "Été à Zürich.json"):
        (tmp_path / name).write_text(json.dumps(collection(feature(HERE))))
        ids.add(request_id(read_request(tmp_path / name), "experiment"))
    (given,) = ids
    assert re.fullmatch(r"2022-06-01-[0-9a-f]{12}", given)


def test_an_area_too_large_to_divide_names_the_file(tmp_path):
    path = tmp_path / "globe.geojson"
    path.write_text(json.dumps(collection(feature(box(-80, -79, 80, 80)))))
    with pytest.raises(RequestError, match=f"spans 160 by 159 degrees at --request {path}"):
        read_request(path)


def test_areas_are_grouped_by_the_day_they_are_mapped_for():
    later = {"oe_start_time": "2022-07-01T00:00:00Z", "oe_end_time": "2022-07-31T00:00:00Z"}
    request = parse(feature(box(8, 45, 9, 46), **later), feature(HERE), feature(HERE))
    groups = request.groups(15)
    assert list(groups) == [dt.date(2022, 6, 16), dt.date(2022, 7, 16)]
    assert groups[dt.date(2022, 6, 16)].bounds == (7.0, 45.0, 7.1, 45.1)


CROSSING = {
    "west larger than east": box(179.9, -1, -179.9, 1),
    "beyond 180": box(179.9, -1, 180.1, 1),
    "beyond -180": box(-180.1, -1, -179.9, 1),
}


@pytest.mark.parametrize("coordinates", CROSSING.values(), ids=CROSSING.keys())
def test_an_area_across_the_antimeridian_is_cut_there(coordinates):
    cut = parse(feature([box(179.9, -1, 180, 1), box(-180, -1, -179.9, 1)], "MultiPolygon"))
    geometry = parse(feature(coordinates)).areas[0].geometry
    assert shapely.equals(geometry, cut.areas[0].geometry) or (
        shapely.symmetric_difference(geometry, cut.areas[0].geometry).area < 1e-9
    )
    assert geometry.bounds == (-180, -1, 180, 1)


def test_a_hole_across_the_antimeridian_stays_a_hole():
    hole = box(179.95, -0.5, -179.95, 0.5)[0][::-1]
    geometry = parse(feature([box(179.9, -1, -179.9, 1)[0], hole])).areas[0].geometry
    assert geometry.area == pytest.approx(0.2 * 2 - 0.1 * 1)


BAD = {
    "no start": (feature(HERE, oe_start_time=None), "no oe_start_time"),
    "no zone": (feature(HERE, oe_end_time="2022-07-01T00:00:00"), "no timezone"),
    "not a time": (feature(HERE, oe_end_time="July"), "not an ISO 8601 time"),
    "number": (feature(HERE, oe_end_time=2022), "not an ISO 8601 time"),
    "reversed": (feature(HERE, oe_start_time="2023-01-01T00:00:00Z"), "is not after"),
    "point": (feature([7, 45], "Point"), "'Point', not a Polygon"),
    "no geometry": ({"type": "Feature", "properties": TIMES, "geometry": None}, "None, not a Pol"),
    "no rings": (feature([]), "no coordinates"),
    "crossing itself": (feature([[[7, 45], [8, 46], [8, 45], [7, 46], [7, 45]]]), "not valid"),
    "open ring": (feature([[*HERE[0][:-1], [7.0, 45.05]]]), "not closed"),
    "short ring": (feature([[[7, 45], [8, 46], [7, 45]]]), "fewer than four"),
    "no numbers": (feature([[["a", "b"]] * 4]), "not a list of positions"),
    "no area": (feature([[[7, 45], [8, 45], [7, 45], [7, 45]]]), "not valid|no area"),
    "metres": (feature(box(500000, 4700000, 501000, 4701000)), "not degrees"),
    "latitude first": (feature(box(10, 95, 11, 96)), "not degrees"),
    "north pole": (feature(box(7, 83, 8, 85)), "no UTM zones"),
    "south pole": (feature(box(7, -81, 8, -79)), "no UTM zones"),
    "not a feature": ({"type": "Polygon", "coordinates": HERE}, "Not a Feature"),
    "own crs": ({**feature(HERE), "crs": {"properties": {"name": "EPSG:3857"}}}, "EPSG:3857"),
}


@pytest.mark.parametrize(("bad", "message"), BAD.values(), ids=BAD.keys())
def test_a_bad_feature_is_refused_and_named(bad, message):
    with pytest.raises(RequestError, match=message) as caught:
        parse(feature(box(1, 1, 2, 2)), bad)
    assert "area.geojson, features[1]" in str(caught.value)


def test_a_feature_with_an_id_is_named_by_it_too():
    with pytest.raises(RequestError, match=r"features\[0\] \(id 'north field'\)"):
        parse({**feature([7, 45], "Point"), "id": "north field"})


def test_overlapping_areas_of_different_times_are_refused():
    later = {"oe_start_time": "2022-06-02T00:00:00Z"}
    with pytest.raises(RequestError, match="overlap and have different times"):
        parse(feature(HERE), feature(box(7.05, 45, 7.2, 45.1), **later))
    parse(feature(HERE), feature(box(7.1, 45, 7.2, 45.1), **later))  # touching is fine


@pytest.mark.parametrize("crs", ["urn:ogc:def:crs:OGC:1.3:CRS84", "EPSG:4326"])
def test_a_crs_member_that_says_degrees_is_fine(crs):
    parse(feature(HERE), crs={"type": "name", "properties": {"name": crs}})


def test_any_other_crs_member_is_refused():
    with pytest.raises(RequestError, match="32632"):
        parse(feature(HERE), crs={"properties": {"name": "urn:ogc:def:crs:EPSG::32632"}})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "no such file"),
        ("{", "Not JSON"),
        ("[]", "Not a FeatureCollection"),
        ('{"type": "FeatureCollection", "features": []}', "no features"),
    ],
)
def test_a_file_that_is_no_request_is_refused(tmp_path, text, message):
    path = tmp_path / "area.geojson"
    if text is not None:
        path.write_text(text)
    with pytest.raises(RequestError, match=message) as caught:
        read_request(path)
    assert str(path) in str(caught.value)
