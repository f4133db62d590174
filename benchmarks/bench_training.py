"""A training step's waiting for its data, where there is a GPU to wait."""

from collections.abc import Iterator
from typing import Any

from benchmarks.harness import Arguments, Side, done, measured, run_side, side_main
from benchmarks.results import Result
from benchmarks.workplace import Workplace

_NAME = "training, share of a step spent waiting for data"
_BATCH = 64


def run(place: Workplace) -> list[Result]:
    """Share of training steps spent waiting; nothing is claimed where no GPU is visible."""
    import torch

    if not torch.cuda.is_available():
        note = "not measured: no GPU here"
        return [Result(_NAME, None, "%", at_most=5, note=note)]
    sizes = place.sizes
    world = place.sites(sizes.loader_cells, sizes.loader_windows, clouds=False)
    store = str(place.work("training", fresh=True) / "store")
    given = {"store": store, "mirror": str(world.mirror), "scenes": str(world.scenes)}
    for side in ("prepare_sites", "rasters", "manifest"):
        run_side("sides", side, given)
    ours = run_side("bench_training", "steps", {"store": store, "steps": sizes.train_steps})
    place.clear_work("training")
    return [
        Result(
            *(_NAME, 100 * ours.said["waiting_s"] / ours.wall_s, "%"),
            at_most=5,
            cpu_s=ours.cpu_s,
            peak_mb=ours.peak_mb,
            rows=ours.rows,
            note=f"OlmoEarth nano on one GPU, batches of {_BATCH}, bfloat16, both sensors, "
            "12 months of 32 x 32 px; after five steps that do not count.",
            more={"steps": sizes.train_steps, "gpu": ours.said["gpu"], "wall_s": ours.wall_s},
        )
    ]


def steps(arguments: Arguments) -> Side:
    """Training steps on the first GPU, the time between them taken apart."""
    import time
    from pathlib import Path

    import torch

    from benchmarks import ours
    from geofm_assets.core.store import Store

    device = torch.device("cuda", 0)
    training = ours.open_training(Store(Path(arguments["store"])), ours.sites_task(), 32, _BATCH)
    model, optimiser = ours.classifier(device)
    batches: Iterator[Any] = iter(())
    waiting, rows = 0.0, 0
    wanted = int(arguments["steps"])

    def one() -> tuple[float, int]:
        nonlocal batches
        began = time.perf_counter()
        batch = next(batches, None)
        if batch is None:
            batches = iter(training.loader)
            batch = next(batches)
        batch = batch.to(device)
        waited = time.perf_counter() - began
        loss = torch.nn.functional.cross_entropy(model(batch), batch.targets)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        torch.cuda.synchronize()
        return waited, len(batch.targets)

    for _ in range(5):
        one()
    with measured() as taken:
        for _ in range(wanted):
            waited, count = one()
            waiting, rows = waiting + waited, rows + count
    return done(taken, rows, waiting_s=waiting, gpu=torch.cuda.get_device_name(device))


SIDES = {"steps": steps}

if __name__ == "__main__":
    side_main(SIDES)
