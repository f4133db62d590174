"""Small generated rslearn datasets of the classic layout, as somebody else would have made them."""

import datetime as dt
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from rasterio.crs import CRS
from rslearn.dataset import Dataset, Window
from rslearn.utils import Feature, Projection, STGeometry
from rslearn.utils.raster_array import RasterArray
from shapely.affinity import translate
from upath import UPath

S2_BANDS = ("B02", "B03", "B04", "B08")
S1_BANDS = ("vv", "vh")
UTM = Projection(CRS.from_epsg(32632), 10, -10)
EPOCH = dt.datetime(2022, 1, 1, tzinfo=dt.UTC)
MONTH = dt.timedelta(days=30)
APART = 400
"""Pixels between windows: 4 km, more than a block."""
_S2_LEVELS = np.array([700.0, 900.0, 800.0, 3000.0])
_S1_LEVELS = np.array([-11.0, -17.0])


@dataclass
class Made:
    """One window to be.

    Attributes:
        name: of the window.
        place: column and row in steps of APART pixels.
        split: of its options; None for none.
        label: value of the property, None for no label at all.
        size: side in pixels.
        group: rslearn group.
        shift: pixels eastward, for windows that overlap.
        year: of its time range.
    """

    name: str
    place: tuple[int, int]
    split: str | None = "train"
    label: Any = "water"
    size: int = 8
    group: str = "default"
    shift: int = 0
    year: int = 2022


@dataclass
class Recipe:
    """What a dataset is made of.

    Attributes:
        months: item groups a modality has.
        layers: layer name to bands.
        label_type: dtype of a raster label layer, None for a vector one.
        label_pixels: pixels of a raster label.
        polygons: geometries of a vector label in pixels from the window's upper left corner, and
            the value of each; without it the label is one box, the window.
        class_names: of the raster label layer.
        change: what to do to the pixels (C, H, W) of (window, layer, month).
        dated: items.json says when scenes were taken.
        split_key: window option that holds the split.
        simulated: scenes say that they were simulated.
    """

    months: int = 2
    layers: dict[str, Sequence[str]] = field(
        default_factory=lambda: {"sentinel2_l2a": S2_BANDS, "sentinel1": S1_BANDS}
    )
    label_type: str | None = None
    label_pixels: Callable[[Made], np.ndarray] | None = None
    polygons: Callable[[Made], Sequence[tuple[shapely.Geometry, Any]]] | None = None
    class_names: list[str] | None = None
    property_name: str = "category"
    change: Callable[[Made, str, int, np.ndarray], np.ndarray | None] | None = None
    dated: bool = True
    split_key: str = "split"
    simulated: bool = False


def grid(count: int, labels: Sequence[Any] = ("water", "forest"), **other: Any) -> list[Made]:
    """Windows of a grid, 4 km apart, splits 4:2:2, labels in turn."""
    splits = ("train", "train", "train", "train", "val", "val", "test", "test")
    return [
        Made(
            f"w{i:03d}",
            (i % 8, i // 8),
            **{"split": splits[i % 8], "label": labels[i % len(labels)], **other},
        )
        for i in range(count)
    ]


def write_dataset(folder: Path, windows: Sequence[Made], recipe: Recipe | None = None) -> Path:
    """Write a dataset, or add windows to it."""
    recipe = recipe or Recipe()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(_config(recipe)), encoding="utf-8")
    dataset = Dataset(UPath(folder))
    for made in windows:
        _write_window(dataset, made, recipe)
    return folder


def set_option(folder: Path, window: str, key: str, value: Any, group: str = "default") -> None:
    """Change an option of a window that was written."""
    path = folder / "windows" / group / window / "metadata.json"
    metadata = json.loads(path.read_text())
    metadata["options"][key] = value
    path.write_text(json.dumps(metadata))


def _config(recipe: Recipe) -> dict[str, Any]:
    label: dict[str, Any] = {"type": "vector"}
    if recipe.label_type is not None:
        band_set: dict[str, Any] = {"dtype": recipe.label_type, "bands": ["label"]}
        if recipe.class_names:
            band_set["class_names"] = [recipe.class_names]
        label = {"type": "raster", "band_sets": [band_set]}
    layers = {"label": label}
    for name, bands in recipe.layers.items():
        radar = "sentinel1" in name
        layers[name] = {
            "type": "raster",
            "band_sets": [
                {
                    "dtype": "float32" if radar else "uint16",
                    "bands": list(bands),
                    "nodata_value": -32768.0 if radar else 0,
                }
            ],
            "data_source": {
                "class_path": "rslearn.data_sources.planetary_computer.Sentinel2",
                "query_config": {"max_matches": recipe.months},
            },
        }
    return {"layers": layers}


def _write_window(dataset: Dataset, made: Made, recipe: Recipe) -> None:
    left = 40_000 + made.place[0] * APART + made.shift
    top = -500_000 + made.place[1] * APART
    start = EPOCH.replace(year=made.year)
    options = {} if made.split is None else {recipe.split_key: made.split}
    window = Window(
        storage=dataset.storage,
        group=made.group,
        name=made.name,
        projection=UTM,
        bounds=(left, top, left + made.size, top + made.size),
        time_range=(start, start + recipe.months * MONTH),
        options=options,
        data_factory=dataset.window_data_storage_factory,
    )
    window.save()
    _write_items(window, start, recipe)
    for name in recipe.layers:
        _write_layer(window, dataset, made, name, recipe)
    _write_label(window, dataset, made, recipe)


def _write_items(window: Window, start: dt.datetime, recipe: Recipe) -> None:
    if not recipe.dated:
        return
    items = []
    for name in recipe.layers:
        groups = []
        for month in range(recipe.months):
            taken = start + month * MONTH + dt.timedelta(days=3)
            geometry = STGeometry(UTM, shapely.box(*window.bounds), (taken, taken))
            item = {"name": f"{name}_{month}", "geometry": geometry.serialize()}
            groups.append([{**item, "simulated": True} if recipe.simulated else item])
        items.append({"layer_name": name, "serialized_item_groups": groups, "materialized": True})
    (Path(str(window.window_root)) / "items.json").write_text(json.dumps(items))


def _write_layer(window: Window, dataset: Dataset, made: Made, name: str, recipe: Recipe) -> None:
    band_set = dataset.layers[name].band_sets[0]
    raster_format = band_set.instantiate_raster_format()
    radar = "sentinel1" in name
    written = []
    with window.data.open_layer_writer(name) as writer:
        for month in range(recipe.months):
            seed = [ord(c) for c in f"{made.name}{name}{month}{made.year}"]
            noise = np.random.default_rng(seed).normal(
                0, 1, (len(band_set.bands), made.size, made.size)
            )
            levels = (_S1_LEVELS if radar else _S2_LEVELS)[: len(band_set.bands)]
            pixels = levels[:, None, None] + noise * (1.0 if radar else 60.0)
            pixels = pixels.astype(np.float32 if radar else np.uint16)
            changed = recipe.change(made, name, month, pixels) if recipe.change else pixels
            if changed is None:
                continue
            writer.write_raster(
                band_set.bands,
                raster_format,
                UTM,
                window.bounds,
                RasterArray(chw_array=changed),
                month,
            )
            written.append(month)
    for month in written:
        window.mark_layer_completed(name, month)


def _write_label(window: Window, dataset: Dataset, made: Made, recipe: Recipe) -> None:
    if made.label is None:
        return
    layer = dataset.layers["label"]
    with window.data.open_layer_writer("label") as writer:
        if recipe.label_type is None:
            west, north = window.bounds[:2]
            drawn = recipe.polygons(made) if recipe.polygons else [(_whole(made), made.label)]
            features = [
                Feature(
                    STGeometry(UTM, translate(shape, west, north), None),
                    {recipe.property_name: value},
                )
                for shape, value in drawn
            ]
            writer.write_vector(layer.instantiate_vector_format(), features)
        else:
            assert recipe.label_pixels is not None
            pixels = recipe.label_pixels(made)[None]
            raster = RasterArray(chw_array=pixels.astype(recipe.label_type))
            band_set = layer.band_sets[0]
            writer.write_raster(
                band_set.bands, band_set.instantiate_raster_format(), UTM, window.bounds, raster
            )
    window.mark_layer_completed("label")


def _whole(made: Made) -> shapely.Geometry:
    return shapely.box(0, 0, made.size, made.size)
