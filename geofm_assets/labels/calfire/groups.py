"""Which perimeters belong together: those of a complex, and those of an incident."""

import re
from collections.abc import Sequence

_Node = tuple[int, str]
_ID, _NAME, _FIRE, _INCIDENT = range(4)  # the least node of a group gives it its name
_NOTHING = frozenset({"", "none", "null", "na", "nan", "unknown"})


def normalised(text: str | None) -> str | None:
    """An id or name, its letters and digits in lower case; None if it says nothing (`N/A`, 000)."""
    key = re.sub(r"[^a-z0-9]", "", (text or "").lower())
    return None if key in _NOTHING or not key.strip("0") else key


def group_ids(
    fire_ids: Sequence[str],
    year: int,
    complex_ids: Sequence[str | None],
    complex_names: Sequence[str | None],
    incidents: Sequence[Sequence[str | None]],
) -> list[str]:
    """The group of each fire of a year, independent of their order.

    Two fires that share a complex id, a complex name or an incident are in one group, and so are
    fires linked through others: members of a complex do not all state its id. Numbers of complexes
    come again in other years, so the year is part of a complex's group.

    Args:
        fire_ids: unique, n of them.
        year: the fire year.
        complex_ids: as stated, n of them.
        complex_names: likewise.
        incidents: ids of the incident, of one or several kinds, each likewise.

    Returns:
        `complex<year>_<id>` of the group's least complex id, else of its least name; for a group
        without a complex its least fire_id.
    """
    stated = {
        _ID: [normalised(text) for text in complex_ids],
        _NAME: [normalised(text) for text in complex_names],
        **{_INCIDENT + i: [normalised(t) for t in ids] for i, ids in enumerate(incidents)},
    }
    above: dict[_Node, _Node] = {}

    def root(node: _Node) -> _Node:
        while above.setdefault(node, node) != node:
            node = above[node]
        return node

    for row, fire_id in enumerate(fire_ids):
        for kind, values in stated.items():
            value = values[row]
            if value is not None:
                least, other = sorted((root((_FIRE, fire_id)), root((kind, value))))
                above[other] = least
    return [_name(root((_FIRE, fire_id)), year) for fire_id in fire_ids]


def _name(least: _Node, year: int) -> str:
    kind, value = least
    return value if kind == _FIRE else f"complex{year}_{value}"
