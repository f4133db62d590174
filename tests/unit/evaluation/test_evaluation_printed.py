"""What the terminal shows of scores: groups, names told apart, and parts without a class."""

import io

import numpy as np
import pyarrow as pa
import pytest
from rich.console import Console

from geofm_assets.evaluation.schema import SCORE, SEGMENTATION_PART
from geofm_assets.platform.report import print_parts, print_scores

SAID = {"model_id": "0" * 64, "label_rule": "r@1", "simulated": True}
NAMES = ["nano-s2-ps4-ws32-t2-seg", "baseline_majority", "baseline_majority_seg"]


def shown(print_it, table, width=120):
    stream = io.StringIO()
    print_it(Console(file=stream, width=width), table)
    return stream.getvalue()


def scores(fires, groups=None, names=NAMES):
    rows = [
        {**SAID, "experiment": name, "split": "test", "metric": metric, "value": 0.5}
        | {"low": 0.4, "high": 0.6, "n": n, "groups": held if name.endswith("seg") else None}
        for name in names
        for metric, n, held in (
            ("accuracy", 24, groups),
            ("recall_burnt", 13, fires),
            ("recall_unburnt", 24, groups),
        )
    ]
    return pa.Table.from_pylist(rows, schema=SCORE)


def test_the_header_says_of_how_many_fires_the_windows_are():
    text = shown(print_scores, scores(fires=8, groups=11))
    assert "test: 24 windows of 11 groups (8 with burnt), 95 % bootstrap intervals" in text
    assert "too few" not in text


def test_few_fires_are_said_to_be_few():
    text = shown(print_scores, scores(fires=2, groups=11))
    assert "Only 2 groups with burnt: too few to say which score is better" in text


def test_without_groups_nothing_is_said_of_them():
    text = shown(print_scores, scores(fires=None))
    assert "test: 24 windows, 95 % bootstrap intervals" in text
    assert "group" not in text


def test_a_table_of_before_groups_were_counted_is_shown():
    assert "24 windows," in shown(print_scores, scores(8, 11).drop_columns("groups"))


@pytest.mark.parametrize("width", [60, 80, 120])
def test_no_name_is_cut_short_on_a_narrow_terminal(width):
    text = shown(print_scores, scores(8, 11), width)
    header = text[: text.index("accuracy")]
    assert "\u2026" not in header
    cells = np.array(
        [line.split("\u2503")[1:-1] for line in header.splitlines() if "\u2503" in line]
    )
    said = ["".join(c.strip() for c in column) for column in cells.T]
    assert [s.replace(" ", "") for s in said[1:]] == [
        "nanos2ps4ws32t2seg",
        "baselinemajority",
        "baselinemajorityseg",
    ]


def test_parts_without_the_class_say_why_and_what_false_alarms_there_are():
    none = {"value": None, "reason": "no labelled pixel is burnt", "low": None, "high": None}
    some = {"value": 0.25, "reason": None, "low": 0.2, "high": 0.3}
    rows = [
        {**SAID, "experiment": NAMES[0], "split": "test", "dimension": "kind", "part": "far"}
        | {"metric": metric, "windows": 3, "groups": 3, "pixels": 99}
        | (none if metric == "f1_burnt" else some)
        for metric in ("accuracy", "f1_burnt", "false_alarm_rate_burnt")
    ]
    text = shown(print_parts, pa.Table.from_pylist(rows, schema=SEGMENTATION_PART))
    assert "none: no labelled pixel is burnt" in text
    assert "0.250 (0.200-0.300)" in text
    assert "SIMULATED DATA" in text
