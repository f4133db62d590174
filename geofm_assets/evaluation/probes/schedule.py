"""Which samples a linear probe sees when, and at what learning rate."""

import math

import numpy as np
import torch
from numpy.typing import NDArray

LEAST_RATE = 1e-5
WARM_UP = 0.1


def scheduled(rates: torch.Tensor, epoch: float, epochs: int) -> torch.Tensor:
    """Learning rates at a moment: a straight warm-up, then half a cosine down to 1e-5.

    Args:
        rates: (R,) the largest ones.
        epoch: epochs done, with fractions.
        epochs: in all.
    """
    warm = int(WARM_UP * epochs)
    if epoch < warm:
        return rates * (epoch / warm)
    least = rates.clamp(max=LEAST_RATE)
    share = (1 + math.cos(math.pi * (epoch - warm) / (epochs - warm))) / 2
    return least + (rates - least) * share


def batches(samples: int, size: int, seed: int, epoch: int) -> list[NDArray[np.int64]]:
    """Rows of an epoch in batches; none of a single sample, which has no variance."""
    order = np.random.default_rng([seed, epoch]).permutation(samples)
    cuts = list(range(size, samples, size))
    if cuts and samples - cuts[-1] == 1:
        cuts.pop()
    return np.split(order, cuts)
