"""What right pixels look like, as rules that hold for land, cloud, snow and city alike.

The rules find bands in the wrong place, the wrong scale or the wrong unit. They cannot tell green
from red, nor bands from their direct neighbours: those ranges overlap in nature. Band names
inside the files, where there are any, are compared as well (see `contract`).

Bounds of the ratios are wide about what was measured on 500 real samples of Corsica over 17
months (in brackets below) and on the reference spectra of vegetation, soil, snow and cloud.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

LAND_NIR = 800.0
"""Digital numbers; below it in the near infrared lies water or shadow, where ratios say little."""
MIN_PIXELS = 50
FEW_PIXELS_SLACK = 1.15
MIN_P98 = 100.0
"""Digital numbers; no scene of reflectance x 10,000 is darker than 1 % at its brightest."""


@dataclass(frozen=True)
class RatioRule:
    """The ratio of two bands' medians over land."""

    over: str
    under: str
    low: float
    high: float


RATIOS = (
    RatioRule("B08", "B07", 0.75, 1.35),  # 1.04 to 1.11
    RatioRule("B06", "B07", 0.65, 1.15),  # 0.86 to 0.89
    RatioRule("B8A", "B08", 0.75, 1.40),
    RatioRule("B05", "B06", 0.25, 1.20),  # 0.45 to 0.61
    RatioRule("B05", "B04", 0.85, 7.00),  # 1.53 to 2.11
    RatioRule("B02", "B03", 0.25, 1.15),  # 0.57 to 0.65
    RatioRule("B02", "B04", 0.15, 1.30),  # 0.56 to 0.75
    RatioRule("B04", "B03", 0.30, 2.20),  # 0.83 to 1.18
    RatioRule("B12", "B11", 0.20, 1.25),  # 0.57 to 0.65
    RatioRule("B02", "B08", 0.01, 1.20),  # 0.12 to 0.19
    RatioRule("B01", "B02", 0.20, 2.50),
    RatioRule("B09", "B8A", 0.30, 2.00),
)

NEAREST = (
    ("B08", "B07", ("B02", "B03", "B04", "B05", "B11", "B12")),
    ("B03", "B02", ("B05", "B08", "B11", "B12")),
)
"""Pixel by pixel the first is nearer to the second, its neighbour, than the others are."""
NEARER_BY = 0.8
FLAT = 0.12

_DECIBEL_MEDIANS = {"vv": (-30.0, 5.0), "vh": (-40.0, 0.0)}


def reflectance_order(medians: Mapping[str, float], pixels: int) -> list[str]:
    """Failures of the band order, from medians of valid pixels.

    Args:
        medians: median digital number by band; absent bands left out.
        pixels: how many pixels they come from; few get more slack.
    """
    infrared = [medians[b] for b in ("B06", "B07", "B08", "B8A") if b in medians]
    if not infrared or max(infrared) < LAND_NIR or pixels < MIN_PIXELS:
        return []
    slack = FEW_PIXELS_SLACK if pixels < 20 * MIN_PIXELS else 1.0
    failures = []
    for rule in RATIOS:
        if rule.over not in medians or not medians.get(rule.under):
            continue
        ratio = medians[rule.over] / medians[rule.under]
        if not rule.low / slack <= ratio <= rule.high * slack:
            failures.append(
                f"{rule.over} is {ratio:.2f} times {rule.under} at the median, plausible is "
                f"{rule.low:g} to {rule.high:g}: bands may be swapped"
            )
    return failures


def nearest_neighbour(pixels: Mapping[str, np.ndarray]) -> list[str]:
    """Failures of the rule that neighbours in the spectrum resemble each other most.

    Resemblance is the median of |ln(a / b)| over pixels. Another band must be clearly nearer
    (0.8 times the distance) to be a failure. Where neighbours lie within 0.12 of each other, as
    over cities and clouds with their flat spectra, nothing is concluded.

    Args:
        pixels: digital numbers of land pixels by band, all of one length, NaN without data.
    """
    failures = []
    for band, anchor, others in NEAREST:
        own = _distance(pixels, band, anchor)
        if own is None or own < FLAT:
            continue
        failures += [
            f"{other} is nearer to {anchor} than {band} is: {band} and {other} may be swapped"
            for other in others
            if (_distance(pixels, other, anchor) or np.inf) < NEARER_BY * own
        ]
    return failures


def _distance(pixels: Mapping[str, np.ndarray], name: str, anchor: str) -> float | None:
    if name not in pixels or anchor not in pixels:
        return None
    valid = (pixels[name] > 0) & (pixels[anchor] > 0)
    if int(valid.sum()) < MIN_PIXELS:
        return None
    return float(np.median(np.abs(np.log(pixels[name][valid] / pixels[anchor][valid]))))


def reflectance_scale(p98: Mapping[str, float], maxima: Mapping[str, float]) -> list[str]:
    """Failures of the scale, from each band's 98th percentile and maximum."""
    if not p98:
        return []
    brightest = max(p98.values())
    if brightest < MIN_P98:
        return [
            f"98 % of the pixels lie below {brightest:.3g}: reflectance of 0 to 1 instead of "
            "reflectance x 10000"
        ]
    beyond = {band: high for band, high in maxima.items() if high > 40000}
    return [
        f"{band} reaches {high:.0f}, which is no reflectance x 10000: is it an undeclared nodata "
        "value?"
        for band, high in beyond.items()
    ]


def decibels(
    medians: Mapping[str, float], minima: Mapping[str, float], maxima: Mapping[str, float]
) -> list[str]:
    """Failures of the unit and order of Sentinel-1 bands."""
    if not medians:
        return []
    if min(minima.values()) >= 0:
        what = "linear power" if max(medians.values()) < 10 else "digital numbers"
        return [f"no value is negative (medians {_listed(medians)}): {what} instead of dB"]
    failures = [
        f"{band} has median {medians[band]:.2f}, plausible in dB is {low:g} to {high:g}"
        + (": linear power instead of dB?" if medians[band] > -1 else "")
        for band, (low, high) in _DECIBEL_MEDIANS.items()
        if band in medians and not low <= medians[band] <= high
    ]
    if "vv" in medians and "vh" in medians and medians["vh"] >= medians["vv"]:
        failures.append(f"vh is not weaker than vv ({_listed(medians)}): they may be swapped")
    failures += [
        f"{band} goes down to {low:.4g} dB: is it an undeclared nodata value?"
        for band, low in minima.items()
        if low < -100
    ]
    failures += [f"{band} reaches {high:.4g} dB" for band, high in maxima.items() if high > 60]
    return failures


def _listed(values: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.3g}" for name, value in values.items())
