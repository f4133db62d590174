"""`geofm evals`: evaluation datasets and sweeps over them, a thin layer over `evaluation`."""

import json
import os
import sys
from typing import TYPE_CHECKING, Annotated, Any

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
@flags.taking(flags.IngestFlags)
def ingest(
    name: Annotated[str, typer.Option(help="Name in the registry: a-z, 0-9 and _.")],
    source: flags.Source = None,
    *,
    as_json: JsonOption = False,
    store: StoreOption = None,
    **typed: Any,
) -> None:
    """Make an rslearn dataset an evaluation. What is not said is inferred, and printed."""
    from geofm_assets.evaluation.registry.listing import entry_record, print_entry
    from geofm_assets.platform.evaluations import Evaluations

    options = flags.typed_options(name, source, **typed)
    settings = load_settings(store)
    with Progress(quiet=as_json) as progress:
        result = Evaluations(settings, progress).ingest(options)
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
    _print_sheets(Store(settings.store), name)
    if result.skipped:
        console.print("Nothing had changed since it was ingested: no sample was made again")
    if not options.register:
        console.print("Not registered, as --no-register asks")


@app.command()
@flags.taking(flags.ReadFlags)
def validate(
    source: flags.Source = None,
    name: Annotated[
        str | None, typer.Option(help="Instead of --source: a dataset of GEOFM_EVAL_DATASETS.")
    ] = None,
    *,
    as_json: JsonOption = False,
    **typed: Any,
) -> None:
    """Look a source over without writing anything. Says all that is wrong at once."""
    from geofm_assets.evaluation.ingest.validate import validate_source

    options = flags.typed_options(name, source, **typed)
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
