"""Run the benchmarks: `python -m benchmarks --size small`. See README.md."""

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks import (
    bench_evaluation,
    bench_loader,
    bench_platform,
    bench_points,
    bench_prediction,
    bench_rasters,
    bench_sweeps,
    bench_training,
    bench_windows,
)
from benchmarks.results import Result, read_results, table, write_results
from benchmarks.sizes import SIZES, Sizes
from benchmarks.workplace import DEFAULT_CACHE, Workplace

RESULTS = Path(__file__).resolve().parent / "results"
BENCHMARKS: dict[str, Callable[[Workplace], list[Result]]] = {
    "points": bench_points.run,
    "incremental": bench_points.run_incremental,
    "windows": bench_windows.run,
    "epoch": bench_windows.run_epoch,
    "rasters": bench_rasters.run,
    "loader": bench_loader.run,
    "training": bench_training.run,
    "probes": bench_evaluation.run,
    "sweeps": bench_sweeps.run,
    "prediction": bench_prediction.run,
    "platform": bench_platform.run,
}


def run(
    sizes: Sizes, cache: Path, results: Path, only: list[str], *, again: bool, keep: bool
) -> list[str]:
    """Run benchmarks that have no results of these sizes yet, and write the table.

    Args:
        sizes: how large.
        cache: for generated data and stores.
        results: folder of results; made if missing.
        only: names of benchmarks; all if none are named.
        again: run also those that have results.
        keep: leave stores and datasets in the cache.

    Returns:
        Names of benchmarks that failed.
    """
    place = Workplace(cache, sizes)
    place.clear_work()  # what an earlier run measured does not count as measured in this one
    failed = []
    for name in only or list(BENCHMARKS):
        path = results / f"{name}.json"
        if not again and _finished(path, sizes):
            print(f"{name}: kept from an earlier run", flush=True)
            continue
        began = time.monotonic()
        print(f"{name} ...", flush=True)
        try:
            found = BENCHMARKS[name](place)
        except (RuntimeError, OSError, ValueError) as error:
            print(f"{name} failed: {error}", file=sys.stderr, flush=True)
            failed.append(name)
            continue
        write_results(path, found, sizes=sizes.as_dict())
        print(f"{name}: {time.monotonic() - began:.0f} s", flush=True)
    if not keep:
        place.clear_work()
    text = write_table(results)
    print("\n" + text)
    return failed


def write_table(results: Path) -> str:
    """table.md of all results in a folder."""
    records = []
    for name in BENCHMARKS:
        path = results / f"{name}.json"
        records += read_results(path) if path.exists() else []
    head = ""
    if records:
        here = records[0]["environment"]
        sizes = sorted({record["sizes"]["name"] for record in records})
        head = f"Sizes: {', '.join(sizes)}. {here['cores']} cores, {here['cpu']}. "
    text = head + table(records)
    results.mkdir(parents=True, exist_ok=True)
    (results / "table.md").write_text(text, "utf-8")
    return text


def _finished(path: Path, sizes: Sizes) -> bool:
    if not path.exists():
        return False
    wanted = json.loads(json.dumps(sizes.as_dict()))
    return all(record["sizes"] == wanted for record in read_results(path))


def main(arguments: list[str] | None = None) -> int:
    """Command line; 1 if a benchmark failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--size", choices=sorted(SIZES), default="small")
    parser.add_argument("--only", nargs="+", choices=list(BENCHMARKS), default=[], metavar="NAME")
    parser.add_argument("--again", action="store_true", help="run also what has results")
    parser.add_argument("--keep", action="store_true", help="leave stores in the cache")
    parser.add_argument("--cache", type=Path, default=DEFAULT_CACHE)
    parser.add_argument("--results", type=Path, help="benchmarks/results, or a folder below it")
    given = parser.parse_args(arguments)
    results = given.results or (RESULTS if given.size == "full" else RESULTS / given.size)
    failed = run(
        *(SIZES[given.size], given.cache, results, given.only), again=given.again, keep=given.keep
    )
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
