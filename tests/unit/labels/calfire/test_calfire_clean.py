import datetime as dt
import random

import numpy as np
import pyarrow as pa
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from geofm_assets.core.hashing import table_digest
from geofm_assets.core.schema import validate
from geofm_assets.labels.calfire.clean import clean_year, without_year
from geofm_assets.labels.calfire.schema import Perimeter
from geofm_assets.labels.schema import QuarantinedRow
from tests.frap_files import frap_row, records, square

BOW_TIE = shapely.Polygon([(0, 0), (2000, 2000), (2000, 0), (0, 2000)])
LINE = shapely.LineString([(0, 0), (5000, 5000)])


def clean(*rows, year=2020):
    return clean_year(records(rows), year)


def refused(cleaned):
    return dict(
        zip(
            cleaned.quarantine["source_row"].to_pylist(),
            cleaned.quarantine["reason"].to_pylist(),
            strict=True,
        )
    )


def geometry(row):
    return shapely.from_wkb(row["geometry"])


def test_a_row_becomes_a_perimeter():
    cleaned = clean(frap_row())

    assert validate(cleaned.perimeters, Perimeter).passed
    row = cleaned.perimeters.to_pylist()[0]
    assert (row["fire_id"], row["group_id"]) == ("2020_creek0001", "2020_creek0001")
    assert (row["fire_year"], row["fire_name"], row["cause"]) == (2020, "CREEK", 14)
    assert row["alarm_date"], row["contained_date"] == (dt.date(2020, 9, 4), dt.date(2020, 12, 24))
    assert (row["dated"], row["prescribed"], row["parts"]) == (True, False, 1)
    assert cleaned.quarantine.num_rows == 0


def test_the_area_is_measured_on_an_equal_area_grid():
    row = clean(frap_row(geometry=square(150_000, -400_000, 3000))).perimeters.to_pylist()[0]

    assert row["area_ha"] == pytest.approx(900, rel=1e-6)  # EPSG:3310 is an equal-area grid too


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"CONT_DATE": None}, "missing_contained_date"),
        ({"CONT_DATE": "1970-01-01"}, "epoch_date"),
        ({"CONT_DATE": "24/12/2020"}, "bad_date"),
        ({"CONT_DATE": "2002-12-24"}, "date_out_of_year"),
        ({"CONT_DATE": "2022-01-02"}, "date_out_of_year"),
        ({"CONT_DATE": "2020-09-03"}, "reversed_dates"),
    ],
)
def test_a_fire_without_a_good_containment_date_is_kept_undated(given, reason):
    cleaned = clean(frap_row(**given))

    row = cleaned.perimeters.to_pylist()[0]
    assert (row["dated"], row["contained_date"]) == (False, dt.date(2020, 12, 31))
    assert refused(cleaned) == {0: reason}
    assert cleaned.quarantine["sample_id"].to_pylist() == [row["fire_id"]]
    assert cleaned.counts["undated"] == 1
    assert validate(cleaned.quarantine, QuarantinedRow).passed


def test_a_fire_may_burn_into_the_next_year():
    row = clean(frap_row(CONT_DATE="2021-01-05")).perimeters.to_pylist()[0]

    assert row["contained_date"] == dt.date(2021, 1, 5)


@pytest.mark.parametrize("alarm", ["1970-01-01", "2002-09-04", "2021-09-04"])
def test_an_alarm_that_cannot_be_is_dropped(alarm):
    cleaned = clean(frap_row(ALARM_DATE=alarm))

    row = cleaned.perimeters.to_pylist()[0]
    assert (row["alarm_date"], row["dated"]) == (None, True)
    assert cleaned.counts["alarm_dates_dropped"] == 1


def test_a_day_of_1970_is_a_day_in_1970():
    dates = {"YEAR_": 1970, "ALARM_DATE": "1970-09-22", "CONT_DATE": "1970-09-29"}

    assert clean(frap_row(**dates), year=1970).perimeters["dated"].to_pylist() == [True]


def test_an_undated_prescribed_burn_is_no_fire_to_sample():
    rx = frap_row("BURN", START_DATE="2020-03-01", END_DATE=None, TREATMENT_NAME="PILE")
    cleaned = clean_year(records([rx], prescribed=True), 2020)

    row = cleaned.perimeters.to_pylist()[0]
    assert (row["fire_id"], row["prescribed"], row["dated"]) == ("rx2020_burn0001", True, False)
    assert row["fire_name"] == "PILE"
    assert cleaned.quarantine.num_rows == 0


@pytest.mark.parametrize(
    ("shape", "reason"),
    [
        (None, "missing_geometry"),
        (shapely.Polygon(), "empty_geometry"),
        (shapely.Point(0, 0), "unsupported_geometry"),
        (LINE, "unsupported_geometry"),
        (square(side=0.5), "degenerate_geometry"),
        (shapely.Polygon([(0, 0), (1000, 0), (0, 0), (0, 0)]), "degenerate_geometry"),
        (shapely.GeometryCollection([LINE]), "degenerate_geometry"),
    ],
)
def test_a_row_without_a_polygon_is_refused(shape, reason):
    row = frap_row()
    row["geometry"] = shape
    cleaned = clean(frap_row("GOOD", square(50_000)), row)

    assert refused(cleaned) == {1: reason}
    assert cleaned.perimeters.num_rows == 1


@pytest.mark.parametrize("wkb", [b"", b"not a geometry"])
def test_an_unreadable_geometry_is_refused(wkb):
    table = records([frap_row()])
    index = table.schema.get_field_index("geometry")
    table = table.set_column(index, table.schema.field(index), pa.array([wkb], pa.binary()))

    assert refused(clean_year(table, 2020)) == {0: "unreadable_geometry"}


@pytest.mark.parametrize(
    "shape",
    [shapely.box(-181, 38, -120, 39), shapely.box(-170, 38, 170, 39)],
)
def test_a_polygon_off_the_globe_or_across_the_antimeridian_is_refused(shape):
    table = records([frap_row()])
    index = table.schema.get_field_index("geometry")
    wkb = pa.array([shapely.to_wkb(shape)], pa.binary())
    table = table.set_column(index, table.schema.field(index), wkb)

    assert refused(clean_year(table, 2020)) == {0: "bad_coordinates"}


def test_invalid_rings_are_made_valid():
    cleaned = clean(frap_row(geometry=BOW_TIE))

    row = cleaned.perimeters.to_pylist()[0]
    assert shapely.is_valid(geometry(row))
    assert row["area_ha"] == pytest.approx(200, rel=1e-4)
    assert row["parts"] == 2
    assert cleaned.counts["rings_made_valid"] == 1


def test_overlapping_parts_do_not_cancel_out():
    both = shapely.MultiPolygon([square(), square(1000, 0)])
    row = clean(frap_row(geometry=both)).perimeters.to_pylist()[0]

    assert row["area_ha"] == pytest.approx(600, rel=1e-5)


def test_the_polygonal_part_is_kept():
    cleaned = clean(frap_row(geometry=shapely.GeometryCollection([square(), LINE])))

    assert cleaned.perimeters["area_ha"].to_pylist() == pytest.approx([400])
    assert cleaned.counts["lines_and_points_dropped"] == 1


def test_an_invalid_part_of_a_collection_is_made_valid():
    cleaned = clean(frap_row(geometry=shapely.GeometryCollection([BOW_TIE, LINE])))

    assert cleaned.perimeters["area_ha"].to_pylist() == pytest.approx([200], rel=1e-4)


def test_heights_are_dropped():
    cleaned = clean(frap_row(geometry=shapely.force_3d(square(), 1200.0)))

    assert not shapely.has_z(geometry(cleaned.perimeters.to_pylist()[0]))
    assert cleaned.counts["heights_dropped"] == 1


def test_islands_that_did_not_burn_stay_out():
    ring = square().difference(square(500, 500, 1000))

    assert clean(frap_row(geometry=ring)).perimeters["area_ha"].to_pylist() == pytest.approx([300])


def test_the_same_id_twice_is_a_duplicate():
    cleaned = clean(frap_row(CONT_DATE=None), frap_row(geometry=square(50_000)))

    assert refused(cleaned) == {0: "duplicate_fire_id"}  # the dated one is kept
    assert cleaned.perimeters["dated"].to_pylist() == [True]


def test_the_same_polygon_twice_is_a_duplicate():
    other_start = shapely.Polygon(np.roll(square().exterior.coords[:-1], 2, axis=0))
    cleaned = clean(frap_row(), frap_row("CREEK II", other_start))

    assert list(refused(cleaned).values()) == ["duplicate_perimeter"]
    assert cleaned.quarantine["detail"].to_pylist() == ["row 0 has the same polygons and is kept"]


def test_a_prescribed_burn_is_no_duplicate_of_a_fire():
    rx = frap_row("BURN", START_DATE="2020-03-01", END_DATE="2020-03-09")
    table = pa.concat_tables([records([frap_row()]), records([rx], prescribed=True)])

    assert clean_year(table, 2020).perimeters["prescribed"].to_pylist() == [False, True]


def test_without_global_ids_the_id_follows_from_the_content():
    rows = [frap_row("A", GlobalID=None), frap_row("B", square(50_000), GlobalID=None)]
    first, turned = clean(*rows), clean(*rows[::-1])

    ids = first.perimeters["fire_id"].to_pylist()
    assert len(set(ids)) == 2
    assert ids == turned.perimeters["fire_id"].to_pylist()


@pytest.mark.parametrize(
    ("unit", "number", "together"),
    [("SNF", "00001391", True), ("BTU", "00001391", False), ("SNF", "00000000", False)],
)
def test_perimeters_of_a_units_incident_belong_together(unit, number, together):
    rows = [
        frap_row("A", INC_NUM=number),
        frap_row("B", square(50_000), INC_NUM=number, UNIT_ID=unit),
    ]

    groups = clean(*rows).perimeters["group_id"].to_pylist()

    assert (groups[0] == groups[1]) == together


def test_fires_of_every_state_are_kept():
    rows = [
        frap_row(s, square(50_000 * i), STATE=s) for i, s in enumerate(("CA", "NV", "OR", "AZ"))
    ]

    assert sorted(clean(*rows).perimeters["state"].to_pylist()) == ["AZ", "CA", "NV", "OR"]


@pytest.mark.parametrize(("cause", "kept"), [(None, None), (0, None), (19, 19), ("1", 1)])
def test_a_cause_is_a_number_or_unknown(cause, kept):
    assert clean(frap_row(CAUSE=cause)).perimeters["cause"].to_pylist() == [kept]


def test_acres_that_do_not_fit_the_polygon_are_counted():
    cleaned = clean(frap_row(), frap_row("WRONG", square(50_000), GIS_ACRES=98_840.0))

    assert cleaned.counts["acres_disagree"] == 1


def test_the_year_may_come_from_a_date():
    table = records([frap_row(YEAR_=None), frap_row("B", YEAR_=0, ALARM_DATE=None)])

    assert table["fire_year"].to_pylist() == [2020, 2020]
    assert clean_year(table.slice(0, 1), 2020).counts["years_from_dates"] == 1


def test_a_row_without_any_year_is_refused():
    table = records([frap_row(YEAR_=None, ALARM_DATE="1970-01-01", CONT_DATE=None)])
    quarantine = without_year(table)

    assert quarantine["reason"].to_pylist() == ["missing_year"]
    assert validate(quarantine, QuarantinedRow).passed


def test_a_refused_row_can_be_read_in_quarantine():
    row = clean(frap_row(geometry=LINE)).quarantine.to_pylist()[0]

    assert (row["collection_id"], row["source_row"]) == ("frap2020", 0)
    assert '"fire_name": "CREEK"' in row["row_json"]
    assert "LINESTRING" in row["row_json"]


_ROW = st.builds(
    frap_row,
    st.sampled_from(["A", "B", "C"]),
    st.sampled_from([square(), square(9000), BOW_TIE, shapely.Polygon(), None]),
    CONT_DATE=st.sampled_from([None, "1970-01-01", "2020-08-01", "2020-12-24"]),
    GlobalID=st.sampled_from([None, "{1}", "{2}"]),
    COMPLEX_ID=st.sampled_from([None, "0000", "SCU-1"]),
)


@settings(max_examples=15)
@given(rows=st.lists(_ROW, min_size=1, max_size=6), seed=st.integers(0, 9))
def test_every_row_is_accounted_for_and_the_order_does_not_matter(rows, seed):
    table = records(rows)
    order = list(range(len(rows)))
    random.Random(seed).shuffle(order)
    first, other = clean_year(table, 2020), clean_year(table.take(pa.array(order)), 2020)

    undated = first.perimeters.num_rows - sum(first.perimeters["dated"].to_pylist())
    assert first.perimeters.num_rows + first.quarantine.num_rows - undated == len(rows)
    assert validate(first.perimeters, Perimeter).passed
    plain = [c.perimeters.drop_columns("source_row") for c in (first, other)]
    assert table_digest(plain[0]) == table_digest(plain[1])
