"""The flags of `geofm evals ingest` and `validate`, and how they become IngestOptions."""

import inspect
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from geofm_assets.cli_terminal import split_commas
from geofm_assets.core.errors import DatasetError

if TYPE_CHECKING:
    from geofm_assets.evaluation.ingest.options import IngestOptions

_SPLIT, _BY_COMMAS = "--split", "with commas, or the flag again"
_LISTS = ("modalities", "classes", "groups", "tags", "subsets")
UNNAMED = "unnamed"
"""Name of a source that is only looked at."""

Source = Annotated[
    str | None,
    typer.Option(
        help="Folder or URL of an rslearn dataset; if not given, the one of this name in the "
        "folders of GEOFM_EVAL_DATASETS."
    ),
]


class ReadFlags:
    """How a source is read; each is a field of IngestOptions."""

    task_type: Annotated[
        str | None,
        typer.Option(
            help="classification, multilabel, segmentation, window_regression, "
            "per_pixel_regression."
        ),
    ]
    modalities: Annotated[list[str] | None, typer.Option(help=f"Modalities to keep, {_BY_COMMAS}.")]
    temporal_range: Annotated[
        str | None, typer.Option(help="START/END: leave out images outside, ISO dates.")
    ]
    property_name: Annotated[
        str | None, typer.Option(help="Property of a vector layer that is the label.")
    ]
    classes: Annotated[
        list[str] | None, typer.Option(help=f"Class names in order of class id, {_BY_COMMAS}.")
    ]
    label_layer: Annotated[str | None, typer.Option(help="Layer that holds the labels.")]
    label_nodata: Annotated[
        float | None, typer.Option(help="Value of a label of pixels that is no label.")
    ]
    label_outside: Annotated[
        str | None,
        typer.Option(help="Class of pixels outside all polygons; without it they have no label."),
    ]
    groups: Annotated[list[str] | None, typer.Option(help=f"Window groups to keep, {_BY_COMMAS}.")]
    tags: Annotated[
        list[str] | None,
        typer.Option(help="key=value a window's options must have; a key alone: any value."),
    ]
    split_property: Annotated[
        str | None,
        typer.Option(_SPLIT, "--split-property", help="Window option that says the split."),
    ]
    split_rule: Annotated[
        str | None,
        typer.Option(
            help="kept, spatial_blocks or random; if not given, kept where complete, else blocks."
        ),
    ]
    block_m: Annotated[float | None, typer.Option(help="Side of a spatial block, metres.")]
    seed: Annotated[int | None, typer.Option(help="Of splits, subsets and --max-samples.")]
    max_samples: Annotated[
        int | None, typer.Option(help="Keep at most so many samples, drawn per split and class.")
    ]
    sentinel1_unit: Annotated[
        str | None, typer.Option(help="decibels, or linear: power that is turned into dB.")
    ]


class IngestFlags(ReadFlags):
    """And what is said of the dataset that is made."""

    subsets: Annotated[
        list[str] | None, typer.Option(help="Percentages of train to offer, such as 1,5,20.")
    ]
    display_name: Annotated[str | None, typer.Option(help="Name for people.")]
    target_unit: Annotated[str | None, typer.Option(help="Unit of a regression's target.")]
    licence: Annotated[str | None, typer.Option(help="Licence of the data.")]
    citation: Annotated[str | None, typer.Option(help="How to cite the data.")]
    simulated: Annotated[bool | None, typer.Option("--simulated", help="The data was simulated.")]
    register: Annotated[
        bool | None, typer.Option("--register/--no-register", help="Put it into the registry.")
    ]
    overwrite: Annotated[
        bool | None, typer.Option("--overwrite", help="Copy again and replace the entry.")
    ]


def taking(flags: type) -> Callable[[Any], Any]:
    """Give a command the flags of a class, which it receives as `**typed`; None if not typed."""

    def decorate(command: Any) -> Any:
        own = list(inspect.signature(command).parameters.values())
        added = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=hint)
            for name, hint in get_type_hints(flags, include_extras=True).items()
        ]
        first = [p for p in own if p.kind is p.POSITIONAL_OR_KEYWORD]
        last = [p for p in own if p.kind is p.KEYWORD_ONLY]
        command.__signature__ = inspect.Signature([*first, *added, *last])
        return command

    return decorate


def typed_options(name: str | None, source: str | None, **typed: Any) -> "IngestOptions":
    """Options of an ingest: what was typed, over what an evaluation.yaml says.

    Args:
        name: of the dataset; None if it is only looked at.
        source: folder or URL; None for the dataset of this name in GEOFM_EVAL_DATASETS.
        typed: by field of IngestOptions; None if nothing was typed.

    Raises:
        ConfigError: the evaluation.yaml cannot be used.
        DatasetError: a value is not allowed, or no source is known; names the flag.
    """
    from geofm_assets.evaluation.registry.discover import VARIABLE, parse_options, search

    values = {key: _parsed(key, value) for key, value in typed.items() if value is not None}
    if source is not None:
        return parse_options({**values, "name": name or UNNAMED, "source": source}, _flag)
    found = search(os.environ)
    if name in found.datasets:
        known = found.datasets[name].options.model_dump(exclude_unset=True)
        return parse_options({**known, **values}, _flag)
    if name in found.broken:
        raise found.broken[name]
    if found.problems:
        raise found.problems[0]
    there = f" (there: {', '.join(found.datasets)})" if found.datasets else ""
    raise DatasetError(
        "--source must be given",
        where=f"--name {name}" if name else "",
        fix=f"Give a folder or URL, or the --name of a dataset in a folder of {VARIABLE}{there}",
    )


def _flag(field: str) -> str:
    """What an option is called on the command line."""
    return _SPLIT if field == "split_property" else f"--{field.replace('_', '-')}"


def _parsed(field: str, value: Any) -> Any:
    """A value as IngestOptions takes it.

    Raises:
        DatasetError: a time range of other than two parts.
    """
    if field in _LISTS:
        return split_commas(value)
    if field == "temporal_range":
        parts = value.replace(",", "/").split("/")
        if len(parts) != 2:
            raise DatasetError(
                "--temporal-range: not a start and an end",
                where=f"--temporal-range {value}",
                fix="Write two ISO dates: 2019-01-01/2020-01-01",
            )
        return parts
    return value
