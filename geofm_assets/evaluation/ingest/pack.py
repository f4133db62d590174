"""A scanned source becomes the packed samples of a dataset."""

import pyarrow as pa

from geofm_assets.core.progress import Report
from geofm_assets.core.store import Store
from geofm_assets.evaluation.ingest.options import CODE_VERSION, IngestOptions
from geofm_assets.evaluation.ingest.scan import Scan
from geofm_assets.evaluation.samples.packed import PackedSamples
from geofm_assets.evaluation.samples.packing import part_key, samples_key, write_parts
from geofm_assets.evaluation.samples.part_file import Layout
from geofm_assets.evaluation.samples.schema import EVAL_SAMPLE, EvalSampleRow
from geofm_assets.evaluation.samples.split import subset_ranks


def pack_scan(
    store: Store, options: IngestOptions, scan: Scan, inputs: str, report: Report
) -> PackedSamples:
    """Write parts and the table of samples; what is there with the same inputs is kept.

    Args:
        store: where to.
        options: name and seed.
        scan: without errors.
        inputs: digest of all that samples are made from.
        report: told of samples done.

    Raises:
        DatasetError: a sample cannot be read.
    """
    assert scan.inferred is not None
    assert scan.split is not None
    assert scan.size is not None
    layout = Layout(
        task_type=scan.inferred.task_type,
        classes=scan.inferred.classes,
        window_size=scan.size,
        modalities={name: plan.layout for name, plan in scan.inferred.modalities.items()},
        simulated=scan.simulated,
        inputs=inputs,
    )
    ids = [row.place.sample_id for row in scan.rows]
    timesteps = {name: max(1, count) for name, count in scan.timesteps().items()}
    places = write_parts(
        store,
        options.name,
        layout,
        timesteps,
        ids,
        lambda row: scan.read(row, options),
        report,
    )
    split = scan.split.by_id
    train = [row for row in scan.rows if split[row.place.sample_id] == "train"]
    strata = [
        row.label_text or "" if scan.inferred.task_type == "classification" else "" for row in train
    ]
    ranks = subset_ranks([row.place.sample_id for row in train], strata, options.seed)
    rows = [
        {
            "sample_id": row.place.sample_id,
            "group": str(row.window.group),
            "window_name": str(row.window.name),
            "split": split[row.place.sample_id],
            "lon": row.lon,
            "lat": row.lat,
            "start_time": row.times[0],
            "end_time": row.times[1],
            "label_text": row.label_text,
            "subset_rank": ranks.get(row.place.sample_id),
            "part": part,
            "row": place,
        }
        for row, (part, place) in zip(scan.rows, places, strict=True)
    ]
    store.write_table(
        samples_key(options.name),
        pa.Table.from_pylist(rows, schema=EVAL_SAMPLE),
        EvalSampleRow,
        inputs=inputs,
        code_version=CODE_VERSION,
        simulated=scan.simulated,
    )
    _remove_old_parts(store, options.name, places[-1][0] + 1)
    return PackedSamples(store, options.name)


def _remove_old_parts(store: Store, name: str, parts: int) -> None:
    kept = {part_key(name, number) for number in range(parts)}
    for key in store.list_keys(f"evaluation/datasets/{name}/parts"):
        if key not in kept:
            store.delete(key)


def remove_old_sheets(store: Store, name: str, sheets: list[str]) -> None:
    """Take away contact sheets of earlier ingests."""
    for key in store.list_keys(f"evaluation/datasets/{name}/sheets"):
        if key not in sheets:
            store.delete(key)
