"""Sides with known costs, to test the harness with."""

import multiprocessing
import time
from pathlib import Path

from benchmarks.harness import MIB, Arguments, Side, done, measured, side_main


def work(arguments: Arguments) -> Side:
    """Use so many seconds and so much memory, here or in children."""
    with measured() as taken:
        children = int(arguments.get("children", 0))
        if children:
            with multiprocessing.get_context("fork").Pool(children) as pool:
                pool.map(_use, [(arguments["cpu_s"], arguments["mib"])] * children, chunksize=1)
        else:
            _use((arguments["cpu_s"], arguments["mib"]))
    return done(taken, 7)


def slower_every_time(arguments: Arguments) -> Side:
    """Use 0.2 s more at every run."""
    counter = Path(arguments["counter"])
    runs = int(counter.read_text()) if counter.exists() else 0
    counter.write_text(str(runs + 1))
    with measured() as taken:
        _use((0.1 + 0.2 * runs, 1))
    return done(taken, 1)


def fail(arguments: Arguments) -> Side:
    """End with an error."""
    raise ValueError(f"no such thing as {arguments['what']}")


def _use(how_much: tuple[float, int]) -> None:
    seconds, mib = how_much
    held = bytearray(mib * MIB)
    held[::4096] = b"x" * len(held[::4096])
    began = time.process_time()
    while time.process_time() - began < seconds:
        pass


SIDES = {f.__name__: f for f in (work, slower_every_time, fail)}

if __name__ == "__main__":
    side_main(SIDES)
