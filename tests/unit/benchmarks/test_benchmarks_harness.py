"""The harness sees what a process and its children use."""

import multiprocessing
import time

import pytest

from benchmarks.harness import SideFailedError, measured, run_side

MIB = 1 << 20


def burn(seconds: float) -> None:
    began = time.process_time()
    while time.process_time() - began < seconds:
        pass


def test_cpu_of_this_process_counts_and_sleep_does_not():
    with measured() as taken:
        burn(0.2)
        time.sleep(0.2)
    assert 0.15 < taken.cpu_s < 0.35
    assert taken.wall_s > 0.35


@pytest.mark.parametrize("ended", [True, False])
def test_cpu_of_children_counts_whether_they_ended_or_not(ended):
    with multiprocessing.get_context("fork").Pool(1) as pool:
        with measured() as taken:
            pool.map(burn, [0.3])
            if ended:
                pool.close()
                pool.join()
        assert taken.cpu_s > 0.25


def test_a_side_is_measured_from_outside():
    side = run_side("_selftest", "work", {"cpu_s": 1.0, "mib": 200})
    assert 0.9 < side.cpu_s < 2
    assert 200 < side.peak_mb < 400
    assert side.rows == 7
    small = run_side("_selftest", "work", {"cpu_s": 1.0, "mib": 1})
    assert side.peak_mb - small.peak_mb == pytest.approx(200, abs=30)


def test_memory_of_a_childs_child_counts():
    side = run_side("_selftest", "work", {"cpu_s": 1.0, "mib": 100, "children": 2})
    assert side.peak_mb > 190
    assert side.cpu_s > 1.8


def test_of_several_runs_the_least_cpu_counts(tmp_path):
    counter = tmp_path / "runs"
    side = run_side("_selftest", "slower_every_time", {"counter": str(counter)}, repeat=3)
    assert counter.read_text() == "3"
    assert side.cpu_s < 0.3


def test_a_side_that_fails_says_why():
    with pytest.raises(SideFailedError, match="no such thing as -1"):
        run_side("_selftest", "fail", {"what": -1})
