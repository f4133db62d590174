"""Fires of the sample world: shapes, dates, severity, and the scars earlier fires left.

Every fire is SIMULATED. A fire's perimeter is drawn as agencies draw them: around what burnt,
unburnt islands included, a little simplified.
"""

import datetime as dt
from dataclasses import dataclass
from typing import Literal

import numpy as np
import rasterio.features
import shapely
from affine import Affine
from scipy import ndimage
from shapely.geometry.base import BaseGeometry

from geofm_assets.core.errors import ConfigError
from geofm_assets.sample_world.burns import Scar
from geofm_assets.sample_world.classes import CLASSES
from geofm_assets.sample_world.pixels import EPOCH, smooth
from geofm_assets.sample_world.presets import PIXEL_M, Preset
from geofm_assets.sample_world.terrain import District

Kind = Literal["wildfire", "earlier", "prescribed"]

YEARS = (2022, 2023)
"""Fire years with imagery; a district burns, and is imaged, in one of them, a calm one in all."""
FIRST_MONTH, LAST_MONTH = 6, 9
"""Months imaged: the one before the earliest fire to the one after the latest."""
_ALARMS = (dt.date(2000, 7, 2), dt.date(2000, 8, 12))  # of any year
_BURNS_DAYS = (2, 14)
_CALM = 4  # every so many districts nothing burns
_EARLIER_SHARE, _PRESCRIBED_SHARE, _SECOND_SHARE = 0.45, 0.3, 0.35
_ISLANDS = 0.1  # share of a perimeter that did not burn
_SIMPLIFY_M = 12.0
_NEVER_BURNS = ("water", "built_up", "bare")

_DAY = dt.date(2022, 7, 1)
FIRE_PRESETS = {
    preset.name: preset
    for preset in (
        # many small fires rather than few large ones: what is independent are fires, not windows
        Preset("fires", 8, 5, 2, 240, 24, _DAY, 4, _DAY, _DAY),
        Preset("tiny_fires", 2, 7, 2, 160, 20, _DAY, 4, _DAY, _DAY),
    )
}


def get_fire_preset(name: str) -> Preset:
    """The preset of a name.

    Raises:
        ConfigError: there is none.
    """
    if name not in FIRE_PRESETS:
        raise ConfigError(
            f"There is no sample world of fires of size {name!r}",
            fix=f"Use one of {', '.join(FIRE_PRESETS)}",
        )
    return FIRE_PRESETS[name]


@dataclass(frozen=True)
class Fire:
    """One simulated fire.

    Attributes:
        name: `SIM 2022-07`, unique.
        district: number of the district it lies in.
        kind: `wildfire` is imaged before and after; `earlier` burnt a year or more before that;
            `prescribed` was lit on purpose the winter before.
        alarm: day it began.
        contained: day it was contained.
        severity: 0 unburnt to 1, float32, (side, side).
        outline: perimeter, EPSG:32632 metres.
        complex_name: of the complex it belongs to, None if to none.
    """

    name: str
    district: int
    kind: Kind
    alarm: dt.date
    contained: dt.date
    severity: np.ndarray
    outline: BaseGeometry
    complex_name: str | None

    @property
    def scar(self) -> Scar:
        """What it left on the ground."""
        return Scar((self.contained - EPOCH).days, self.severity)


def fire_year(district: District) -> int:
    """The year a district burns in."""
    return YEARS[district.number % len(YEARS)]


def is_calm(district: District) -> bool:
    """Whether nothing burns there in the fire years."""
    return district.number % _CALM == _CALM - 1


def imaged_years(district: District) -> tuple[int, ...]:
    """Years with scenes: calm districts have those of all years, so that far samples have too."""
    return YEARS if is_calm(district) else (fire_year(district),)


def make_fires(districts: tuple[District, ...], seed: int) -> tuple[Fire, ...]:
    """Every fire of a world, in the order of districts."""
    return tuple(fire for district in districts for fire in _of_district(district, seed))


def _of_district(district: District, seed: int) -> list[Fire]:
    rng = np.random.default_rng([seed, 20, district.number])
    side = district.labels.shape[0]
    year = fire_year(district)
    fires: list[Fire] = []
    name = f"SIM {district.name.upper()}"
    if not is_calm(district):
        alarm, contained = _dates(year, rng)
        radius = rng.uniform(0.13, 0.22) * side
        middle = rng.uniform(0.36, 0.64, 2) * side
        second = rng.random() < _SECOND_SHARE
        joined = f"SIM COMPLEX {district.name.upper()}" if second else None
        fires += _fire(
            f"{name} A", district, "wildfire", alarm, contained, middle, radius, joined, rng
        )
        if second:
            later = contained + dt.timedelta(days=int(rng.integers(0, 4)))
            away = (middle + side / 2) % side
            fires += _fire(
                f"{name} B", district, "wildfire", alarm, later, away, 0.5 * radius, joined, rng
            )
    if rng.random() < _EARLIER_SHARE:
        past = int(rng.integers(1, 4))
        alarm, contained = _dates(year - past, rng)
        middle = rng.uniform(0.2, 0.8, 2) * side
        fires += _fire(
            f"{name} P", district, "earlier", alarm, contained, middle, 0.14 * side, None, rng
        )
    if rng.random() < _PRESCRIBED_SHARE:
        lit = dt.date(year, 2, int(rng.integers(1, 28)))
        middle = rng.uniform(0.15, 0.85, 2) * side
        fires += _fire(
            f"{name} RX", district, "prescribed", lit, lit, middle, 0.06 * side, None, rng
        )
    return fires


def _dates(year: int, rng: np.random.Generator) -> tuple[dt.date, dt.date]:
    first, last = (day.replace(year=year) for day in _ALARMS)
    alarm = first + dt.timedelta(days=int(rng.integers(0, (last - first).days + 1)))
    return alarm, alarm + dt.timedelta(days=int(rng.integers(*_BURNS_DAYS)))


def _fire(
    name: str,
    district: District,
    kind: Kind,
    alarm: dt.date,
    contained: dt.date,
    middle: np.ndarray,
    radius: float,
    complex_name: str | None,
    rng: np.random.Generator,
) -> list[Fire]:
    """The fire, or none if it would be smaller than a few pixels."""
    side = district.labels.shape[0]
    rows, columns = np.indices((side, side)) + 0.5
    stretch, angle = rng.uniform(1.0, 1.8), rng.uniform(0, np.pi)
    x, y = columns - middle[0], rows - middle[1]
    along = (x * np.cos(angle) + y * np.sin(angle)) / stretch
    across = y * np.cos(angle) - x * np.sin(angle)
    distance = (along**2 + across**2) * stretch / radius**2
    inside = 1.0 - distance + 0.45 * smooth(side, max(6, round(radius / 2)), rng) > 0
    parts, count = ndimage.label(inside)
    if count == 0:
        return []
    largest = 1 + int(np.argmax(np.bincount(parts.ravel())[1:]))
    body = ndimage.binary_fill_holes(parts == largest)
    if body.sum() < 30:
        return []
    texture = smooth(side, 10, rng)
    severity = np.clip(0.68 + 0.22 * texture + rng.normal(0, 0.06), 0.25, 1.0)
    severity[texture < np.quantile(texture[body], _ISLANDS)] = 0.0
    severity[~body] = 0.0
    fuel = np.array([land.name not in _NEVER_BURNS for land in CLASSES])
    severity[~fuel[district.classes[district.labels]]] = 0.0
    grid = Affine(PIXEL_M, 0, district.left, 0, -PIXEL_M, district.top)
    shapes = rasterio.features.shapes(body.astype(np.uint8), mask=body, transform=grid)
    polygons = [shapely.Polygon(s["coordinates"][0]) for s, _ in shapes]
    outline = shapely.simplify(shapely.union_all(polygons), _SIMPLIFY_M)
    return [
        Fire(
            name, district.number, kind, alarm, contained, severity.astype(np.float32),
            outline, complex_name,
        )
    ]  # fmt: skip
