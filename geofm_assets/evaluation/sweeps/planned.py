"""What a sweep that has not been started would come to."""

from dataclasses import asdict, dataclass
from typing import Any

from geofm_assets.evaluation.sweeps.settings import Sweep


@dataclass(frozen=True)
class PlannedEncoding:
    """One pass of a dataset through a model.

    Attributes:
        normalization: of the pass.
        patch_size: likewise.
        samples: in the dataset.
        cached: whether the store holds its embeddings; None if that is not known before the
            weights are read.
        seconds: expected; 0 if cached.
        measured: whether `seconds` rests on an earlier pass of this model rather than on
            published rates.
    """

    normalization: str
    patch_size: int
    samples: int
    cached: bool | None
    seconds: float
    measured: bool


@dataclass(frozen=True)
class PlannedCell:
    """A model on a dataset.

    Attributes:
        partition: key in the grid.
        model: name.
        dataset: name.
        dataset_id: today's.
        encodings: passes needed.
        linear_probes: how many are trained, all in one batch.
        knn_probes: how many are looked up.
        runs: encodings that one a run would take; kNN rides along with the linear probes.
        probe_seconds: expected of all probes.
    """

    partition: str
    model: str
    dataset: str
    dataset_id: str
    encodings: tuple[PlannedEncoding, ...]
    linear_probes: int
    knn_probes: int
    runs: int
    probe_seconds: float


@dataclass(frozen=True)
class SweepPlan:
    """A sweep that has not been started.

    Attributes:
        sweep: kind.
        cells: models on datasets.
    """

    sweep: Sweep
    cells: tuple[PlannedCell, ...]

    @property
    def encodings_needed(self) -> int:
        """Samples that have to go through an encoder, those of `encodings_unknown` included."""
        return sum(e.samples for c in self.cells for e in c.encodings if not e.cached)

    @property
    def encodings_cached(self) -> int:
        """Samples that went through before."""
        return sum(e.samples for c in self.cells for e in c.encodings if e.cached)

    @property
    def encodings_unknown(self) -> int:
        """Samples that may have gone through before: weights would have to be read to know."""
        return sum(e.samples for c in self.cells for e in c.encodings if e.cached is None)

    @property
    def encodings_saved(self) -> int:
        """Samples that one encoding a run would have put through in addition."""
        naive = sum(c.runs * c.encodings[0].samples for c in self.cells if c.encodings)
        return naive - self.encodings_needed

    @property
    def seconds(self) -> float:
        """Expected in all, one core."""
        encoding = sum(e.seconds for c in self.cells for e in c.encodings)
        return encoding + sum(c.probe_seconds for c in self.cells)

    @property
    def measured(self) -> bool:
        """Whether every rate was measured in this store."""
        return all(e.measured or e.cached for c in self.cells for e in c.encodings)

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "sweep": self.sweep,
            "partitions": [asdict(cell) for cell in self.cells],
            "encodings_needed": self.encodings_needed,
            "encodings_cached": self.encodings_cached,
            "encodings_unknown": self.encodings_unknown,
            "encodings_saved": self.encodings_saved,
            "linear_probes": sum(c.linear_probes for c in self.cells),
            "knn_probes": sum(c.knn_probes for c in self.cells),
            "seconds": self.seconds,
            "measured": self.measured,
        }

    def rows(self) -> list[dict[str, str]]:
        """One row a cell, as people read it."""
        return [
            {
                "model": c.model,
                "dataset": c.dataset,
                "samples": f"{c.encodings[0].samples:,}",
                "encode": ", ".join(_name(e) for e in c.encodings if not e.cached) or "nothing",
                "kept": ", ".join(_name(e) for e in c.encodings if e.cached) or "-",
                "probes": f"{c.linear_probes} linear, {c.knn_probes} kNN",
                "expected": duration(sum(e.seconds for e in c.encodings) + c.probe_seconds),
            }
            for c in self.cells
        ]

    def summary(self) -> str:
        """What it comes to, in a few lines."""
        basis = "measured here" if self.measured else "from published rates, to within a few times"
        linear = sum(c.linear_probes for c in self.cells)
        knn = sum(c.knn_probes for c in self.cells)
        unknown = ""
        if self.encodings_unknown:
            unknown = (
                f"Whether {self.encodings_unknown:,} of those needed are in the store is not known "
                "before the weights are read.\n"
            )
        return (
            f"{len(self.cells)} partitions, sweep {self.sweep}: {linear} linear probes, "
            f"{knn} kNN.\n"
            f"Encodings needed: {self.encodings_needed:,} samples; in the store already: "
            f"{self.encodings_cached:,}; saved against one encoding a run: "
            f"{self.encodings_saved:,}.\n{unknown}"
            f"Expected on one core: {duration(self.seconds)} ({basis}).\n"
            "Nothing was started."
        )


def duration(seconds: float) -> str:
    """Seconds as people say them."""
    if seconds < 90:
        return f"{seconds:.0f} s" if seconds >= 1 else "under 1 s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def _name(encoding: PlannedEncoding) -> str:
    perhaps = " (perhaps kept)" if encoding.cached is None else ""
    return f"{encoding.normalization} ps{encoding.patch_size}{perhaps}"
