"""Quantities of resources: `500m`, `2Gi`, `1e3`."""

import re
from collections.abc import Mapping
from fractions import Fraction

from tests.servers.kubernetes.objects import Manifest

GPU = "nvidia.com/gpu"
_SUFFIXES = {
    "n": Fraction(1, 10**9),
    "u": Fraction(1, 10**6),
    "m": Fraction(1, 1000),
    "": Fraction(1),
    **{name: Fraction(1000**power) for power, name in enumerate("kMGTPE", start=1)},
    **{f"{name}i": Fraction(1024**power) for power, name in enumerate("KMGTPE", start=1)},
}
_QUANTITY = re.compile(r"^([+-]?(?:\d+\.?\d*|\.\d+))([eE][+-]?\d+|[numkMGTPE]?|[KMGTPE]i)$")


def parse_quantity(text: str | int | float) -> Fraction:
    """Value of a quantity in cores, bytes or pieces.

    Raises:
        ValueError: it is not one.
    """
    found = _QUANTITY.match(str(text))
    if found is None:
        raise ValueError(
            "quantities must match the regular expression "
            "'^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
        )
    number, suffix = found.groups()
    if suffix[:1] in ("e", "E") and len(suffix) > 1:
        return Fraction(number) * Fraction(10) ** int(suffix[1:])
    return Fraction(number) * _SUFFIXES[suffix]


def requests_of(pod: Manifest) -> dict[str, Fraction]:
    """What a pod asks the scheduler for, by resource."""
    total: dict[str, Fraction] = {}
    for container in pod["spec"]["containers"]:
        asked: Mapping[str, str] = (container.get("resources") or {}).get("requests") or {}
        for name, text in asked.items():
            total[name] = total.get(name, Fraction(0)) + parse_quantity(text)
    return total


def limit_of(pod: Manifest, resource: str) -> Fraction | None:
    """A pod's limit for one resource, or None."""
    limits = (pod["spec"]["containers"][0].get("resources") or {}).get("limits") or {}
    return parse_quantity(limits[resource]) if resource in limits else None
