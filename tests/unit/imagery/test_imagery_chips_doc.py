"""The example of docs/chips.md reads a cell's chips without any of our code."""

import datetime as dt
import re
import subprocess
import sys
from pathlib import Path

from tests.packed_files import NAMES, pixels
from tests.training_world import CELLS, month_periods, write_cell

DOC = Path(__file__).resolve().parents[3] / "docs" / "chips.md"


def test_example_of_the_docs_reads_a_window(tmp_path: Path) -> None:
    periods = month_periods(dt.date(2022, 5, 1), 3)
    write_cell(tmp_path, CELLS[0], list(NAMES), pixels(), periods, refused=("w0",))
    example = re.findall(r"```python\n(.*?)```", DOC.read_text(encoding="utf-8"), re.DOTALL)[0]
    assert "geofm_assets" not in example
    done = subprocess.run(
        [sys.executable, "-c", example], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "w1: (3, 12, 4, 4), first B02 image of 2022-05-01\n"
