"""What sampling knows of a task, and the cells of its plan."""

from dataclasses import dataclass

from geofm_assets.core.store import Store
from geofm_assets.labels.config import LabelsConfig
from geofm_assets.labels.source import LabelSource
from geofm_assets.sampling.config import SamplingConfig, SplitConfig


@dataclass(frozen=True)
class SamplingTask:
    """What sampling needs to know of a task.

    Attributes:
        name: the task; prefix of its asset keys and store keys.
        source: where its reference points lie.
        labels: label rule and confidence thresholds.
        sampling: sample size, cell resolution, seed.
        split: how cells are divided into train, val and test.
        window_extent_m: side of a window, in metres; windows of two splits may not overlap.
    """

    name: str
    source: LabelSource
    labels: LabelsConfig
    sampling: SamplingConfig
    split: SplitConfig
    window_extent_m: float

    def asset_path(self, name: str) -> list[str]:
        """Key of one of the task's assets."""
        return [self.name, name]


def cells_partitions(task: str) -> str:
    """Name of a task's dynamic partition set of H3 cells."""
    return f"{task}_cells"


def planned_cells(store: Store, task: str) -> list[str]:
    """Cells of the current sampling plan, sorted; none before the first plan."""
    key = f"tasks/{task}/cells.parquet"
    return store.read_table(key, ["h3_cell"])["h3_cell"].to_pylist() if store.exists(key) else []
