"""`geofm`: the command line, a thin layer over the platform."""

import json
import os
import shutil
import sys
import warnings
from pathlib import Path
from typing import Annotated, NoReturn

import dagster as dg
import typer
from rich.console import Console
from rich.markup import escape

warnings.filterwarnings("ignore", category=dg.BetaWarning)
warnings.filterwarnings("ignore", category=dg.PreviewWarning)

from geofm_assets import cli_compare, cli_evals, cli_instance, cli_predict, cli_train  # noqa: E402
from geofm_assets.cli_terminal import JsonOption, StoreOption, heed_signals  # noqa: E402
from geofm_assets.core.errors import GeofmError  # noqa: E402
from geofm_assets.core.hosts import is_loopback  # noqa: E402
from geofm_assets.core.redact import redact_logs, redacted_traceback  # noqa: E402
from geofm_assets.core.settings import Settings, load_settings  # noqa: E402
from geofm_assets.core.store import Store  # noqa: E402

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="From a label file to a metric: every artifact a Dagster asset.",
)
app.add_typer(cli_evals.app, name="evals")
app.add_typer(cli_instance.app, name="instance")
app.command()(cli_predict.predict)
app.command()(cli_compare.compare)
app.command()(cli_train.train)
# a pipe has no width of its own; score tables need more than the usual 80 columns
console = Console(width=None if sys.stdout.isatty() else 120)

TaskArgument = Annotated[str, typer.Argument(help="Name of a task, e.g. worldcereal_cropland.")]


@app.command()
def demo(
    store: StoreOption = None,
    task: Annotated[str, typer.Option(help="Task to run.")] = "worldcereal_cropland",
    preset: Annotated[
        str | None, typer.Option(help="Size of the sample world; if not given, the task's usual.")
    ] = None,
) -> None:
    """Build the sample world (SIMULATED) and run a whole task on it with one small experiment."""
    from geofm_assets.platform.demo import BURNED_AREA, demo_settings, map_a_fire

    settings = load_settings(store, profile="demo")
    console.print(f"Store: {settings.store}")
    console.print("Building the sample world: a small SIMULATED Earth, the same every time.")
    settings = demo_settings(settings, task, preset)
    _drive(settings, task, [])
    if task == BURNED_AREA:
        map_id = map_a_fire(settings, console)
        mapped = cli_predict.map_summary(Store(settings.store), task, map_id, made=True)
        cli_predict.print_map(mapped)
    geofm = "geofm" if shutil.which("geofm") else sys.argv[0]
    console.print("\nNext:", highlight=False)
    for arguments, meaning in (
        ("ui", "open the graph in the Dagster UI"),
        (f"experiments {task}", "see what else can be run"),
        (f"run {task} --experiment NAME", "run one of them"),
    ):
        command = f"{geofm} {arguments} --store {settings.store}"
        console.print(f"  {command}\n      {meaning}", highlight=False, soft_wrap=True)


@app.command()
def run(
    task: TaskArgument,
    mirror: Annotated[
        str | None, typer.Option(help="RDM mirror folder, or the RDM's base URL.")
    ] = None,
    perimeters: Annotated[
        str | None,
        typer.Option(help="Fire perimeters: a file GeoPandas reads, or a feature layer's URL."),
    ] = None,
    scenes: Annotated[str | None, typer.Option(help="Folder of scenes with items.json.")] = None,
    store: StoreOption = None,
    experiment: Annotated[
        list[str] | None, typer.Option(help="Experiment to run; may be given again.")
    ] = None,
    override: Annotated[
        list[str] | None,
        typer.Option("--set", help="key=value for any key of the task file; may be given again."),
    ] = None,
    profile: Annotated[str | None, typer.Option(help="demo, local or production.")] = None,
    force: Annotated[bool, typer.Option(help="Run the experiments again even if current.")] = False,
    executor: Annotated[
        str | None,
        typer.Option(
            envvar="GEOFM_EXECUTOR",
            help="in_process, or where to launch runs: multiprocess (here) or kubernetes.",
        ),
    ] = None,
    workers: Annotated[
        int, typer.Option(help="Launched runs at once; of no account in process.")
    ] = 2,
) -> None:
    """Bring a task up to date on your own data, doing only what has changed.

    What you pass is remembered in the store: a later run or the UI needs only --store.
    """
    from geofm_assets.tasks.config import PERIMETERS_KEY, parse_override

    settings = load_settings(store, rdm=mirror, scenes=scenes, profile=profile, executor=executor)
    launched = settings.executor != "in_process"  # the profile may have said so
    overrides = dict(settings.overrides)
    given = dict(parse_override(text) for text in override or [])
    if perimeters is not None:
        given[PERIMETERS_KEY] = (
            perimeters if "://" in perimeters else str(Path(perimeters).resolve())
        )
    overrides[task] = {**overrides.get(task, {}), **given}
    settings = settings.model_copy(update={"overrides": overrides})
    _drive(settings, task, experiment or [], force=force, workers=workers if launched else None)


def _drive(
    settings: Settings,
    task: str,
    experiments: list[str],
    *,
    force: bool = False,
    workers: int | None = None,
) -> None:
    from geofm_assets.platform.driver import Driver
    from geofm_assets.platform.report import Reporter, print_results

    driver = Driver(settings, task, Reporter(console))
    settings.remember(launched=workers is not None)
    if settings.overrides.get(task):
        console.print(f"Settings changed from the task file: {settings.overrides[task]}")
    grid = driver.file.grid()
    chosen = experiments or [grid.default.name]
    console.print(f"Experiment: {', '.join(chosen)}")
    driver.run(chosen, force=force, workers=workers)
    console.print()
    print_results(console, driver.store, task, chosen)
    console.print(f"Store: {settings.store}")


@app.command()
def scores(
    task: TaskArgument,
    store: StoreOption = None,
    as_json: JsonOption = False,
    split: Annotated[str, typer.Option(help="Split of the table.")] = "test",
) -> None:
    """Print the scores of every experiment that has been run."""
    from geofm_assets.platform.report import print_scores

    opened = Store(load_settings(store).store)
    key = f"tasks/{task}/scores.parquet"
    if not opened.exists(key):
        raise GeofmError(
            "There are no scores yet", where=f"{opened.url}/{key}", fix=f"Run geofm run {task}"
        )
    table = opened.read_table(key)
    if not as_json:
        print_scores(console, table, split)
        return
    names = ["experiment", "split", "metric", "value", "low", "high", "n", "groups", "simulated"]
    # a table of an earlier version has no groups
    shown = table.select([name for name in names if name in table.column_names])
    print(json.dumps(shown.to_pylist(), indent=1))


@app.command()
def status(
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say for every stage of every task how much is made, current and missing."""
    from geofm_assets.platform.status import print_status, task_status

    settings = load_settings(store)
    rows = task_status(settings)
    if as_json:
        print(json.dumps(rows, indent=1))
    else:
        print_status(console, settings, rows)


@app.command()
def experiments(
    task: TaskArgument,
    store: StoreOption = None,
    add: Annotated[
        list[str] | None, typer.Option(help="Make a name a partition; may be given again.")
    ] = None,
) -> None:
    """List the experiments of a task: those that can be run, and why others cannot."""
    from geofm_assets.platform.status import print_experiments, register

    settings = load_settings(store)
    if add:
        register(settings, task, add)
    print_experiments(console, settings, task)


@app.command("new-task")
def new_task(
    name: Annotated[str, typer.Argument(help="Name of the new task.")],
    labels: Annotated[Path, typer.Option(help="CSV or GeoParquet with your labels.")],
    folder: Annotated[
        Path | None,
        typer.Option("--dir", help="Where to write it; if not given, the package's tasks."),
    ] = None,
) -> None:
    """Write a task file for your own labels; the whole graph then runs on it unchanged."""
    from geofm_assets.tasks.template import write_task

    path = write_task(name, labels, folder)
    console.print(f"Wrote {path}. Look it over: columns and classes were read from {labels}.")
    if folder is not None:
        console.print(f"Tell geofm where it is:  export GEOFM_TASKS={folder.resolve()}")
    console.print(f"Then:  geofm run {name} --scenes DIR --store DIR")


@app.command("export-dataset")
def export_dataset(
    task: TaskArgument,
    out: Annotated[Path, typer.Option(help="Folder of the copy.")],
    store: StoreOption = None,
    cell: Annotated[
        list[str] | None, typer.Option(help="H3 cell; may be given again; if not given, all.")
    ] = None,
) -> None:
    """Copy a task's windows and rasters into an rslearn dataset of the classic layout.

    The task's own dataset is read by rslearn as it is; a copy is for what writes to it.
    """
    from geofm_assets.imagery.export import export_dataset as export
    from geofm_assets.windows.stages import dataset_key

    dataset = Store(load_settings(store).store).path(dataset_key(task))
    if not (dataset / "config.json").exists():
        raise GeofmError("The task has no dataset yet", where=str(dataset), fix=f"geofm run {task}")
    count = export(dataset, out, cell or [])
    console.print(f"{count} windows in {out}, a dataset that rslearn can read and write")


@app.command()
def ui(
    store: StoreOption = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 3000,
) -> None:
    """Open the Dagster UI with its daemon on this machine."""
    from geofm_assets.platform.instance import dagster_home
    from geofm_assets.platform.status import register_all

    settings = load_settings(store)
    opened = Store(settings.store)
    os.environ["DAGSTER_HOME"] = str(dagster_home(opened))
    os.environ["GEOFM_STORE"] = settings.store
    register_all(settings)
    if not is_loopback(host):
        said = (
            f"Warning: the UI has no login. Whoever reaches {host}:{port} can start runs and read "
            "what they record. Put it behind something that asks who they are: docs/security.md"
        )
        console.print(said, style="bold yellow", soft_wrap=True)
    console.print(f"Dagster UI: http://{host}:{port}   (store {settings.store}; Ctrl-C ends it)")
    command = ["dagster", "dev", "-m", "definitions", "-h", host, "-p", str(port)]
    os.execv(sys.executable, [sys.executable, "-m", *command])


def main() -> NoReturn:
    """Run the command line; our own errors end in one line, not a traceback."""
    heed_signals()
    redact_logs()
    try:
        app()
    except GeofmError as error:
        Console(stderr=True).print(
            f"[bold red]Error:[/bold red] {escape(str(error))}", highlight=False, soft_wrap=True
        )
        raise SystemExit(1) from error
    except Exception as error:  # noqa: BLE001 - nobody foresaw it: the traceback, without secrets
        sys.stderr.write(redacted_traceback(error))
        raise SystemExit(1) from None
    raise SystemExit(0)


if __name__ == "__main__":
    main()
