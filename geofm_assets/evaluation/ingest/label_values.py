"""What a property of a label says: nothing, a number, a class, several."""

import math
from collections.abc import Sequence
from typing import Any


def is_blank(nodata: float | None, value: Any) -> bool:
    """Whether a property is the number that was said to be no label."""
    return nodata is not None and isinstance(value, int | float) and float(value) == nodata


def is_known(value: Any) -> bool:
    """Whether a property says anything."""
    return value is not None and value != ""


def is_nan(value: Any) -> bool:
    """Whether it is a float that is not a number."""
    return isinstance(value, float) and math.isnan(value)


def label_text(value: Any) -> str:
    """A class as text: `3` for 3 and 3.0, `true` for True."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def kind_of(value: Any) -> str:
    """`list`, `text` or `number`."""
    if isinstance(value, list):
        return "list"
    return "text" if isinstance(value, str | bool) else "number"


def are_ids(texts: Sequence[str], count: int) -> bool:
    """Whether all are class ids of so many classes."""
    return all(text.isdecimal() and int(text) < count for text in texts)


def sorted_texts(texts: set[str]) -> list[str]:
    """Numbers in their order, other names in theirs."""
    if all(text.lstrip("-").isdecimal() for text in texts):
        return sorted(texts, key=int)
    return sorted(texts)
