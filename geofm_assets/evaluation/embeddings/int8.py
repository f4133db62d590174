"""Embeddings in a quarter of the bytes: unit length, square root, eight bits.

The published scheme of satellite embeddings keeps sign(x) sqrt(|x|) in 255 steps, finer near
zero, and saturates where |x| > 0.992. A third of Presto's values are above that, so vectors are
brought to unit length first, and what it costs is measured and kept beside them.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

SCHEME = "unit length; q = round(127.5 sign(x) sqrt(|x|)) within -127..127; x = sign(q) (q/127.5)^2"
_SCALE = 127.5
_LARGEST = 127
_SMALLEST_NORM = 1e-12


def unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors (..., D) at unit length, float32; a vector of zeros stays as it is."""
    values = vectors.astype(np.float32)
    norm = np.linalg.norm(values, axis=-1, keepdims=True)
    return values / np.maximum(norm, _SMALLEST_NORM)


def quantize(vectors: np.ndarray) -> np.ndarray:
    """Vectors (..., D) as int8."""
    values = unit(vectors)
    steps = np.rint(_SCALE * np.sign(values) * np.sqrt(np.abs(values)))
    return np.clip(steps, -_LARGEST, _LARGEST).astype(np.int8)


def dequantize(steps: np.ndarray) -> np.ndarray:
    """Vectors (..., D) of what `quantize` made, float32, of unit length but for rounding."""
    values = steps.astype(np.float32) / _SCALE
    return np.sign(values) * np.square(values)


@dataclass
class Loss:
    """Cosine between vectors and what came back of them, gathered over parts.

    Attributes:
        count: vectors looked at; those of zeros are left out.
        total: sum of their cosines.
        worst: the smallest.
    """

    count: int = 0
    total: float = 0.0
    worst: float = 1.0

    def look(self, vectors: np.ndarray, steps: np.ndarray) -> None:
        """Take in a part."""
        self.add(cosines(vectors, dequantize(steps)))

    def add(self, found: np.ndarray) -> None:
        """Take in cosines."""
        if found.size:
            self.count += int(found.size)
            self.total += float(found.sum())
            self.worst = min(self.worst, float(found.min()))

    def as_dict(self) -> dict[str, Any]:
        """For a header: mean and smallest cosine, rounded so that they do not hang on a BLAS."""
        mean = self.total / self.count if self.count else 1.0
        return {"vectors": self.count, "mean": round(mean, 6), "min": round(self.worst, 6)}


def cosines(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Cosine of each pair of vectors (..., D), float64, those of zeros left out."""
    first, second = one.astype(np.float64), other.astype(np.float64)
    product = np.einsum("...d,...d->...", first, second)
    norm = np.linalg.norm(first, axis=-1)
    length = norm * np.linalg.norm(second, axis=-1)
    found: np.ndarray = product / np.where(length > 0, length, 1.0)
    return found[norm > 0]
