"""Which model normalises how: one table, and the arithmetic it needs.

The rules are those of OlmoEarth's published evaluation (olmoearth_pretrain, full_eval_sweep.py),
family by family, with one difference: CROMA and AnySat run with the dataset's statistics only;
there, their "pretrained" runs got OlmoEarth's by accident.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from olmoearth_pretrain_minimal.olmoearth_pretrain_v1.data.normalize import load_computed_config

from geofm_assets.core.errors import ModelInputError
from geofm_assets.evaluation.backbones.base import Normalization
from geofm_assets.evaluation.backbones.inputs import band_key
from geofm_assets.evaluation.registry.entry import BandStatistics, ModalityEntry

Scale = Literal["one_std", "two_std", "standard", "min_max", "own"]


@dataclass(frozen=True)
class Rule:
    """How values become what a model reads.

    Attributes:
        scale: `one_std` and `two_std` map mean ± that many standard deviations to 0..1,
            `standard` is (x - mean) / std, `min_max` maps the extremes to 0..1, `own` is
            the model's own shift and divisor.
        clip: whether results are cut to 0..1.
        eight_bit: whether they are rounded to 255ths, as an 8-bit picture would be.
    """

    scale: Scale
    clip: bool = False
    eight_bit: bool = False


_TWO_STD, _STANDARD, _OWN = Rule("two_std"), Rule("standard"), Rule("own")
RULES: dict[str, dict[Normalization, Rule]] = {
    "olmoearth": {"pretrained": _TWO_STD, "dataset": _TWO_STD},
    "galileo": {"pretrained": _TWO_STD, "dataset": _TWO_STD},
    "presto": {"pretrained": _OWN, "dataset": _STANDARD},
    "prithvi": {"pretrained": _STANDARD, "dataset": _STANDARD},
    "terramind": {"pretrained": _STANDARD, "dataset": _STANDARD},
    "clay": {"pretrained": _STANDARD, "dataset": _STANDARD},
    "satlas": {"pretrained": Rule("own", clip=True), "dataset": Rule("one_std", clip=True)},
    "croma": {"dataset": Rule("two_std", clip=True)},
    "dinov3": {"dataset": Rule("min_max", clip=True, eight_bit=True)},
    "panopticon": {"dataset": _STANDARD},
    "anysat": {"dataset": _STANDARD},
    "baseline": {"dataset": _STANDARD},
}
# Value that the mean of the data gets, which stands in where there is no data.
_NEUTRAL: dict[Scale, float] = {
    "one_std": 0.5,
    "two_std": 0.5,
    "standard": 0.0,
    "min_max": 0.5,
    "own": 0.0,
}
# How many standard deviations lie between what becomes 0 and what becomes 1.
_WIDTH: dict[Scale, float] = {"one_std": 2.0, "two_std": 4.0, "standard": 1.0}


@dataclass(frozen=True)
class Factors:
    """A rule with its numbers: (x - low) / span.

    Attributes:
        rule: what to do besides.
        low: float32 (C,).
        span: float32 (C,), never 0.
        neutral: float32 (C,): stands in where there is no data.
    """

    rule: Rule
    low: np.ndarray
    span: np.ndarray
    neutral: np.ndarray

    def apply(self, values: np.ndarray, band_axis: int = 1) -> np.ndarray:
        """Normalised values in a new float32 array, `neutral` where they were NaN.

        Args:
            values: bands on `band_axis`; not changed.
            band_axis: which axis the bands lie on.
        """
        shape = [1] * values.ndim
        shape[band_axis] = len(self.low)
        out = (values - self.low.reshape(shape)) / self.span.reshape(shape)
        if self.rule.clip:
            np.clip(out, 0.0, 1.0, out=out)
        if self.rule.eight_bit:
            out = np.floor(out * 255.0) / 255.0
        filled = np.where(np.isnan(out), self.neutral.reshape(shape), out)
        return np.asarray(filled, dtype=np.float32)


def own_factors(rule: Rule, low: Sequence[float], span: Sequence[float]) -> Factors:
    """Factors of a model that states what it subtracts and divides by."""
    lows, spans = np.array(low, dtype=np.float32), np.array(span, dtype=np.float32)
    return Factors(rule, lows, spans, np.full(len(lows), _NEUTRAL[rule.scale], dtype=np.float32))


def std_factors(rule: Rule, mean: Sequence[float | None], std: Sequence[float | None]) -> Factors:
    """Factors from means and standard deviations; a band without them says nothing.

    Args:
        rule: not `own` or `min_max`.
        mean: per band, None where there are no statistics.
        std: likewise; 0 (a band that never changes) leaves values in their unit.
    """
    width = _WIDTH[rule.scale]
    neutral = _NEUTRAL[rule.scale]
    known = np.array([m is not None for m in mean])
    means = np.array([0.0 if m is None else m for m in mean])
    stds = np.array([0.0 if s is None else s for s in std])
    spans = np.where(stds > 0, stds * width, 1.0)
    low = np.where(known, means - neutral * spans, np.nan)
    return Factors(
        rule,
        low.astype(np.float32),
        spans.astype(np.float32),
        np.full(len(low), neutral, dtype=np.float32),
    )


def dataset_factors(family: str, entry: ModalityEntry, bands: Sequence[str], where: str) -> Factors:
    """Factors of a family's `dataset` rule, from the statistics of a dataset's train split.

    A band without statistics (absent, or empty throughout) becomes neutral everywhere.

    Args:
        family: key of RULES.
        entry: of the dataset.
        bands: the model's, in its order.
        where: the modality, for messages.

    Raises:
        ModelInputError: no band has statistics.
    """
    rule = RULES[family]["dataset"]
    by_key = {band_key(name): found for name, found in entry.statistics.items()}
    found: list[BandStatistics | None] = [by_key.get(band_key(name)) for name in bands]
    if not any(found):
        raise ModelInputError(
            f"None of the bands {', '.join(bands)} has statistics",
            where=where,
            fix="Use the pretrained normalisation, or another model",
        )
    if rule.scale != "min_max":
        return std_factors(
            rule, [s.mean if s else None for s in found], [s.std if s else None for s in found]
        )
    low = np.array([s.min if s else np.nan for s in found])
    span = np.array([(s.max - s.min) if s else 1.0 for s in found])
    span = np.where(span > 0, span, 1.0)
    neutral = np.array([(s.mean - s.min) if s else np.nan for s in found]) / span
    return Factors(
        rule,
        low.astype(np.float32),
        span.astype(np.float32),
        np.where(np.isnan(neutral), _NEUTRAL[rule.scale], neutral).astype(np.float32),
    )


def factors_by_modality(
    family: str,
    normalization: Normalization,
    bands: Mapping[str, Sequence[str]],
    modalities: Mapping[str, ModalityEntry],
    own: Callable[[str, Sequence[str]], Factors],
) -> dict[str, Factors]:
    """Factors of every modality a model reads.

    Args:
        family: key of RULES.
        normalization: `dataset`, or `pretrained` for the model's own.
        bands: by modality, the model's, in its order.
        modalities: of the dataset.
        own: the model's own factors of a modality and its bands.

    Raises:
        ModelInputError: no band of a modality has statistics.
    """
    if normalization == "pretrained":
        return {name: own(name, of) for name, of in bands.items()}
    return {name: dataset_factors(family, modalities[name], of, name) for name, of in bands.items()}


def olmoearth_statistics(modality: str, bands: Sequence[str]) -> tuple[list[float], list[float]]:
    """Means and standard deviations of OlmoEarth's pretraining data (file computed.json)."""
    found: Mapping[str, Mapping[str, float]] = load_computed_config()[modality]
    return [found[b]["mean"] for b in bands], [found[b]["std"] for b in bands]
