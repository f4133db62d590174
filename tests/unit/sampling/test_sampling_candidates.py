import datetime
import json
from collections import defaultdict
from unittest import mock

import h3
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geofm_assets.core.errors import DuplicateSampleError, SchemaError
from geofm_assets.core.hashing import keyed_hash
from geofm_assets.core.schema import validate
from geofm_assets.labels.schema import POINT_BATCH, QuarantinedRow
from geofm_assets.sampling.candidates import CANDIDATES_PER_PLACE, CandidateFold, candidates
from geofm_assets.sampling.config import SamplingConfig
from geofm_assets.sampling.plan import draw
from geofm_assets.sampling.schema import Candidate

CROP, GRASS, UNLABELLED, NO_CODE = "1101010001", "2001010000", "0000000000", "9999999999"
PLACES = [(9.0, 42.0), (9.01, 42.0), (9.0, 42.01), (9.02, 42.02), (15.0, 48.0), (15.01, 48.0)]
DAYS = [datetime.date(2020, 6, 1), datetime.date(2021, 6, 1)]


def reasons(result):
    return dict(
        zip(
            result.quarantine["sample_id"].to_pylist(),
            result.quarantine["reason"].to_pylist(),
            strict=True,
        )
    )


def test_labels_become_classes(make_points, rule):
    result = candidates(make_points(PLACES[:2], [CROP, GRASS]), rule, SamplingConfig())
    by_id = {r["sample_id"]: (r["class_id"], r["class_name"]) for r in result.table.to_pylist()}
    assert by_id == {"first_0": (0, "Cropland"), "first_1": (1, "Non-Cropland")}


def test_ignored_and_unknown_labels_are_set_aside_with_their_reason(make_points, rule):
    table = make_points(PLACES[:3], [CROP, UNLABELLED, NO_CODE])
    result = candidates(table, rule, SamplingConfig())
    assert reasons(result) == {"first_1": "ignored_label", "first_2": "unknown_label"}


def test_a_quarantined_row_says_label_and_rule(make_points, rule):
    result = candidates(make_points(PLACES[:1], [NO_CODE]), rule, SamplingConfig())
    detail = result.quarantine["detail"][0].as_py()
    assert detail == "label_raw 9999999999: label rule ai2_v1@1 does not know it"


def test_a_quarantined_row_carries_what_decided_as_json(make_points, rule):
    table = make_points(PLACES[:1], ['say "no"\\\n\x01'], quality=[None])
    row = json.loads(candidates(table, rule, SamplingConfig()).quarantine["row_json"][0].as_py())
    assert row == {"label_raw": 'say "no"\\\n\x01'}


def test_a_quarantined_row_says_where_it_lay(make_points, rule):
    table = make_points(PLACES[:2], [CROP, NO_CODE])
    found = candidates(table, rule, SamplingConfig()).quarantine
    assert found["source_row"].to_pylist() == [1]


@pytest.mark.parametrize("kind", ["lc", "ct"])
def test_low_and_missing_quality_are_set_aside_when_asked(make_points, rule, kind):
    table = make_points(PLACES[:4], [CROP], quality=[80, 79, None, 100])
    result = candidates(table, rule, SamplingConfig(**{f"min_quality_{kind}": 80}))
    assert reasons(result) == {"first_1": "low_quality", "first_2": "missing_quality"}


def test_quality_is_not_looked_at_unless_asked(make_points, rule):
    table = make_points(PLACES[:2], [CROP], quality=[0, None])
    assert candidates(table, rule, SamplingConfig()).table.num_rows == 2


def test_a_row_is_set_aside_once(make_points, rule):
    table = make_points(PLACES[:1], [NO_CODE], quality=[1])
    result = candidates(table, rule, SamplingConfig(min_quality_lc=50, min_quality_ct=50))
    assert result.quarantine["reason"].to_pylist() == ["unknown_label"]


def test_one_point_is_kept_per_place_and_date(make_points, rule):
    table = make_points([PLACES[0]] * 3, [CROP, GRASS])
    result = candidates(table, rule, SamplingConfig(seed=5))
    lowest = min(table["sample_id"].to_pylist(), key=lambda i: keyed_hash(i, 5))
    assert result.table["sample_id"].to_pylist() == [lowest]


def test_another_date_at_the_same_place_is_another_point(make_points, rule):
    table = make_points([PLACES[0]] * 2, [CROP], days=DAYS)
    assert candidates(table, rule, SamplingConfig()).table.num_rows == 2


def test_the_cell_is_that_of_the_asked_resolution(make_points, rule):
    result = candidates(make_points(PLACES, [CROP]), rule, SamplingConfig(h3_resolution=5))
    for row in result.table.to_pylist():
        assert row["h3_cell"] == h3.latlng_to_cell(row["lat"], row["lon"], 5)


def test_tables_satisfy_their_schemas(make_points, rule, scatter):
    table = make_points(scatter(300, 0, 5, 40, 10, 45), [CROP, GRASS, UNLABELLED])
    result = candidates(table, rule, SamplingConfig(per_cell=10))
    assert validate(result.table, Candidate).describe().endswith("satisfy Candidate")
    assert validate(result.quarantine, QuarantinedRow).passed


def test_every_row_is_counted(make_points, rule):
    places = [PLACES[0], PLACES[0], *PLACES[1:4]]
    table = make_points(places, [CROP, CROP, UNLABELLED, NO_CODE, GRASS])
    assert candidates(table, rule, SamplingConfig()).counts == {
        "points": 5,
        "ignored_label": 1,
        "unknown_label": 1,
        "eligible": 3,
        "candidates": 2,
    }


def test_an_empty_collection_gives_empty_tables(make_points, rule):
    result = candidates(make_points([]), rule, SamplingConfig())
    assert (result.table.num_rows, result.quarantine.num_rows) == (0, 0)
    assert validate(result.table, Candidate).passed


def test_a_duplicate_id_within_a_collection_is_refused(make_points, rule):
    with pytest.raises(DuplicateSampleError, match="sample_id same"):
        candidates(make_points(PLACES[:2], ids=["same", "same"]), rule, SamplingConfig())


def test_a_coordinate_off_the_earth_is_refused(make_points, rule):
    with pytest.raises(SchemaError, match="column lat, row 1"):
        candidates(make_points([(0, 0), (0, 91)]), rule, SamplingConfig())


def test_another_table_is_refused(rule):
    with pytest.raises(SchemaError, match="Not a table of reference points"):
        candidates(pa.table({"sample_id": ["a"]}), rule, SamplingConfig())


# (id, place, day, collection): few of each, so that ids and places clash within and across
claims = st.lists(
    st.tuples(
        st.integers(0, 9),
        st.integers(0, len(PLACES) - 1),
        st.integers(0, 1),
        st.sampled_from(["a", "b", "c"]),
    ),
    unique_by=lambda c: (c[0], c[3]),
    max_size=24,
)


def as_collections(make_points, rows):
    parts = defaultdict(list)
    for row in rows:
        parts[row[3]].append(row)
    return [
        make_points(
            [PLACES[p] for _, p, _, _ in part],
            collection=name,
            ids=[str(i) for i, _, _, _ in part],
            days=[DAYS[d] for _, _, d, _ in part],
        )
        for name, part in parts.items()
    ]


def by_the_book(rows, per_cell, seed):
    """What sampling all rows at once should give, written without sharing code."""

    def rank(row):
        return keyed_hash(str(row[0]), seed), str(row[0]), row[3]

    def lowest_per(rows, group, rank, limit):
        groups = defaultdict(list)
        for row in rows:
            groups[group(row)].append(row)
        return [r for g in groups.values() for r in sorted(g, key=rank)[:limit]]

    def cell(row):
        lon, lat = PLACES[row[1]]
        return h3.latlng_to_cell(lat, lon, 3)

    rows = lowest_per(rows, lambda r: (r[1], r[2]), rank, 1)
    rows = lowest_per(rows, cell, rank, CANDIDATES_PER_PLACE * per_cell)
    rows = lowest_per(rows, lambda r: r[0], lambda r: r[3], 1)
    rows = lowest_per(rows, cell, rank, per_cell)
    return {(str(r[0]), r[3]) for r in rows}


@settings(max_examples=200)
@given(claims, st.integers(1, 4), st.integers(0, 50))
def test_merging_candidates_gives_what_all_rows_at_once_would(
    make_points, rule, rows, per_cell, seed
):
    config = SamplingConfig(per_cell=per_cell, seed=seed)
    tables = [candidates(t, rule, config).table for t in as_collections(make_points, rows)]
    sample, _ = draw(pa.concat_tables(tables) if tables else _none(make_points, rule), per_cell)
    drawn = set(
        zip(sample["sample_id"].to_pylist(), sample["collection_id"].to_pylist(), strict=True)
    )
    assert drawn == by_the_book(rows, per_cell, seed)


@given(claims, st.integers(1, 3), st.lists(st.integers(0, 2), min_size=24, max_size=24))
def test_a_collection_may_come_in_any_number_of_parts(make_points, rule, rows, per_cell, part_of):
    config = SamplingConfig(per_cell=per_cell)
    rows = [(i, p, d, "a") for i, p, d, _ in {r[0]: r for r in rows}.values()]
    parts = [[r for r, n in zip(rows, part_of, strict=False) if n == k] for k in range(3)]
    tables = [
        candidates(t, rule, config).table for p in parts for t in as_collections(make_points, p)
    ]
    sample, _ = draw(pa.concat_tables(tables) if tables else _none(make_points, rule), per_cell)
    assert set(sample["sample_id"].to_pylist()) == {i for i, _ in by_the_book(rows, per_cell, 0)}


@settings(max_examples=100)
@given(
    st.lists(
        st.tuples(st.integers(0, 400), st.integers(0, len(PLACES) - 1), st.integers(0, 1)),
        unique_by=lambda c: c[0],
        max_size=80,
    ),
    st.randoms(use_true_random=False),
    st.integers(1, 4),
    st.integers(1, 30),
    st.integers(1, 40),
)
def test_candidates_do_not_depend_on_order_batches_or_when_they_are_merged(
    make_points, rule, rows, random, per_cell, batch, merge
):
    config = SamplingConfig(per_cell=per_cell)
    table = make_points(
        [PLACES[p] for _, p, _ in rows],
        ids=[str(i) for i, _, _ in rows],
        days=[DAYS[d] for _, _, d in rows] or DAYS,
        labels=[(CROP, GRASS, UNLABELLED)[i % 3] for i, _, _ in rows] or (CROP,),
    )
    whole = candidates(table, rule, config)
    order = list(range(len(rows)))
    random.shuffle(order)
    fold = CandidateFold(rule, config)
    with mock.patch("geofm_assets.sampling.candidates._MERGE_ROWS", merge):
        for start in range(0, len(order), batch):
            part = table.take(pa.array(order[start : start + batch]))
            fold.add(part.cast(POINT_BATCH) if start % 2 else part)
        assert fold.finish() == whole.table
    assert fold.counts == whole.counts or not rows


def test_memory_holds_candidates_not_rows(make_points, rule, scatter):
    fold = CandidateFold(rule, SamplingConfig(per_cell=5))
    places = scatter(2000, 0, 10.0, 45.0, 10.02, 45.02)  # one cell
    with mock.patch("geofm_assets.sampling.candidates._MERGE_ROWS", 500):
        for part in range(40):
            ids = [f"{part}_{i}" for i in range(2000)]
            fold.add(make_points(places, [CROP], ids=ids))
            assert sum(t.num_rows for t in fold._waiting) < 500
    # each place comes forty times; a hundredth of the rows ever waits after the first merge
    assert fold.finish().num_rows == 2 * 5
    assert fold.counts["points"] == 80_000


def _none(make_points, rule):
    return candidates(make_points([]), rule, SamplingConfig()).table
