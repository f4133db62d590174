"""Datasets that were put where they are looked for, and need no code to become evaluations.

`GEOFM_EVAL_DATASETS` names one or more folders. Each of their sub-folders with a config.json is an
rslearn dataset; an evaluation.yaml beside it says of it what `geofm evals ingest` would else be
told by flags.
"""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from geofm_assets.core.errors import ConfigError, DatasetError, GeofmError
from geofm_assets.evaluation.ingest.options import IngestOptions

VARIABLE = "GEOFM_EVAL_DATASETS"
OPTIONS_FILE = "evaluation.yaml"
# The source is the folder itself; what to do with what is there is said when it is ingested.
_NOT_IN_FILE = frozenset({"source", "overwrite", "register"})


@dataclass(frozen=True)
class DiscoveredDataset:
    """A dataset that was found.

    Attributes:
        folder: the rslearn dataset.
        options: what its evaluation.yaml says, with the folder as source.
    """

    folder: Path
    options: IngestOptions


@dataclass(frozen=True)
class Discovery:
    """Everything that was found.

    Attributes:
        datasets: by name.
        problems: what could not be used, each with what to do about it.
        broken: of the problems, those of a dataset, by its name: what its file calls it as far as
            that can be read, else its folder's.
    """

    datasets: dict[str, DiscoveredDataset] = field(default_factory=dict)
    problems: tuple[GeofmError, ...] = ()
    broken: dict[str, GeofmError] = field(default_factory=dict)


def search(environment: Mapping[str, str]) -> Discovery:
    """Datasets in the folders of `GEOFM_EVAL_DATASETS`, and what of them cannot be used.

    Args:
        environment: variables, such as `os.environ`.
    """
    found: dict[str, list[DiscoveredDataset]] = {}
    problems: list[GeofmError] = []
    broken: dict[str, GeofmError] = {}
    for root in _roots(environment):
        if not root.is_dir():
            missing = "There is no such folder"
            problems.append(ConfigError(missing, where=f"{VARIABLE}: {root}", fix="Correct it"))
            continue
        for folder in _dataset_folders(root):
            try:
                options = read_options(folder)
            except GeofmError as error:
                problems.append(error)
                broken[_called(folder)] = error
                continue
            found.setdefault(options.name, []).append(DiscoveredDataset(folder, options))
    for name, named in found.items():
        if len(named) > 1:  # nobody can tell which one is meant
            broken[name] = _several(name, named)
            problems.append(broken[name])
    datasets = {name: named[0] for name, named in sorted(found.items()) if len(named) == 1}
    return Discovery(datasets, tuple(problems), broken)


def read_options(folder: Path) -> IngestOptions:
    """How to ingest the dataset of a folder, as its evaluation.yaml says.

    Args:
        folder: of an rslearn dataset; without an evaluation.yaml everything is inferred.

    Raises:
        ConfigError: the file is not YAML, or a key or value is not allowed; names file and key.
    """
    path = folder / OPTIONS_FILE
    values = _mapping(path) if path.exists() else {}
    refused = sorted(_NOT_IN_FILE & values.keys())
    if refused:
        raise ConfigError(
            f"{refused[0]} cannot be said here",
            where=f"{path}: {refused[0]}",
            fix="Take it out; the folder is the source",
        )
    values = {"name": _name_of(folder), **values, "source": str(folder)}
    try:
        return IngestOptions.model_validate(values)
    except ValidationError as error:
        key, message = _first(error)
        verb = "Correct" if path.exists() else "Write"
        raise ConfigError(
            f"{key}: {message}", where=str(path), fix=f"{verb} it there; {_allowed()}"
        ) from error


def parse_options(values: Mapping[str, Any], flag: Callable[[str], str]) -> IngestOptions:
    """Options from what a person typed.

    Args:
        values: by field of IngestOptions.
        flag: what a field is called where it was typed.

    Raises:
        DatasetError: a value is not allowed; names the flag.
    """
    try:
        return IngestOptions.model_validate(dict(values))
    except ValidationError as error:
        key, message = _first(error)
        typed = values.get(key)
        raise DatasetError(
            f"{flag(key)}: {message}",
            where="" if typed is None else f"{flag(key)} {typed}",
            fix="Correct it",
        ) from error


def _roots(environment: Mapping[str, str]) -> list[Path]:
    """Folders to look in, each once, in the order given."""
    parts = [part.strip() for part in environment.get(VARIABLE, "").split(os.pathsep)]
    return list(dict.fromkeys(Path(part).expanduser().resolve() for part in parts if part))


def _dataset_folders(root: Path) -> list[Path]:
    """Datasets in a folder; the folder itself, if it is one."""
    if (root / "config.json").is_file():
        return [root]
    folders = sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
    return [folder for folder in folders if (folder / "config.json").is_file()]


def _mapping(path: Path) -> dict[str, Any]:
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise ConfigError("Not YAML", where=f"{path}{line}", fix="Correct it") from error
    except OSError as error:
        raise ConfigError(f"Cannot be read: {error.strerror}", where=str(path)) from error
    if document is None:
        return {}
    if not isinstance(document, dict) or not all(isinstance(key, str) for key in document):
        raise ConfigError(
            "Not a list of options", where=str(path), fix=f"Write lines of key: value; {_allowed()}"
        )
    return document


def _name_of(folder: Path) -> str:
    """A dataset's name from its folder's: lower case, `_` for what a name may not hold."""
    return re.sub(r"[^a-z0-9]+", "_", folder.name.lower()).strip("_")


def _called(folder: Path) -> str:
    """The name of a dataset whose file cannot be used."""
    try:
        said = _mapping(folder / OPTIONS_FILE).get("name")
    except ConfigError:
        said = None
    return said if isinstance(said, str) else _name_of(folder)


def _several(name: str, named: Sequence[DiscoveredDataset]) -> ConfigError:
    return ConfigError(
        f"{len(named)} datasets are named {name!r}",
        where=" and ".join(str(one.folder) for one in named),
        fix=f"Give each another name in its {OPTIONS_FILE}",
    )


def _first(error: ValidationError) -> tuple[str, str]:
    """Field and message of the first thing that is wrong."""
    first = error.errors()[0]
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        message = "no such option"
    if first["loc"]:
        return str(first["loc"][0]), message
    # of the options together: the field the message speaks of
    fields = IngestOptions.model_fields
    return next((name for name in fields if name.replace("_", " ") in message), "name"), message


def _allowed() -> str:
    keys = sorted(IngestOptions.model_fields.keys() - _NOT_IN_FILE)
    return f"the keys are {', '.join(keys)}"
