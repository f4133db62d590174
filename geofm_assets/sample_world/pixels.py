"""From fields to pixels: texture, optics of the sensor, clouds, speckle, stored numbers.

Sentinel-2's bands have pixels of 10, 20 or 60 m and are stored at 10 m by repeating them, as the
usual nearest resampling does.
"""

import datetime as dt
from dataclasses import dataclass

import numpy as np

from geofm_assets.sample_world.burns import Scar, char, thin
from geofm_assets.sample_world.phenology import Growth, grow
from geofm_assets.sample_world.spectra import (
    S1_BANDS,
    S2_BANDS,
    Ground,
    backscatter,
    lay_ground,
    reflectance,
)
from geofm_assets.sample_world.terrain import District

S2_NODATA = 0
S1_NODATA = -32768.0
EPOCH = dt.date(2022, 1, 1)

_PIXELS_ACROSS = {20: 2, 60: 6}
_METRES = {"B01": 60, "B09": 60, "B02": 10, "B03": 10, "B04": 10, "B08": 10}  # others 20
# Steps values are stored in: below the noise, and half as much to store as single steps would be.
_STEP_DN = 20
_STEP_DB = 0.25
_LOOKS = 18.0  # 4.4 of an IW GRD product (ESA), times about four passes a month
_PATCHINESS = 0.12  # spread of green cover within a field, as a share of it
_NOISE = 0.028  # spread between pixels, of their value
_RESIDUAL = 0.025  # spread of a month's atmosphere, of a value; more in the blue
_HAZE_SHARE = 0.25  # of scenes with thin cloud nobody masked
_HAZE_DN = 700.0  # at its thickest, in the blue

# Of the twelve months: how wet soils are, the mean share under cloud in a monthly composite, and
# the chance that a district is not seen at all. Chosen, after the look of western Europe.
_WETNESS = (0.85, 0.8, 0.65, 0.5, 0.45, 0.35, 0.25, 0.25, 0.4, 0.55, 0.7, 0.85)
_CLOUD = (0.26, 0.22, 0.15, 0.12, 0.1, 0.07, 0.04, 0.04, 0.07, 0.13, 0.22, 0.28)
_UNSEEN = (0.1, 0.07, 0.04, 0.03, 0.02, 0.01, 0.0, 0.0, 0.01, 0.03, 0.07, 0.1)


@dataclass(frozen=True)
class Land:
    """A district with what does not change from month to month.

    Attributes:
        district: where its fields are.
        growth: what grows on them.
        ground: what lies below.
        patches: where cover is thicker or thinner than the field's mean, float32, (side, side).
        seed: of the world.
        scars: what burnt there.
    """

    district: District
    growth: Growth
    ground: Ground
    patches: np.ndarray
    seed: int
    scars: tuple[Scar, ...] = ()

    def random(self, what: int, month: dt.date) -> np.random.Generator:
        """Random numbers of one purpose in one month, whatever else was drawn before."""
        return np.random.default_rng(
            [self.seed, what, self.district.number, month.year, month.month]
        )


def land(district: District, seed: int, scars: tuple[Scar, ...] = ()) -> Land:
    """Draw what grows in a district; what burnt there is given."""
    rng = np.random.default_rng([seed, 2, district.number])
    growth = grow(district.classes, district.latitude, rng)
    ground = lay_ground(len(district.classes), rng)
    side = district.labels.shape[0]
    patches = _PATCHINESS * (0.7 * smooth(side, 6, rng) + 0.7 * smooth(side, 2, rng))
    return Land(district, growth, ground, patches.astype(np.float32), seed, scars)


def optical(place: Land, month: dt.date) -> np.ndarray | None:
    """Sentinel-2 L2A of a district in a month, None if it was not seen.

    Returns:
        uint16 (12, side, side), reflectance x 10,000 in the order of `S2_BANDS`, 0 under cloud.
    """
    rng = place.random(3, month)
    if rng.random() < _UNSEEN[month.month - 1]:
        return None
    day = (month - EPOCH).days + rng.uniform(9, 21)
    mean, change = reflectance(place.growth, place.ground, day, _wetness(place, month))
    labels = place.district.labels
    values = mean[labels].astype(np.float32)
    values += change[labels].astype(np.float32) * place.patches[..., None]
    values = np.moveaxis(values, -1, 0)
    values = _spread_light(char(values, place.scars, day) if place.scars else values)
    blue_first = np.linspace(1.6, 0.7, len(S2_BANDS))[:, None, None]
    values *= (1.0 + _RESIDUAL * blue_first * rng.normal()).astype(np.float32)
    side = labels.shape[0]
    if rng.random() < _HAZE_SHARE:
        thickness = np.clip(smooth(side, 24, rng) - rng.uniform(0.2, 1.2), 0, 2)
        scatter = _HAZE_DN * blue_first / blue_first.max() * rng.uniform(0.3, 1.0)
        values += (scatter * thickness).astype(np.float32)
    stored = np.empty(values.shape, np.uint16)
    for band, name in enumerate(S2_BANDS):
        stored[band] = _sampled(values[band], _METRES.get(name, 20), rng)
    stored[:, _clouds(side, _CLOUD[month.month - 1], rng)] = S2_NODATA
    return stored


def radar(place: Land, month: dt.date) -> np.ndarray:
    """Sentinel-1 gamma0 of a district in a month, float32 dB (2, side, side): vv, vh."""
    rng = place.random(4, month)
    day = (month - EPOCH).days + rng.uniform(11, 18)
    wetness = float(np.clip(_wetness(place, month) + rng.normal(0, 0.1), 0, 1))
    power = backscatter(place.growth, place.ground, day, wetness)[place.district.labels]
    power = thin(power, place.scars, day) if place.scars else power
    seen = _spread_light(np.moveaxis(power, -1, 0).astype(np.float32))
    seen *= rng.gamma(_LOOKS, 1.0 / _LOOKS, seen.shape).astype(np.float32)
    decibels = 10.0 * np.log10(np.maximum(seen, 1e-4))
    assert decibels.shape[0] == len(S1_BANDS)
    return (np.rint(decibels / _STEP_DB) * _STEP_DB).astype(np.float32)


def _wetness(place: Land, month: dt.date) -> float:
    """Of a district's soils in a month, 0..1; the same for both sensors."""
    usual = _WETNESS[month.month - 1]
    return float(np.clip(usual + place.random(5, month).normal(0, 0.12), 0, 1))


def _sampled(values: np.ndarray, metres: int, rng: np.random.Generator) -> np.ndarray:
    """A band on its own pixels, with noise, as stored at 10 m."""
    side = values.shape[0]
    across = _PIXELS_ACROSS.get(metres, 1)
    if across > 1:
        starts = np.arange(0, side, across)
        sums = np.add.reduceat(np.add.reduceat(values, starts, axis=0), starts, axis=1)
        sizes = np.diff(np.append(starts, side))
        values = sums / (sizes[:, None] * sizes[None, :])
    noisy = values * (1.0 + _NOISE * rng.standard_normal(values.shape, dtype=np.float32))
    noisy += 12.0 * rng.standard_normal(values.shape, dtype=np.float32)
    steps = np.clip(np.rint(noisy / _STEP_DN), 1, 16_000 // _STEP_DN)
    whole = (steps * _STEP_DN).astype(np.uint16)
    if across == 1:
        return whole
    return whole.repeat(across, axis=0).repeat(across, axis=1)[:side, :side]


def _clouds(side: int, share: float, rng: np.random.Generator) -> np.ndarray:
    """Pixels the producer masked as cloud or its shadow: blobs, bool (side, side)."""
    covered = rng.beta(0.6, 0.6 * (1.0 - share) / share)
    if covered < 0.01:
        return np.zeros((side, side), dtype=bool)
    thickness = smooth(side, 20, rng)
    found: np.ndarray = thickness > np.quantile(thickness, 1.0 - min(covered, 0.97))
    return found


def smooth(side: int, size: int, rng: np.random.Generator) -> np.ndarray:
    """Random numbers that vary over `size` pixels, of mean 0 and spread about 1, (side, side)."""
    count = side // size + 3
    coarse = rng.standard_normal((count, count))
    at = np.arange(side) / size + rng.uniform(0, 1)
    low = at.astype(int)
    part = at - low
    part = part * part * (3 - 2 * part)
    weights = np.zeros((side, count))
    weights[np.arange(side), low] = 1 - part
    weights[np.arange(side), low + 1] = part
    return 1.35 * weights @ coarse @ weights.T  # interpolation flattens by about that factor


def _spread_light(values: np.ndarray) -> np.ndarray:
    """The sensor's point spread: a binomial kernel of 3 x 3 pixels over (bands, side, side)."""
    padded = np.pad(values, ((0, 0), (1, 1), (0, 0)), mode="edge")
    values = 0.25 * (padded[:, :-2] + padded[:, 2:]) + 0.5 * padded[:, 1:-1]
    padded = np.pad(values, ((0, 0), (0, 0), (1, 1)), mode="edge")
    blurred: np.ndarray = 0.25 * (padded[..., :-2] + padded[..., 2:]) + 0.5 * padded[..., 1:-1]
    return blurred.astype(np.float32)
