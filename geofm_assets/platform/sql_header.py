"""The YAML header of a SQL model: what it is, what its columns mean, what must hold of it.

/* ---
description: one sentence
columns:
  task: what the column means
tests:
  - not_null: task                  # or a list of columns
  - unique: [task, sample_id]       # the columns together
  - accepted_values: {column: split, values: [train, val]}
  - expression: "points > 0"        # true of every row
--- */
SELECT ...
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from geofm_assets.core.errors import ConfigError

_HEADER = re.compile(r"\A\s*/\*\s*---\s*\n(?P<yaml>.*?)\n\s*---\s*\*/", re.DOTALL)
_KINDS = ("not_null", "unique", "accepted_values", "expression")
_NAME_LENGTH = 80


@dataclass(frozen=True)
class SqlTest:
    """Something that must hold of a model's rows.

    Attributes:
        name: unique in the model; letters, digits and underscores.
        description: the test as written.
        failing: SQL that selects the rows that fail, from the table named `{table}`.
        columns: columns it speaks of, as far as the header says.
    """

    name: str
    description: str
    failing: str
    columns: tuple[str, ...]


@dataclass(frozen=True)
class Header:
    """A parsed header.

    Attributes:
        description: what the model is.
        columns: meaning of each column, in order.
        tests: what must hold.
        lines: line of the file each column is described at.
        body_line: line the SQL starts at.
    """

    description: str
    columns: dict[str, str]
    tests: tuple[SqlTest, ...]
    lines: dict[str, int]
    body_line: int


def parse_header(text: str, path: Path) -> tuple[Header, str]:
    """Header and SQL of a model file.

    Raises:
        ConfigError: there is no header, or something in it is wrong; names file and line.
    """
    match = _HEADER.match(text)
    if match is None:
        raise ConfigError(
            "A SQL model starts with a YAML header in a comment",
            where=f"{path}:1",
            fix="Begin the file with /* ---, the header, and --- */",
        )
    first = text.count("\n", 0, match.start("yaml")) + 1
    try:
        node = yaml.compose(match["yaml"], yaml.SafeLoader)
        value = yaml.safe_load(match["yaml"])
    except yaml.MarkedYAMLError as error:
        line = first + (error.problem_mark.line if error.problem_mark else 0)
        raise ConfigError(f"Not YAML: {error.problem}", where=f"{path}:{line}") from error
    lines = _lines(node, first)

    def refuse(what: str, *key: str, fix: str = "") -> ConfigError:
        return ConfigError(what, where=f"{path}:{lines.get(key, first)}", fix=fix)

    if not isinstance(value, dict):
        raise refuse("The header is not a mapping of description, columns and tests")
    for key in value:
        if key not in ("description", "columns", "tests"):
            raise refuse(f"Unknown key {key!r}", key, fix="Use description, columns, tests")
    description = value.get("description")
    if not isinstance(description, str) or not description.strip():
        raise refuse("The header has no description", "description")
    columns = value.get("columns")
    if not isinstance(columns, dict) or not columns:
        raise refuse("The header describes no columns", "columns")
    for name, meaning in columns.items():
        if not isinstance(meaning, str):
            raise refuse(f"Column {name!r} has no description", "columns", str(name))
    entries = value.get("tests") or []
    if not isinstance(entries, list):
        raise refuse("tests is a list", "tests")
    tests: list[SqlTest] = []
    for number, entry in enumerate(entries):
        try:
            tests.append(_test(entry, set(columns), {t.name for t in tests}))
        except ValueError as error:
            raise refuse(str(error), "tests", str(number)) from error
    column_lines = {name: lines.get(("columns", name), first) for name in columns}
    body = text[match.end() :]
    body_line = text.count("\n", 0, match.end()) + 1
    return Header(description.strip(), columns, tuple(tests), column_lines, body_line), body


def _lines(
    node: yaml.Node | None, first: int, path: tuple[str, ...] = ()
) -> dict[tuple[str, ...], int]:
    """File line of every key and list entry of a YAML document."""
    found: dict[tuple[str, ...], int] = {}
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            at = (*path, str(key.value))
            found[at] = first + key.start_mark.line
            found |= _lines(value, first, at)
    elif isinstance(node, yaml.SequenceNode):
        for number, value in enumerate(node.value):
            at = (*path, str(number))
            found[at] = first + value.start_mark.line
            found |= _lines(value, first, at)
    return found


def _test(entry: Any, columns: set[str], taken: set[str]) -> SqlTest:
    """One entry of `tests`; ValueError says what is wrong with it."""
    if not isinstance(entry, dict) or len(entry) != 1 or next(iter(entry)) not in _KINDS:
        raise ValueError(f"A test is one of {', '.join(_KINDS)}, not {entry!r}")
    kind, value = next(iter(entry.items()))
    used: list[str] = []
    if kind == "expression":
        if not isinstance(value, str) or not value.strip():
            raise ValueError("An expression is SQL text")
        name = value
        failing = f"SELECT * FROM {{table}} WHERE ({value}) IS NOT TRUE"
    elif kind == "accepted_values":
        name, used, failing = _accepted_values(value)
    else:
        used = [value] if isinstance(value, str) else value
        if not isinstance(used, list) or not used or not all(isinstance(c, str) for c in used):
            raise ValueError(f"{kind} names a column or a list of columns")
        name = "_".join(used)
        listed = ", ".join(_quoted(c) for c in used)
        if kind == "not_null":
            nulls = " OR ".join(f"{_quoted(c)} IS NULL" for c in used)
            failing = f"SELECT * FROM {{table}} WHERE {nulls}"
        else:
            failing = f"SELECT * FROM {{table}} QUALIFY count(*) OVER (PARTITION BY {listed}) > 1"
    for column in used:
        if column not in columns:
            raise ValueError(f"Test {kind} names column {column!r}, which is not described")
    return SqlTest(_unique(f"{kind}_{name}", taken), f"{kind}: {value}", failing, tuple(used))


def _accepted_values(value: Any) -> tuple[str, list[str], str]:
    shaped = isinstance(value, dict) and set(value) == {"column", "values"}
    if not shaped or not isinstance(value["values"], list) or not value["values"]:
        raise ValueError("accepted_values takes {column: name, values: [...]}")
    column = str(value["column"])
    listed = ", ".join(_literal(v) for v in value["values"])
    failing = f"SELECT * FROM {{table}} WHERE ({_quoted(column)} IN ({listed})) IS NOT TRUE"
    return column, [column], failing


def _literal(value: Any) -> str:
    if isinstance(value, bool | int | float):
        return str(value)
    return "'" + str(value).replace("'", "''") + "'"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _unique(text: str, taken: set[str]) -> str:
    slug = re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")[:_NAME_LENGTH].rstrip("_")
    name, number = slug, 2
    while name in taken:
        name, number = f"{slug}_{number}", number + 1
    return name
