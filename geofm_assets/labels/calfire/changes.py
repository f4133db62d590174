"""What a sensor remembers of the sources of perimeters, and what is new since."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from geofm_assets.labels.calfire.read import PerimeterSource

State = Mapping[str, Any]
_ROLES = ("perimeters", "prescribed")


def cursor(sources: "Sequence[PerimeterSource]") -> dict[str, dict[str, Any]]:
    """State of each source by its role, JSON-encodable.

    Raises:
        LabelFileError: a file is gone.
        SourceUnavailableError: a feature service does not answer.
    """
    return {role: source.state() for role, source in zip(_ROLES, sources, strict=False)}


def changes(old: Mapping[str, State], new: Mapping[str, State]) -> list[str]:
    """What differs between two cursors, in words: a new release, an edit of a layer."""
    found = []
    for role in sorted(old.keys() | new.keys()):
        before, after = old.get(role, {}), new.get(role, {})
        for name in sorted(before.keys() | after.keys()):
            if before.get(name) != after.get(name):
                found.append(f"{role}: {name} {before.get(name)} -> {after.get(name)}")
    return found


def is_decisive(state: State) -> bool:
    """Whether a source that says this again has not changed.

    A count and a latest year alone do not tell; a content hash and the time of an edit do.
    """
    return state.get("sha256") is not None or state.get("last_edit") is not None
