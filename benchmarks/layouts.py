"""rslearn datasets for the peers: configuration, windows and ready pixels, by rslearn alone.

Two layouts: `default` is what rslearn does when nothing is said (window files, a GeoTIFF an item
group), `fastest` the one found to load fastest (SQLite windows, one numpy array a layer).
"""

import datetime as dt
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import shapely
from rasterio.crs import CRS
from rslearn.dataset import Dataset, Window
from rslearn.dataset.window import WindowLayerData
from rslearn.utils.feature import Feature
from rslearn.utils.geometry import Projection, STGeometry
from rslearn.utils.raster_array import RasterArray, RasterMetadata
from upath import UPath

Layout = Literal["default", "fastest"]
MONTHS = 12
BANDS: dict[str, tuple[str, ...]] = {
    "sentinel2_l2a": (
        "B02", "B03", "B04", "B08", "B05", "B06", "B07", "B8A", "B11", "B12", "B01", "B09",
    ),
    "sentinel1": ("vv", "vh"),
}  # fmt: skip
_DTYPES = {"sentinel2_l2a": "uint16", "sentinel1": "float32"}
_NODATA = {"sentinel2_l2a": 0.0, "sentinel1": -32768.0}
_COLLECTIONS = {"sentinel2_l2a": "sentinel-2-l2a", "sentinel1": "sentinel-1-rtc"}
_NUMPY = {"class_path": "rslearn.utils.raster_format.NumpyRasterFormat"}
_FASTEST = {
    "storage": {"class_path": "rslearn.dataset.storage.sqlite.SQLiteWindowStorageFactory"},
    "window_data_storage": {
        "class_path": "rslearn.dataset.window_data_storage.per_layer.PerLayerStorageFactory"
    },
}


def write_config(folder: Path, layout: Layout, scenes: Path | None = None) -> None:
    """config.json of a dataset; with `scenes`, one that prepares, ingests and materializes them.

    Nearest resampling, first valid pixel (rslearn's default compositor) and nodata values are the
    platform's, so that pixels can be compared.
    """
    layers: dict[str, Any] = {"label": {"type": "vector"}}
    for name, bands in BANDS.items():
        band_set: dict[str, Any] = {
            "dtype": _DTYPES[name],
            "bands": list(bands),
            "nodata_value": _NODATA[name],
        }
        if layout == "fastest":
            band_set["format"] = _NUMPY
        layer: dict[str, Any] = {
            "type": "raster",
            "band_sets": [band_set],
            "resampling_method": "nearest",
        }
        if scenes is not None:
            layer["data_source"] = _source(scenes, _COLLECTIONS[name])
        layers[name] = layer
    more = _FASTEST if layout == "fastest" else {}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"layers": layers, **more}, indent=1), "utf-8")


def save_windows(
    folder: Path, rows: Iterable[Mapping[str, Any]], *, label: bool = True
) -> list[Window]:
    """`Window.save` and one GeoJSON label each, as the seed's script creates windows.

    Args:
        folder: the dataset.
        rows: rows of the platform's windows: name, group, grid, bounds, times, class, options.
        label: whether to write the label as well.
    """
    dataset = Dataset(UPath(folder))
    label_format = dataset.layers["label"].instantiate_vector_format()
    windows = []
    for row in rows:
        side = row["resolution"]
        window = Window(
            storage=dataset.storage,
            group=row["h3_cell"],
            name=row["window_name"],
            projection=Projection(CRS.from_string(row["crs"]), side, -side),
            bounds=(row["col_min"], row["row_min"], row["col_max"], row["row_max"]),
            time_range=(row["time_start"], row["time_end"]),
            options={
                "split": row["split"],
                "sample_id": row["sample_id"],
                "ewoc_code": row["ewoc_code"],
                "h3_l3_cell": row["h3_l3_cell"],
                "quality_score_lc": row["quality_score_lc"],
                "quality_score_ct": row["quality_score_ct"],
            },
            data_factory=dataset.window_data_storage_factory,
        )
        window.save()
        if label:
            box = STGeometry(window.projection, shapely.box(*window.bounds), None)
            with window.data.open_layer_writer("label") as writer:
                writer.write_vector(label_format, [Feature(box, {"category": row["class_name"]})])
            window.mark_layer_completed("label")
        windows.append(window)
    return windows


def write_pixels(
    folder: Path,
    windows: Iterable[Window],
    made: Mapping[str, Mapping[str, tuple[np.ndarray, np.ndarray]]],
) -> None:
    """Lay ready mosaics into a dataset through rslearn's own writers.

    Args:
        folder: the dataset.
        windows: of it.
        made: by window name and layer pixels (T, C, H, W) and their times (T, 2), microseconds
            since 1970.
    """
    dataset = Dataset(UPath(folder))
    for window in windows:
        datas = {}
        for name, (mosaics, times) in made[window.name].items():
            band_set = dataset.layers[name].band_sets[0]
            raster_format = band_set.instantiate_raster_format()
            stamps = [(_moment(start), _moment(end)) for start, end in times.tolist()]
            with window.data.open_layer_writer(name) as writer:
                for step, mosaic in enumerate(mosaics):
                    raster = RasterArray(
                        array=mosaic[:, None],
                        timestamps=[stamps[step]],
                        metadata=RasterMetadata(nodata_value=_NODATA[name]),
                    )
                    grid = (window.projection, window.bounds)
                    writer.write_raster(band_set.bands, raster_format, *grid, raster, step)
            for step in range(len(mosaics)):
                window.mark_layer_completed(name, step)
            datas[name] = WindowLayerData(
                name, [[] for _ in mosaics], list(stamps), materialized=True
            )
        window.save_layer_datas(datas)


def mark_first_groups(windows: Iterable[Window]) -> None:
    """Mark the first item group of each layer done, which is all a scan for training looks at."""
    for window in windows:
        for name in BANDS:
            window.mark_layer_completed(name, 0)


def random_pixels(count: int, side: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Valid pixels without meaning, by layer (count, MONTHS, C, side, side)."""
    optical = rng.integers(200, 4000, (count, MONTHS, 12, side, side), dtype=np.uint16)
    radar = rng.uniform(-20, -5, (count, MONTHS, 2, side, side)).astype(np.float32)
    return {"sentinel2_l2a": optical, "sentinel1": radar}


def month_periods() -> np.ndarray:
    """(MONTHS, 2) microseconds of the months the generated scenes are of."""
    from benchmarks.generate_scenes import MONTHS as STARTS

    edges = [
        int(dt.datetime(d.year, d.month, d.day, tzinfo=dt.UTC).timestamp()) * 1_000_000
        for d in STARTS
    ]
    return np.array([edges[:-1], edges[1:]], dtype=np.int64).T


def _moment(micros: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(micros / 1e6, dt.UTC)


def _source(scenes: Path, collection: str) -> dict[str, Any]:
    return {
        "class_path": "benchmarks.peers.scenes_source.MonthlyScenes",
        "init_args": {"folder": str(scenes.resolve()), "collection": collection},
        "query_config": {
            "space_mode": "MOSAIC",
            "max_matches": MONTHS,
            "per_period_mosaic_reverse_time_order": False,
        },
        # from a window that begins 15 days before valid_time: its year
        "time_offset": "-180d",
        "duration": "360d",
        "ingest": True,
    }
