"""Labelled places of the sample world, and what a provider would write about each."""

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from geofm_assets.sample_world.classes import CLASSES, LandClass
from geofm_assets.sample_world.presets import PIXEL_M, Preset
from geofm_assets.sample_world.terrain import District

DECLARED = dt.date(2022, 6, 1)
"""The day for which fields known by their outline are declared."""
_TRACK_M = 24.0


@dataclass(frozen=True)
class Sample:
    """A labelled place: a field of a district.

    Attributes:
        district: where.
        field: which of its fields.
        land: what is said to be there.
        valid_time: the day it is said for.
    """

    district: District
    field: int
    land: LandClass
    valid_time: dt.date

    @property
    def ewoc_code(self) -> int:
        """WorldCereal code of what is said to be there."""
        return self.land.ewoc_code

    @property
    def easting_northing(self) -> tuple[float, float]:
        """The point in it, EPSG:32632 metres."""
        column, row = self.district.spots[self.field].tolist()
        return self.district.left + PIXEL_M * column, self.district.top - PIXEL_M * row


def accepted_samples(
    districts: Iterable[District], preset: Preset, seed: int
) -> tuple[list[Sample], list[Sample]]:
    """What the two collections of good confidence hold.

    Returns:
        fields seen from the road, each on its own day; fields declared by their farmers.
    """
    seen: list[Sample] = []
    declared: list[Sample] = []
    for district in districts:
        rng = np.random.default_rng([seed, 6, district.number])
        for field in district.sites.tolist():
            if district.outlined[field]:
                declared.append(_sample(district, field, DECLARED))
            else:
                seen.append(_sample(district, field, _day(preset, rng)))
    return seen, declared


def doubtful_samples(
    districts: Iterable[District], preset: Preset, seed: int, wrong: float = 0.3
) -> list[Sample]:
    """A spare field of each district, a share of them mislabelled: what the crowd might say."""
    rows = []
    for district in districts:
        rng = np.random.default_rng([seed, 7, district.number])
        for field in rng.permutation(district.spare)[:1].tolist():
            truth = CLASSES[int(district.classes[field])]
            guess = CLASSES[int(rng.integers(len(CLASSES)))]
            land = guess if rng.random() < wrong else truth
            rows.append(Sample(district, field, land, _day(preset, rng)))
    return rows


def spare_samples(
    districts: Sequence[District], count: int, preset: Preset, name: str, seed: int
) -> list[Sample]:
    """Fields nobody has labelled yet, spread over districts, cropland and the rest in turn.

    Args:
        districts: where to look.
        count: how many at most; districts have a few spare fields each.
        preset: gives the days.
        name: another name gives other fields.
        seed: of the world.
    """
    rng = np.random.default_rng([seed, 8, *name.encode()])
    queues = {
        (district.number, side): [
            (district, field)
            for field in rng.permutation(district.spare).tolist()
            if CLASSES[int(district.classes[field])].cropland is side
        ]
        for district in districts
        for side in (True, False)
    }
    numbers = [district.number for district in districts]
    rows: list[Sample] = []
    while len(rows) < count and any(queues.values()):
        for turn, number in enumerate(numbers):
            side = (turn + len(rows)) % 2 == 0
            queue = queues[number, side] or queues[number, not side]
            if queue and len(rows) < count:
                district, field = queue.pop()
                rows.append(_sample(district, field, _day(preset, rng)))
    return rows


def samples(
    districts: Iterable[District], per_district: int, seed: int, day: dt.date = DECLARED
) -> list[Sample]:
    """Labelled fields of each district, those of the collections first, then spare ones.

    Args:
        districts: where.
        per_district: at most this many in each.
        seed: another one takes other spare fields.
        day: they are valid for.
    """
    rows = []
    for district in districts:
        rng = np.random.default_rng([seed, 9, district.number])
        fields = [*district.sites.tolist(), *rng.permutation(district.spare).tolist()]
        rows += [_sample(district, field, day) for field in fields[:per_district]]
    return rows


def outline(sample: Sample, number: int) -> BaseGeometry:
    """A field's outline as a provider draws it, EPSG:32632 metres.

    Every third is a MultiPolygon of one part, and into every fifth a track runs from the side to
    beyond the middle, so that its centroid may lie outside.
    """
    drawn = sample.district.outline(sample.field)
    if number % 5 == 4:
        x, y = sample.easting_northing
        far = 10 * PIXEL_M * sample.district.labels.shape[0]
        track = shapely.box(x - _TRACK_M, y - _TRACK_M / 2, x + far, y + _TRACK_M / 2)
        drawn = shapely.difference(drawn, track)
    if number % 3 == 2 and isinstance(drawn, shapely.Polygon):
        return shapely.MultiPolygon([drawn])
    return drawn


def _sample(district: District, field: int, day: dt.date) -> Sample:
    return Sample(district, field, CLASSES[int(district.classes[field])], day)


def _day(preset: Preset, rng: np.random.Generator) -> dt.date:
    days = (preset.valid_to - preset.valid_from).days
    return preset.valid_from + dt.timedelta(days=int(rng.integers(0, days + 1)))
