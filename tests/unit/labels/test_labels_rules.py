import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geofm_assets.core.errors import ConfigError
from geofm_assets.labels.config import LabelsConfig
from geofm_assets.labels.rules import IGNORED, UNKNOWN, LabelRule, get_rule
from geofm_assets.labels.worldcereal.legend import known_codes

# Rows by level_1 among the 66,000 that the published model was trained on.
LEVEL_1_COUNTS = {
    **{10: 497, 11: 31601, 12: 3613, 14: 85, 15: 38, 16: 275, 20: 19860, 25: 1544},
    **{30: 580, 40: 344, 41: 2881, 42: 2178, 43: 1724, 50: 193, 60: 458, 70: 129},
}


def rule(name: str) -> LabelRule:
    return get_rule(LabelsConfig(source="worldcereal", rule=name))


def apply(name: str, *codes: int) -> list[int]:
    return rule(name).apply(pa.array([f"{code:010d}" for code in codes])).tolist()


def identity(classes: list[str] | None, ignore: list[str] | None = None) -> LabelRule:
    return get_rule(
        LabelsConfig(
            source="csv", file="a.csv", rule="identity", classes=classes, ignore=ignore or []
        )
    )


def test_ai2_v1_gives_the_published_split():
    labels = pa.array([f"{level}00000000" for level, n in LEVEL_1_COUNTS.items() for _ in range(n)])

    ids = rule("ai2_v1").apply(labels)

    assert np.bincount(ids).tolist() == [35_834, 30_166]


def test_ai2_v1_ignores_code_0():
    assert apply("ai2_v1", 0) == [IGNORED]


def test_ai2_v1_is_cropland_first_and_positive():
    assert rule("ai2_v1").classes == ("Cropland", "Non-Cropland")
    assert rule("ai2_v1").positive == "Cropland"


@pytest.mark.parametrize("name", ["ai2_v1", "worldcereal_temporary", "worldcereal_landcover10"])
@pytest.mark.parametrize("text", ["9900000000", "", "wheat", "11", "-1101010000", "123"])
def test_a_code_outside_the_legend_is_unknown(name, text):
    assert rule(name).apply(pa.array([text])).tolist() == [UNKNOWN]


def test_null_is_unknown():
    assert rule("ai2_v1").apply(pa.array([None], pa.string())).tolist() == [UNKNOWN]


def test_temporary_crops_are_positive():
    assert apply("worldcereal_temporary", 1101010001, 1111020010, 1114060070) == [0, 0, 0]


def test_other_land_cover_is_not_temporary():
    assert apply("worldcereal_temporary", 1201000010, 2001020022, 2501000000, 7000000000) == [1] * 4


def test_what_may_hold_temporary_crops_is_ignored():
    codes = (0, 1000000000, 1100000000, 1115000002, 1402000000, 1600000000, 1700000000)

    assert apply("worldcereal_temporary", *codes) == [IGNORED] * len(codes)


@pytest.mark.parametrize(
    ("code", "name"),
    [
        (1101060000, "temporary_crops"),
        (1111010000, "temporary_grasses"),
        (1203000010, "permanent_crops"),
        (2001020022, "grasslands"),
        (2002030010, "wetlands"),
        (3006000000, "shrubland"),
        (4000000000, "trees"),
        (5000000000, "bare_sparsely_vegetated"),
        (6000000000, "built_up"),
        (1502000000, "built_up"),
        (7005010010, "water"),
    ],
)
def test_landcover10_class(code, name):
    classes = rule("worldcereal_landcover10").classes

    assert apply("worldcereal_landcover10", code) == [classes.index(name)]


@pytest.mark.parametrize("code", [0, 1000000000, 1115000000, 1401000000, 1600000000, 1700000000])
def test_landcover10_ignores(code):
    assert apply("worldcereal_landcover10", code) == [IGNORED]


@given(st.lists(st.integers(0, 9_999_999_999)))
def test_unknown_is_exactly_what_the_legend_does_not_know(codes):
    known = known_codes(np.array(codes, dtype=np.int64))

    for name in ("ai2_v1", "worldcereal_temporary", "worldcereal_landcover10"):
        assert [i != UNKNOWN for i in apply(name, *codes)] == known.tolist()


@given(st.lists(st.integers(0, 9_999_999_999)), st.randoms())
def test_a_label_gets_the_same_class_whatever_stands_around_it(codes, random):
    shuffled = codes.copy()
    random.shuffle(shuffled)

    together = dict(zip(shuffled, apply("worldcereal_landcover10", *shuffled), strict=True))

    assert apply("worldcereal_landcover10", *codes) == [together[code] for code in codes]


def test_every_rule_has_a_version_in_its_label():
    assert rule("ai2_v1").label == "ai2_v1@1"


def test_identity_maps_labels_to_classes_in_the_order_given():
    labels = pa.array(["water", "forest", "cloud", "lava"])

    ids = identity(["forest", "water"], ["cloud"]).apply(labels)

    assert ids.tolist() == [1, 0, IGNORED, UNKNOWN]


def test_identity_takes_chunked_labels():
    labels = pa.chunked_array([["a"], ["b", "a"]])

    assert identity(["a", "b"]).apply(labels).tolist() == [0, 1, 0]


def test_identity_changes_version_with_its_classes():
    assert identity(["a", "b"]).version != identity(["b", "a"]).version


def test_identity_without_classes_is_refused():
    with pytest.raises(ConfigError, match="no classes"):
        identity(None)


@pytest.mark.parametrize("classes", [["a"], ["a", "a"], ["a", " "]])
def test_identity_with_senseless_classes_is_refused(classes):
    with pytest.raises(ConfigError, match="distinct"):
        identity(classes)


def test_a_label_both_class_and_ignored_is_refused():
    with pytest.raises(ConfigError, match="under ignore"):
        identity(["a", "b"], ["b"])
