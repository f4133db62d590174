"""`geofm evals`: evaluation datasets and sweeps over them, a thin layer over `evaluation`."""

import json
import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from geofm_assets import cli_ingest_options as flags
from geofm_assets import cli_sweeps
from geofm_assets.cli_terminal import JsonOption, Progress, StoreOption, console, print_rows
from geofm_assets.core.errors import ConfigError, GeofmError
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

    settings = load_settings(store)
    of_task = source is None and _is_own_task(Store(settings.store), name, typed)
    options = None if of_task else flags.typed_options(name, source, **typed)
    with Progress(quiet=as_json) as progress:
        driver = Evaluations(settings, progress)
        result = driver.ingest_task(name) if options is None else driver.ingest(options)
    registered = options is None or options.register
    if as_json:
        said = {
            "dataset": entry_record(result.entry),
            "validation": result.report.as_json(),
            "registered": registered,
            "unchanged": result.skipped,
        }
        print(json.dumps(said, indent=1))
        return
    _print_report(result.report)
    print_entry(console, result.entry)
    _print_sheets(Store(settings.store), name)
    if result.skipped:
        console.print("Nothing had changed since it was ingested: no sample was made again")
    if not registered:
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
    """List evaluation datasets: registered, not registered, and found but not ingested."""
    from geofm_assets.evaluation.registry.discover import search
    from geofm_assets.evaluation.registry.kept import find_leftovers, kept_warnings
    from geofm_assets.evaluation.registry.listing import dataset_rows, print_datasets
    from geofm_assets.evaluation.registry.registry import Registry
    from geofm_assets.evaluation.registry.waiting_tasks import task_rows

    opened = Store(load_settings(store).store)
    registry = Registry(opened)
    known, found, left = registry.read(), search(os.environ), find_leftovers(opened, registry)
    with_files = {name for name in known.datasets if registry.has_files(name)}
    warnings = {name: kept_warnings(opened, name) for name in (*known.datasets, *left)}
    rows = dataset_rows(known, with_files, found.datasets, left, warnings)
    tasks = task_rows(opened, {row["name"] for row in rows})
    rows = sorted([*rows, *tasks], key=lambda row: str(row["name"]))
    if as_json:
        print(json.dumps(rows, indent=1))
    else:
        print_datasets(console, rows)
        for task in tasks[:1]:
            command = f"geofm evals run --tasks {task['name']} --model NAME"
            console.print(f"A task can be swept as it is:  {command}", highlight=False)
    for problem in found.problems:
        text = f"[yellow]Left out:[/yellow] {escape(str(problem))}"
        Console(stderr=True).print(text, highlight=False, soft_wrap=True)


@app.command()
def info(name: NameArgument, as_json: JsonOption = False, store: StoreOption = None) -> None:
    """Print all that the registry says of a dataset, and what its last ingest warned of."""
    from geofm_assets.evaluation.registry.kept import kept_warnings
    from geofm_assets.evaluation.registry.listing import (
        entry_record,
        print_entry,
        print_warnings,
    )
    from geofm_assets.evaluation.registry.registry import Registry

    opened = Store(load_settings(store).store)
    entry = Registry(opened).get(name)
    warnings = kept_warnings(opened, name)
    if as_json:
        print(json.dumps({**entry_record(entry), "warnings": warnings}, indent=1))
        return
    print_entry(console, entry)
    print_warnings(console, warnings)
    _print_sheets(opened, name)


@app.command()
def remove(
    name: NameArgument,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: JsonOption = False,
    store: StoreOption = None,
) -> None:
    """Take a dataset out of the registry and delete its copy; also one that is not registered.

    Embeddings and scores stay.
    """
    from geofm_assets.evaluation.registry.listing import UNREGISTERED, entry_record
    from geofm_assets.evaluation.registry.registry import Registry, dataset_folder

    opened = Store(load_settings(store).store)
    registry = Registry(opened)
    if name not in registry.leftovers():
        registry.get(name)
    folder = f"{opened.url}/{dataset_folder(name)}"
    if not yes:
        if not sys.stdin.isatty():
            raise GeofmError("Removing needs a yes", where=folder, fix="Pass --yes")
        typer.confirm(f"Remove {name} and delete {folder}?", abort=True)
    entry = registry.remove(name)
    if as_json:
        said = {"name": name, "state": UNREGISTERED} if entry is None else entry_record(entry)
        print(json.dumps(said, indent=1))
    else:
        console.print(f"Removed {name} and {folder}", highlight=False, soft_wrap=True)


app.command()(cli_sweeps.models)
app.command()(cli_sweeps.run)


def _is_own_task(store: Store, name: str, typed: Mapping[str, Any]) -> bool:
    """Whether a name without a source is that of a task of the store, and of nothing placed.

    Raises:
        ConfigError: it is, and an option is given that only the task file can say.
    """
    from geofm_assets.evaluation.registry.discover import search
    from geofm_assets.evaluation.registry.waiting_tasks import is_task

    found = search(os.environ)
    if name in found.datasets or name in found.broken or not is_task(store, name):
        return False
    said = [key for key, value in typed.items() if value is not None and key != "overwrite"]
    if said:
        raise ConfigError(
            f"--{said[0].replace('_', '-')} cannot be said of a task's own dataset",
            where=f"--name {name}",
            fix="Leave it out, or give the task's dataset as --source under another --name",
        )
    return True


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
