"""Tasks whose windows could be an evaluation dataset and are not one yet."""

from collections import Counter
from collections.abc import Collection
from typing import Any

from geofm_assets.core.store import Store
from geofm_assets.evaluation.registry.entry import SPLITS

WAITING = "task, not ingested yet"


def manifest_key(task: str) -> str:
    """Store key of a task's split manifest, from which its dataset is made."""
    return f"tasks/{task}/split_manifest.parquet"


def is_task(store: Store, name: str) -> bool:
    """Whether a task of this name has a split manifest."""
    return store.exists(manifest_key(name))


def task_rows(store: Store, listed: Collection[str]) -> list[dict[str, Any]]:
    """Records as `dataset_rows` has them, of tasks that have a split manifest.

    Args:
        store: where tasks lie.
        listed: names that are listed already.
    """
    names = store.folders("tasks")
    return [_row(store, n) for n in names if n not in listed and is_task(store, n)]


def _row(store: Store, name: str) -> dict[str, Any]:
    """The same fields, empty where only ingesting can tell."""
    found = store.provenance(manifest_key(name))
    splits = Counter(store.read_table(manifest_key(name), ["split"])["split"].to_pylist())
    return {
        "name": name,
        "state": WAITING,
        "display_name": name,
        "task_type": "classification",
        "modalities": [],
        "counts": {split: splits[split] for split in SPLITS},
        "metric": None,
        "lower_is_better": None,
        "dataset_id": None,
        "source": f"{store.url}/tasks/{name}",
        "simulated": found.simulated if found is not None else None,
        "warnings": [],
    }
