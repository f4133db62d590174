"""A task's own label file, listed and kept like a collection of the RDM."""

from pathlib import Path

import pyarrow as pa

from geofm_assets.core.errors import LabelFileError
from geofm_assets.core.hashing import sha256_file
from geofm_assets.core.outcome import CheckOutcome, Outcome, schema_check, table_metadata
from geofm_assets.core.stage import inputs_digest
from geofm_assets.core.store import Store
from geofm_assets.labels.config import LabelsConfig
from geofm_assets.labels.schema import Collection
from geofm_assets.labels.stages import CollectionFileStage, CollectionsStage
from geofm_assets.labels.worldcereal.collections import collections_table


def _label_file(config: LabelsConfig) -> Path:
    path = Path(config.file or "")
    if not config.file or not path.is_file():
        raise LabelFileError(
            "The label file does not exist", where=str(config.file), fix="Set labels.file"
        )
    return path


def list_csv(store: Store, stage: CollectionsStage, config: LabelsConfig) -> Outcome:
    """List a task's own label file like a collection."""
    from geofm_assets.labels.csv import points as csv_points

    row = csv_points.csv_collection(_label_file(config))
    table = pa.Table.from_pylist([row], schema=collections_table([]).schema)
    inputs = inputs_digest(stage, row)
    ref = store.write_table(
        stage.source.collections_key,
        table,
        Collection,
        inputs=inputs,
        code_version=stage.code_version,
        simulated=bool(row["simulated"]),
    )
    metadata = {**table_metadata(table, ref), "dagster/row_count": 1}
    return Outcome(ref.provenance.content, inputs, metadata, [schema_check(ref.report)])


def copy_csv(
    store: Store, stage: CollectionFileStage, config: LabelsConfig, collection_id: str
) -> Outcome:
    """Keep a task's own label file in the store, as it is today."""
    path = _label_file(config)
    digest = sha256_file(path)
    key = f"{stage.source.root}/raw/{collection_id}/{digest[:16]}{path.suffix.lower()}"
    inputs = stage.inputs(store, collection_id)
    if not store.exists(key):
        store.write_bytes(key, path.read_bytes())
    size = path.stat().st_size
    note = {
        "key": key,
        "sha256": digest,
        "size": size,
        "url": str(path),
        "etag": None,
        "inputs": inputs,
    }
    store.write_json(stage.record_key(collection_id), note)
    check = CheckOutcome("file_complete", size > 0, f"{size} bytes")
    return Outcome(digest, inputs, {"sha256": digest, "bytes": size}, [check])
