"""What fire does to reflectance and backscatter, and how it wears off.

Burnt ground is a mixture of char, ash and soil: dark in the near infrared, bright in the short-wave
infrared beside it, so that the normalised burn ratio falls (Key and Benson 2006, USDA RMRS-GTR-164,
section LA). Endmember and rates are chosen to give differences of that ratio in the ranges reported
there (0.1 to 0.27 low, above 0.66 high severity); they were not measured.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# Reflectance x 10,000 of burnt ground, in the order of S2_BANDS.
CHAR = (430, 470, 550, 670, 760, 840, 910, 980, 1060, 1110, 1960, 2050)
_SHARE = 0.9  # of a pixel burnt as severely as can be that shows char
_RECOVERY_DAYS = 260.0
_RADAR_LOSS = (0.2, 0.45)  # of vv and vh: less canopy to scatter, most in cross polarisation


@dataclass(frozen=True)
class Scar:
    """Ground that burnt.

    Attributes:
        day: when, days since 1 January 2022.
        severity: 0 unburnt to 1, float32, (side, side).
    """

    day: float
    severity: np.ndarray


def burnt_share(scars: Sequence[Scar], day: float) -> np.ndarray:
    """Share of each pixel that shows char on a day, float32, (side, side)."""
    shown = np.zeros_like(scars[0].severity)
    for scar in scars:
        age = day - scar.day
        if age >= 0:
            np.maximum(shown, _SHARE * scar.severity * np.exp(-age / _RECOVERY_DAYS), out=shown)
    return shown.astype(np.float32)


def char(values: np.ndarray, scars: Sequence[Scar], day: float) -> np.ndarray:
    """Reflectance x 10,000 with scars in it, float32, (12, side, side)."""
    share = burnt_share(scars, day)
    ground = np.array(CHAR, np.float32)[:, None, None]
    return values * (1.0 - share) + ground * share


def thin(power: np.ndarray, scars: Sequence[Scar], day: float) -> np.ndarray:
    """Backscatter, linear power, with scars in it, (side, side, 2): vv, vh."""
    loss = burnt_share(scars, day)[..., None] * np.array(_RADAR_LOSS)
    return power * (1.0 - loss)
