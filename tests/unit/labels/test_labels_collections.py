import json
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geofm_assets.core.errors import LabelFileError
from geofm_assets.core.schema import validate
from geofm_assets.labels.config import MinConfidence
from geofm_assets.labels.schema import COLLECTION, Collection
from geofm_assets.labels.worldcereal.collections import (
    accepted,
    changes,
    collections_table,
    cursor,
    normalise_id,
)
from tests.servers.label_files import record


def row(**fields):
    return collections_table([record("2021_tst_a_point_110", **fields)]).to_pylist()[0]


@pytest.mark.parametrize(
    "text",
    [
        "2017_AF_One-Acre-Fund-MEL_POINT_110",
        "2017_af_oneacrefundmel_point_110",
        "2017afoneacrefundmelpoint110",
    ],
)
def test_every_spelling_of_an_id_gives_one_key(text):
    assert normalise_id(text) == "2017afoneacrefundmelpoint110"


@given(st.text())
def test_a_key_is_safe_in_a_path(text):
    try:
        key = normalise_id(text)
    except LabelFileError:
        return
    assert Path(key).name == key
    assert normalise_id(key) == key


def test_an_id_of_punctuation_is_refused():
    with pytest.raises(LabelFileError, match="neither letters nor digits"):
        normalise_id("../..")


def test_the_table_obeys_its_schema():
    table = collections_table([record("b_point"), record("a_point")])

    assert validate(table, Collection).passed
    assert table.schema == COLLECTION
    assert table["collection_id"].to_pylist() == ["apoint", "bpoint"]


def test_no_records_make_an_empty_table():
    table = collections_table([])

    assert table.num_rows == 0
    assert validate(table, Collection).passed


def test_the_time_is_of_creation_until_there_is_a_modification():
    assert row()["modified_at"] == "2025-01-24T06:53:26.991638"
    assert row(lastModificationTime="2026-01-01T00:00:00")["modified_at"] == "2026-01-01T00:00:00"


def test_the_box_comes_from_the_extent():
    found = row()

    assert [found[s] for s in ("west", "south", "east", "north")] == [5, 45, 15, 50]


@pytest.mark.parametrize(
    "extent",
    [None, {}, {"spatial": {"bbox": []}}, {"spatial": {"bbox": [[0, 0, 4e6, 3e6]]}}],
)
def test_a_box_that_is_none_stays_null(extent):
    assert row(extent=extent)["west"] is None


def test_a_box_with_heights_loses_them():
    assert row(extent={"spatial": {"bbox": [[1, 2, 0, 3, 4, 900]]}})["east"] == 3


@pytest.mark.parametrize(
    "fields",
    [
        {"simulated": True},
        {"additionalData": {"simulated": True}},
        {"additionalData": json.dumps({"simulated": True})},
    ],
)
def test_simulated_is_seen_wherever_it_is_said(fields):
    assert row(**fields)["simulated"] is True


@pytest.mark.parametrize("more", [None, "free text", {"simulated": False}, "[1]"])
def test_what_does_not_say_simulated_is_not(more):
    assert row(additionalData=more)["simulated"] is False


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"collectionId": None}, "no collectionId"),
        ({"featureCount": None}, "featureCount None"),
        ({"featureCount": -1}, "featureCount -1"),
        ({"confidenceCropType": "high"}, "confidenceCropType 'high'"),
    ],
)
def test_a_record_that_makes_no_sense_is_named(fields, words):
    with pytest.raises(LabelFileError, match=words):
        row(**fields)


def test_a_record_listed_twice_counts_as_last_modified():
    old = record("a", lastModificationTime="2025-01-01")
    new = record("a", lastModificationTime="2026-01-01")

    for records in ([old, new], [new, old]):
        assert collections_table(records)["modified_at"].to_pylist() == ["2026-01-01"]


def test_two_collections_with_one_key_are_refused():
    with pytest.raises(LabelFileError, match="same key"):
        collections_table([record("a_b"), record("ab")])


@pytest.mark.parametrize(
    ("land_cover", "crop_type", "kept"),
    [(90, 90, 1), (100, 90, 1), (89.9, 90, 0), (90, 89, 0), (None, 90, 0), (90, None, 0)],
)
def test_both_confidences_must_reach_their_threshold(land_cover, crop_type, kept):
    table = collections_table(
        [record("a", confidenceLandCover=land_cover, confidenceCropType=crop_type)]
    )

    assert accepted(table, MinConfidence()).num_rows == kept


def test_nan_is_no_confidence():
    assert row(confidenceLandCover=float("nan"))["confidence_land_cover"] is None


def test_changes_tell_new_changed_and_vanished():
    before = cursor(collections_table([record("a"), record("b"), record("c")]))
    after = cursor(collections_table([record("b"), record("c", featureCount=4), record("d")]))

    found = changes(before, after)

    assert (found.new, found.changed, found.vanished) == (("d",), ("c",), ("a",))


@pytest.mark.parametrize(
    "fields",
    [
        {"lastModificationTime": "2026-01-01"},
        {"featureCount": 4},
        {"confidenceLandCover": 96},
        {"confidenceCropType": None},
    ],
)
def test_each_signal_is_a_change(fields):
    before, after = (cursor(collections_table([record("a", **f)])) for f in ({}, fields))

    assert changes(before, after).changed == ("a",)


def test_a_new_title_is_no_change():
    before, after = (cursor(collections_table([record("a", title=t)])) for t in "xy")

    assert not changes(before, after)


def test_a_cursor_survives_json():
    state = cursor(collections_table([record("a"), record("b", confidenceCropType=None)]))

    assert not changes(json.loads(json.dumps(state)), state)


def test_an_empty_listing_has_no_changes():
    empty = cursor(pa.Table.from_pylist([], schema=COLLECTION))

    assert not changes(empty, empty)
