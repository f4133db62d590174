"""What of a window around a polygon has classes: the polygon's box, and no less than a least size.

The rest of the window is imagery without a class, so that all windows have one size and a small
polygon is still seen with what lies around it.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from geofm_assets.core.errors import SchemaError
from geofm_assets.labels.calfire.around import pixel_boxes
from geofm_assets.labels.calfire.fires import Fires
from geofm_assets.labels.calfire.sample_schema import BURNT
from geofm_assets.labels.calfire.utm import polygons_to_utm


def label_boxes(windows: pa.Table, samples: pa.Table, fires: Fires, min_size: int) -> np.ndarray:
    """The labelled part of each window, int64 (N, 4): first column and row, and those past it.

    Rows are counted from the upper edge. Windows of unburnt samples, tiles of large fires and
    windows that do not hold the whole box are labelled all over.

    Args:
        windows: N WINDOW rows, of one size.
        samples: columns sample_id, kind and fire_id of at least the windows' samples.
        fires: at least those the burnt samples are around.
        min_size: pixels of the side of the labelled part, at least.

    Raises:
        SchemaError: the fire of a burnt sample is not among `fires`.
    """
    at = pc.index_in(windows["sample_id"], samples["sample_id"].combine_chunks())
    own = samples.take(at).select(["kind", "fire_id"])
    around = np.flatnonzero(pc.equal(own["kind"], BURNT).to_numpy(zero_copy_only=False))
    left, top, right = (windows[c].to_numpy() for c in ("col_min", "row_min", "col_max"))
    size = right - left
    boxes = np.column_stack((np.zeros_like(size), np.zeros_like(size), size, size))
    fire = _rows_of(own["fire_id"].take(pa.array(around)), fires, windows["sample_id"], around)
    crs = np.array(windows["crs"].to_pylist(), dtype=object)
    metres = windows["resolution"].to_numpy()
    for name in sorted(set(crs[around].tolist())):
        here = np.flatnonzero(crs[around] == name)
        rows = around[here]
        polygons = polygons_to_utm(int(name.removeprefix("EPSG:")), fires.geometry[fire[here]])
        box = pixel_boxes(polygons, float(metres[rows[0]]))
        extent = box[:, 2:] - box[:, :2]
        grown = np.maximum(extent, min_size)
        low = box[:, :2] - (grown - extent) // 2
        high = low + grown
        # from pixels northward to rows southward
        inside = np.column_stack(
            (
                low[:, 0] - left[rows],
                -high[:, 1] - top[rows],
                high[:, 0] - left[rows],
                -low[:, 1] - top[rows],
            )
        )
        whole = (inside[:, :2] >= 0).all(axis=1) & (inside[:, 2:] <= size[rows, None]).all(axis=1)
        boxes[rows[whole]] = inside[whole]
    return boxes


def _rows_of(
    fire_ids: pa.ChunkedArray, fires: Fires, samples: pa.ChunkedArray, around: np.ndarray
) -> np.ndarray:
    """Row in `fires` of each id."""
    known = {name: row for row, name in enumerate(fires.fire_id.tolist())}
    rows = [known.get(name, -1) for name in fire_ids.to_pylist()]
    if -1 in rows:
        lost = rows.index(-1)
        raise SchemaError(
            f"The perimeter {fire_ids[lost]} that the window lies around is not near it",
            where=f"sample {samples[int(around[lost])]}",
            fix="Make perimeters, samples and the cell's windows again",
        )
    return np.array(rows, dtype=np.int64)
