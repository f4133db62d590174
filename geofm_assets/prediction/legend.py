"""What a map's pixel values mean, and the colours they are drawn in."""

import colorsys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

NODATA = 255
NODATA_COLOUR = (150, 150, 150)

Colour = tuple[int, int, int]

_POSITIVE, _OTHER = (213, 94, 0), (226, 219, 201)
# Okabe and Ito's colours, told apart by people who see fewer of them; no grey, which is nodata
_SEVERAL: tuple[Colour, ...] = (
    (0, 158, 115),
    (230, 159, 0),
    (86, 180, 233),
    (213, 94, 0),
    (0, 114, 178),
    (204, 121, 167),
    (240, 228, 66),
)
_GOLDEN = 0.618033988749895  # steps of the golden ratio never come back to a hue


@dataclass(frozen=True)
class Legend:
    """The classes of a map.

    Attributes:
        classes: names; the index is the pixel value.
        positive: pixel value of the class a map of two classes is about; None for more classes.
        colours: red, green, blue of each class, 0 to 255.
    """

    classes: tuple[str, ...]
    positive: int | None
    colours: tuple[Colour, ...]

    @property
    def shown(self) -> tuple[int, ...]:
        """Classes that are drawn as polygons: the positive one, or all."""
        return tuple(range(len(self.classes))) if self.positive is None else (self.positive,)


def legend(classes: Sequence[str], positive: str | None = None) -> Legend:
    """A legend.

    Args:
        classes: names, by pixel value.
        positive: the class the map is about. If it is None and there are two classes it is the
            second, as a label of 1 means everywhere.
    """
    index = classes.index(positive) if positive is not None else 1 if len(classes) == 2 else None
    colours: list[Colour] = []
    for value in range(len(classes)):
        if index is not None and len(classes) == 2:
            colours.append(_POSITIVE if value == index else _OTHER)
        elif value < len(_SEVERAL):
            colours.append(_SEVERAL[value])
        else:
            red, green, blue = colorsys.hsv_to_rgb(value * _GOLDEN % 1, 0.55, 0.8)
            colours.append((round(255 * red), round(255 * green), round(255 * blue)))
    return Legend(tuple(classes), index, tuple(colours))


def map_legend(record: Mapping[str, Any]) -> Legend:
    """The legend of a map from its request.json."""
    return legend(record["classes"], record["positive"])
