"""How large the benchmarks are: `tiny` for tests, `small` for minutes, `full` for the world."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Sizes:
    """Sizes of one run of all benchmarks.

    Attributes:
        name: of these sizes.
        points: rows of the mirrors our side is measured on, ascending.
        seed_points: rows of the mirror the seed's way is measured on.
        collections: of each mirror.
        incremental: rows of the mirror a collection of a hundredth of its rows is added to.
        windows_from: rows of the mirror whose sample gets windows; one of `points`.
        windows: at most so many are written by the peer, which is linear in them.
        raster_cells: cells with scenes for the comparison of rasters.
        raster_windows: windows in each of them.
        loader_cells: cells with scenes for loading samples.
        loader_windows: windows in each.
        samples: samples our loader is timed on; a peer is timed on `peer_samples`.
        peer_samples: see `samples`.
        compared: samples whose model inputs are compared value by value.
        epoch_from: rows of the mirror whose sample is the dataset an epoch starts on.
        train_steps: steps of training timed on a GPU.
        repeat: how often a cheap side is run; the least CPU counts.
        seed: of everything generated.
    """

    name: str
    points: tuple[int, ...]
    seed_points: int
    collections: int
    incremental: int
    windows_from: int
    windows: int
    raster_cells: int
    raster_windows: int
    loader_cells: int
    loader_windows: int
    samples: int
    peer_samples: int
    compared: int
    epoch_from: int
    train_steps: int
    repeat: int
    seed: int = 0

    def as_dict(self) -> dict[str, Any]:
        """For the results."""
        return asdict(self)


SIZES = {
    sizes.name: sizes
    for sizes in (
        Sizes(
            name="tiny",
            points=(600,),
            seed_points=600,
            collections=3,
            incremental=600,
            windows_from=600,
            windows=20,
            raster_cells=1,
            raster_windows=5,
            loader_cells=1,
            loader_windows=5,
            samples=4,
            peer_samples=2,
            compared=2,
            epoch_from=600,
            train_steps=3,
            repeat=1,
        ),
        Sizes(
            name="small",
            points=(100_000, 1_000_000),
            seed_points=100_000,
            collections=90,
            incremental=1_000_000,
            windows_from=1_000_000,
            windows=4_000,
            raster_cells=3,
            raster_windows=48,
            loader_cells=6,
            loader_windows=48,
            samples=2_000,
            peer_samples=100,
            compared=50,
            epoch_from=100_000,
            train_steps=30,
            repeat=1,
        ),
        Sizes(
            name="full",
            points=(1_000_000, 10_000_000, 54_000_000),
            seed_points=1_000_000,
            collections=90,
            incremental=54_000_000,
            windows_from=54_000_000,
            windows=66_000,
            raster_cells=8,
            raster_windows=48,
            loader_cells=42,
            loader_windows=48,
            samples=4_000,
            peer_samples=300,
            compared=301,
            epoch_from=54_000_000,
            train_steps=200,
            repeat=3,
        ),
    )
}
