"""The queries that Dagster's UI sends, read from the UI that is installed."""

import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path

_SPREAD = re.compile(r"\.\.\.\s*(?!on\b)(\w+)")


class NoQueryError(RuntimeError):
    """The installed UI has no such query."""


@cache
def ui_query(name: str) -> str:
    """A query of the UI with the fragments it uses.

    Raises:
        NoQueryError: the UI has changed, or is not installed.
    """
    found = find_spec("dagster_webserver")
    folder = Path(found.origin).parent / "webapp" if found and found.origin else Path()
    for path in sorted(folder.rglob("*.js")):
        source = path.read_text("utf-8", errors="replace")
        if re.search(rf"query {name}\b(?<=\bquery {name})", source):
            return _with_fragments(source, name)
    raise NoQueryError(f"Dagster's UI, as installed, has no {name}")


def _with_fragments(source: str, name: str) -> str:
    parts = {name: _definition(source, f"query {name}")}
    waiting = _SPREAD.findall(parts[name])
    while waiting:
        fragment = waiting.pop()
        if fragment not in parts:
            parts[fragment] = _definition(source, f"fragment {fragment} on")
            waiting += _SPREAD.findall(parts[fragment])
    return "\n".join(parts.values())


def _definition(source: str, head: str) -> str:
    """From its head to the brace that closes it; line ends are escaped in the source."""
    # megabytes: an expression that begins with a boundary would try every place
    match = re.search(rf"{head}\b(?<=\b{head})", source)
    if match is None:
        raise NoQueryError(f"Dagster's UI, as installed, has no {head}")
    depth = 0
    for place in range(match.start(), len(source)):
        depth += {"{": 1, "}": -1}.get(source[place], 0)
        if source[place] == "}" and depth == 0:
            return source[match.start() : place + 1].replace("\\n", "\n")
    raise NoQueryError(f"{head} has no end")
