"""From samples of fires to windows, without a sampling plan between."""

import numpy as np
import pyarrow as pa
import rasterio.warp
import shapely

from geofm_assets.labels.calfire.sample_schema import CLASSES
from geofm_assets.windows.config import WindowsConfig
from geofm_assets.windows.geometry import windows_for_points


def windows_of(points: pa.Table, size: int = 32, split: str = "train") -> pa.Table:
    """WINDOW rows of REFERENCE_POINT rows, all of one split."""
    rows = points.num_rows
    labels = points["label_raw"].to_pylist()
    columns = {
        **{name: points[name] for name in points.column_names},
        "h3_cell": points["h3_l3_cell"],
        "split": pa.array([split] * rows),
        "class_id": pa.array([CLASSES.index(label) for label in labels], pa.int16()),
        "class_name": points["label_raw"],
    }
    return windows_for_points(pa.table(columns), WindowsConfig(size=size))


def squares(windows: pa.Table) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Names and metric squares of windows by CRS."""
    found = {}
    for crs in sorted(set(windows["crs"].to_pylist())):
        rows = windows.filter(pa.compute.equal(windows["crs"], crs))
        edges = [rows[c].to_numpy() * 10.0 for c in ("col_min", "row_max", "col_max", "row_min")]
        boxes = shapely.box(edges[0], -edges[1], edges[2], -edges[3])
        found[crs] = (np.array(rows["sample_id"].to_pylist()), np.asarray(boxes))
    return found


def overlapping(windows: pa.Table) -> list[tuple[str, str]]:
    """Pairs of samples whose windows share an area, in their own CRS or in another's."""
    pairs = []
    found = squares(windows)
    for crs, (names, boxes) in found.items():
        for other, (others, theirs) in found.items():
            moved = theirs if other == crs else _moved(theirs, other, crs)
            tree = shapely.STRtree(boxes)
            for i, j in tree.query(moved, predicate="intersects").T:
                same = other == crs and others[i] == names[j]
                if not same and shapely.intersection(moved[i], boxes[j]).area > 1e-3:
                    pairs.append((str(others[i]), str(names[j])))
    return pairs


def _moved(boxes: np.ndarray, source: str, target: str) -> np.ndarray:
    def move(xy: np.ndarray) -> np.ndarray:
        return np.column_stack(rasterio.warp.transform(source, target, xy[:, 0], xy[:, 1]))

    return np.asarray(shapely.transform(boxes, move))
