"""Whether a map can be trusted as a map: seams, gaps, shares of classes, swapped classes."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from geofm_assets.core.outcome import CheckOutcome
from geofm_assets.prediction.legend import Legend

if TYPE_CHECKING:
    from geofm_assets.prediction.mosaic import Mosaic
    from geofm_assets.prediction.seams import Seams

MAX_NODATA = 0.5
"""More than half without data is a map of gaps."""
MAX_DISTANCE = 0.75
"""Total variation distance from training. Samples are balanced on purpose and land is not, so
only a map that has almost none of what training had is refused."""
MIN_TIMESTEPS = 0.5
"""A model that is shown less than half of what it reads was hardly trained for that."""
_TOLD_APART = 0.2  # how much nearer the swapped shares must be


@dataclass(frozen=True)
class Finding:
    """One check on a map.

    Attributes:
        name: of the check.
        passed: whether it holds.
        text: one line for people.
        numbers: what was measured, JSON-encodable.
    """

    name: str
    passed: bool
    text: str
    numbers: Mapping[str, Any]

    def as_check(self) -> CheckOutcome:
        """As an asset check; a map that fails it stays usable."""
        return CheckOutcome(self.name, self.passed, self.text, self.numbers, blocking=False)


@dataclass(frozen=True)
class QualityReport:
    """All checks on a map."""

    findings: tuple[Finding, ...]

    @property
    def passed(self) -> bool:
        """Whether all hold."""
        return all(finding.passed for finding in self.findings)

    def as_list(self) -> list[dict[str, Any]]:
        """JSON-encodable."""
        return [{**vars(f), "numbers": dict(f.numbers)} for f in self.findings]

    @classmethod
    def from_list(cls, said: Sequence[Mapping[str, Any]]) -> "QualityReport":
        """From `as_list`."""
        return cls(tuple(Finding(**finding) for finding in said))


CHECKS = ("seams", "nodata_share", "timesteps", "class_shares", "polarity")


def quality_report(
    mosaics: "Sequence[Mosaic]",
    tiles: pa.Table,
    legend: Legend,
    training: Mapping[str, float],
    *,
    window_size: int,
    overlap: int,
    dense: bool,
    timesteps: int,
) -> QualityReport:
    """Check a map.

    Args:
        mosaics: one a zone.
        tiles: TILE table of the map.
        legend: of its classes.
        training: share of each class in training; empty if it is not known.
        window_size: side of a crop.
        overlap: pixels two crops share.
        dense: whether pixels have their own class.
        timesteps: how many the model reads.
    """
    from geofm_assets.prediction.seams import measure_seams

    rows = tiles.to_pylist()
    tile_px = rows[0]["col_max"] - rows[0]["col_min"]
    seams = measure_seams(mosaics, tile_px, window_size - overlap, overlap, dense)
    counts = dict.fromkeys(legend.classes, 0)
    for row in rows:
        for name, count in json.loads(row["class_pixels"]).items():
            counts[name] += count
    mapped = sum(counts.values())
    shares = {name: count / max(mapped, 1) for name, count in counts.items()}
    asked = sum(row["area_pixels"] for row in rows)
    return QualityReport(
        (
            _seams(seams, window_size, overlap),
            _nodata(asked, mapped, sum(row["missing_frame_pixels"] for row in rows)),
            _timesteps(sum(row["timesteps_seen"] for row in rows), mapped, timesteps),
            _shares(shares, training),
            _polarity(shares, training, legend),
        )
    )


def _seams(found: "Sequence[Seams]", size: int, overlap: int) -> Finding:
    texts = []
    for seams in found:
        if not seams.enough:
            texts.append(f"too few {seams.kind} borders to tell ({seams.pairs} pixel pairs)")
            continue
        ratio = "-" if seams.ratio is None else f"{seams.ratio:.2f}"
        texts.append(
            f"{seams.kind} borders change class at {seams.border_rate:.2%}, inside "
            f"{seams.inside_rate:.2%} (ratio {ratio})"
        )
        if seams.kind == "crop" and not seams.passed and overlap < size * 3 // 4 and size % 4 == 0:
            texts.append(f"smoother, at four times the work or more: --overlap {size * 3 // 4}")
    numbers = {seams.kind: seams.as_dict() for seams in found}
    return Finding("seams", all(s.passed for s in found), "; ".join(texts), numbers)


def _nodata(asked: int, mapped: int, missing_frame: int) -> Finding:
    share = 1 - mapped / asked if asked else 0.0
    text = f"{share:.1%} of {asked:,} pixels have no class"
    if missing_frame:
        text += f" ({missing_frame:,} miss a frame the model needs)"
    numbers = {"share": round(share, 6), "asked": asked, "mapped": mapped, "at_most": MAX_NODATA}
    numbers["missing_frame"] = missing_frame
    return Finding("nodata_share", share <= MAX_NODATA, text, numbers)


def _timesteps(seen: int, mapped: int, read: int) -> Finding:
    mean = seen / mapped if mapped else 0.0
    text = f"pixels were seen in {mean:.1f} of the model's {read} timesteps on average"
    numbers = {"seen": round(mean, 6), "read": read, "at_least": MIN_TIMESTEPS * read}
    return Finding("timesteps", mean >= MIN_TIMESTEPS * read, text, numbers)


def _shares(shares: Mapping[str, float], training: Mapping[str, float]) -> Finding:
    numbers: dict[str, Any] = {"map": _rounded(shares), "training": _rounded(training)}
    said = ", ".join(f"{name} {share:.1%}" for name, share in shares.items())
    if not training:
        return Finding("class_shares", True, f"{said}; training's are not known", numbers)
    distance = sum(abs(share - training.get(name, 0.0)) for name, share in shares.items()) / 2
    numbers |= {"distance": round(distance, 6), "at_most": MAX_DISTANCE}
    text = f"{said}; distance from training {distance:.2f}"
    return Finding("class_shares", distance <= MAX_DISTANCE, text, numbers)


def _polarity(
    shares: Mapping[str, float], training: Mapping[str, float], legend: Legend
) -> Finding:
    if legend.positive is None or len(legend.classes) != 2 or not training:
        return Finding("polarity", True, "there are not two classes with known shares", {})
    name = legend.classes[legend.positive]
    here, then = shares[name], training.get(name, 0.0)
    as_is, swapped = abs(here - then), abs(here - (1 - then))
    text = f"{name} is {here:.1%} of the map and {then:.1%} of training"
    numbers = {"positive": name, "map": round(here, 6), "training": round(then, 6)}
    return Finding("polarity", swapped + _TOLD_APART >= as_is, text, numbers)


def polarity_against_truth(scores: pa.Table) -> Finding:
    """Whether swapping the classes would fit the known fires better.

    Args:
        scores: MAP_SCORE table.
    """
    rows = [row for row in scores.to_pylist() if row["pixels"]]
    both, missed, more, margin = (
        sum(row[key] for row in rows)
        for key in ("both_ha", "omission_ha", "commission_ha", "margin_ha")
    )
    if not both + missed:
        return Finding("polarity", True, "no fire to compare with", {})
    as_is = both / (both + missed + more)
    swapped = missed / (both + missed + margin - more)
    text = f"IoU of fires and a margin around them {as_is:.2f}, with classes swapped {swapped:.2f}"
    numbers = {"iou": round(as_is, 6), "swapped_iou": round(swapped, 6), "fires": len(rows)}
    return Finding("polarity", as_is >= swapped, text, numbers)


def _rounded(shares: Mapping[str, float]) -> dict[str, float]:
    return {name: round(share, 6) for name, share in shares.items()}
