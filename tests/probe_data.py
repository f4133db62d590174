"""Generated embeddings with labels, for tests of probes."""

import numpy as np

from geofm_assets.evaluation.probes.data import ProbeData

CLASSES = ("bare", "crop", "forest")
SIZE, SIDE, PATCH = 12, 8, 4


def windows(task_type: str, samples: int, split: str, seed: int = 0, inputs: int = 1) -> ProbeData:
    """Embeddings (N, 12) that say something of their labels."""
    rng = np.random.default_rng([seed, {"train": 0, "val": 1, "test": 2}[split]])
    centres = np.random.default_rng(seed).normal(size=(len(CLASSES), SIZE))
    if task_type == "classification":
        labels = rng.integers(0, len(CLASSES), samples)
        signal = centres[labels]
    elif task_type == "multilabel":
        labels = rng.integers(0, 2, (samples, len(CLASSES))).astype(np.uint8)
        signal = labels @ centres
    else:
        labels = rng.normal(200, 30, samples)
        signal = (labels[:, None] - 200) / 30 * centres[0]
    features = tuple(
        (signal + 3 + rng.normal(size=(samples, SIZE))).astype(np.float32) for _ in range(inputs)
    )
    return ProbeData(features, labels, split, tuple(f"{split}-{i}" for i in range(samples)))


def maps(task_type: str, samples: int, split: str, seed: int = 0, inputs: int = 1) -> ProbeData:
    """Token maps (N, 2, 2, 12) with labels (N, 8, 8); some pixels have none."""
    rng = np.random.default_rng([seed, {"train": 0, "val": 1, "test": 2}[split]])
    centres = np.random.default_rng(seed).normal(size=(len(CLASSES), SIZE))
    side = SIDE // PATCH
    of_tokens = rng.integers(0, len(CLASSES), (samples, side, side))
    pixels = of_tokens.repeat(PATCH, axis=1).repeat(PATCH, axis=2)
    if task_type == "segmentation":
        labels = pixels.astype(np.int64)
        labels[:, 0, :3] = -1
    else:
        labels = (pixels * 10.0 + rng.normal(size=pixels.shape)).astype(np.float32)
        labels[:, 0, :3] = np.nan
    shape = (samples, side, side, SIZE)
    features = tuple(
        (centres[of_tokens] + 0.3 * rng.normal(size=shape)).astype(np.float32)
        for _ in range(inputs)
    )
    return ProbeData(features, labels, split, tuple(f"{split}-{i}" for i in range(samples)))


def generated(task_type: str, samples: int, split: str, **how: int) -> ProbeData:
    """Either."""
    dense = task_type in ("segmentation", "per_pixel_regression")
    return (maps if dense else windows)(task_type, samples, split, **how)


def classes_of(task_type: str) -> tuple[str, ...]:
    """Class names, none for regressions."""
    return () if task_type.endswith("regression") else CLASSES
