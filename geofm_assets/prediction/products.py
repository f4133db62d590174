"""What is made of a map's finished tiles: mosaics, polygons, a picture, checks, a STAC item."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pystac
import shapely

from geofm_assets.core.outcome import CheckOutcome, Json, Location, Markdown
from geofm_assets.core.store import Store
from geofm_assets.prediction.ground import small_cache
from geofm_assets.prediction.legend import Legend, map_legend
from geofm_assets.prediction.mosaic import Mosaic, build_mosaic
from geofm_assets.prediction.polygons import vectorize
from geofm_assets.prediction.preview import markdown, preview
from geofm_assets.prediction.quality import QualityReport, quality_report
from geofm_assets.prediction.schema import DONE
from geofm_assets.prediction.stac_item import GEOPACKAGE, MapFile, build_item, request_areas
from geofm_assets.training.checkpoint import replace_bytes
from geofm_assets.training.mask_rows import MaskRows
from geofm_assets.training.stages import ManifestStage, TrainingTask

_SAID = "products.json"
_POLYGONS, _PREVIEW, _ITEM = _ALWAYS = ("polygons.gpkg", "preview.png", "item.json")
_TAGS = ("task", "request_id", "experiment", "model_id", "encoder_start", "label_rule", "classes",
         "days", "simulated")  # fmt: skip


@dataclass(frozen=True)
class Products:
    """What the map's asset shows.

    Attributes:
        metadata: values as in `core.outcome`.
        checks: the map's quality; none of them blocks.
    """

    metadata: Mapping[str, Any]
    checks: tuple[CheckOutcome, ...]


def make_products(
    store: Store, task: TrainingTask, folder: str, record: Mapping[str, Any], tiles: pa.Table
) -> Products:
    """Make everything people open instead of tiles.

    Called when every tile is done and before the map counts as finished, so a run that dies here
    calls it again. Below the folder: `mosaic/EPSG<code>.tif`, `polygons.gpkg`, `preview.png`,
    `item.json`, and last `products.json`, which says what was made.

    Args:
        store: where the map lies.
        task: whose model made it.
        folder: its store prefix; a `done` tile's file is `<folder>/tiles/<tile_id>.tif`.
        record: what will be request.json.
        tiles: TILE table, at least one of them done.

    Raises:
        MapError: the tiles do not fit together.
    """
    with small_cache():
        _make(store, task, folder, record, tiles)
    return kept_products(store, folder)


def _make(
    store: Store, task: TrainingTask, folder: str, record: Mapping[str, Any], tiles: pa.Table
) -> None:
    legend, areas = map_legend(record), request_areas(record)
    with store.adding(folder, have=["tiles.parquet"]) as root:
        mosaics = _mosaics(root, store.fetch_folder(f"{folder}/tiles"), record, tiles, legend)
        polygons = vectorize(
            mosaics,
            root / _POLYGONS,
            legend,
            areas,
            model_id=record["model_id"],
            simulated=record["simulated"],
        )
        picture = preview(
            mosaics,
            shapely.union_all([area.geometry for area in areas]),
            legend,
            f"{record['task']}, {', '.join(day['valid_time'] for day in record['days'])}\n"
            f"{record['request_id']}, {record['experiment']}",
            simulated=record["simulated"],
        )
        replace_bytes(root / _PREVIEW, picture)
        report = quality_report(
            mosaics,
            tiles,
            legend,
            training_shares(store, task, record),
            window_size=record["window_size"],
            overlap=record["overlap"],
            dense=record["head"] == "segmentation",
            timesteps=record["timesteps"],
        )
        item = build_item(record, _files(root, mosaics), root)
    store.write_json(f"{folder}/{_ITEM}", item)
    named = {f"{folder}/{mosaic_name(mosaic.epsg)}" for mosaic in mosaics}
    for key in store.list_keys(f"{folder}/mosaic"):
        if key not in named:  # of an earlier run with other imagery
            store.delete(key)
    said = {
        "mosaics": {f"EPSG:{mosaic.epsg}": list(mosaic.class_pixels) for mosaic in mosaics},
        "polygons": polygons.polygons,
        "polygons_ha": polygons.area_ha,
        "polygons_min_ha": polygons.min_area_ha,
        "quality": report.as_list(),
    }
    store.write_json(f"{folder}/{_SAID}", said)


def products_there(store: Store, folder: str) -> bool:
    """Whether every product of a finished map is where it was written."""
    if not store.exists(f"{folder}/{_SAID}"):
        return False
    zones = store.read_json(f"{folder}/{_SAID}")["mosaics"]
    names = [*_ALWAYS, *(mosaic_name(int(zone[5:])) for zone in zones)]
    return all(store.exists(f"{folder}/{name}") for name in names)


def kept_products(store: Store, folder: str) -> Products:
    """What was made of a finished map."""
    said = store.read_json(f"{folder}/{_SAID}")
    report = QualityReport.from_list(said["quality"])
    picture = store.read_bytes(f"{folder}/{_PREVIEW}")
    metadata: dict[str, Any] = {
        "map": Markdown(markdown(picture, "the map")),
        "mosaics": Json(
            {zone: f"{folder}/{mosaic_name(int(zone[5:]))}" for zone in said["mosaics"]}
        ),
        "stac_item": Location(f"{store.url}/{folder}/{_ITEM}"),
        "polygons": said["polygons"],
        "polygons_ha": said["polygons_ha"],
        "quality": Json({found.name: dict(found.numbers) for found in report.findings}),
    }
    return Products(metadata, tuple(found.as_check() for found in report.findings))


def read_mosaics(store: Store, folder: str) -> list[Mosaic]:
    """The mosaics of a finished map, by zone."""
    said = store.read_json(f"{folder}/{_SAID}")["mosaics"]
    zones = {int(zone[5:]): tuple(counts) for zone, counts in said.items()}
    return [
        Mosaic(store.fetch_file(f"{folder}/{mosaic_name(epsg)}"), epsg, zones[epsg])
        for epsg in sorted(zones)
    ]


def mosaic_name(epsg: int) -> str:
    """Where a zone's mosaic lies below the map's folder."""
    return f"mosaic/EPSG{epsg}.tif"


def training_shares(
    store: Store, task: TrainingTask, record: Mapping[str, Any]
) -> dict[str, float]:
    """Share of each class among what the model was trained on: windows, or pixels of their masks.

    Args:
        store: where the task lies.
        task: whose.
        record: of the map, for the model's head, crops and classes.

    Returns:
        By class name; empty if nothing is labelled.
    """
    manifest = store.read_table(ManifestStage(task).key())
    rows = manifest.filter(pc.equal(manifest["split"], "train"))
    classes: list[str] = record["classes"]
    if record["head"] == "segmentation":
        root = store.path(task.masks_folder)
        masks = MaskRows(rows, root, record["window_size"], len(classes))
        counts = masks.counts(range(len(masks)))
    else:
        ids = rows["class_id"].to_numpy().astype(np.int64)
        counts = np.bincount(ids, minlength=len(classes))
    total = int(counts.sum())
    return dict(zip(classes, (counts / total).tolist(), strict=True)) if total else {}


def _mosaics(
    root: Path, tile_files: Path, record: Mapping[str, Any], tiles: pa.Table, legend: Legend
) -> list[Mosaic]:
    """A mosaic for each zone with a tile that is done; others are removed."""
    zones: dict[int, list[Path]] = {}
    for row in tiles.filter(pc.equal(tiles["status"], DONE)).to_pylist():
        zones.setdefault(row["epsg"], []).append(tile_files / f"{row['tile_id']}.tif")
    tags = {key: record[key] for key in _TAGS}
    if legend.positive is not None:
        tags["positive"] = legend.classes[legend.positive]
    within = {zone["epsg"]: tuple(zone["bounds"]) for zone in record["zones"]}
    mark = "SIMULATED DATA: " if record["simulated"] else ""
    tags["TIFFTAG_IMAGEDESCRIPTION"] = f"{mark}{record['task']}, {record['request_id']}"
    made = [
        build_mosaic(zones[epsg], root / mosaic_name(epsg), epsg, legend, tags, within[epsg])
        for epsg in sorted(zones)
    ]
    for path in (root / "mosaic").iterdir():  # of an earlier run with other imagery
        if path not in {mosaic.path for mosaic in made}:
            path.unlink()
    return made


def _files(root: Path, mosaics: list[Mosaic]) -> list[MapFile]:
    """What the STAC item names."""
    rasters = [
        MapFile(
            f"EPSG{mosaic.epsg}",
            mosaic.path,
            pystac.MediaType.COG,
            ("data",),
            f"Class and confidence, EPSG:{mosaic.epsg}",
        )
        for mosaic in mosaics
    ]
    return [
        *rasters,
        MapFile("polygons", root / _POLYGONS, GEOPACKAGE, ("data",), "Polygons"),
        MapFile("preview", root / _PREVIEW, pystac.MediaType.PNG, ("overview",), "Picture"),
        MapFile("tiles", root / "tiles.parquet", pystac.MediaType.PARQUET, ("metadata",), "Tiles"),
    ]
