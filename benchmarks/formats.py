"""The same SIMULATED windows packed in several formats: cost to write, to keep and to read.

`pip install -e ".[bench]" && python -m benchmarks.formats --windows 480`

CPU milliseconds a window, the least of several rounds, one process, files in the page cache. Every
format is read back whole and compared with what was written.
"""

import argparse
import datetime as dt
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from benchmarks.packings import A_CELL, FORMATS, MONTHS, S1, S2, SIZE, Format, Pixels, Window

CENTRE = (SIZE // 2 - 1, SIZE // 2)


def draw_cell(number: int) -> Pixels:
    """Windows of one cell: fields with seasons, noise and speckle; about as compressible as scenes.

    Args:
        number: of the cell; its seed.
    """
    rng = np.random.default_rng(number)
    field = rng.integers(0, 4, (A_CELL, 4, 4)).repeat(8, axis=1).repeat(8, axis=2)
    green = rng.random((4, MONTHS, 12)) * 3000 + 300
    clean = green[field].transpose(0, 3, 4, 1, 2)
    s2 = clean * rng.normal(1, 0.03, clean.shape)
    s1 = rng.normal(-12, 2, (A_CELL, MONTHS, 2, SIZE, SIZE)) - field[:, None, None]
    return {S2: s2.astype(np.uint16), S1: s1.astype(np.float32)}


def measure(kept: Format, folder: Path, cells: int, rounds: int) -> dict[str, float | str]:
    """One row of the table.

    Raises:
        ValueError: what was read is not what was written.
    """
    writing = 0.0
    for number in range(cells):
        cell = draw_cell(number)
        began = time.process_time()
        kept.write(folder, number, cell)
        writing += time.process_time() - began
    count = cells * A_CELL
    files = [path for path in folder.rglob("*") if path.is_file()]
    window, order = kept.open(folder), np.random.default_rng(0).permutation(count).tolist()
    _require_equal(window, kept.scan(folder), cells)
    row, column = CENTRE
    whole = _least(rounds, lambda: [_touched(window(i)) for i in order])
    crop = _least(
        rounds,
        lambda: [{n: v[:, :, row, column].copy() for n, v in window(i).items()} for i in order],
    )
    scan = _least(rounds, lambda: [_touched(pixels) for pixels in kept.scan(folder)])
    return {
        "format": kept.name,
        "write": writing * 1e3 / count,
        "kB": sum(path.stat().st_size for path in files) / count / 1e3,
        "files": len(files) / cells,
        "window": whole * 1e3 / count,
        "pixel": crop * 1e3 / count,
        "scan": scan * 1e3 / count,
    }


def table(rows: list[dict[str, float | str]]) -> str:
    """Measured rows as Markdown."""
    lines = [
        "| format | write | kB | files a cell | a window | one pixel, 12 months | all in order |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        figures = f"{row['write']:.2f} | {row['kB']:.0f} | {row['files']:.3g}"
        reads = " | ".join(f"{row[name]:.3f}" for name in ("window", "pixel", "scan"))
        lines.append(f"| {row['format']} | {figures} | {reads} |")
    return "\n".join(lines)


def _touched(pixels: Pixels) -> float:
    """Read every value, so that what is only mapped is charged for."""
    return sum(float(values.max()) for values in pixels.values())


def _least(rounds: int, run: Callable[[], object]) -> float:
    taken = []
    for _ in range(rounds):
        began = time.process_time()
        run()
        taken.append(time.process_time() - began)
    return min(taken)


def _require_equal(window: Window, scanned: Iterator[Pixels], cells: int) -> None:
    for number in range(cells):
        cell = draw_cell(number)
        for i in range(A_CELL):
            for found in (window(number * A_CELL + i), next(scanned)):
                for name, values in cell.items():
                    if not np.array_equal(found[name], values[i]):
                        raise ValueError(f"window {number * A_CELL + i}, {name} differs")


def main() -> None:
    """Measure every format and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--windows", type=int, default=480, help="a multiple of 48")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=None, help="where to write; removed after")
    asked = parser.parse_args()
    rows = []
    for kept in FORMATS:
        folder = Path(tempfile.mkdtemp(dir=asked.folder))
        try:
            rows.append(measure(kept, folder, max(1, asked.windows // A_CELL), asked.rounds))
        finally:
            shutil.rmtree(folder)
    print(f"SIMULATED pixels, {asked.windows} windows, {dt.date.today()}; CPU ms and kB a window")
    print(table(rows))


if __name__ == "__main__":
    main()
