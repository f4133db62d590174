"""`geofm evals run` and `models`: sweeps of models over registered datasets."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from geofm_assets.cli_terminal import (
    JsonOption,
    Progress,
    StoreOption,
    console,
    print_rows,
    split_commas,
)
from geofm_assets.core.errors import ConfigError, RegistryError
from geofm_assets.core.settings import load_settings
from geofm_assets.core.store import Store

if TYPE_CHECKING:
    from geofm_assets.evaluation.registry.registry import Registry
    from geofm_assets.evaluation.sweeps.run import SweepResult
    from geofm_assets.evaluation.sweeps.settings import SweepSettings


def models(as_json: JsonOption = False) -> None:
    """List the models that can be evaluated, and what each needs."""
    from geofm_assets.evaluation.backbones.names import known_models

    known = known_models()
    if as_json:
        print(json.dumps([asdict(model) for model in known], indent=1))
        return
    print_rows(
        [
            {
                "model": model.name,
                "what": model.what,
                "normalisation": ", ".join(model.normalizations),
                "patch sizes": ", ".join(map(str, model.patch_sizes)),
                "needs": model.needs,
            }
            for model in known
        ]
    )
    console.print(
        "Weights: NAME@path:FOLDER, NAME@hub, NAME@hub:OWNER/REPO or NAME@seed:NUMBER",
        highlight=False,
    )


def run(
    model: Annotated[
        list[str],
        typer.Option(help="NAME or NAME@WEIGHTS (geofm evals models); may be given again."),
    ],
    tasks: Annotated[
        list[str], typer.Option(help="Registered datasets or tasks of this store, with commas.")
    ],
    sweep: Annotated[
        Literal["full", "defaults", "lr-only"],
        typer.Option(
            help="What varies: learning rate, normalisation and pooling; nothing; the rate."
        ),
    ] = "full",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the plan and start nothing.")
    ] = False,
    patch_size: Annotated[
        int | None, typer.Option(help="Pixels of a token's side; if not given, the model's.")
    ] = None,
    subset: Annotated[
        float | None, typer.Option(help="Percentage of train that probes learn from.")
    ] = None,
    int8: Annotated[bool, typer.Option("--int8", help="Probe embeddings kept as int8.")] = False,
    seed: Annotated[int | None, typer.Option(help="Of probes and bootstrap.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Encode and probe all again.")] = False,
    as_json: JsonOption = False,
    store: StoreOption = None,
) -> None:
    """Sweep models over datasets: encode each sample once, probe, write the leaderboard."""
    from geofm_assets.evaluation.registry.registry import Registry
    from geofm_assets.evaluation.sweeps.plan import plan_sweep

    deployment = load_settings(store)
    opened = Store(deployment.store)
    names = _require_known(Registry(opened), opened, split_commas(tasks) or [])
    chosen = list(dict.fromkeys(model))
    settings = _settings(
        {
            "sweep": sweep,
            "patch_size": patch_size,
            "subset": subset,
            "precision": "int8" if int8 else None,
            "seed": seed,
        }
    )
    if dry_run:
        _require_ingested(Registry(opened), names)
        plan = plan_sweep(opened, chosen, names, settings=settings)
        if as_json:
            print(json.dumps(plan.as_dict(), indent=1))
            return
        print_rows(plan.rows())
        console.print(plan.summary(), highlight=False, markup=False)
        return
    from geofm_assets.platform.evaluations import Evaluations

    with Progress(quiet=as_json) as progress:
        result = Evaluations(deployment, progress).attempt(chosen, names, settings, force=force)
    if result.cells or not result.failures:
        _print_result(result, as_json)
    result.require_all_done(len(chosen) * len(names))


def _print_result(result: "SweepResult", as_json: bool) -> None:
    """What was scored, whatever failed besides."""
    scores = result.test.to_pylist()
    if as_json:
        print(json.dumps(scores, indent=1))
        return
    _print_scores(scores)
    console.print(f"Samples encoded: {result.encoded:,}", highlight=False)
    console.print(f"Leaderboard: {result.leaderboard}", highlight=False, soft_wrap=True)


def _require_known(registry: "Registry", store: Store, tasks: Sequence[str]) -> list[str]:
    """Names of datasets and of tasks that can become one, each once.

    Raises:
        ConfigError: none was given.
        RegistryError: one is not registered; says so if it only waits to be ingested.
    """
    from geofm_assets.evaluation.registry.discover import search
    from geofm_assets.evaluation.registry.waiting_tasks import is_task

    names = list(dict.fromkeys(tasks))
    if not names:
        raise ConfigError("No dataset is named", where="--tasks", fix="geofm evals list")
    there = registry.names()
    missing = [name for name in names if name not in there and not is_task(store, name)]
    if missing and missing[0] in (found := search(os.environ).datasets):
        raise RegistryError(
            f"Dataset {missing[0]!r} is not ingested yet",
            where=str(found[missing[0]].folder),
            fix=f"geofm evals ingest --name {missing[0]}",
        )
    for name in missing:
        registry.get(name)  # says which there are
    return names


def _require_ingested(registry: "Registry", names: Sequence[str]) -> None:
    """Refuse to plan for a task whose dataset was never made.

    Raises:
        RegistryError: names it.
    """
    there = registry.names()
    for name in names:
        if name not in there:
            raise RegistryError(
                f"Task {name!r} is no dataset yet, and a dry run makes none",
                where=registry.url,
                fix=f"geofm evals ingest --name {name}, or leave --dry-run out",
            )


def _settings(given: Mapping[str, Any]) -> "SweepSettings":
    """Settings of a sweep from what was typed.

    Raises:
        ConfigError: a value is out of range; names the flag.
    """
    from pydantic import ValidationError

    from geofm_assets.evaluation.sweeps.settings import SweepSettings

    values = {key: value for key, value in given.items() if value is not None}
    try:
        return SweepSettings.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        flag = f"--{str(first['loc'][0]).replace('_', '-')}"
        raise ConfigError(
            f"{flag}: {first['msg']}", where=f"{flag} {first['input']}", fix="Correct it"
        ) from error


def _print_scores(scores: Sequence[dict[str, Any]]) -> None:
    from geofm_assets.evaluation.sweeps.page import number, seen, setting

    print_rows(
        [
            {
                "model": row["model"],
                "dataset": row["dataset"],
                "probe": row["probe"],
                "test": f"{row['metric']} {number(row['value'])}",
                "95 % interval": f"{number(row['low'])} to {number(row['high'])}",
                "chosen by val": setting(row),
                "weights": row["start"],
                "data": "SIMULATED" if row["simulated"] else "real",
            }
            for row in scores
        ]
    )
    for row in {(r["model"], r["dataset"]): r for r in scores if seen(r)}.values():
        text = f"{row['model']} on {row['dataset']}: {seen(row)}."
        console.print(text, style="bold yellow", highlight=False, markup=False)
    if any(row["simulated"] for row in scores):
        console.print(
            "Scores of SIMULATED data say that the platform works, not how good a model is.",
            style="bold magenta",
        )
