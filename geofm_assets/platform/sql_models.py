"""SQL models: tables defined by SELECT statements in a folder of files.

`dbt_like_sql/<layer>/<name>.sql` defines table `<name>`. A model reads sources (`sql_sources`)
and other models by name; what it reads, and where each of its columns comes from, follows from
the SQL itself.
"""

import os
from functools import lru_cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import geofm_assets
from geofm_assets.core.errors import ConfigError
from geofm_assets.core.hashing import json_digest
from geofm_assets.platform.sql_parse import (
    LAYERS,
    ParsedFile,
    SqlModel,
    parse_file,
    resolve,
    store_key,
)
from geofm_assets.platform.sql_sources import SOURCES

FOLDER_VARIABLE = "GEOFM_SQL_MODELS"


def models_folder() -> Path:
    """The folder of SQL models: GEOFM_SQL_MODELS, else `dbt_like_sql` beside the package.

    In a checkout and in an installed wheel alike, the folder lies beside `geofm_assets`.

    Raises:
        ConfigError: it is not there.
    """
    given = os.environ.get(FOLDER_VARIABLE, "")
    beside = Path(geofm_assets.__file__).resolve().parent.parent / "dbt_like_sql"
    folder = Path(given).expanduser() if given else beside
    if not folder.is_dir():
        raise ConfigError(
            "There is no folder of SQL models",
            where=str(folder),
            fix=f"Set {FOLDER_VARIABLE} to it, or install the package again",
        )
    return folder


def load_models(folder: Path) -> list[SqlModel]:
    """Every model of a folder, each after the models it reads.

    Raises:
        ConfigError: a file lies in no layer, a name is taken, a table is unknown, models read
            each other in a circle, or a file is wrong in itself. Names file and line.
    """
    files = sorted(folder.rglob("*.sql"))
    return list(_load(folder, json_digest([[str(f), f.read_text("utf-8")] for f in files])))


@lru_cache(maxsize=8)
def _load(folder: Path, content: str) -> tuple[SqlModel, ...]:
    """Models of a folder whose files have this content (part of the cache's key only)."""
    parsed: dict[str, ParsedFile] = {}
    for path in sorted(folder.rglob("*.sql")):
        layer = path.parent.name
        if path.parent.parent != folder or layer not in LAYERS:
            raise ConfigError(
                "A SQL model lies in a layer", where=str(path), fix=f"Use {', '.join(LAYERS)}"
            )
        taken = parsed[path.stem].path if path.stem in parsed else None
        if taken or path.stem in SOURCES:
            raise ConfigError(
                f"The table name {path.stem!r} is taken by {taken or 'a source'}",
                where=f"{path}:1",
                fix="Rename the file",
            )
        parsed[path.stem] = parse_file(path, layer)
    for file in parsed.values():
        _require_known(file, parsed)
    columns = {name: tuple(source.columns.names) for name, source in SOURCES.items()}
    columns |= {name: tuple(file.header.columns) for name, file in parsed.items()}
    keys = {name: store_key(file.layer, name) for name, file in parsed.items()}
    return tuple(resolve(parsed[name], columns, keys) for name in _sorted(parsed))


def _require_known(file: ParsedFile, parsed: dict[str, ParsedFile]) -> None:
    for table, line in file.tables.items():
        if table not in parsed and table not in SOURCES:
            known = ", ".join(sorted([*parsed, *SOURCES]))
            raise ConfigError(
                f"There is no model or source named {table!r}",
                where=f"{file.path}:{line}",
                fix=f"Known are {known}",
            )


def _sorted(parsed: dict[str, ParsedFile]) -> list[str]:
    """Names so that each comes after what it reads; by layer and name among the free ones."""
    graph = {name: {t for t in file.tables if t in parsed} for name, file in parsed.items()}
    sorter = TopologicalSorter(graph)
    try:
        sorter.prepare()
    except CycleError as error:
        circle = error.args[1]
        first = parsed[circle[0]]
        line = first.tables.get(circle[-2], 1)
        raise ConfigError(
            f"SQL models read each other in a circle: {' <- '.join(circle)}",
            where=f"{first.path}:{line}",
        ) from error
    names: list[str] = []
    while sorter.is_active():
        ready = sorted(sorter.get_ready(), key=lambda n: (LAYERS.index(parsed[n].layer), n))
        names += ready
        sorter.done(*ready)
    return names
