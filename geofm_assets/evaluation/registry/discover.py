"""Datasets that were put where they are looked for, and need no code to become evaluations.

`GEOFM_EVAL_DATASETS` names one or more folders. Each of their sub-folders with a config.json is an
rslearn dataset; an evaluation.yaml beside it says of it what `geofm evals ingest` would else be
told by flags.
"""

import os
import re
from collections.abc import Callable, Mapping
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
    """

    datasets: dict[str, DiscoveredDataset] = field(default_factory=dict)
    problems: tuple[GeofmError, ...] = ()


def discover(environment: Mapping[str, str]) -> dict[str, DiscoveredDataset]:
    """Datasets in the folders of `GEOFM_EVAL_DATASETS`, by name.

    Args:
        environment: variables, such as `os.environ`.

    Raises:
        ConfigError: a folder does not exist, an evaluation.yaml cannot be used, or two datasets
            have one name. `search` goes on instead.
    """
    found = search(environment)
    if found.problems:
        raise found.problems[0]
    return found.datasets


def search(environment: Mapping[str, str]) -> Discovery:
    """Like `discover`, with what cannot be used beside what can."""
    datasets: dict[str, DiscoveredDataset] = {}
    problems: list[GeofmError] = []
    for root in _roots(environment):
        if not root.is_dir():
            problems.append(
                ConfigError(
                    "There is no such folder", where=f"{VARIABLE}: {root}", fix="Correct it"
                )
            )
            continue
        for folder in _dataset_folders(root):
            try:
                options = read_options(folder)
                _require_new(options.name, folder, datasets)
            except GeofmError as error:
                problems.append(error)
                continue
            datasets[options.name] = DiscoveredDataset(folder, options)
    return Discovery(dict(sorted(datasets.items())), tuple(problems))


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


def _require_new(name: str, folder: Path, found: Mapping[str, DiscoveredDataset]) -> None:
    if name in found:
        raise ConfigError(
            f"Two datasets are named {name!r}",
            where=f"{found[name].folder} and {folder}",
            fix=f"Give one of them another name in its {OPTIONS_FILE}",
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
