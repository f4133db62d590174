"""What is printed of a stage where the output is a file, as the log of a pod is."""

import io

from rich.console import Console

from geofm_assets.platform.report import Reporter


def test_a_stage_that_is_recorded_but_not_over_is_said_once():
    file = io.StringIO()
    reporter = Reporter(Console(file=file))
    reporter.stage_started((1, 2), "stage", 2, 0, partitioned=True)
    for done in (0, 0, 1, 1, 2, 2, 2):
        reporter.progress(done, 2, "note")
    assert [line.strip() for line in file.getvalue().splitlines()[1:]] == ["1/2 note", "2/2 note"]
    file.truncate(0)
    reporter.stage_started((2, 2), "next", 1, 0, partitioned=True)
    reporter.progress(1, 1, "note")
    assert file.getvalue().count("1/1 note") == 1
