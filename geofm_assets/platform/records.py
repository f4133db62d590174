"""What an instance says of partitions: when making one again would record nothing new."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import dagster as dg
from dagster._core.definitions.data_version import DATA_VERSION_TAG, get_input_data_version_tag
from dagster._core.storage.partition_status_cache import AssetPartitionStatus

from geofm_assets.core.events import INPUTS_TAG


@dataclass(frozen=True)
class Record:
    """The latest materialization of a partition.

    Attributes:
        content: its data version.
        inputs: the first characters of the digest of what it was made from.
        tags: all of its tags.
    """

    content: str
    inputs: str
    tags: Mapping[str, str]


class Records:
    """Materializations of an instance.

    Args:
        instance: whose.
    """

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self._instance = instance

    def latest(self, key: dg.AssetKey, partition: str | None) -> Record | None:
        """The latest materialization; None if there is none."""
        partitions = None if partition is None else [partition]
        wanted = dg.AssetRecordsFilter(asset_key=key, asset_partitions=partitions)
        records = self._instance.fetch_materializations(wanted, limit=1).records
        if not records or records[0].asset_materialization is None:
            return None
        tags = records[0].asset_materialization.tags or {}
        return Record(tags.get(DATA_VERSION_TAG, ""), tags.get(INPUTS_TAG, ""), tags)

    def failed(
        self,
        key: dg.AssetKey,
        definition: dg.PartitionsDefinition[str],
        partitions: Sequence[str],
    ) -> set[str]:
        """Partitions that were tried, and failed, after they were last made."""
        found = self._instance.get_status_by_partition(key, partitions, definition) or {}
        return {name for name, status in found.items() if status == AssetPartitionStatus.FAILED}

    def is_of(
        self,
        key: dg.AssetKey,
        partition: str | None,
        inputs: str,
        upstream: Mapping[dg.AssetKey, str] | None = None,
    ) -> bool:
        """Whether the latest materialization was made from these inputs.

        Args:
            key: of the asset.
            partition: of it; None if it has none.
            inputs: digest of the inputs.
            upstream: data version of the one partition it read of each partitioned asset.
        """
        found = self.latest(key, partition)
        if found is None or not found.inputs or not inputs.startswith(found.inputs):
            return False
        return all(
            found.tags.get(get_input_data_version_tag(upper)) == _joined(version)
            for upper, version in (upstream or {}).items()
        )


def _joined(version: str) -> str:
    """A partition's data version as a record of what read it has it: Dagster hashes all it read."""
    return hashlib.sha256(version.encode()).hexdigest()
