"""What Sentinel-2 and Sentinel-1 measure of a field.

Optical: a linear mixture of endmembers (Adams et al. 1986, Journal of Geophysical Research 91).
Their reflectances are chosen to look like library spectra and to keep indices in the ranges
reported for them: NDVI about 0.85 for a closed crop, 0.15 to 0.2 for soil and straw, below 0 for
water; they were not measured.

Radar: the water cloud model (Attema and Ulaby 1978, Radio Science 13): soil seen through a canopy
that attenuates it and scatters back itself. Cereals attenuate vv strongly in spring and broadleaved
crops scatter (Veloso et al. 2017, Remote Sensing of Environment 199). Parameters are chosen.
"""

from dataclasses import dataclass

import numpy as np

from geofm_assets.sample_world.classes import CLASSES, INDEX
from geofm_assets.sample_world.phenology import LABEL_SEASON, Growth, cover

S2_BANDS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12")
S1_BANDS = ("vv", "vh")

# Reflectance x 10,000, in the order of S2_BANDS.
ENDMEMBERS: dict[str, tuple[int, ...]] = {
    "crop": (280, 330, 690, 340, 1050, 3300, 4350, 4500, 4700, 4700, 1900, 850),
    "grass": (310, 380, 760, 430, 1180, 3000, 3800, 3950, 4150, 4200, 2150, 1050),
    "broadleaf": (230, 270, 540, 290, 880, 2750, 3600, 3700, 3900, 3950, 1750, 780),
    "conifer": (180, 210, 390, 240, 620, 1550, 1900, 2000, 2100, 2150, 980, 440),
    "dry": (620, 820, 1200, 1600, 1950, 2250, 2450, 2650, 2850, 2950, 3500, 2600),
    "soil": (720, 900, 1230, 1620, 1880, 2050, 2230, 2400, 2560, 2620, 3150, 2750),
    "shade": (120, 110, 100, 80, 80, 100, 110, 110, 110, 110, 70, 50),
    "water": (520, 480, 440, 290, 230, 170, 160, 150, 130, 110, 60, 45),
    "urban": (1050, 1220, 1400, 1560, 1700, 1880, 2030, 2200, 2280, 2300, 2500, 2250),
}
_SHADE = {"willow": 0.08, "broadleaved": 0.16, "coniferous": 0.22, "shrubland": 0.10}
_SHADE |= {"orchard": 0.08, "built_up": 0.12}
_OTHER = {"water": ("water", 0.97), "built_up": ("urban", 0.62)}  # endmember, share of the ground
_WET_SOIL = 0.6  # factor on a soil's reflectance when saturated (Lobell and Asner 2002: about half)


@dataclass(frozen=True)
class Ground:
    """What is particular to the ground of each field of a district.

    Attributes:
        brightness: factor on the soil's reflectance, shape (fields,).
        roughness: dB added to bare soil, shape (fields,).
        volume: factor on the canopy's volume, shape (fields,).
    """

    brightness: np.ndarray
    roughness: np.ndarray
    volume: np.ndarray


def lay_ground(fields: int, rng: np.random.Generator) -> Ground:
    """Draw the ground of a district's fields; spreads are chosen."""
    return Ground(
        brightness=np.clip(rng.normal(1.0, 0.12) + rng.normal(0, 0.09, fields), 0.55, 1.5),
        roughness=rng.normal(0, 1.2, fields),
        volume=np.clip(rng.normal(1.0, 0.15, fields), 0.5, 1.5),
    )


def reflectance(
    growth: Growth, ground: Ground, day: float, wetness: float
) -> tuple[np.ndarray, np.ndarray]:
    """Reflectance of fields, and how it changes with more green cover.

    Args:
        growth: what grows on them.
        ground: what lies below.
        day: days since 1 January 2022.
        wetness: of the soil, 0 dry to 1 saturated.

    Returns:
        Reflectance x 10,000, float64, (fields, 12); its change where all ground that is bare
        became green, likewise.
    """
    green, dry = cover(growth, day)
    classes = growth.classes[:, LABEL_SEASON]
    soil = np.array(ENDMEMBERS["soil"]) * (1.0 - (1.0 - _WET_SOIL) * wetness)
    below = soil[None, :] * ground.brightness[:, None]
    for name, (endmember, share) in _OTHER.items():
        here = classes == INDEX[name]
        below[here] = share * np.array(ENDMEMBERS[endmember]) + (1.0 - share) * below[here]
    leaf = np.array([ENDMEMBERS[land.leaf] for land in CLASSES])[classes]
    bare = np.clip(1.0 - green - dry, 0.0, 1.0)[:, None]
    mixed = green[:, None] * leaf + dry[:, None] * np.array(ENDMEMBERS["dry"]) + bare * below
    shade = np.array([_SHADE.get(land.name, 0.0) for land in CLASSES])[classes][:, None]
    seen = (1.0 - shade) * mixed + shade * np.array(ENDMEMBERS["shade"])
    return seen, (1.0 - shade) * green[:, None] * (leaf - below)


# Canopy: vv and vh of a closed canopy (dB), attenuation, volume of wood that is always there.
_CANOPIES = {
    "cereal": (-14.5, -20.5, 1.6, 0.0),
    "broad": (-9.8, -15.8, 1.1, 0.0),
    "grass": (-13.5, -20.0, 0.9, 0.0),
    "shrub": (-11.5, -17.2, 1.1, 0.5),
    "deciduous": (-9.2, -14.6, 1.8, 0.6),
    "conifer": (-9.6, -15.2, 1.9, 0.8),
    "none": (-12.0, -19.0, 0.5, 0.0),
}
_DRY_SOIL_VV, _WETNESS_DB, _SOIL_VH = -14.5, 5.5, -8.0  # dB; Ulaby: some 5 dB from dry to wet
_FIXED = {"built_up": (-5.0, -11.5), "water": (-20.5, -27.5)}  # vv, vh in dB


def backscatter(growth: Growth, ground: Ground, day: float, wetness: float) -> np.ndarray:
    """Mean gamma0 of fields, linear power, float64, (fields, 2): vv, vh. Arguments as above."""
    green, dry = cover(growth, day)
    classes = growth.classes[:, LABEL_SEASON]
    table = np.array([_CANOPIES[land.canopy] for land in CLASSES])[classes]
    volume = (table[:, 3] + (1.0 - table[:, 3]) * (green + 0.4 * dry)) * ground.volume
    through = np.exp(-2.0 * table[:, 2] * volume)
    soil_vv = _DRY_SOIL_VV + _WETNESS_DB * wetness + ground.roughness
    power = np.empty((len(classes), 2))
    for band, soil in enumerate((soil_vv, soil_vv + _SOIL_VH)):
        canopy = 10.0 ** (table[:, band] / 10.0)
        power[:, band] = canopy * (1.0 - through) + through * 10.0 ** (soil / 10.0)
    for name, fixed in _FIXED.items():
        here = classes == INDEX[name]
        power[here] = 10.0 ** ((np.array(fixed) + ground.roughness[here, None]) / 10.0)
    return power
