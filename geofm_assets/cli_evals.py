"""`geofm evals`: evaluation datasets and sweeps over them, a thin layer over `evaluation`."""

import json
import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape

from geofm_assets import cli_ingest_options as flags
from geofm_assets import cli_sweeps
from geofm_assets.cli_terminal import JsonOption, Progress, StoreOption, console, print_rows
from geofm_assets.core.errors import GeofmError
from geofm_assets.core.settings import load_settings
from geofm_assets.core.store import Store

if TYPE_CHECKING:
    from geofm_assets.evaluation.ingest.report import ValidationReport

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Evaluation datasets: ingest, list, and sweep models over them.",
)
NameArgument = Annotated[str, typer.Argument(help="Name of a registered dataset.")]


@app.command()
def ingest(
    name: Annotated[str, typer.Option(help="Name in the registry: a-z, 0-9 and _.")],
    source: flags.Source = None,
    display_name: Annotated[str | None, typer.Option(help="Name for people.")] = None,
    task_type: flags.TaskType = None,
    modalities: flags.Modalities = None,
    temporal_range: flags.TemporalRange = None,
    property_name: flags.PropertyName = None,
    classes: flags.Classes = None,
    label_layer: flags.LabelLayer = None,
    label_nodata: flags.LabelNodata = None,
    groups: flags.Groups = None,
    tags: flags.Tags = None,
    split: flags.Split = None,
    split_rule: flags.SplitRule = None,
    block_m: flags.BlockM = None,
    seed: flags.Seed = None,
    subsets: flags.Subsets = None,
    max_samples: flags.MaxSamples = None,
    sentinel1_unit: flags.Sentinel1Unit = None,
    target_unit: Annotated[str | None, typer.Option(help="Unit of a regression's target.")] = None,
    licence: Annotated[str | None, typer.Option(help="Licence of the data.")] = None,
    citation: Annotated[str | None, typer.Option(help="How to cite the data.")] = None,
    simulated: Annotated[
        bool | None, typer.Option("--simulated", help="The data was simulated.")
    ] = None,
    register: Annotated[
        bool | None, typer.Option("--register/--no-register", help="Put it into the registry.")
    ] = None,
    overwrite: Annotated[
        bool | None, typer.Option("--overwrite", help="Copy again and replace the entry.")
    ] = None,
    as_json: JsonOption = False,
    store: StoreOption = None,
) -> None:
    """Make an rslearn dataset an evaluation. What is not said is inferred, and printed."""
    from geofm_assets.evaluation.ingest.ingest import ingest_dataset
    from geofm_assets.evaluation.registry.listing import entry_record, print_entry
    from geofm_assets.evaluation.registry.registry import Registry

    options = flags.typed_options(
        name,
        source,
        display_name=display_name,
        task_type=task_type,
        modalities=modalities,
        temporal_range=temporal_range,
        property_name=property_name,
        classes=classes,
        label_layer=label_layer,
        label_nodata=label_nodata,
        groups=groups,
        tags=tags,
        split_property=split,
        split_rule=split_rule,
        block_m=block_m,
        seed=seed,
        subsets=subsets,
        max_samples=max_samples,
        sentinel1_unit=sentinel1_unit,
        target_unit=target_unit,
        licence=licence,
        citation=citation,
        simulated=simulated,
        register=register,
        overwrite=overwrite,
    )
    opened = Store(load_settings(store).store)
    with Progress(quiet=as_json) as progress:
        result = ingest_dataset(opened, options, progress, Registry(opened))
    if as_json:
        said = {
            "dataset": entry_record(result.entry),
            "validation": result.report.as_json(),
            "registered": options.register,
            "unchanged": result.skipped,
        }
        print(json.dumps(said, indent=1))
        return
    _print_report(result.report)
    print_entry(console, result.entry)
    _print_sheets(opened, name)
    if result.skipped:
        console.print("Nothing had changed since it was ingested: no sample was made again")
    if not options.register:
        console.print("Not registered, as --no-register asks")


@app.command()
def validate(
    source: flags.Source = None,
    name: Annotated[
        str | None, typer.Option(help="Instead of --source: a dataset of GEOFM_EVAL_DATASETS.")
    ] = None,
    task_type: flags.TaskType = None,
    modalities: flags.Modalities = None,
    temporal_range: flags.TemporalRange = None,
    property_name: flags.PropertyName = None,
    classes: flags.Classes = None,
    label_layer: flags.LabelLayer = None,
    label_nodata: flags.LabelNodata = None,
    groups: flags.Groups = None,
    tags: flags.Tags = None,
    split: flags.Split = None,
    split_rule: flags.SplitRule = None,
    block_m: flags.BlockM = None,
    seed: flags.Seed = None,
    max_samples: flags.MaxSamples = None,
    sentinel1_unit: flags.Sentinel1Unit = None,
    as_json: JsonOption = False,
) -> None:
    """Look a source over without writing anything. Says all that is wrong at once."""
    from geofm_assets.evaluation.ingest.validate import validate_source

    options = flags.typed_options(
        name,
        source,
        task_type=task_type,
        modalities=modalities,
        temporal_range=temporal_range,
        property_name=property_name,
        classes=classes,
        label_layer=label_layer,
        label_nodata=label_nodata,
        groups=groups,
        tags=tags,
        split_property=split,
        split_rule=split_rule,
        block_m=block_m,
        seed=seed,
        max_samples=max_samples,
        sentinel1_unit=sentinel1_unit,
    )
    report = validate_source(options.source, options)
    if as_json:
        print(json.dumps(report.as_json(), indent=1))
    else:
        _print_report(report)
        errors, warnings = len(report.errors), len(report.warnings)
        console.print(f"{report.windows:,} windows, {errors} errors, {warnings} warnings")
    if not report.passed:
        raise typer.Exit(1)


@app.command("list")
def list_datasets(as_json: JsonOption = False, store: StoreOption = None) -> None:
    """List evaluation datasets: those registered, and those found but not ingested."""
    from geofm_assets.evaluation.registry.discover import search
    from geofm_assets.evaluation.registry.listing import dataset_rows, print_datasets
    from geofm_assets.evaluation.registry.registry import Registry

    registry = Registry(Store(load_settings(store).store))
    known, found = registry.read(), search(os.environ)
    with_files = {name for name in known.datasets if registry.has_files(name)}
    rows = dataset_rows(known, with_files, found.datasets)
    if as_json:
        print(json.dumps(rows, indent=1))
    else:
        print_datasets(console, rows)
    for problem in found.problems:
        text = f"[yellow]Left out:[/yellow] {escape(str(problem))}"
        Console(stderr=True).print(text, highlight=False, soft_wrap=True)


@app.command()
def info(name: NameArgument, as_json: JsonOption = False, store: StoreOption = None) -> None:
    """Print all that the registry says of a dataset."""
    from geofm_assets.evaluation.registry.listing import entry_record, print_entry
    from geofm_assets.evaluation.registry.registry import Registry

    opened = Store(load_settings(store).store)
    entry = Registry(opened).get(name)
    if as_json:
        print(json.dumps(entry_record(entry), indent=1))
        return
    print_entry(console, entry)
    _print_sheets(opened, name)


@app.command()
def remove(
    name: NameArgument,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: JsonOption = False,
    store: StoreOption = None,
) -> None:
    """Take a dataset out of the registry and delete its copy. Embeddings and scores stay."""
    from geofm_assets.evaluation.registry.listing import entry_record
    from geofm_assets.evaluation.registry.registry import Registry, dataset_folder

    opened = Store(load_settings(store).store)
    registry = Registry(opened)
    registry.get(name)
    folder = f"{opened.url}/{dataset_folder(name)}"
    if not yes:
        if not sys.stdin.isatty():
            raise GeofmError("Removing needs a yes", where=folder, fix="Pass --yes")
        typer.confirm(f"Remove {name} and delete {folder}?", abort=True)
    entry = registry.remove(name)
    if as_json:
        print(json.dumps(entry_record(entry), indent=1))
    else:
        console.print(f"Removed {name} and {folder}", highlight=False, soft_wrap=True)


app.command()(cli_sweeps.models)
app.command()(cli_sweeps.run)


def _print_report(report: "ValidationReport") -> None:
    """What was inferred and from where, then what was found wrong."""
    print_rows([{"field": f.field, "value": f.value, "from": f.source} for f in report.facts])
    print_rows(
        [
            {"level": f.level, "what": f.what, "where": f.where, "fix": f.fix}
            for f in report.findings
        ]
    )


def _print_sheets(store: Store, name: str) -> None:
    """Where a dataset's contact sheets lie, if there are any."""
    from geofm_assets.evaluation.registry.registry import dataset_folder

    sheets = f"{dataset_folder(name)}/sheets"
    if store.list_keys(sheets, ".png"):
        console.print(f"Contact sheets: {store.url}/{sheets}", highlight=False, soft_wrap=True)
