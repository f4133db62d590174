"""Rows of a dataset by split."""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from geofm_assets.core.errors import DatasetError
from geofm_assets.evaluation.registry.entry import SPLITS, DatasetEntry
from geofm_assets.evaluation.sweeps.settings import EVERYTHING


def split_rows(
    table: pa.Table, entry: DatasetEntry, subset: float = EVERYTHING
) -> dict[str, NDArray[np.int64]]:
    """Row numbers of each split; of train those of a nested subset.

    Raises:
        DatasetError: a split has no samples.
    """
    split = np.array(table["split"].to_pylist())
    rows = {name: np.flatnonzero(split == name) for name in SPLITS}
    if subset < EVERYTHING:
        rank = np.array(table["subset_rank"].to_pylist(), dtype=float)
        rows["train"] = rows["train"][rank[rows["train"]] < subset / EVERYTHING]
    for name, found in rows.items():
        if not len(found):
            small = name == "train" and subset < EVERYTHING
            raise DatasetError(
                f"A subset of {subset:g} % of train has no samples" if small else "No samples",
                where=f"dataset {entry.name}, split {name}",
                fix="Take a larger subset" if small else "Ingest the dataset with all three splits",
            )
    return rows
