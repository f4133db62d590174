"""The reference's split, for parity: by the window name's sha256, blind to place.

rslearn_projects (create_windows_for_cropland) puts a window into val if the first hex digit of
the sha256 of its name is 0 or 1 (2 of 16, so 12.5 %), else into train. It has no test split: its
test stage reads val again. Here no point is called test either, so nothing can be mistaken for
an independent test score. Neighbouring points fall into different splits freely; the report
says how near they are.
"""

import hashlib
from collections import Counter

import numpy as np
import pyarrow as pa

from geofm_assets.core.errors import SplitError
from geofm_assets.sampling.naming import window_name
from geofm_assets.sampling.split import SplitResult, present_classes, split_class_counts

VAL_DIGITS = ("0", "1")
_NOTE = (
    "Split ai2_hash, as the reference has it: val if the first hex digit of sha256(window name) "
    "is 0 or 1, else train. It has no test split (the reference tests on val) and no separation "
    "in space, so its val scores look better than scores on new places would."
)


def ai2_split(name: str) -> str:
    """`val` or `train` for a window name."""
    return "val" if hashlib.sha256(name.encode()).hexdigest()[0] in VAL_DIGITS else "train"


def split_by_ai2_hash(points: pa.Table, classes: tuple[str, ...]) -> SplitResult:
    """Split CANDIDATE rows as the reference does; each window is a unit of its own.

    Raises:
        SplitError: train or val lacks a class that the data has.
    """
    present = present_classes(points, classes)
    columns = (points[c].to_pylist() for c in ("h3_cell", "lat", "lon", "valid_time"))
    names = [window_name(*row) for row in zip(*columns, strict=True)]
    split = np.array([ai2_split(name) for name in names], dtype=object)
    counts = split_class_counts(points, split, len(classes))
    lacking = [
        (classes[c], s)
        for i, s in enumerate(("train", "val"))
        for c in present
        if counts[i, c] == 0
    ]
    if lacking:
        raise SplitError(
            "The ai2_hash split lacks " + " and ".join(f"class {c!r} in {s}" for c, s in lacking),
            where=f"sample of {points.num_rows} points",
            fix="Use split.by: h3_cell, or add labels of that class",
        )
    per_split = Counter(split.tolist())
    report = {
        "resolution": None,
        "salt": None,
        "units": len(names),
        "units_per_split": {s: per_split.get(s, 0) for s in ("train", "val", "test")},
        "tolerance": None,
        "note": _NOTE,
    }
    return SplitResult(split, np.array(names, dtype=object), report)
