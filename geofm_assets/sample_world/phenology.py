"""How green each cover is through the year.

Greenness is the fraction of green cover in 0..1, a double logistic of the day of the year as is
usual for vegetation index curves (Beck et al. 2006, Remote Sensing of Environment 100). The dates
and amplitudes are chosen for western Europe, not measured.
"""

from dataclasses import dataclass

import numpy as np

YEAR_DAYS = 365.25


@dataclass(frozen=True)
class Season:
    """One cover's year.

    Attributes:
        base: greenness out of season.
        peak: greenness at the height of the season.
        rise, fall: days of the year at which it is halfway up and down.
        rise_days, fall_days: how long the change takes.
    """

    base: float
    peak: float
    rise: float
    fall: float
    rise_days: float
    fall_days: float


SEASONS: dict[str, Season] = {
    "winter cereals": Season(0.18, 0.88, 80, 178, 18, 9),
    "maize": Season(0.10, 0.90, 158, 262, 12, 14),
    "sunflower": Season(0.10, 0.80, 148, 232, 12, 11),
    "fodder grass": Season(0.42, 0.82, 85, 270, 20, 25),
    "orchard": Season(0.28, 0.68, 105, 295, 15, 20),
    "grassland": Season(0.36, 0.74, 88, 250, 24, 32),
    "trees": Season(0.40, 0.90, 112, 298, 12, 15),
    "shrubs": Season(0.34, 0.58, 100, 280, 25, 30),
    "built-up": Season(0.08, 0.16, 100, 280, 25, 30),
    "water": Season(0.0, 0.0, 100, 280, 25, 30),
    "bare": Season(0.03, 0.09, 100, 240, 25, 30),
}


def greenness(
    name: str, day_of_year: float, vigour: np.ndarray, shift_days: np.ndarray
) -> np.ndarray:
    """Fraction of green cover of fields of one cover on one day.

    Args:
        name: the cover.
        day_of_year: 1..366.
        vigour: of each field; scales the season's amplitude.
        shift_days: of each field; moves the season later.

    Returns:
        Values in 0..1, one a field.
    """
    season = SEASONS[name]
    day = day_of_year - shift_days
    up = 1.0 / (1.0 + np.exp(-(day - season.rise) / (season.rise_days / 2)))
    down = 1.0 / (1.0 + np.exp(-(day - season.fall) / (season.fall_days / 2)))
    amplitude = (season.peak - season.base) * vigour
    return np.clip(season.base + amplitude * (up - down), 0.0, 1.0)
