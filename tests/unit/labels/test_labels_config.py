import pytest
from pydantic import ValidationError

from geofm_assets.labels.config import ColumnMap, LabelsConfig


def test_worldcereal_thresholds_default_to_90():
    config = LabelsConfig(source="worldcereal", rule="ai2_v1")

    assert (config.min_confidence.land_cover, config.min_confidence.crop_type) == (90, 90)


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({"source": "worldcereal", "rule": "ai2_v9"}, "ai2_v9"),
        ({"source": "worldcereal", "rule": "identity"}, "source worldcereal needs one of"),
        ({"source": "worldcereal", "rule": "ai2_v1", "file": "a.csv"}, "file belongs to"),
        ({"source": "csv", "rule": "identity", "classes": ["a", "b"]}, "needs file"),
        ({"source": "csv", "rule": "ai2_v1", "file": "a", "classes": ["a"]}, "belong to rule"),
        ({"source": "shapefile", "rule": "ai2_v1"}, "source"),
        ({"source": "worldcereal", "rule": "ai2_v1", "colour": 1}, "colour"),
        ({"source": "worldcereal", "rule": "ai2_v1", "min_confidence": {"crop_type": 101}}, "100"),
    ],
)
def test_a_senseless_section_is_refused_with_the_reason(section, words):
    with pytest.raises(ValidationError, match=words):
        LabelsConfig.model_validate(section)


def test_lon_without_lat_is_refused():
    with pytest.raises(ValidationError, match="together"):
        ColumnMap(lon="x")


def test_a_column_map_survives_being_written_without_its_nulls():
    columns = ColumnMap(label="class", sample_id=None)

    assert ColumnMap.model_validate(columns.model_dump(exclude_none=True)) == columns
