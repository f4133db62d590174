"""Where the labels of a task lie in the store, and what their assets are called."""

from dataclasses import dataclass

import pyarrow as pa

from geofm_assets.core.stage import MissingUpstreamError
from geofm_assets.core.store import Store
from geofm_assets.labels.config import LabelsConfig, MinConfidence
from geofm_assets.labels.worldcereal.collections import accepted

WORLDCEREAL_PARTITIONS = "worldcereal_collections"
CALFIRE_PARTITIONS = "calfire_collections"


@dataclass(frozen=True)
class LabelSource:
    """Where a task's labels lie in the store and what their assets are called.

    Attributes:
        root: store prefix of collections and points.
        prefix: asset key prefix.
        partitions: name of the dynamic partition set of collections.
        config: label settings of the task; None for the shared WorldCereal assets.
    """

    root: str
    prefix: tuple[str, ...]
    partitions: str
    config: LabelsConfig | None = None

    def asset_path(self, name: str) -> list[str]:
        """Key of one of the source's assets."""
        return [*self.prefix, name]

    @property
    def collections_key(self) -> str:
        """Store key of the listing."""
        return f"{self.root}/collections.parquet"

    def points_key(self, collection_id: str) -> str:
        """Store key of a collection's points."""
        return f"{self.root}/points/{collection_id}.parquet"

    def accepted(self, store: Store, thresholds: MinConfidence) -> pa.Table:
        """Collections of the listing at or above the thresholds; all of them for other sources."""
        if not store.exists(self.collections_key):
            raise MissingUpstreamError(
                "There is no listing of collections",
                where=self.collections_key,
                fix=f"Materialize {'/'.join(self.prefix)}/collections first",
            )
        table = store.read_table(self.collections_key)
        if self.config is not None and self.config.source != "worldcereal":
            return table
        return accepted(table, thresholds)


WORLDCEREAL = LabelSource("reference", ("worldcereal",), WORLDCEREAL_PARTITIONS)


def label_source(task: str, config: LabelsConfig) -> LabelSource:
    """The label source of a task."""
    if config.source == "worldcereal":
        return LabelSource(WORLDCEREAL.root, WORLDCEREAL.prefix, WORLDCEREAL.partitions, config)
    if config.calfire is not None:
        root = f"reference/calfire/{config.calfire.name}"
        return LabelSource(root, ("calfire",), CALFIRE_PARTITIONS, config)
    return LabelSource(f"tasks/{task}/reference", (task,), f"{task}_collections", config)
