"""A fire that is mapped twice is kept once."""

import random

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geofm_assets.core.hashing import table_digest
from geofm_assets.core.schema import validate
from geofm_assets.labels.calfire.clean import CleanYear, clean_year
from geofm_assets.labels.calfire.duplicates import SAME_FIRE_IOU
from geofm_assets.labels.schema import QuarantinedRow
from tests.frap_files import frap_row, records, square


def clean(*rows: dict) -> CleanYear:
    return clean_year(records(rows), 2020)


def near(cleaned: CleanYear) -> list[tuple[str, str]]:
    """Ids of the near duplicates, and what is said of them."""
    rows = cleaned.quarantine.to_pylist()
    return [
        (r["sample_id"], r["detail"]) for r in rows if r["reason"] == "near_duplicate_perimeter"
    ]


def twice(side: float = 2020, **given: object) -> CleanYear:
    """A fire and a slightly larger square about it."""
    return clean(frap_row(), frap_row(geometry=square(side=side), GlobalID="{Z}", **given))


def test_a_slightly_other_ring_of_the_same_name_is_a_duplicate() -> None:
    cleaned = twice()

    assert cleaned.perimeters["fire_id"].to_pylist() == ["2020_creek0001"]
    assert near(cleaned) == [
        (
            "2020_z",
            "98% of its area and that of 2020_creek0001 together is common to both; they have "
            "one name or incident, 2020_creek0001 is kept",
        )
    ]
    assert validate(cleaned.quarantine, QuarantinedRow).passed


@pytest.mark.parametrize(
    ("given", "same"),
    [
        ({"FIRE_NAME": "Creek "}, True),
        ({"FIRE_NAME": "OTHER"}, False),
        ({"FIRE_NAME": None}, False),
        ({"FIRE_NAME": "OTHER", "IRWINID": "{AB}"}, True),
        ({"FIRE_NAME": "OTHER", "IRWINID": "{CD}"}, False),
        ({"FIRE_NAME": "OTHER", "INC_NUM": "00001391"}, True),
        ({"FIRE_NAME": "OTHER", "INC_NUM": "00001391", "UNIT_ID": "BTU"}, False),
        ({"FIRE_NAME": "OTHER", "INC_NUM": "00000000"}, False),
    ],
)
def test_it_takes_the_same_name_or_incident(given: dict, same: bool) -> None:
    first = frap_row(IRWINID="{ab}", INC_NUM="00001391")
    second = frap_row(geometry=square(side=2020), GlobalID="{Z}") | given
    assert bool(near(clean(first, second))) == same


def test_without_names_nothing_is_the_same() -> None:
    rows = [frap_row(geometry=square(side=s), GlobalID=f"{{{s}}}", FIRE_NAME=None)
            for s in (2000, 2020)]  # fmt: skip
    assert clean(*rows).perimeters.num_rows == 2


@pytest.mark.parametrize(("iou", "same"), [(SAME_FIRE_IOU + 0.01, True), (0.89, False)])
def test_it_takes_nearly_the_same_ground(iou: float, same: bool) -> None:
    assert bool(near(twice(side=2000 / iou**0.5))) == same


def test_a_part_elsewhere_of_the_same_incident_is_no_duplicate() -> None:
    assert (
        clean(frap_row(), frap_row(geometry=square(3000), GlobalID="{Z}")).counts["perimeters"] == 2
    )


def test_the_dated_one_is_kept() -> None:
    dated = frap_row(geometry=square(side=2020), GlobalID="{Z}")
    cleaned = clean(frap_row(CONT_DATE=None), dated)

    assert cleaned.perimeters["fire_id"].to_pylist() == ["2020_z"]
    assert [name for name, _ in near(cleaned)] == ["2020_creek0001"]


def test_a_prescribed_burn_is_no_near_duplicate_of_a_fire() -> None:
    dates = {"START_DATE": "2020-03-01", "END_DATE": "2020-03-09"}
    rx = frap_row(geometry=square(side=2020), TREATMENT_NAME="CREEK", **dates)
    table = pa.concat_tables([records([frap_row()]), records([rx], prescribed=True)])

    assert clean_year(table, 2020).perimeters.num_rows == 2


@settings(max_examples=20, deadline=None)
@given(
    sides=st.lists(st.integers(1900, 2400), min_size=2, max_size=7),
    seed=st.integers(0, 9),
)
def test_the_order_of_rows_has_no_say_and_every_duplicate_has_a_kept_twin(
    sides: list[int], seed: int
) -> None:
    """In a chain of perimeters, each like the next, none is refused for one that is not kept."""
    rows = [
        frap_row(geometry=square(side=side), GlobalID=f"{{{i}}}") for i, side in enumerate(sides)
    ]
    turned = random.Random(seed).sample(rows, len(rows))
    first, other = clean(*rows), clean(*turned)

    kept = first.perimeters["fire_id"].to_pylist()
    plain = [c.perimeters.drop_columns("source_row") for c in (first, other)]
    assert table_digest(plain[0]) == table_digest(plain[1])
    assert len(kept) + first.quarantine.num_rows == len(rows)
    for _, detail in near(first):
        assert any(f"{name} is kept" in detail for name in kept)
