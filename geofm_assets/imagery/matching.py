"""Which scenes each window's periods draw on, for all windows of a cell at once.

The answer is rslearn's own (its MOSAIC mode over the scenes of a period). Where every scene that
touches a window covers it whole, as nearly all do, that answer is the first `coverages` of them;
only the others are put to rslearn one by one.
"""

from collections.abc import Sequence

import numpy as np
import shapely
from rslearn.config import QueryConfig
from rslearn.data_sources.utils import match_with_space_mode_mosaic
from rslearn.dataset import Window
from rslearn.utils.geometry import Projection, STGeometry

from geofm_assets.imagery.periods import Period, centre, period_of
from geofm_assets.imagery.scenes import LocalScenes, SceneItem
from geofm_assets.imagery.stored import ImageryLayer

Groups = list[list[SceneItem]]
"""The scenes of each period, best first."""


def match_windows(
    source: LocalScenes, layer: ImageryLayer, windows: Sequence[Window]
) -> list[Groups]:
    """Scenes of each window's periods, oldest first; no groups where no period has a scene.

    Args:
        source: the layer's scenes.
        layer: gives the periods and how many coverages a mosaic may draw on.
        windows: of any projection.

    Raises:
        ImageryError: the folder is not what its index says, or a window has no time range.
    """
    source.refresh()
    matched: list[Groups] = [[] for _ in windows]
    by_grid: dict[Projection, list[int]] = {}
    for row, window in enumerate(windows):
        by_grid.setdefault(window.projection, []).append(row)
    for projection, rows in by_grid.items():
        here = [windows[row] for row in rows]
        for row, groups in zip(rows, _on_grid(source, layer, projection, here), strict=True):
            matched[row] = groups
    return matched


def _on_grid(
    source: LocalScenes, layer: ImageryLayer, projection: Projection, windows: list[Window]
) -> list[Groups]:
    assert layer.config.data_source is not None
    query = layer.config.data_source.query_config
    coverages = query.mosaic_compositing_overlaps
    mosaic = QueryConfig(max_matches=1, mosaic_compositing_overlaps=coverages)
    found = source.candidates(projection)
    if not found:
        return [[] for _ in windows]
    items = [item for item, _, _ in found]
    shapes = np.array([shape for _, _, shape in found], dtype=object)
    shapely.prepare(shapes)
    corners = np.array([w.bounds for w in windows], dtype=np.float64)
    boxes = np.array([shapely.box(*corner) for corner in corners.tolist()], dtype=object)
    touches = shapely.intersects(shapes[:, None], boxes[None, :])
    covers = shapely.covers(shapes[:, None], boxes[None, :])
    steps: dict[tuple[Period, ...], list[int | None]] = {}
    matched: list[Groups] = []
    for column, window in enumerate(windows):
        laid = tuple(layer.periods(window))
        if laid not in steps:
            steps[laid] = [period_of(centre(*scene.time), laid) for _, scene, _ in found]
        chosen: list[list[int]] = [[] for _ in laid]
        for number in np.flatnonzero(touches[:, column]).tolist():
            step = steps[laid][number]
            if step is not None:
                chosen[step].append(number)
        groups: Groups = []
        for numbers in chosen:
            if all(covers[n, column] for n in numbers):
                groups.append([items[n] for n in numbers[:coverages]])
                continue
            geometry = STGeometry(projection, boxes[column], window.time_range)
            exact = match_with_space_mode_mosaic(
                geometry, [items[n] for n in numbers], [shapes[n] for n in numbers], mosaic
            )
            groups.append(exact[0] if exact else [])
        matches = sum(1 for group in groups if group)
        matched.append([] if matches == 0 or matches < query.min_matches else groups)
    return matched
