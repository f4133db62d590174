"""`geofm compare`: every experiment of a task beside every other."""

import json
from typing import Annotated, Any, Literal

import typer

from geofm_assets.cli_terminal import JsonOption, StoreOption, console, print_rows
from geofm_assets.core.settings import load_settings
from geofm_assets.core.store import Store


def compare(
    task: Annotated[str, typer.Argument(help="Name of a task, e.g. worldcereal_cropland.")],
    metric: Annotated[
        str, typer.Option(help="Metric to compare by, as `geofm scores` names it.")
    ] = "macro_f1",
    split: Annotated[
        Literal["train", "val", "test"], typer.Option(help="Split it is of.")
    ] = "test",
    as_json: JsonOption = False,
    store: StoreOption = None,
) -> None:
    """Compare set-ups: every experiment's score, and what each axis of the grid is worth."""
    from geofm_assets.evaluation.comparison_stage import ComparisonStage
    from geofm_assets.evaluation.comparison_table import readable_comparison, readable_differences
    from geofm_assets.platform.status import find_task
    from geofm_assets.tasks.component import training_task

    settings = load_settings(store)
    opened = Store(settings.store)
    stage = ComparisonStage(training_task(find_task(settings, task).config))
    compared = stage.compare(opened, metric, split)
    if as_json:
        said: dict[str, Any] = {
            "task": task,
            "metric": metric,
            "split": split,
            "simulated": compared.simulated,
            "experiments": compared.rows.to_pylist(),
            "differences": compared.differences.to_pylist(),
        }
        print(json.dumps(said, indent=1))
        return
    print_rows(readable_comparison(compared.rows).to_pylist())
    print_rows(readable_differences(compared.differences).to_pylist())
    if opened.exists(stage.plot_key()):
        console.print(
            f"Picture (of the last `geofm run`): {opened.url}/{stage.plot_key()}",
            highlight=False,
            soft_wrap=True,
        )
    if compared.simulated:
        console.print(
            "Scores of SIMULATED data say that the platform works, not how good a model is.",
            style="bold magenta",
        )
