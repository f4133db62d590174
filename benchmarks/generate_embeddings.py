"""Embeddings of a made-up encoder: classes that overlap, four inputs a sample."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from geofm_assets.evaluation.probes.data import ProbeData

CLASSES = tuple(f"class {k}" for k in range(10))
SIZE = 128  # of an embedding of OlmoEarth nano
INPUTS = 4  # two normalisations, two poolings
TOKENS, PATCH = 4, 4  # a window of 16 px
_SIGNAL = 0.2  # of classes' middles against noise of 1: about half of the windows are told apart


def generate(windows: int, seed: int, *, dense: bool) -> tuple[ProbeData, ProbeData]:
    """Train (70 %) and val (15 %) of so many windows; test is not needed here.

    Args:
        windows: in all splits.
        seed: of everything.
        dense: a vector for each of 4 x 4 tokens and a class for each of 16 x 16 pixels, instead
            of one of each for a window.
    """
    rng = np.random.default_rng([seed, dense])
    middles = rng.normal(size=(INPUTS, len(CLASSES), SIZE)) * _SIGNAL
    offset = rng.normal(size=SIZE)
    splits = []
    for split, share in (("train", 0.7), ("val", 0.15)):
        count = max(4, round(windows * share))
        shape = (count, TOKENS, TOKENS) if dense else (count,)
        ids = rng.integers(0, len(CLASSES), shape)
        features = tuple(
            (middles[i][ids] + offset + rng.normal(size=(*shape, SIZE))).astype(np.float32)
            for i in range(INPUTS)
        )
        labels: NDArray[Any] = ids
        if dense:
            labels = ids.repeat(PATCH, axis=1).repeat(PATCH, axis=2)
        splits.append(ProbeData(features, labels, split))
    return splits[0], splits[1]
