"""Windows that no imagery covers: how many, and what they are of."""

from collections import Counter
from collections.abc import Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from geofm_assets.core.store import Store
from geofm_assets.labels.calfire.side_tables import read_samples
from geofm_assets.training.cell_chips import Chips
from geofm_assets.training.manifest import ManifestCheck
from geofm_assets.training.task import TrainingTask

MOST_WITHOUT = 0.1
"""Share of windows without imagery above which a check warns: a tenth of the labels paid for."""
COLUMNS = ["sample_id", "collection_id", "class_name"]


def without_imagery(windows: pa.Table, chips: Chips) -> pa.Table:
    """`COLUMNS` of a cell's windows that have no chip, since no scene shows a pixel of them."""
    there = pc.is_in(windows["window_name"], pa.array(chips.window_names, pa.string()))
    return windows.filter(pc.invert(there)).select(COLUMNS)


def kinds_of(store: Store, task: TrainingTask, lost: pa.Table) -> dict[str, int]:
    """How many windows are of each kind of sample; of each class where samples have no kind.

    Args:
        store: where the tables of samples are.
        task: the task.
        lost: `COLUMNS` of windows.

    Raises:
        MissingUpstreamError: a year has no table of samples.
    """
    names: Sequence[str] = lost["class_name"].to_pylist()
    if lost.num_rows and task.imagery.sampling.labels.source == "calfire":
        root = task.imagery.sampling.source.root
        collections = sorted(set(lost["collection_id"].to_pylist()))
        samples = read_samples(store, root, collections, ["sample_id", "kind"])
        kind = dict(zip(*(samples[c].to_pylist() for c in ("sample_id", "kind")), strict=True))
        names = [kind[name] for name in lost["sample_id"].to_pylist()]
    return dict(sorted(Counter(names).items(), key=lambda found: (-found[1], found[0])))


def check_imagery(kinds: Mapping[str, int], windows: int) -> ManifestCheck:
    """Whether few windows have no imagery.

    Args:
        kinds: windows without, by kind.
        windows: how many there are, with and without.
    """
    lost = sum(kinds.values())
    text = f"every one of {windows:,} windows has imagery"
    if lost:
        listed = ", ".join(f"{count:,} {kind}" for kind, count in kinds.items())
        text = f"{lost:,} of {windows:,} windows have no imagery: {listed}"
    passed = lost <= MOST_WITHOUT * windows
    return ManifestCheck("imagery_coverage", passed, text, {"without_imagery": dict(kinds)})
