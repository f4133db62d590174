"""The registry as people and programs read it."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from geofm_assets.evaluation.registry.discover import DiscoveredDataset
from geofm_assets.evaluation.registry.entry import SPLITS, DatasetEntry, RegistryFile
from geofm_assets.evaluation.registry.kept import Leftover

REGISTERED, LOST, DISCOVERED = "registered", "files missing", "not ingested"
UNREGISTERED, UNFINISHED = "not registered", "not registered, unfinished"


def dataset_rows(
    registry: RegistryFile,
    with_files: Collection[str],
    discovered: Mapping[str, DiscoveredDataset],
    leftovers: Mapping[str, Leftover],
    warnings: Mapping[str, Sequence[str]],
) -> list[dict[str, Any]]:
    """One record a dataset, sorted by name, ready for JSON.

    Args:
        registry: what is registered.
        with_files: names of the datasets whose samples are in the store.
        discovered: what lies where datasets are looked for.
        leftovers: what has files in the store and is not registered.
        warnings: of the last ingest, by name of the dataset.
    """
    rows = {
        name: _registered(entry, REGISTERED if name in with_files else LOST)
        for name, entry in registry.datasets.items()
    }
    for name, left in leftovers.items():
        rows[name] = _left_over(name, left)
    for name, found in discovered.items():
        rows.setdefault(name, _discovered(name, found))
    return [{**rows[name], "warnings": list(warnings.get(name, ()))} for name in sorted(rows)]


def entry_record(entry: DatasetEntry) -> dict[str, Any]:
    """Everything the registry says of a dataset, with what follows from it, ready for JSON."""
    return {
        **entry.model_dump(mode="json"),
        "dataset_id": entry.dataset_id,
        "lower_is_better": entry.lower_is_better,
        "dense": entry.dense,
    }


def print_datasets(console: Console, rows: list[dict[str, Any]]) -> None:
    """The records of `dataset_rows` as a table."""
    if not rows:
        console.print("No evaluation datasets yet: geofm evals ingest --name NAME --source DIR")
        return
    table = Table()
    for column in ("name", "state", "task type", "modalities", "train/val/test", "metric"):
        table.add_column(column, no_wrap=column == "name")
    for row in rows:
        state = row["state"] + (", SIMULATED" if row["simulated"] else "")
        if count := len(row["warnings"]):
            state += f", {count} warning{'s' * (count > 1)}"
        counts = "/".join(f"{row['counts'][s]:,}" for s in SPLITS) if row["counts"] else ""
        direction = {True: ", lower is better", False: "", None: ""}[row["lower_is_better"]]
        metric = f"{row['metric']}{direction}" if row["metric"] else ""
        modalities = ", ".join(row["modalities"])
        table.add_row(row["name"], state, row["task_type"] or "", modalities, counts, metric)
    console.print(table)
    waiting = [row["name"] for row in rows if row["state"] == DISCOVERED]
    if waiting:
        console.print(f"Ingest one:  geofm evals ingest --name {waiting[0]}", highlight=False)
    left = [row["name"] for row in rows if row["state"] in (UNREGISTERED, UNFINISHED)]
    if left:
        console.print(f"Delete one:  geofm evals remove {left[0]}", highlight=False)


def print_warnings(console: Console, warnings: Sequence[str]) -> None:
    """What validation warned of, a line each."""
    for warning in warnings:
        console.print(f"  {warning}", style="yellow", markup=False, highlight=False, soft_wrap=True)


def print_entry(console: Console, entry: DatasetEntry) -> None:
    """All of an entry: what it is, how it is split, statistics of every band."""
    said = "" if entry.display_name == entry.name else f": {escape(entry.display_name)}"
    console.print(f"[bold]{entry.name}[/bold]{said}", highlight=False)
    if entry.simulated:
        console.print("SIMULATED data", style="bold magenta")
    for label, value in _facts(entry):
        console.print(f"  {label:<15} {value}", markup=False, highlight=False, soft_wrap=True)
    for name, modality in entry.modalities.items():
        title = f"{name}: {len(modality.bands)} bands, {modality.timesteps} timesteps"
        title += "" if modality.nodata is None else f", nodata {modality.nodata:g}"
        title += ", in dB" if name.startswith("sentinel1") else ""
        table = Table(title=title, title_justify="left")
        columns = ("mean", "std", "min", "p02", "p50", "p98", "max")
        table.add_column("band")
        for column in ("valid pixels", *columns):
            table.add_column(column, justify="right")
        for band in modality.bands:
            found = modality.statistics.get(band)
            if found is None:
                table.add_row(band, "none in train", *([""] * len(columns)))
                continue
            numbers = [f"{getattr(found, column):.5g}" for column in columns]
            table.add_row(band, f"{found.count:,}", *numbers)
        console.print(table)


def _facts(entry: DatasetEntry) -> list[tuple[str, str]]:
    split = entry.split
    rule = split.rule.replace("_", " ")
    if split.block_m is not None:
        rule += f" of {split.block_m:g} m"
    if split.rule != "kept":
        rule += f", seed {split.seed}"
    counts = ", ".join(f"{s} {split.counts.get(s, 0):,}" for s in SPLITS)
    facts = [
        ("dataset id", entry.dataset_id),
        ("content", entry.content),
        ("source", entry.source),
        ("licence", entry.licence),
        ("citation", entry.citation),
        ("task type", entry.task_type.replace("_", " ")),
    ]
    if entry.classes:
        facts.append(("classes", ", ".join(f"{i} {c}" for i, c in enumerate(entry.classes))))
    if entry.target is not None:
        unit = f" {entry.target.unit}" if entry.target.unit else ""
        spread = f"mean {entry.target.mean:.5g}, std {entry.target.std:.5g}{unit} over train"
        facts.append(("target", spread))
    direction = "lower" if entry.lower_is_better else "higher"
    facts += [
        ("metric", f"{entry.metric}, {direction} is better"),
        ("window", f"{entry.window_size} x {entry.window_size} pixels"),
        ("samples", counts),
        ("split", rule),
    ]
    if split.subsets:
        subsets = sorted(split.subsets.items(), key=lambda item: float(item[0]))
        facts.append(("train subsets", ", ".join(f"{p} %: {n:,}" for p, n in subsets)))
    return facts


def _registered(entry: DatasetEntry, state: str) -> dict[str, Any]:
    return {
        "name": entry.name,
        "state": state,
        "display_name": entry.display_name,
        "task_type": entry.task_type,
        "modalities": list(entry.modalities),
        "counts": {split: entry.split.counts.get(split, 0) for split in SPLITS},
        "metric": entry.metric,
        "lower_is_better": entry.lower_is_better,
        "dataset_id": entry.dataset_id,
        "source": entry.source,
        "simulated": entry.simulated,
    }


def _left_over(name: str, found: Leftover) -> dict[str, Any]:
    """The same fields, empty where the registry would tell."""
    return {
        "name": name,
        "state": UNREGISTERED if found.finished else UNFINISHED,
        "display_name": name,
        "task_type": None,
        "modalities": [],
        "counts": None,
        "metric": None,
        "lower_is_better": None,
        "dataset_id": None,
        "source": found.source,
        "simulated": found.simulated,
    }


def _discovered(name: str, found: DiscoveredDataset) -> dict[str, Any]:
    """The same fields, empty where only ingesting can tell."""
    options = found.options
    return {
        "name": name,
        "state": DISCOVERED,
        "display_name": options.display_name or name,
        "task_type": options.task_type,
        "modalities": list(options.modalities or ()),
        "counts": None,
        "metric": None,
        "lower_is_better": None,
        "dataset_id": None,
        "source": str(found.folder),
        "simulated": None,
    }
