"""`geofm train`: one experiment's checkpoint, on as many devices and machines as there are."""

from typing import Annotated

import typer

from geofm_assets.cli_terminal import Progress, StoreOption, console
from geofm_assets.core.progress import listening
from geofm_assets.core.settings import load_settings
from geofm_assets.core.store import Store


def train(
    task: Annotated[str, typer.Argument(help="Name of a task, e.g. worldcereal_cropland.")],
    experiment: Annotated[str, typer.Argument(help="As `geofm experiments` names it.")],
    devices: Annotated[
        int | None, typer.Option(min=1, help="Processes on each machine, in place of the task's.")
    ] = None,
    nodes: Annotated[
        int | None, typer.Option(min=1, help="Machines, in place of the task's.")
    ] = None,
    force: Annotated[bool, typer.Option(help="Train even if the checkpoint is current.")] = False,
    store: StoreOption = None,
) -> None:
    """Train one experiment whose split manifest is made; `geofm run` then finds it current.

    For several machines start it by torchrun on each (docs/training.md).
    """
    from geofm_assets.models.resources import ModelHubResource
    from geofm_assets.platform.status import find_task
    from geofm_assets.tasks.component import training_task
    from geofm_assets.training.layout import is_first
    from geofm_assets.training.stages import CheckpointStage

    settings = load_settings(store)
    config = find_task(settings, task).config
    given = {k: v for k, v in {"devices": devices, "nodes": nodes}.items() if v is not None}
    training = config.training.model_copy(update=given)
    stage = CheckpointStage(training_task(config.model_copy(update={"training": training})))
    with Progress(quiet=not is_first()) as progress, listening(progress, console.print):
        outcome = stage.make(
            Store(settings.store), ModelHubResource().open(), experiment, force, progress
        )
    if is_first():
        said = "current already" if outcome.skipped else "trained"
        console.print(f"{experiment}: {said}, model {outcome.metadata['model_id']}")
