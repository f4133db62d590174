import numpy as np
import pyarrow as pa
import pytest
from pydantic import ValidationError

from geofm_assets.labels.calfire.columns import date_text
from geofm_assets.labels.calfire.config import CalfireConfig
from geofm_assets.labels.config import LabelsConfig
from geofm_assets.labels.dates import parse_dates
from geofm_assets.labels.source import label_source

SERVICE = "https://host.example/arcgis/rest/services/Fire_Perimeters/FeatureServer/2/"
IDENTITY = {"rule": "identity", "classes": ["unburnt", "burnt"]}


@pytest.mark.parametrize(
    ("location", "name"),
    [
        ("/data/fire241gdb.zip", "fire241gdb"),
        ("fires of 2020.gpkg", "firesof2020"),
        ("fire24_1.gdb/", "fire241"),
        (SERVICE, "fireperimeters2"),
    ],
)
def test_a_source_is_named_after_its_file_or_service(location, name):
    assert CalfireConfig(perimeters=location).name == name


def test_a_name_in_another_script_becomes_a_hash():
    assert CalfireConfig(perimeters="火.gpkg").name.startswith("file")


def test_a_source_may_be_given_a_name():
    assert CalfireConfig(perimeters=SERVICE, source_id="frap").name == "frap"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"perimeters": ""}, "perimeters"),
        ({"perimeters": "ftp://host/file.gdb"}, "neither a file nor http"),
        ({"first_year": 2020, "last_year": 2019}, "before first_year"),
        ({"first_year": 2016, "oldest_year": 2018}, "after first_year"),
        ({"perimeters": SERVICE, "prescribed_layer": "rx"}, "set prescribed to its URL"),
        ({"source_id": "a/b"}, "source_id"),
        ({"colums": {}}, "colums"),
    ],
)
def test_a_setting_that_cannot_be_is_refused(given, message):
    with pytest.raises(ValidationError, match=message):
        CalfireConfig(**{"perimeters": "f.gpkg"} | given)


def test_the_label_source_of_fires_has_its_own_place():
    config = LabelsConfig(source="calfire", calfire={"perimeters": "frap.gpkg"}, **IDENTITY)
    source = label_source("burned_area", config)

    assert source.root == "reference/calfire/frap"
    assert source.asset_path("perimeters") == ["calfire", "perimeters"]
    assert source.points_key("frap2020") == "reference/calfire/frap/points/frap2020.parquet"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"source": "calfire", **IDENTITY}, "go together"),
        (
            {"source": "csv", "file": "f.csv", "calfire": {"perimeters": "f"}, **IDENTITY},
            "together",
        ),
        (
            {"source": "calfire", "calfire": {"perimeters": "f"}, "rule": "ai2_v1"},
            "needs rule identity",
        ),
        (
            {"source": "calfire", "calfire": {"perimeters": "f"}, "rule": "identity"}
            | {"classes": ["burnt", "unburnt"]},
            "needs rule identity and classes",
        ),
        ({"source": "calfire", "calfire": {"perimeters": "f"}, "file": "f", **IDENTITY}, "file"),
    ],
)
def test_a_label_section_that_cannot_be_is_refused(given, message):
    with pytest.raises(ValidationError, match=message):
        LabelsConfig(**given)


@pytest.mark.parametrize(
    ("values", "day"),
    [
        ([1_608_768_000_000], "2020-12-24"),
        ([1_608_793_200_000.0], "2020-12-24"),  # 07:00 UTC, midnight in California
        ([-86_400_000], "1969-12-31"),
        ([0], "1970-01-01"),
        ([20_201_224], "2020-12-24"),
        (["2020-12-24T00:00:00Z"], "2020-12-24"),
        (["2020/12/24 00:00:00"], "2020-12-24"),
        (["2020/12/24 00:00:00+00"], "2020-12-24"),
        (["24/12/2020"], "NaT"),
        ([float("nan")], "NaT"),
        ([1e300], "NaT"),
        ([None], "NaT"),
    ],
)
def test_dates_of_every_spelling(values, day):
    days = parse_dates(date_text(pa.array(values)))

    np.testing.assert_array_equal(days, np.array([day], dtype="datetime64[D]"))
