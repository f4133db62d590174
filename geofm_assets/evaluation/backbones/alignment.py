"""When images of several modalities belong to one moment."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

# rslearn's timestamp_error_tolerance for OlmoEarth: images nearer than this are one timestep.
TOLERANCE = timedelta(days=15)


@dataclass(frozen=True)
class Timeline:
    """The moments of a sample.

    Attributes:
        moments: T middles of acquisitions, oldest first.
        rows: by modality, int64: which moment each of its images lies at.
    """

    moments: tuple[datetime, ...]
    rows: Mapping[str, np.ndarray]


def middles(periods: Sequence[tuple[datetime, datetime]]) -> list[datetime]:
    """Middle of each period."""
    return [start + (end - start) / 2 for start, end in periods]


def align(centres: Mapping[str, Sequence[datetime]]) -> Timeline:
    """Put images of all modalities on one line of moments, as rslearn does for OlmoEarth.

    Modalities come in the given order. An image joins the nearest moment that lies closer than
    TOLERANCE and holds no image of its modality yet; else it is a moment of its own. Two images of
    one modality at one time are two moments (rslearn refuses them).

    Args:
        centres: by modality, the middle of each image.
    """
    found: list[datetime] = []
    places: dict[str, list[int]] = {}
    for modality, images in centres.items():
        taken: list[int] = []
        for centre in images:
            free = [i for i in range(len(found)) if i not in taken]
            gaps = [(abs(centre - found[i]), i) for i in free]
            gap, place = min(gaps, default=(TOLERANCE, -1))
            if gap >= TOLERANCE:
                place = len(found)
                found.append(centre)
            taken.append(place)
        places[modality] = taken
    order = sorted(range(len(found)), key=lambda i: (found[i], i))
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    return Timeline(
        tuple(found[i] for i in order),
        {name: rank[np.array(taken, dtype=np.int64)] for name, taken in places.items()},
    )
