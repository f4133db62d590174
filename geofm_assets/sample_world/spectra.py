"""What the satellites see of a field: Sentinel-2 reflectance and Sentinel-1 backscatter.

Reflectance is a linear mix of endmembers with plausible values per band; backscatter follows
greenness with gamma speckle. All values are chosen, not measured.
"""

from dataclasses import dataclass

import numpy as np

S2_BANDS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12")
S1_BANDS = ("vv", "vh")
S2_SCALE = 10_000
S2_NODATA = 0
S1_NODATA = -32768.0
_LOOKS = 10.0  # equivalent looks of a monthly mosaic; sets the speckle's strength

# Reflectance 0..1 in the order of S2_BANDS.
_SOIL = np.array([0.09, 0.11, 0.14, 0.18, 0.21, 0.23, 0.25, 0.27, 0.28, 0.29, 0.34, 0.30])
_GREEN = np.array([0.02, 0.025, 0.06, 0.03, 0.09, 0.30, 0.38, 0.40, 0.42, 0.43, 0.20, 0.09])
_STRAW = np.array([0.07, 0.09, 0.13, 0.17, 0.22, 0.27, 0.30, 0.33, 0.35, 0.36, 0.38, 0.30])
_WATER = np.array([0.06, 0.06, 0.055, 0.04, 0.03, 0.02, 0.018, 0.015, 0.014, 0.012, 0.008, 0.006])
_URBAN = np.array([0.12, 0.14, 0.16, 0.18, 0.19, 0.20, 0.21, 0.22, 0.23, 0.24, 0.26, 0.25])
_SHADE = np.full(12, 0.015)


@dataclass(frozen=True)
class Look:
    """How a cover looks.

    Attributes:
        ground: reflectance of what is not green.
        shade: share of shadow.
        vv, vh: backscatter in dB without green cover.
        vv_green, vh_green: dB added at full green cover.
    """

    ground: np.ndarray
    shade: float
    vv: float
    vh: float
    vv_green: float
    vh_green: float


LOOKS: dict[str, Look] = {
    "winter cereals": Look(0.6 * _SOIL + 0.4 * _STRAW, 0.0, -10.5, -18.5, -2.5, 1.5),
    "maize": Look(_SOIL, 0.0, -11.5, -19.5, 2.0, 5.0),
    "sunflower": Look(_SOIL, 0.0, -11.5, -19.5, 2.5, 5.5),
    "fodder grass": Look(0.4 * _SOIL + 0.6 * _STRAW, 0.0, -11.5, -19.0, 0.5, 2.5),
    "orchard": Look(0.5 * _SOIL + 0.5 * _STRAW, 0.15, -10.0, -16.5, 0.8, 1.5),
    "grassland": Look(0.4 * _SOIL + 0.6 * _STRAW, 0.0, -11.8, -19.0, 0.6, 2.3),
    "trees": Look(0.5 * _SOIL + 0.5 * _STRAW, 0.30, -9.0, -15.0, 0.6, 0.8),
    "shrubs": Look(0.6 * _SOIL + 0.4 * _STRAW, 0.15, -10.8, -17.2, 0.6, 1.2),
    "built-up": Look(_URBAN, 0.10, -5.5, -12.5, 0.0, 0.0),
    "water": Look(_WATER, 0.0, -20.0, -26.5, 0.0, 0.0),
    "bare": Look(1.1 * _SOIL, 0.0, -12.5, -21.5, 0.5, 1.5),
}


def reflectance(name: str, green: np.ndarray) -> np.ndarray:
    """Reflectance of fields of one cover.

    Args:
        name: the cover.
        green: fraction of green cover of each field, shape (n,).

    Returns:
        Shape (n, 12), 0..1, in the order of `S2_BANDS`.
    """
    look = LOOKS[name]
    mixed = green[:, None] * _GREEN + (1.0 - green[:, None]) * look.ground
    return (1.0 - look.shade) * mixed + look.shade * _SHADE


def backscatter_db(name: str, green: np.ndarray) -> np.ndarray:
    """Backscatter of fields of one cover before speckle, shape (n, 2): vv and vh in dB."""
    look = LOOKS[name]
    return np.stack([look.vv + look.vv_green * green, look.vh + look.vh_green * green], axis=1)


def to_digital_numbers(value: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Reflectance with sensor and within-field noise, as uint16 times 10,000, never nodata."""
    noisy = value * rng.normal(1.0, 0.06, value.shape) + rng.normal(0.0, 0.004, value.shape)
    return np.clip(np.rint(noisy * S2_SCALE), 1, 16_000).astype(np.uint16)


def with_speckle(db: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Backscatter in dB, float32, times gamma speckle of mean 1 in linear power."""
    speckle = rng.gamma(_LOOKS, 1.0 / _LOOKS, db.shape)
    return (db + 10.0 * np.log10(speckle)).astype(np.float32)
