"""From windows and fire perimeters to masks: burnt, unburnt or unknown, pixel by pixel.

A pixel is what holds at its centre. Around every perimeter that counts a gap is unknown, as are
other fires and scars: what an image shows there cannot be told from the perimeters.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import rasterio.features
import shapely
from rasterio.env import ensure_env
from rasterio.transform import Affine

from geofm_assets.core.errors import SchemaError
from geofm_assets.labels.calfire.fires import Fires
from geofm_assets.labels.calfire.utm import degrees_around, polygons_to_utm
from geofm_assets.windows.config import MasksConfig
from geofm_assets.windows.schema import MASK

UNBURNT, BURNT, NODATA = 0, 1, 255
_DAYS_A_YEAR = 365.25
_QUAD_SEGS = 16  # of a gap's round corners, which fall short of it by 0.1 % at most


def boxes_around(windows: pa.Table, config: MasksConfig) -> np.ndarray:
    """Boxes in degrees, (N, 4), that hold everything a window's mask depends on.

    Args:
        windows: N WINDOW rows.
        config: the gap.
    """
    lon, lat = windows["lon"].to_numpy(), windows["lat"].to_numpy()
    side = (windows["col_max"].to_numpy() - windows["col_min"].to_numpy()) + 2
    # the centre is rounded to a pixel, and windows are turned against the meridian
    reach = side * windows["resolution"].to_numpy() * np.sqrt(0.5) + config.gap_m
    return degrees_around(np.column_stack((lon, lat, lon, lat)), float(reach.max(initial=0)))


@ensure_env  # one for all windows: with keys of a bucket about, each makes a session of boto3
def masks_for_windows(
    windows: pa.Table,
    groups: pa.Table,
    fires: Fires,
    config: MasksConfig,
    labelled: np.ndarray | None = None,
) -> pa.Table:
    """The mask of each window.

    A pixel is burnt where a perimeter of the sample's group that had begun by valid_time covers
    it, or one contained in the `recent_days` before valid_time. It is unknown in the gap around
    such perimeters and under and around other fires and prescribed burns that began before
    valid_time + `after_days` and ended after valid_time - `scar_years`. Else it is unburnt. A fire
    whose dates are not known is never burnt but unknown.

    Args:
        windows: WINDOW rows.
        groups: columns sample_id and group_id of at least the windows' samples.
        fires: perimeters, at least those near the windows.
        config: gap and time limits.
        labelled: part of each window beyond which pixels are unknown, int64 (N, 4), as
            `label_boxes` gives them; None for all of it.

    Returns:
        MASK rows, sorted by window_name.

    Raises:
        SchemaError: a window's sample has no group.
    """
    group = _groups(windows, groups)
    day = windows["valid_time"].cast(pa.int32()).to_numpy().astype(np.int64)
    near = np.unique(
        shapely.STRtree(shapely.box(*boxes_around(windows, config).T)).query(
            shapely.box(*shapely.bounds(fires.geometry).T)
        )[0]
    )
    fires = fires.take(near)
    sides = (windows["col_max"].to_numpy() - windows["col_min"].to_numpy()).tolist()
    masks = [np.zeros((side, side), np.uint8) for side in sides]
    crs = windows["crs"].to_numpy(zero_copy_only=False)
    for name in np.unique(crs):
        rows = np.flatnonzero(crs == name)
        _burn(masks, rows, windows, group, day, fires, int(name.removeprefix("EPSG:")), config)
    if labelled is not None:
        masks = [_only(m, box) for m, box in zip(masks, labelled.tolist(), strict=True)]
    columns = {
        "window_name": windows["window_name"],
        "size": pa.array(sides, pa.int64()),
        "mask": pa.array([m.tobytes() for m in masks], pa.binary()),
        "burnt": pa.array([int((m == BURNT).sum()) for m in masks], pa.int64()),
        "unburnt": pa.array([int((m == UNBURNT).sum()) for m in masks], pa.int64()),
        "nodata": pa.array([int((m == NODATA).sum()) for m in masks], pa.int64()),
        "simulated": windows["simulated"],
    }
    return pa.table(columns, schema=MASK).sort_by("window_name").combine_chunks()


def _only(mask: np.ndarray, box: list[int]) -> np.ndarray:
    """A mask that is unknown beyond a box of first column and row, and those past it."""
    left, top, right, bottom = box
    result = np.full_like(mask, NODATA)
    result[top:bottom, left:right] = mask[top:bottom, left:right]
    return result


def _groups(windows: pa.Table, groups: pa.Table) -> np.ndarray:
    at = pc.index_in(windows["sample_id"], groups["sample_id"].combine_chunks())
    if at.null_count:
        row = pc.index(pc.is_null(at), True).as_py()
        raise SchemaError(
            f"{at.null_count} windows are of samples without a group",
            where=f"window {windows['window_name'][row]}",
            fix="Make the samples and the windows of the cell again",
        )
    return np.array(groups["group_id"].take(at).to_pylist(), dtype=object)


def _burn(
    masks: list[np.ndarray],
    rows: np.ndarray,
    windows: pa.Table,
    group: np.ndarray,
    day: np.ndarray,
    fires: Fires,
    epsg: int,
    config: MasksConfig,
) -> None:
    """Fill the masks of the windows of one zone."""
    table = windows.select(["col_min", "row_min", "col_max", "row_max", "resolution"])
    col_min, row_min, col_max, row_max, metres = (
        table[c].to_numpy()[rows] for c in table.column_names
    )
    squares = np.column_stack((col_min, -row_max, col_max, -row_min)) * metres[:, None]
    reach = config.gap_m + metres  # a pixel more than the gap, so that cut edges do not show
    wider = squares + np.column_stack((-reach, -reach, reach, reach))
    polygons = polygons_to_utm(epsg, fires.geometry)
    fire, window = shapely.STRtree(shapely.box(*wider.T)).query(polygons, predicate="intersects")
    burnt, counts = _roles(fires, fire, group[rows[window]], day[rows[window]], config)
    fire, window, burnt = fire[counts], window[counts], burnt[counts]
    whole = burnt & shapely.contains(polygons[fire], shapely.box(*squares[window].T))
    filled = set(window[whole].tolist())
    order = np.lexsort((fire, window))
    for one in np.unique(window).tolist():
        mask = masks[rows[one]]
        if one in filled:
            mask[:] = BURNT
            continue
        left, right = np.searchsorted(window[order], [one, one + 1])
        mine = order[left:right]
        pieces = [_piece(polygons[f], wider[one]) for f in fire[mine].tolist()]
        gaps = [shapely.buffer(p, config.gap_m, quad_segs=_QUAD_SEGS) for p in pieces]
        inside = [p for p, b in zip(pieces, burnt[mine].tolist(), strict=True) if b]
        # the later stands where two cover a pixel
        shapes = [*((g, NODATA) for g in gaps), *((p, BURNT) for p in inside)]
        shapes = [(shape, value) for shape, value in shapes if shapely.area(shape) > 0]
        if shapes:
            west, north = squares[one, 0], squares[one, 3]
            grid = Affine(metres[one], 0, west, 0, -metres[one], north)
            rasterio.features.rasterize(shapes, out=mask, transform=grid)


def _roles(
    fires: Fires, fire: np.ndarray, group: np.ndarray, day: np.ndarray, config: MasksConfig
) -> tuple[np.ndarray, np.ndarray]:
    """Whether a fire is burnt on a window's date, and whether it counts at all; bool (pairs,)."""
    start, end = fires.start[fire], fires.end[fire]
    begun = start <= day + config.after_days
    own = (fires.group_id[fire] == group) & (start <= day)
    recent = (end <= day) & (end >= day - config.recent_days)
    burnt = (own | recent) & fires.dated[fire] & ~fires.prescribed[fire]
    scar = begun & (end >= day - config.scar_years * _DAYS_A_YEAR)
    return burnt, burnt | scar


def _piece(polygon: shapely.Geometry, box: np.ndarray) -> shapely.Geometry:
    """What of a polygon lies in a box; a big one is cut before anything else is done with it."""
    piece = shapely.clip_by_rect(polygon, *box)
    if not shapely.is_valid(piece):
        piece = shapely.make_valid(piece, method="structure", keep_collapsed=False)
    return piece
