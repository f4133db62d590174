"""Results: their schema, their verdicts, and the table people read."""

import json

import pytest

from benchmarks.__main__ import write_table
from benchmarks.harness import Side
from benchmarks.results import Result, check_record, compared, read_results, table, write_results
from benchmarks.sizes import SIZES

OURS = Side(cpu_s=2.0, wall_s=2.5, peak_mb=100.0, rows=1000, said={"memory": "private"})
PEER = Side(cpu_s=90.0, wall_s=91.0, peak_mb=900.0, rows=1000)


def test_less_cpu_a_row_is_better():
    result = compared("points", OURS, PEER, "the seed", unit="us", per_row=1e6, at_least=40)
    assert (result.value, result.peer_value, result.ratio) == (2000, 90_000, 45)
    assert result.verdict == "met"


def test_more_samples_a_second_are_better():
    result = compared("loader", OURS, PEER, "rslearn", more_is_better=True, at_least=50)
    assert result.ratio == 45
    assert result.verdict == "missed"


def test_rows_need_not_be_the_same_number_on_both_sides():
    peer = Side(cpu_s=9.0, wall_s=9.0, peak_mb=1.0, rows=100)
    assert compared("points", OURS, peer, "the seed", unit="us", per_row=1e6).ratio == 45


def test_a_faster_way_to_something_else_is_a_miss():
    result = compared("rasters", OURS, PEER, "rslearn", at_least=4, more={"equal": False})
    assert result.verdict == "missed"


def test_what_was_not_measured_has_no_figure():
    result = Result("training", None, "%", at_most=5, note="not measured: no GPU here")
    assert result.verdict == "not measured"
    assert "not measured: no GPU here" in table([result.as_dict()])


def test_a_results_file_says_what_it_was_measured_with(tmp_path):
    path = tmp_path / "points.json"
    results = [
        compared("points", OURS, PEER, "the seed", at_least=60),
        Result("memory", 900.0, "MiB", at_most=1024),
    ]
    write_results(path, results, sizes=SIZES["tiny"].as_dict())
    first, second = read_results(path)
    wanted = {"name", "value", "unit", "peer", "peer_value", "ratio", "at_least", "cpu_s"}
    assert wanted | {"peak_mb", "rows"} <= first.keys()
    assert (first["verdict"], second["verdict"]) == ("missed", "met")
    assert first["simulated"]
    assert first["sizes"]["seed"] == 0
    assert first["environment"]["rslearn"]
    text = write_table(tmp_path)
    assert "SIMULATED" in text
    assert "**missed**" in text
    assert text == (tmp_path / "table.md").read_text()


@pytest.mark.parametrize(
    ("field", "value"), [("value", "fast"), ("rows", 1.5), ("verdict", "great"), ("peer", None)]
)
def test_a_record_that_is_no_result_is_refused(field, value):
    record = compared("points", OURS, PEER, "the seed").as_dict()
    check_record(json.loads(json.dumps(record)))
    with pytest.raises(ValueError, match=field):
        check_record({**record, field: value})
