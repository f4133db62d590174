"""What stands on a field through the year: shares of green, dry and bare ground.

The green share follows a double logistic, as is usual for vegetation indices (Beck et al. 2006,
Remote Sensing of Environment 100, 321-334); winter crops have a second rise before winter. When
green goes, dry matter comes (ripe crop, stubble, dead grass) until it is ploughed in or rots.
Dates follow the crop calendars of western Europe at 45 N in outline; they and the amplitudes are
chosen, not measured. Spring comes 4 days later a degree of latitude (Hopkins 1918).
"""

from dataclasses import dataclass

import numpy as np

from geofm_assets.sample_world.classes import ANNUAL, CLASSES, INDEX

REFERENCE_LATITUDE = 45.0
HOPKINS_DAYS_PER_DEGREE = 4.0
SEASONS = (2021, 2022, 2023)
"""Harvest years that can be seen; a field may bear another annual crop in each."""
LABEL_SEASON = 1
_YEAR_DAYS = 365.0


@dataclass(frozen=True)
class Season:
    """One class's year. Days count from 1 January of the harvest year, at 45 N.

    Attributes:
        base: green share out of season.
        early: green share after the early rise (autumn sowing); equals `base` where there is none.
        peak: green share at the height of the season.
        sown: day halfway through the early rise.
        rise: day halfway through the main rise.
        ripe: day halfway through the decline.
        cleared: day by which half of the dry matter is gone (plough, rot, regrowth).
        dry: share of dry matter left by the decline.
        steep: days the rise and the decline take, from a quarter to three quarters about.
        cuts: days it is mown.
    """

    base: float
    early: float
    peak: float
    sown: float
    rise: float
    ripe: float
    cleared: float
    dry: float
    steep: float
    cuts: tuple[float, ...] = ()


SEASON: dict[str, Season] = {
    "wheat": Season(0.04, 0.28, 0.86, -45, 84, 172, 245, 0.62, 8),
    "barley": Season(0.04, 0.32, 0.82, -55, 78, 158, 232, 0.62, 8),
    "rapeseed": Season(0.05, 0.50, 0.88, -105, 72, 166, 228, 0.50, 9),
    "maize": Season(0.04, 0.04, 0.88, 120, 162, 254, 292, 0.50, 8),
    "sunflower": Season(0.04, 0.04, 0.78, 115, 155, 226, 270, 0.52, 8),
    "temporary_grass": Season(0.22, 0.40, 0.88, -80, 80, 300, 400, 0.14, 13, (134, 176, 222, 268)),
    "fallow": Season(0.16, 0.22, 0.58, -70, 94, 206, 330, 0.38, 18, (196,)),
    "orchard": Season(0.20, 0.20, 0.64, 0, 106, 306, 430, 0.10, 11),
    "willow": Season(0.16, 0.16, 0.84, 0, 108, 302, 440, 0.30, 11),
    "meadow": Season(0.38, 0.38, 0.74, 0, 90, 290, 430, 0.32, 18, (168,)),
    "natural_grassland": Season(0.24, 0.24, 0.62, 0, 96, 216, 440, 0.50, 20),
    "shrubland": Season(0.36, 0.36, 0.62, 0, 104, 288, 440, 0.24, 17),
    "broadleaved": Season(0.14, 0.14, 0.90, 0, 112, 302, 450, 0.34, 11),
    "coniferous": Season(0.76, 0.76, 0.84, 0, 115, 300, 440, 0.04, 20),
    "bare": Season(0.03, 0.03, 0.12, 0, 100, 230, 330, 0.05, 20),
    "built_up": Season(0.10, 0.10, 0.26, 0, 100, 296, 430, 0.05, 18),
    "water": Season(0.0, 0.0, 0.02, 0, 110, 280, 330, 0.0, 18),
}
_CUT_LOSS = 0.55
_CUT_RECOVERY_DAYS = 17.0
_CATCH_CROP_SHARE = 0.35  # of annual fields, after a harvest before the end of August
_CATCH_CROP = (0.55, 258.0, 340.0)  # peak, rise, winterkill


@dataclass(frozen=True)
class Growth:
    """What is particular to each field of a district.

    Attributes:
        classes: class of each field in each season, int64, shape (fields, seasons).
        shift: days each season is late, float64, shape (fields, seasons).
        vigour: factor on the green share, shape (fields,).
        litter: factor on the dry share, shape (fields,).
        catch_crop: whether something is sown after an early harvest, bool, (fields, seasons).
        regular: factor on mowing, 0 where a field is grazed instead, shape (fields,).
    """

    classes: np.ndarray
    shift: np.ndarray
    vigour: np.ndarray
    litter: np.ndarray
    catch_crop: np.ndarray
    regular: np.ndarray


def grow(classes: np.ndarray, latitude: float, rng: np.random.Generator) -> Growth:
    """Draw what happens on fields whose class in the season of the labels is given.

    Spreads are chosen: sowing and greening within about two weeks, vigour within a tenth.
    """
    fields, seasons = len(classes), len(SEASONS)
    rotation = np.repeat(classes[:, None], seasons, axis=1)
    annual = np.isin(classes, [*ANNUAL, INDEX["fallow"]])
    for season in range(seasons):
        if season != LABEL_SEASON:
            rotation[annual, season] = rng.choice(ANNUAL, int(annual.sum()))
    place = HOPKINS_DAYS_PER_DEGREE * (latitude - REFERENCE_LATITUDE) + rng.normal(0, 3)
    shift = place + rng.normal(0, 8, (fields, 1)) + rng.normal(0, 4, (fields, seasons))
    return Growth(
        classes=rotation,
        shift=shift,
        vigour=np.clip(rng.normal(1.0, 0.11, fields), 0.65, 1.15),
        litter=np.clip(rng.normal(1.0, 0.30, fields), 0.3, 1.6),
        catch_crop=rng.random((fields, seasons)) < _CATCH_CROP_SHARE,
        regular=np.where(rng.random(fields) < 0.7, rng.uniform(0.6, 1.2, fields), 0.0),
    )


def cover(growth: Growth, day: float) -> tuple[np.ndarray, np.ndarray]:
    """Green and dry share of each field on one day, each in 0..1 and together at most 1.

    Args:
        growth: the fields.
        day: days since 1 January 2022.

    Returns:
        green, dry; float64, shape (fields,).
    """
    green, dry = np.zeros(growth.classes.shape), np.zeros(growth.classes.shape)
    offset = _YEAR_DAYS * (np.arange(len(SEASONS)) - LABEL_SEASON)
    when = day - offset[None, :] - growth.shift
    for name, season in SEASON.items():
        here = growth.classes == INDEX[name]
        if not here.any():
            continue
        fields = np.nonzero(here)[0]
        green[here], dry[here] = _one(season, when[here], growth.regular[fields])
    early = np.array([SEASON[land.name].cleared < 250 for land in CLASSES])
    peak, rise, end = _CATCH_CROP
    sown_after = growth.catch_crop & early[growth.classes]
    green += np.where(sown_after, peak * (_step(when, rise, 7) - _step(when, end, 12)), 0.0)
    # Seasons overlap in winter; what stands higher is what is there.
    green_now = np.clip(green.max(axis=1) * growth.vigour, 0.0, 0.97)
    dry_now = np.minimum(dry.max(axis=1) * growth.litter, 1.0 - green_now)
    return green_now, np.clip(dry_now, 0.0, 1.0)


def _one(season: Season, when: np.ndarray, regular: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    early = _step(when, season.sown, 10) - _step(when, season.ripe, season.steep)
    main = _step(when, season.rise, season.steep) - _step(when, season.ripe, season.steep)
    green = season.base + (season.early - season.base) * early
    green = green + (season.peak - season.early) * main
    for cut in season.cuts:
        since = when - cut
        lost = np.where(since > 0, _CUT_LOSS * np.exp(-np.abs(since) / _CUT_RECOVERY_DAYS), 0.0)
        green = green * (1.0 - np.clip(lost * regular, 0.0, 0.8))
    dry = _step(when, season.ripe, season.steep) - _step(when, season.cleared, 12)
    if season.early == season.base and season.base >= 0.1:
        green = np.maximum(green, season.base)  # perennial: there before and after its seasons
    return green, season.dry * dry


def _step(when: np.ndarray, middle: float, steep: float) -> np.ndarray:
    """Logistic rise from 0 to 1, `steep` days being its scale."""
    return 1.0 / (1.0 + np.exp(-np.clip((when - middle) / steep, -60, 60)))
