"""Reference collections and reference points as Dagster assets."""

from collections.abc import Iterator, Sequence
from typing import Any

import dagster as dg

from geofm_assets.core.assets import PartitionConfig, check_specs, emit, emit_partitions
from geofm_assets.core.compute import RDM_POOL
from geofm_assets.core.outcome import Outcome
from geofm_assets.core.resources import StoreResource
from geofm_assets.labels.config import MinConfidence
from geofm_assets.labels.csv.stages import copy_csv, list_csv
from geofm_assets.labels.resources import RdmClient
from geofm_assets.labels.source import WORLDCEREAL, LabelSource
from geofm_assets.labels.stages import CollectionFileStage, CollectionsStage, ReferencePointsStage
from geofm_assets.labels.worldcereal.collections import accepted

_BACKFILL = dg.BackfillPolicy.multi_run(16)


def collections_definition(source: LabelSource) -> dg.DynamicPartitionsDefinition:
    """The partition set of a source's collections."""
    return dg.DynamicPartitionsDefinition(name=source.partitions)


def build_worldcereal_assets(thresholds: Sequence[MinConfidence]) -> list[dg.AssetsDefinition]:
    """The shared WorldCereal assets; a collection any task accepts becomes a partition."""
    return [_worldcereal_collections(tuple(thresholds)), *_file_assets(WORLDCEREAL)]


def _worldcereal_collections(thresholds: tuple[MinConfidence, ...]) -> dg.AssetsDefinition:
    key = dg.AssetKey(WORLDCEREAL.asset_path("collections"))
    stage = CollectionsStage(WORLDCEREAL)

    @dg.asset(
        key=key,
        group_name="labels",
        kinds={"http", "parquet"},
        code_version=stage.code_version,
        pool=RDM_POOL,
        check_specs=check_specs(key, "schema"),
        description="Every collection the RDM lists today, ids normalised. A collection that "
        "meets a task's confidence thresholds becomes a partition.",
    )
    def collections(
        context: dg.AssetExecutionContext, store: StoreResource, rdm: RdmClient
    ) -> Iterator[dg.MaterializeResult[Any]]:
        opened = store.open()

        def work() -> Outcome:
            outcome = stage.make(opened, rdm.open().list_collections())
            table = opened.read_table(WORLDCEREAL.collections_key)
            ids = {i for t in thresholds for i in accepted(table, t)["collection_id"].to_pylist()}
            known = set(context.instance.get_dynamic_partitions(WORLDCEREAL.partitions))
            new = sorted(ids - known)
            context.instance.add_dynamic_partitions(WORLDCEREAL.partitions, new)
            extra = {"accepted": len(ids), "new": dg.MetadataValue.json(new)}
            return Outcome(
                outcome.content, outcome.inputs, {**outcome.metadata, **extra}, outcome.checks
            )

        yield from emit(context, work)

    return collections


def build_csv_assets(source: LabelSource) -> list[dg.AssetsDefinition]:
    """Assets of one task's own label file."""
    assert source.config is not None
    key = dg.AssetKey(source.asset_path("collections"))
    stage = CollectionsStage(source)
    config = source.config

    @dg.asset(
        key=key,
        group_name="labels",
        kinds={"csv", "parquet"},
        code_version=stage.code_version,
        check_specs=check_specs(key, "schema"),
        description="The task's own label file, listed like any other collection.",
    )
    def collections(
        context: dg.AssetExecutionContext, store: StoreResource
    ) -> Iterator[dg.MaterializeResult[Any]]:
        opened = store.open()

        def work() -> Outcome:
            outcome = list_csv(opened, stage, config)
            ids = opened.read_table(source.collections_key)["collection_id"].to_pylist()
            context.instance.add_dynamic_partitions(source.partitions, ids)
            return outcome

        yield from emit(context, work)

    return [collections, *_file_assets(source)]


def _file_assets(source: LabelSource) -> list[dg.AssetsDefinition]:
    files, points = CollectionFileStage(source), ReferencePointsStage(source)
    collections = collections_definition(source)
    files_key, points_key = (
        dg.AssetKey(source.asset_path("reference_collection")),
        dg.AssetKey(source.asset_path("reference_points")),
    )
    csv_config = source.config if source.config and source.config.source == "csv" else None

    @dg.asset(
        key=files_key,
        deps=[dg.AssetKey(source.asset_path("collections"))],
        partitions_def=collections,
        backfill_policy=_BACKFILL,
        group_name="labels",
        kinds={"parquet"},
        code_version=files.code_version,
        output_required=False,
        pool=RDM_POOL,
        check_specs=check_specs(files_key, "file_complete", partitions_def=collections),
        required_resource_keys={"store"} if csv_config else {"store", "rdm"},
        description="The full label file of a collection as published, with its sha256.",
    )
    def reference_collection(
        context: dg.AssetExecutionContext, config: PartitionConfig
    ) -> Iterator[Any]:
        store: StoreResource = context.resources.store
        opened = store.open()

        def work(collection_id: str) -> Outcome:
            if csv_config:
                return copy_csv(opened, files, csv_config, collection_id)
            rdm: RdmClient = context.resources.rdm
            return files.make(opened, rdm.open(), collection_id, config.force)

        # a download goes on from the part of it that is there
        yield from emit_partitions(context, work, code_version=files.code_version, alone=True)

    @dg.asset(
        key=points_key,
        deps=[files_key],
        partitions_def=collections,
        backfill_policy=dg.BackfillPolicy.multi_run(8),
        group_name="labels",
        kinds={"parquet"},
        code_version=points.code_version,
        output_required=False,
        check_specs=check_specs(
            points_key,
            "schema",
            "unique_sample_id",
            "some_rows_usable",
            partitions_def=collections,
        ),
        description="A collection's rows as points in the one schema of every source. Polygons "
        "become a point inside them; bad rows go to quarantine with a reason.",
    )
    def reference_points(
        context: dg.AssetExecutionContext, config: PartitionConfig, store: StoreResource
    ) -> Iterator[Any]:
        opened = store.open()
        yield from emit_partitions(
            context,
            lambda collection_id: points.make(opened, collection_id, config.force),
            code_version=points.code_version,
        )

    return [reference_collection, reference_points]
