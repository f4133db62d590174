"""`geofm instance`: the Dagster instance of a store, for who operates it."""

import json
from typing import Annotated

import typer
import yaml

from geofm_assets.cli_terminal import JsonOption, StoreOption, console
from geofm_assets.core.settings import load_settings
from geofm_assets.core.store import Store

app = typer.Typer(
    no_args_is_help=True, help="The Dagster instance: where it is, how it does, its tables."
)


@app.command()
def show(store: StoreOption = None, as_json: JsonOption = False) -> None:
    """Say where runs and events are kept, and whether tables, daemon, queue and pools are well."""
    from geofm_assets.platform.instance_state import instance_state, print_state

    state = instance_state(Store(load_settings(store).store))
    if as_json:
        print(json.dumps(state, indent=1))
    else:
        print_state(console, state)


@app.command()
def migrate(store: StoreOption = None) -> None:
    """Bring the tables to this version of Dagster; nothing else may use the instance meanwhile."""
    from geofm_assets.platform.instance_state import migrate as run

    def say(_done: int, _total: int, text: str) -> None:
        console.print(text, highlight=False, markup=False)

    changed = run(Store(load_settings(store).store), say)
    console.print("Done." if changed else "The tables are of this version of Dagster already.")


@app.command()
def write(
    store: StoreOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the file, write nothing.")
    ] = False,
) -> None:
    """Write dagster.yaml for GEOFM_POSTGRES_URL and GEOFM_EXECUTOR as they are set now.

    The file names the variables, never their values. Runs recorded elsewhere stay there.
    """
    from geofm_assets.platform.instance import config_path, instance_config, write_config

    settings = load_settings(store)
    opened = Store(settings.store)
    if dry_run:
        print(yaml.safe_dump(instance_config(settings)), end="")
        return
    before = write_config(opened, settings)
    console.print(f"Wrote {config_path(opened)}", highlight=False, soft_wrap=True)
    if before is not None:
        console.print(f"What it said before: {before}", highlight=False, soft_wrap=True)
