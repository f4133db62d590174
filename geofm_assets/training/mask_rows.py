"""From rows of the manifest to masks: the class of every pixel of a window."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from upath import UPath

from geofm_assets.core.errors import ExperimentError
from geofm_assets.core.hashing import json_digest, table_digest
from geofm_assets.core.objects import talking
from geofm_assets.core.parquet import read_parquet
from geofm_assets.training.crop import crop_bounds
from geofm_assets.training.experiment import Experiment

if TYPE_CHECKING:
    import torch

NODATA = 255
"""What a mask says of a pixel nobody knows; never a class."""
MASKS_FILE = "masks.parquet"
_COLUMNS = ["window_name", "size", "mask"]


class MaskRows:
    """Masks of a manifest's windows, read a cell at a time when first needed.

    It can be pickled and forked; every process reads what it needs for itself.

    Args:
        manifest: MANIFEST rows; rows keep their order.
        masks_root: folder with `h3_cell=<cell>/masks.parquet`, here or in a bucket.
        window_size: pixels of the side of the crop an experiment sees.
        classes: how many classes there are.
    """

    def __init__(
        self, manifest: pa.Table, masks_root: Path | UPath, window_size: int, classes: int
    ) -> None:
        self.masks_root, self.window_size, self.classes = masks_root, window_size, classes
        self._names: list[str] = manifest["window_name"].to_pylist()
        self._cells: list[str] = manifest["h3_cell"].to_pylist()
        self._read: dict[str, tuple[pa.Table, dict[str, int]]] = {}

    def __len__(self) -> int:
        return len(self._names)

    def __getstate__(self) -> dict[str, Any]:
        """Everything but what this process has read."""
        return {**vars(self), "_read": {}}

    def mask(self, index: int) -> NDArray[np.uint8]:
        """The crop's classes (window_size, window_size) of a row of the manifest, read-only.

        Raises:
            ExperimentError: there is no mask of the window, it is smaller than the crop, or it
                holds what is neither a class nor nodata.
        """
        cell, name = self._cells[index], self._names[index]
        table, rows = self._of_cell(cell)
        if name not in rows:
            raise ExperimentError(
                "The window has no mask",
                where=f"{self._path(cell)}, window {name}",
                fix="Materialize masks for the cell again",
            )
        size = table["size"][rows[name]].as_py()
        flat = np.frombuffer(table["mask"][rows[name]].as_buffer(), dtype=np.uint8)
        wrong = self._fault(flat, size)
        if wrong:
            raise ExperimentError(
                wrong,
                where=f"{self._path(cell)}, window {name}",
                fix="Materialize masks for the cell again",
            )
        return flat.reshape(size, size)[crop_bounds(size, self.window_size)]

    def target(self, index: int) -> "torch.Tensor":
        """`mask` as its own tensor."""
        import torch

        return torch.from_numpy(self.mask(index).copy())

    def require_all(self) -> None:
        """Make sure that every row of the manifest has a mask.

        Raises:
            ExperimentError: says how many have none, and names the first.
        """
        lost: list[str] = []
        for name, cell in zip(self._names, self._cells, strict=True):
            try:
                known = name in self._of_cell(cell)[1]
            except ExperimentError:
                known = False
            if not known:
                lost.append(f"{self._path(cell)}, window {name}")
        if lost:
            raise ExperimentError(
                f"{len(lost)} of {len(self)} windows have no mask, which a segmentation head needs",
                where=lost[0],
                fix="Materialize masks for their cells, or take segmentation out of "
                "experiments.head",
            )

    def counts(self, indices: Iterable[int]) -> NDArray[np.int64]:
        """(classes,) labelled pixels of rows of the manifest."""
        found = np.zeros(NODATA + 1, dtype=np.int64)
        for index in indices:
            found += np.bincount(self.mask(index).reshape(-1), minlength=NODATA + 1)
        return found[: self.classes]

    def digest(self) -> str:
        """Digest of the masks of all cells the manifest names."""
        return json_digest([[c, table_digest(self._of_cell(c)[0])] for c in sorted({*self._cells})])

    def _of_cell(self, cell: str) -> tuple[pa.Table, dict[str, int]]:
        if cell not in self._read:
            path = self._path(cell)
            try:
                with _reading(path) as readable:
                    table = read_parquet(readable, _COLUMNS)
            except FileNotFoundError as error:
                raise ExperimentError(
                    "The cell has no masks", where=str(path), fix="Materialize masks for it"
                ) from error
            table = table.combine_chunks()
            names = table["window_name"].to_pylist()
            self._read[cell] = table, {name: row for row, name in enumerate(names)}
        return self._read[cell]

    def _path(self, cell: str) -> Path | UPath:
        return self.masks_root / f"h3_cell={cell}" / MASKS_FILE

    def _fault(self, flat: NDArray[np.uint8], size: int) -> str | None:
        """What is wrong with a mask; None if nothing."""
        if flat.size != size * size:
            return f"The mask has {flat.size} pixels, its size says {size} x {size}"
        if size < self.window_size:
            return f"The mask is {size} pixels wide, the experiment reads {self.window_size}"
        if ((flat >= self.classes) & (flat != NODATA)).any():
            odd = sorted({int(v) for v in flat if v >= self.classes and v != NODATA})
            return f"The mask holds {odd[:5]}, classes are 0 to {self.classes - 1}, nodata {NODATA}"
        return None


@contextmanager
def _reading(path: Path | UPath) -> Iterator[UPath]:
    """A table's location, with errors of a bucket that say where."""
    if isinstance(path, UPath) and path.protocol not in ("", "file", "local"):
        with talking(str(path)):
            yield path
    else:
        yield UPath(path)


def open_masks(
    experiment: Experiment, manifest: pa.Table, masks_root: Path | UPath | None, classes: int
) -> MaskRows:
    """Masks of a manifest's windows as a segmentation experiment sees them.

    Raises:
        ExperimentError: no masks were given.
    """
    if masks_root is None:
        raise ExperimentError(
            "A segmentation experiment needs masks",
            where=experiment.name,
            fix="Give the folder of the masks, or choose a classification experiment",
        )
    return MaskRows(manifest, masks_root, experiment.window_size, classes)
