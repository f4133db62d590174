"""How the masks of a cell are made.

Plain Python: a stage can be made from a notebook with a `Store`.
"""

import hashlib
import json
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import shapely

from geofm_assets.core.outcome import (
    CheckOutcome,
    Outcome,
    kept_rows,
    schema_check,
    table_metadata,
)
from geofm_assets.core.stage import content_of, inputs_digest
from geofm_assets.core.store import Store
from geofm_assets.labels.calfire.fires import COLUMNS, read_fires
from geofm_assets.labels.calfire.side_tables import perimeter_keys, read_samples
from geofm_assets.sampling.task import SamplingTask
from geofm_assets.windows.config import MasksConfig, WindowsConfig
from geofm_assets.windows.schema import Mask
from geofm_assets.windows.stages import WindowGroupStage

_WINDOW_COLUMNS = [
    "window_name", "sample_id", "collection_id", "class_name", "crs", "resolution", "col_min",
    "row_min", "col_max", "row_max", "valid_time", "lon", "lat", "simulated",
]  # fmt: skip


@dataclass(frozen=True)
class MasksStage:
    """The masks of one H3 cell's windows."""

    task: SamplingTask
    windows: WindowsConfig
    masks: MasksConfig
    code_version: str = "2"

    def key(self, cell: str) -> str:
        """Store key of the table of masks."""
        return f"tasks/{self.task.name}/masks/h3_cell={cell}/masks.parquet"

    def inputs(self, store: Store, cell: str) -> str:
        """The cell's windows and their groups, the perimeters near them, and the settings.

        A perimeter anywhere else does not matter.
        """
        return self._read(store, cell)[0]

    def make(self, store: Store, cell: str, force: bool) -> Outcome:
        """Rasterise the perimeters near the cell's windows."""
        from geofm_assets.windows.label_boxes import label_boxes
        from geofm_assets.windows.masks import masks_for_windows

        inputs, windows, samples, near = self._read(store, cell)
        found = store.provenance(self.key(cell))
        polygons = self.windows.around == "polygons"
        if found is not None and found.inputs == inputs and not force:
            table, skipped = store.read_table(self.key(cell)), True
            content, schema = found.content, kept_rows(table.num_rows)
        else:
            fires, skipped = read_fires(near), False
            labelled = None
            if polygons:
                least = self.windows.min_size or self.windows.size
                labelled = label_boxes(windows, samples, fires, least)
            table = masks_for_windows(windows, samples, fires, self.masks, labelled)
            ref = store.write_table(
                self.key(cell),
                table,
                Mask,
                inputs=inputs,
                code_version=self.code_version,
                simulated=bool(pc.any(table["simulated"]).as_py()),
            )
            content, schema = ref.provenance.content, schema_check(ref.report)
        pixels = {name: int(pc.sum(table[name]).as_py() or 0) for name in _COUNTS}
        metadata = {**table_metadata(table.drop_columns("mask")), **pixels}
        return Outcome(
            content, inputs, metadata, [schema, _centres(windows, table, polygons)], skipped
        )

    def _read(self, store: Store, cell: str) -> tuple[str, pa.Table, pa.Table, pa.Table]:
        """Digest of what the masks are made from; windows, samples and perimeters near them."""
        from geofm_assets.windows.masks import boxes_around

        key = WindowGroupStage(self.task, self.windows).key(cell)
        content = content_of(store, key)
        windows = store.read_table(key, _WINDOW_COLUMNS)
        collections = sorted(pc.unique(windows["collection_id"]).to_pylist())
        polygons = self.windows.around == "polygons"
        columns = ["sample_id", "group_id", *(["kind", "fire_id"] if polygons else [])]
        samples = read_samples(store, self.task.source.root, collections, columns)
        here = pc.is_in(samples["sample_id"], value_set=windows["sample_id"].combine_chunks())
        samples = samples.filter(here).sort_by("sample_id")
        perimeters = _perimeters(store, self.task.source.root)
        rows = perimeters.near(boxes_around(windows, self.masks))
        said = sorted(perimeters.digests[i] for i in rows.tolist())
        least = [self.windows.min_size] if polygons else []
        inputs = inputs_digest(
            self, content, samples.to_pylist(), said, self.masks.model_dump(), *least
        )
        return inputs, windows, samples, perimeters.table.take(pa.array(rows))


_MATTERS = ["group_id", "fire_year", "alarm_date", "contained_date", "prescribed", "dated"]
_COUNTS = ("burnt", "unburnt", "nodata")


def _centres(windows: pa.Table, masks: pa.Table, polygons: bool) -> CheckOutcome:
    """Whether masks say at their middle what the samples say: they are upright and in place.

    The middle is the pixel that holds the sample's point (see `geometry.pixel_bounds`). A window
    around a polygon is burnt somewhere, which need not be there.
    """
    from geofm_assets.windows.masks import BURNT, UNBURNT

    classes = dict(
        zip(*(windows[c].to_pylist() for c in ("window_name", "class_name")), strict=True)
    )
    wrong = []
    for row in masks.to_pylist():
        size = row["size"]
        value = row["mask"][(size - 1) // 2 * size + size // 2]
        burnt = classes[row["window_name"]] == "burnt"
        contradicts = value == (UNBURNT if burnt else BURNT)
        if polygons and burnt:
            contradicts = row["burnt"] == 0
        if contradicts:
            wrong.append(row["window_name"])
    middle = "" if polygons else " at the middle"
    text = f"{len(wrong)} of {masks.num_rows} masks contradict their sample{middle}"
    first = f"; the first is {wrong[0]}" if wrong else ""
    return CheckOutcome("centres_agree", len(wrong) <= max(1, masks.num_rows // 10), text + first)


class _Perimeters:
    """Perimeters of all years, and where each lies.

    Attributes:
        table: the columns of PERIMETER that masks ask for, sorted by fire_id.
        digests: of what a mask depends on, of each row.
    """

    def __init__(self, table: pa.Table) -> None:
        self.table = table.sort_by("fire_id").combine_chunks()
        outlines = shapely.bounds(shapely.from_wkb(self.table["geometry"].to_numpy()))
        self._tree = shapely.STRtree(np.asarray(shapely.box(*outlines.T)))
        self.digests = [
            hashlib.sha256(
                row.pop("geometry") + json.dumps(row, sort_keys=True, default=str).encode()
            ).hexdigest()
            for row in self.table.select([*_MATTERS, "geometry"]).to_pylist()
        ]

    def near(self, boxes: np.ndarray) -> np.ndarray:
        """Rows, ascending, whose outline meets one of some boxes in degrees, (N, 4)."""
        return np.unique(self._tree.query(shapely.box(*boxes.T))[1])


_last_read: dict[tuple[str, str], tuple[object, _Perimeters]] = {}


def _perimeters(store: Store, root: str) -> _Perimeters:
    """The perimeters of a label source; read again only when one of their files has changed."""
    keys = perimeter_keys(store, root)
    state = [(key, store.stamp(key)) for key in keys]
    known = _last_read.get((store.url, root))
    if known is None or known[0] != state:
        read = _Perimeters(pa.concat_tables([store.read_table(key, COLUMNS) for key in keys]))
        _last_read.clear()
        known = _last_read[store.url, root] = (state, read)
    return known[1]
