"""The grid of a task file: which experiments exist, which cannot, which is the default."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from math import log2
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from geofm_assets.core.errors import ExperimentError
from geofm_assets.models.names import ENCODER_NAMES, MAX_PATCH_SIZE, PRESTO
from geofm_assets.training.experiment import LAYERS, Experiment, Head, Modality

__all__ = ["Experiment", "ExperimentsConfig", "Grid", "grid", "impossible"]

AXES = ("encoder", "modality", "patch_size", "window_size", "timesteps", "head")
# What the default leans to where the file names none: the cheapest that sees a neighbourhood.
_USUAL_PATCH, _USUAL_WINDOW = 4, 16


class ExperimentsConfig(BaseModel):
    """The grid as a task file writes it: every axis a list.

    Attributes:
        default: the experiment that runs when none is named; one of the grid.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    encoder: tuple[str, ...] = Field(min_length=1)
    modality: tuple[Modality, ...] = Field(min_length=1)
    patch_size: tuple[int, ...] = Field(min_length=1)
    window_size: tuple[int, ...] = Field(min_length=1)
    timesteps: tuple[int, ...] = Field(min_length=1)
    head: tuple[Head, ...] = Field(default=("classification",), min_length=1)
    default: Experiment | None = None

    @field_validator("encoder")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if name not in ENCODER_NAMES:
                raise ValueError(f"no encoder is named {name!r}; use {', '.join(ENCODER_NAMES)}")
        return names

    @field_validator("patch_size", "window_size", "timesteps")
    @classmethod
    def _positive(cls, values: tuple[int, ...]) -> tuple[int, ...]:
        if any(v < 1 for v in values):
            raise ValueError("every value must be 1 or more")
        return values

    @field_validator("default", mode="before")
    @classmethod
    def _by_name(cls, value: Any) -> Any:
        return Experiment.parse(value) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _no_repeats(self) -> "ExperimentsConfig":
        for axis in AXES:
            values = getattr(self, axis)
            if len(set(values)) != len(values):
                raise ValueError(f"{axis} names a value twice")
        return self


@dataclass(frozen=True)
class Grid:
    """What a task can run.

    Attributes:
        feasible: experiments, in the order of the file's axes.
        excluded: (name, reason) of the combinations that cannot be.
        default: the experiment that runs when none is named.
    """

    feasible: tuple[Experiment, ...]
    excluded: tuple[tuple[str, str], ...]
    default: Experiment

    def find(self, name: str) -> Experiment:
        """A feasible experiment by name.

        Raises:
            ExperimentError: no such experiment, with the reason if it was excluded.
        """
        for experiment in self.feasible:
            if experiment.name == name:
                return experiment
        reason = dict(self.excluded).get(name)
        raise ExperimentError(
            f"The experiment cannot be: {reason}" if reason else "The grid has no such experiment",
            where=name,
            fix=f"Choose one of the {len(self.feasible)} listed by `geofm experiments`",
        )


def impossible(
    experiment: Experiment, *, materialized_size: int, months: int, layers: Sequence[str]
) -> str | None:
    """Why an experiment cannot be; None if it can."""
    patch, window = experiment.patch_size, experiment.window_size
    absent = [layer for layer in experiment.layers if layer not in layers]
    if window > materialized_size:
        return (
            f"window_size {window} is larger than the materialized windows.size {materialized_size}"
        )
    if experiment.timesteps > months:
        return f"timesteps {experiment.timesteps} is more than the {months} months of imagery"
    if absent:
        return f"modality {experiment.modality} needs {', '.join(absent)}, which imagery lacks"
    if experiment.encoder == PRESTO and patch != 1:
        return f"encoder presto reads single pixels, patch_size {patch} does not exist there"
    if patch > MAX_PATCH_SIZE:
        return f"patch_size {patch} is larger than the encoders' {MAX_PATCH_SIZE}"
    if patch > window:
        return f"patch_size {patch} is larger than window_size {window}"
    if window % patch:
        return f"window_size {window} is no multiple of patch_size {patch}"
    return None


def grid(
    config: ExperimentsConfig,
    *,
    materialized_size: int,
    months: int,
    overridden: bool = False,
    layers: Sequence[str] = LAYERS["s1_s2"],
) -> Grid:
    """Sort the grid into what can be and what cannot.

    In a file as written, a value that no combination can use is a mistake and refused. Where a
    person has overridden keys (`--set windows.size=1`), such values are left out with reasons.

    Args:
        config: the grid.
        materialized_size: `windows.size`, pixels.
        months: months of imagery.
        overridden: whether keys were overridden on the command line.
        layers: layers of imagery there are.

    Raises:
        ExperimentError: a value of no use, a default outside the grid, or nothing feasible.
    """
    feasible: list[Experiment] = []
    excluded: list[tuple[str, str]] = []
    refused: list[tuple[Experiment, str]] = []
    for values in product(*(getattr(config, axis) for axis in AXES)):
        experiment = Experiment.model_validate(dict(zip(AXES, values, strict=True)))
        reason = impossible(
            experiment, materialized_size=materialized_size, months=months, layers=layers
        )
        if reason is None:
            feasible.append(experiment)
        else:
            refused.append((experiment, reason))
            excluded.append((experiment.name, reason))
    if not feasible:
        reasons = sorted({reason for _, reason in refused})
        raise ExperimentError(
            f"No experiment of the grid can be: {'; '.join(reasons)}",
            where="experiments",
            fix="Change the grid, windows.size or imagery.months",
        )
    if not overridden:
        _refuse_useless(config, feasible, refused)
        if config.default is not None and config.default not in feasible:
            reason = dict(excluded).get(config.default.name, "it is not in the grid")
            raise ExperimentError(
                f"The default experiment cannot be: {reason}",
                where=f"experiments.default {config.default.name}",
                fix="Name one of the grid",
            )
    return Grid(tuple(feasible), tuple(excluded), _default(config, feasible))


def _refuse_useless(
    config: ExperimentsConfig,
    feasible: list[Experiment],
    refused: list[tuple[Experiment, str]],
) -> None:
    """Raise for the first axis value no feasible experiment uses."""
    for axis in AXES:
        used = {getattr(e, axis) for e in feasible}
        for value in getattr(config, axis):
            if value in used:
                continue
            reasons = sorted({reason for e, reason in refused if getattr(e, axis) == value})
            raise ExperimentError(
                f"{axis} {value} can be used in no combination: {'; '.join(reasons)}",
                where=f"experiments.{axis}",
                fix=f"Take {value} out of {axis}, or change what it conflicts with",
            )


def _default(config: ExperimentsConfig, feasible: list[Experiment]) -> Experiment:
    """The file's default if it can be, else the feasible experiment nearest to it.

    Nearest means, in this order: the same encoder, head and modality (else the one with more
    layers), the timesteps closest (else more), no larger window, the window and then the patch
    closest in size. Without a default in the file, it is the first encoder, all layers, the most
    timesteps, window 16, patch 4.
    """
    if config.default in feasible:
        return config.default
    target = config.default or Experiment(
        encoder=config.encoder[0],
        modality=max(config.modality, key=lambda m: len(LAYERS[m])),
        patch_size=_USUAL_PATCH,
        window_size=_USUAL_WINDOW,
        timesteps=max(config.timesteps),
        head=config.head[0],
    )

    def distance(e: Experiment) -> tuple[object, ...]:
        return (
            e.encoder != target.encoder,
            e.head != target.head,
            e.modality != target.modality,
            -len(e.layers),
            abs(e.timesteps - target.timesteps),
            -e.timesteps,
            e.window_size > target.window_size,
            abs(log2(e.window_size / target.window_size)),
            abs(log2(e.patch_size / target.patch_size)),
            e.name,
        )

    return min(feasible, key=distance)
