import pytest
from hypothesis import given
from hypothesis import strategies as st

from geofm_assets.labels.calfire.groups import group_ids, normalised


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("{A1B2-C3}", "a1b2c3"),
        (" SCU Lightning ", "sculightning"),
        ("00002345", "00002345"),
        ("00000000", None),
        ("N/A", None),
        ("None", None),
        ("  ", None),
        (None, None),
    ],
)
def test_an_id_is_letters_and_digits_or_nothing(text, key):
    assert normalised(text) == key


def groups(*rows, year=2020):
    """Each row: fire id, complex id, complex name, incident."""
    fires, ids, names, incidents = zip(*rows, strict=True)
    return group_ids(fires, year, ids, names, [incidents])


def test_a_fire_alone_is_its_own_group():
    assert groups(("a", None, None, "{1}"), ("b", None, None, "{2}")) == ["a", "b"]


def test_fires_of_a_complex_are_one_group():
    rows = [("a", "{SCU-1}", None, None), ("b", "scu1", None, None)]

    assert groups(*rows) == ["complex2020_scu1"] * 2


def test_a_member_that_states_only_the_name_belongs_to_the_complex():
    rows = [("a", "1", "AUGUST", None), ("b", None, "August", None), ("c", "1", None, None)]

    assert groups(*rows) == ["complex2020_1"] * 3


def test_perimeters_of_an_incident_are_one_group():
    assert groups(("b", None, None, "{1}"), ("a", None, None, "{1}")) == ["a", "a"]


def test_a_complex_that_two_members_number_differently_is_one_group():
    rows = [("a", "2", "DOE", None), ("b", "1", "DOE", None)]

    assert groups(*rows) == ["complex2020_1"] * 2


def test_the_number_of_a_complex_comes_again_in_another_year():
    row = ("a", "77", None, None)

    assert groups(row, year=2019) != groups(row, year=2020)


_KEY = st.sampled_from([None, "1", "2", "3"])


@given(st.lists(st.tuples(_KEY, _KEY, _KEY), min_size=1, max_size=8), st.randoms())
def test_groups_join_what_is_linked_whatever_the_order(links, random):
    rows = [(f"f{i}", *link) for i, link in enumerate(links)]
    found = dict(zip((r[0] for r in rows), groups(*rows), strict=True))
    for one in rows:
        for other in rows:
            if any(one[i] is not None and one[i] == other[i] for i in (1, 2, 3)):
                assert found[one[0]] == found[other[0]]
    random.shuffle(rows)
    assert dict(zip((r[0] for r in rows), groups(*rows), strict=True)) == found
