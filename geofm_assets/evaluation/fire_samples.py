"""Which fire each window is of, where the labels are fire perimeters."""

import pyarrow as pa
import pyarrow.compute as pc

from geofm_assets.core.store import Store
from geofm_assets.labels.calfire.side_tables import read_samples, samples_key
from geofm_assets.labels.rules import LabelRule
from geofm_assets.training.task import TrainingTask

_COLUMNS = ["sample_id", "group_id", "kind", "fire_year", "area_ha"]


def samples_keys(store: Store, task: TrainingTask, rows_key: str) -> list[str]:
    """Store keys of the tables of samples of some windows; none unless labels are perimeters.

    Args:
        store: where the tables lie.
        task: the task.
        rows_key: store key of a table with the windows' collection_id.
    """
    root = task.imagery.sampling.source.root
    return [samples_key(root, c) for c in _collections(store, task, rows_key)]


def task_samples(store: Store, task: TrainingTask, rows_key: str) -> pa.Table | None:
    """Sample, group, kind, year and area of some windows' samples; None without perimeters.

    Raises:
        MissingUpstreamError: a year has no table of samples.
    """
    collections = _collections(store, task, rows_key)
    if not collections:
        return None
    root = task.imagery.sampling.source.root
    return read_samples(store, root, collections, _COLUMNS)


def groups_of(samples: pa.Table) -> dict[str, str]:
    """Group of each sample, by sample_id."""
    names, groups = samples["sample_id"].to_pylist(), samples["group_id"].to_pylist()
    return dict(zip(names, groups, strict=True))


def positive_id(rule: LabelRule) -> int:
    """The class a binary task is about; the last one where the rule names none."""
    return rule.classes.index(rule.positive) if rule.positive else len(rule.classes) - 1


def _collections(store: Store, task: TrainingTask, rows_key: str) -> list[str]:
    if task.imagery.sampling.labels.source != "calfire":
        return []
    column = store.read_table(rows_key, ["collection_id"])["collection_id"]
    names: list[str] = pc.unique(column).to_pylist()
    return sorted(names)
