"""Inventory and statistics of a cell's mosaics."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from geofm_assets.imagery.bands import LAYERS
from geofm_assets.imagery.cell_file import LayerMosaics
from geofm_assets.imagery.schema import BAND_STATS, RASTER, REFUSED_WINDOW
from geofm_assets.imagery.statistics import BandHistogram

NO_IMAGERY = "no_imagery"
_STAMP = pa.timestamp("us", "UTC")


@dataclass(frozen=True)
class CellRasters:
    """What a cell's windows came to.

    Attributes:
        rasters: RASTER rows, one a window, layer and timestep.
        bands: BAND_STATS rows over the windows that are not refused; none if there are none.
        refused: REFUSED_WINDOW rows: no layer has a valid pixel in any of the periods. A window
            that lacks one layer and has another is kept, its missing months counted in `rasters`.
        file: name of the packed file.
    """

    rasters: pa.Table
    bands: pa.Table
    refused: pa.Table
    file: str = ""

    def in_file(self, name: str) -> "CellRasters":
        """The same, told which packed file it lies in."""
        index = self.rasters.schema.get_field_index("file")
        column = pa.repeat(pa.scalar(name, pa.string()), self.rasters.num_rows)
        return replace(self, rasters=self.rasters.set_column(index, "file", column), file=name)


def take_stock(
    cell: str, windows: Sequence[Mapping[str, Any]], mosaics: Mapping[str, LayerMosaics]
) -> CellRasters:
    """Count what is there.

    Args:
        cell: the H3 cell.
        windows: WINDOW rows in row order.
        mosaics: by layer name.
    """
    names = [str(row["window_name"]) for row in windows]
    tables = [_rasters(cell, names, layer, mosaics[layer]) for layer in sorted(mosaics)]
    rasters = pa.concat_tables([RASTER.empty_table(), *tables]).sort_by(
        [(key, "ascending") for key in ("window_name", "layer", "timestep")]
    )
    refused = refused_windows(rasters)
    out = set(refused["window_name"].to_pylist())
    kept = [row for row, name in enumerate(names) if name not in out]
    bands: list[dict[str, Any]] = []
    for layer in sorted(mosaics) if kept else ():
        histogram = BandHistogram(LAYERS[layer])
        for row in kept:
            histogram.add(mosaics[layer].values[row])
        bands += histogram.rows(cell)
    return CellRasters(rasters.combine_chunks(), pa.Table.from_pylist(bands, BAND_STATS), refused)


def refused_windows(rasters: pa.Table) -> pa.Table:
    """REFUSED_WINDOW rows of an inventory: windows without a valid pixel in any layer."""
    columns = rasters.select(["window_name", "present"]).group_by("window_name")
    counted = columns.aggregate([("present", "any")])
    names = counted.filter(pc.invert(counted["present_any"]))["window_name"]
    rows = []
    for name in sorted(names.to_pylist()):
        mine = rasters.filter(pc.equal(rasters["window_name"], name))
        scenes = {item for text in mine["items"].to_pylist() for item in text.split(",") if item}
        first = pc.min(mine["period_start"]).as_py()
        last = pc.max(mine["period_end"]).as_py()
        rows.append(
            {
                "window_name": name,
                "h3_cell": mine["h3_cell"][0].as_py(),
                "reason": NO_IMAGERY,
                "detail": f"no valid pixel from {first:%Y-%m-%d} to {last:%Y-%m-%d} in "
                + (f"{len(scenes)} scenes" if scenes else "any scene: none covers it"),
            }
        )
    return pa.Table.from_pylist(rows, schema=REFUSED_WINDOW)


def _rasters(cell: str, names: Sequence[str], layer: str, mosaics: LayerMosaics) -> pa.Table:
    count, months = mosaics.present.shape
    missing = LAYERS[layer].is_nodata(mosaics.values)
    shares = missing.mean(axis=(2, 3, 4)) if missing.size else np.ones((count, months))
    called = [item["name"] for item in mosaics.items]
    items = [
        ",".join(called[i] for i in step)
        for groups in mosaics.groups
        for step in (groups or [[]] * months)
    ]
    size = count * months
    periods = mosaics.periods.reshape(size, 2)
    return pa.Table.from_arrays(
        [
            pa.array(np.repeat(np.array(names, dtype=object), months), pa.string()),
            pa.repeat(pa.scalar(cell, pa.string()), size),
            pa.repeat(pa.scalar(layer, pa.string()), size),
            pa.array(np.tile(np.arange(months, dtype=np.int16), count)),
            pa.array(periods[:, 0]).cast(_STAMP),
            pa.array(periods[:, 1]).cast(_STAMP),
            pa.array(items, pa.string()),
            pa.array(mosaics.present.reshape(size)),
            pa.array(shares.reshape(size)),
            pa.repeat(pa.scalar("", pa.string()), size),
        ],
        schema=RASTER,
    )
