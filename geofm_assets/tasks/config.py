"""A task is one file: its model, and the loader that names the line at fault."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from geofm_assets.core.errors import ConfigError, ExperimentError, GeofmError
from geofm_assets.imagery.config import ImageryConfig
from geofm_assets.labels.config import LabelsConfig
from geofm_assets.labels.rules import get_rule
from geofm_assets.models.config import WeightsConfig
from geofm_assets.sampling.config import SamplingConfig, SplitConfig
from geofm_assets.tasks.polygons import labels_around
from geofm_assets.training.config import TrainingConfig
from geofm_assets.training.experiments import ExperimentsConfig, Grid, grid
from geofm_assets.windows.config import MasksConfig, WindowsConfig

COMPONENT_TYPE = "geofm_assets.tasks.FineTuneTask"
PERIMETERS_KEY = "labels.calfire.perimeters"
"""Where a task's fire perimeters are, as an override names it."""
_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")


def require_name(name: str) -> str:
    """The name of a task, which is also that of folders and assets.

    Raises:
        ValueError: it has other characters than those allowed.
    """
    if not _NAME.fullmatch(name):
        raise ValueError("use lower case letters, digits and underscores, a letter first")
    return name


class TaskConfig(BaseModel):
    """Everything a fine-tuning task is, as written in its defs.yaml.

    Attributes:
        name: prefix of its assets; lower case letters, digits and underscores.
        labels: where labels come from and the rule that makes classes of them.
        sampling: points per H3 cell.
        split: how cells are divided into train, val and test.
        windows: size and time range of a window.
        masks: which pixels count as burnt; of a task with fire perimeters, for its segmentation
            experiments.
        imagery: profile, months or frames, modalities.
        training: optimiser, epochs, seed.
        experiments: the grid.
        weights: where the encoders' weights come from; a seeded random start by default.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    labels: LabelsConfig
    sampling: SamplingConfig = Field(default_factory=SamplingConfig)
    split: SplitConfig = Field(default_factory=SplitConfig)
    windows: WindowsConfig = Field(default_factory=WindowsConfig)
    masks: MasksConfig | None = None
    imagery: ImageryConfig = Field(default_factory=ImageryConfig)
    training: TrainingConfig = Field(default_factory=TrainingConfig)
    experiments: ExperimentsConfig
    weights: WeightsConfig = Field(default_factory=WeightsConfig)

    @field_validator("name")
    @classmethod
    def _check_name(cls, value: str) -> str:
        return require_name(value)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        fires = self.labels.calfire
        if self.masks is not None and fires is None:
            raise ValueError("masks are drawn from fire perimeters: labels.source must be calfire")
        if "segmentation" in self.experiments.head and self.masks is None:
            raise ValueError("experiments.head segmentation needs the section masks")
        if self.split.by == "group" and fires is None:
            raise ValueError(
                "split.by group needs labels.source calfire, whose samples have groups"
            )
        if fires is not None:
            extent = window_extent_m(self.windows)
            if fires.samples.window_extent_m < extent:
                raise ValueError(
                    f"labels.calfire.samples.window_extent_m is "
                    f"{fires.samples.window_extent_m:g}, windows need {extent:g} (size + 1 pixels)"
                )
        return self

    @model_validator(mode="after")
    def _samples_follow_windows(self) -> Self:
        labels = labels_around(self.labels, self.windows, self.experiments.head)
        return self if labels is self.labels else self.model_copy(update={"labels": labels})

    def grid(self, overridden: bool = False) -> Grid:
        """The experiments of this task."""
        return grid(
            self.experiments,
            materialized_size=self.windows.size,
            months=self.imagery.timesteps,
            overridden=overridden,
            layers=self.imagery.modalities,
        )


def window_extent_m(windows: WindowsConfig) -> float:
    """Side, in metres, of what a window may reach: its point lies anywhere in a pixel."""
    return (windows.size + 1) * windows.resolution


class TaskFile(BaseModel):
    """A task with the file it came from and what was put in place of its values."""

    model_config = ConfigDict(frozen=True)

    path: str
    config: TaskConfig
    overrides: dict[str, Any]

    def grid(self) -> Grid:
        """The task's experiments under its overrides."""
        return self.config.grid(overridden=bool(self.overrides))


def load_task_file(path: Path, overrides: Mapping[str, Any] | None = None) -> TaskFile:
    """Read a task's defs.yaml.

    Args:
        path: the file.
        overrides: dotted keys (`sampling.per_cell`) and the values put in their place.

    Raises:
        ConfigError: names the file and the line at fault.
    """
    text = path.read_text()
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError("Not YAML", where=str(path), fix=str(error)) from error
    if not isinstance(document, dict) or document.get("type") != COMPONENT_TYPE:
        raise ConfigError(
            "Not a task file", where=str(path), fix=f"Start it with type: {COMPONENT_TYPE}"
        )
    attributes = document.get("attributes")
    if not isinstance(attributes, dict):
        raise ConfigError("A task file needs attributes", where=str(path))
    lines = _lines(node)
    given = dict(overrides or {})
    strict = _validate(path, attributes, lines)
    if not given:
        _check_grid(path, strict, lines)
        return TaskFile(path=str(path), config=strict, overrides={})
    changed = apply_overrides(attributes, given)
    config = _validate(path, changed, lines, given)
    task = TaskFile(path=str(path), config=config, overrides=given)
    task.grid()
    return task


def apply_overrides(attributes: dict[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes with dotted keys replaced; unknown keys are left for validation to refuse."""
    result: dict[str, Any] = yaml.safe_load(yaml.safe_dump(attributes))
    for dotted, value in overrides.items():
        *parents, last = dotted.split(".")
        target = result
        for parent in parents:
            target = target.setdefault(parent, {})
            if not isinstance(target, dict):
                raise ConfigError("Not a section of the task file", where=dotted)
        target[last] = value
    return result


def parse_override(text: str) -> tuple[str, Any]:
    """`key=value` with the value read as YAML.

    Raises:
        ConfigError: there is no `=`.
    """
    key, separator, value = text.partition("=")
    if not separator or not key:
        raise ConfigError("Not an override", where=text, fix="Write --set key=value")
    return key.strip(), yaml.safe_load(value)


def _lines(node: Any) -> dict[tuple[str, ...], int]:
    """1-based line of every key of a YAML mapping, by path below `attributes`."""
    found: dict[tuple[str, ...], int] = {}

    def walk(current: Any, path: tuple[str, ...]) -> None:
        if isinstance(current, yaml.MappingNode):
            for key, value in current.value:
                here = (*path, str(key.value))
                found[here] = key.start_mark.line + 1
                walk(value, here)
        elif isinstance(current, yaml.SequenceNode):
            for index, value in enumerate(current.value):
                here = (*path, str(index))
                found[here] = value.start_mark.line + 1
                walk(value, here)

    walk(node, ())
    return {path[1:]: line for path, line in found.items() if path and path[0] == "attributes"}


def _line_of(lines: dict[tuple[str, ...], int], path: tuple[str, ...]) -> int:
    while path and path not in lines:
        path = path[:-1]
    return lines.get(path, 1)


def _named_in(
    message: str, location: tuple[str, ...], lines: dict[tuple[str, ...], int]
) -> tuple[str, ...]:
    """The key that a message about a whole section speaks of: the deepest, then the first."""
    found = []
    for path in lines:
        if path[: len(location)] != location or path == location:
            continue
        key = re.search(rf"\b{re.escape('.'.join(path[len(location) :]))}\b", message)
        if key is not None:
            found.append((-len(path), key.start(), path))
    return min(found)[2] if found else location


def _validate(
    path: Path,
    attributes: dict[str, Any],
    lines: dict[tuple[str, ...], int],
    overrides: Mapping[str, Any] | None = None,
) -> TaskConfig:
    try:
        config = TaskConfig.model_validate(attributes)
    except ValidationError as error:
        first = error.errors()[0]
        location = tuple(str(part) for part in first["loc"])
        dotted = ".".join(location)
        where = f"{path}:{_line_of(lines, _named_in(first['msg'], location, lines))}"
        # what does not fit together is said of the whole file, and names its keys itself
        named = next((k for k in overrides or () if not dotted and k in first["msg"]), dotted)
        if overrides and any(named.startswith(k) or k.startswith(named) for k in overrides):
            where = f"--set {named}".strip()
        raise ConfigError(
            ": ".join(filter(None, (dotted, first["msg"].removeprefix("Value error, ")))),
            where=where,
            fix="See docs/tasks.md for the keys of a task file",
        ) from error
    try:
        get_rule(config.labels)
    except GeofmError as error:
        line = _line_of(lines, ("labels", "rule"))
        raise ConfigError(str(error), where=f"{path}:{line}") from error
    return config


def _check_grid(path: Path, config: TaskConfig, lines: dict[tuple[str, ...], int]) -> None:
    try:
        config.grid()
    except ExperimentError as error:
        axes = ("window_size", "patch_size", "timesteps", "encoder", "modality", "head")
        axis = next((a for a in axes if a in error.where), "")
        line = _line_of(lines, ("experiments", axis))
        raise ConfigError(str(error), where=f"{path}:{line}") from error


def find_task_files(folders: list[Path]) -> dict[str, Path]:
    """Task files below the folders, by folder name."""
    files: dict[str, Path] = {}
    for folder in folders:
        for path in sorted(folder.glob("*/defs.yaml")):
            if path.parent.name in files:
                raise ConfigError(
                    "Two task folders share a name",
                    where=f"{files[path.parent.name]} and {path}",
                    fix="Rename one of them",
                )
            files[path.parent.name] = path
    return files
