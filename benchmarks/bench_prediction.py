"""A map of local scenes against the same model on arrays in memory; memory as the area grows."""

import json
from pathlib import Path
from typing import Any

from benchmarks.harness import Arguments, Side, done, measured, run_side, side_main
from benchmarks.results import Result
from benchmarks.workplace import Workplace

EXPERIMENT = "olmoearth_v1_2_nano-s2-ps4-ws32-t2-seg"
PEER = "the model on arrays in memory"
# side of a tile in pixels; an area is one tile, the larger one two by two
_TILE_PX = {"tiny": 32, "small": 512, "full": 1024}
_EPSG, _COLUMN, _ROW = 32610, 50_176, -400_384  # multiples of every tile's side
_PIXEL_M = 10
_BLOCK_PX = 256
_FRAMES = (-1, 1)
_DAY = "2021-07-15"
_MONTHS = (("2021-06-01", "2021-07-01"), ("2021-08-01", "2021-09-01"))
_CLASSES = ("unburnt", "burnt")
_THREADS = 2
_AT_LEAST, _AT_MOST = 0.6, 1.1


def run(place: Workplace) -> list[Result]:
    """Pixels a second beside the model alone, and peak memory of four times the area."""
    sizes = place.sizes
    folder = place.work("prediction", fresh=True)
    side = _TILE_PX[sizes.name]
    given = {"folder": str(folder), "tile_px": side, "seed": sizes.seed}
    run_side("bench_prediction", "prepare", {**given, "tiles": 2})
    alone = run_side("bench_prediction", "in_memory", given, repeat=sizes.repeat)
    small = run_side("bench_prediction", "area", {**given, "tiles": 1}, repeat=sizes.repeat)
    large = run_side("bench_prediction", "area", {**given, "tiles": 2})
    place.clear_work("prediction")
    note = (
        f"{EXPERIMENT} from a random start on CPU, {_THREADS} threads; two months of Sentinel-2 "
        "on local disk. A map is tiles, mosaic, polygons and the check for seams; the model alone "
        "is given the same batches, read and normalised before."
    )
    rate, peer_rate = small.rows / small.wall_s, alone.rows / alone.wall_s
    more = {
        "tile_px": side,
        "tiles_s": small.said["tiles_s"],
        "products_s": small.said["products_s"],
        "wall_s": small.wall_s,
        "peer_wall_s": alone.wall_s,
        "peer_peak_mb": alone.peak_mb,
        "polygons": small.said["polygons"],
    }
    grown = {
        "peak_mb": small.peak_mb,
        "peak_mb_of_four": large.peak_mb,
        "pixels": small.rows,
        "pixels_of_four": large.rows,
        "start_mb": large.said["start_mb"],
        "rate_of_four": large.rows / large.wall_s,
    }
    return [
        Result(
            *("prediction, a map", rate, "px/s", PEER, peer_rate, rate / peer_rate),
            at_least=_AT_LEAST, cpu_s=small.cpu_s, peak_mb=small.peak_mb, rows=small.rows,
            note=note, more=more,
        ),
        Result(
            *("prediction, memory of four areas", large.peak_mb / small.peak_mb, "of one's"),
            at_most=_AT_MOST, cpu_s=large.cpu_s, peak_mb=large.peak_mb, rows=large.rows,
            note=note, more=grown,
        ),
    ]  # fmt: skip


def prepare(arguments: Arguments) -> Side:
    """Scenes, a dataset that names them, and a checkpoint that was never trained."""
    folder, side = Path(arguments["folder"]), arguments["tile_px"] * arguments["tiles"]
    with measured() as taken:
        _write_scenes(folder / "scenes", side, arguments["seed"])
        _write_checkpoint(folder / "checkpoint.ckpt")
    return done(taken, side * side)


def in_memory(arguments: Arguments) -> Side:
    """The batches of one tile, as the predict path makes them, through the model alone."""
    from concurrent.futures import ThreadPoolExecutor

    from geofm_assets.prediction.infer import predict_tile
    from geofm_assets.training.running import reproducible

    opened = _Opened(arguments, 1)
    kept = _Keeping(opened.model)
    zone, tile = opened.zone, opened.zone.tiles[0]
    with reproducible(1):
        predict_tile(
            kept, opened.imagery, opened.grid, zone.projection, tile.bounds, zone.inside(tile)
        )
        with measured() as taken, ThreadPoolExecutor(_THREADS) as pool:
            answers = sum(len(answer) for answer in pool.map(opened.model.predict, kept.batches))
    return done(taken, arguments["tile_px"] ** 2, crops=answers)


def area(arguments: Arguments) -> Side:
    """A map of `tiles` by `tiles` tiles, from scenes to polygons."""
    import time

    from geofm_assets.prediction.ground import small_cache
    from geofm_assets.prediction.legend import legend
    from geofm_assets.prediction.mosaic import build_mosaic
    from geofm_assets.prediction.polygons import vectorize
    from geofm_assets.prediction.seams import measure_seams
    from geofm_assets.prediction.tiles import make_tile
    from geofm_assets.training.running import reproducible

    opened = _Opened(arguments, arguments["tiles"])
    out = Path(arguments["folder"]) / f"map-{arguments['tiles']}"
    out.mkdir(exist_ok=True)
    paths, pixels = [], 0
    with measured() as taken:
        began = time.perf_counter()
        with small_cache(), reproducible(1):
            for number, tile in enumerate(opened.zone.tiles):
                row, data = make_tile(
                    opened.zone, tile, opened.model, opened.imagery, opened.grid, threads=_THREADS
                )
                assert data is not None
                pixels += sum(json.loads(row["class_pixels"]).values())
                paths.append(out / f"{number}.tif")
                paths[-1].write_bytes(data)
        tiles_s = time.perf_counter() - began
        shown = legend(_CLASSES)
        with small_cache():
            mosaic = build_mosaic(paths, out / "map.tif", _EPSG, shown, {"simulated": True})
            polygons = vectorize(
                [mosaic], out / "map.gpkg", shown, [opened.asked], model_id="", simulated=True
            )
            step, overlap = opened.grid.step, opened.grid.overlap
            measure_seams([mosaic], arguments["tile_px"], step, overlap, dense=True)
    assert len(paths) == arguments["tiles"] ** 2
    products_s = taken.wall_s - tiles_s
    return done(taken, pixels, tiles_s=tiles_s, products_s=products_s, polygons=polygons.polygons)


class _Opened:
    """The model, its imagery and the area."""

    def __init__(self, arguments: Arguments, tiles: int) -> None:
        import datetime as dt

        import numpy as np
        import shapely

        from geofm_assets.imagery.config import ImageryConfig
        from geofm_assets.imagery.dataset import ensure_dataset
        from geofm_assets.prediction.crops import CropGrid
        from geofm_assets.prediction.ground import to_degrees
        from geofm_assets.prediction.imagery import MapImagery
        from geofm_assets.prediction.model import CheckpointModel
        from geofm_assets.prediction.partition import partition
        from geofm_assets.prediction.request import Area
        from geofm_assets.training.experiments import Experiment
        from geofm_assets.windows.config import WindowsConfig

        folder, side = Path(arguments["folder"]), arguments["tile_px"] * tiles
        experiment = Experiment.parse(EXPERIMENT)
        config = ImageryConfig(frames=_FRAMES, modalities=("sentinel2_l2a",))
        windows = WindowsConfig(size=experiment.window_size)
        ensure_dataset(
            folder / "dataset", config, str(folder / "scenes"), "", "files",
            days_before=windows.days_before,
        )  # fmt: skip
        self.model = CheckpointModel(folder / "checkpoint.ckpt", "cpu")
        self.imagery = MapImagery(folder / "dataset", experiment, windows, _FRAMES)
        self.grid = CropGrid(experiment.window_size, experiment.window_size // 2)
        # half a pixel inside, so that the next tiles are not touched
        left, top = (_COLUMN + 0.5) * _PIXEL_M, -(_ROW + 0.5) * _PIXEL_M
        reach = (side - 1) * _PIXEL_M
        box = np.array([shapely.box(left, top - reach, left + reach, top)], dtype=object)
        place = to_degrees(box, _EPSG)[0]
        day = dt.date.fromisoformat(_DAY)
        (self.zone,) = partition({day: place}, _PIXEL_M, arguments["tile_px"])
        start = dt.datetime(day.year, day.month, day.day, tzinfo=dt.UTC)
        self.asked = Area("area", place, start, start + dt.timedelta(days=1), {})


class _Keeping:
    """A model that keeps what it is given."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self.batches: list[Any] = []
        self.window_size, self.classes, self.device = model.window_size, model.classes, model.device

    def predict(self, batch: Any) -> Any:
        self.batches.append(batch)
        return self._model.predict(batch)


def _write_scenes(folder: Path, side: int, seed: int) -> None:
    """One Sentinel-2 scene a month that covers the area and a crop's width around it."""
    import numpy as np
    import rasterio
    from affine import Affine
    from rasterio.windows import Window

    from benchmarks.generate_scenes import S2_BANDS

    folder.mkdir(parents=True, exist_ok=True)
    margin = 2 * _BLOCK_PX
    whole = -(-(side + 2 * margin) // _BLOCK_PX) * _BLOCK_PX
    entries = []
    for number, (start, end) in enumerate(_MONTHS):
        rng = np.random.default_rng([seed, number])
        name = f"S2_{start}.tif"
        with rasterio.open(
            folder / name, "w", driver="GTiff", count=len(S2_BANDS), width=whole, height=whole,
            dtype="uint16", nodata=0, crs=f"EPSG:{_EPSG}", tiled=True, blockxsize=_BLOCK_PX,
            blockysize=_BLOCK_PX, compress="deflate", bigtiff="IF_SAFER",
            transform=Affine(_PIXEL_M, 0, (_COLUMN - margin) * _PIXEL_M,
                             0, -_PIXEL_M, -(_ROW - margin) * _PIXEL_M),
        ) as target:  # fmt: skip
            for row in range(0, whole, _BLOCK_PX):
                for column in range(0, whole, _BLOCK_PX):
                    coarse = rng.integers(200, 4000, (len(S2_BANDS), 16, 16))
                    pixels = np.kron(coarse, np.ones((1, _BLOCK_PX // 16, _BLOCK_PX // 16)))
                    pixels += rng.integers(0, 100, pixels.shape)
                    window = Window(column, row, _BLOCK_PX, _BLOCK_PX)
                    target.write(pixels.astype(np.uint16), window=window)
        entries.append(
            {"file": name, "collection": "sentinel-2-l2a", "bands": list(S2_BANDS),
             "start": f"{start}T00:00:00Z", "end": f"{end}T00:00:00Z", "nodata": 0,
             "simulated": True}
        )  # fmt: skip
    (folder / "items.json").write_text(json.dumps(entries), "utf-8")


def _write_checkpoint(path: Path) -> None:
    import torch

    from geofm_assets.models.config import EncoderSpec
    from geofm_assets.models.encoders import build_encoder
    from geofm_assets.training.checkpoint import band_contract, identity, write_checkpoint
    from geofm_assets.training.config import TrainingConfig
    from geofm_assets.training.experiments import Experiment
    from geofm_assets.training.segmentation import window_model

    experiment, rule = Experiment.parse(EXPERIMENT), "identity@1"
    torch.manual_seed(0)
    encoder = build_encoder(
        EncoderSpec(name=experiment.encoder, source="random"), experiment.patch_size
    )
    model = window_model(experiment, encoder.module, encoder.embedding_size, len(_CLASSES))
    state, contract = model.state_dict(), band_contract(experiment)
    write_checkpoint(
        path,
        {
            "state_dict": state,
            "model_id": identity(state, experiment, _CLASSES, rule, contract, _FRAMES),
            "experiment": experiment.model_dump(),
            "classes": list(_CLASSES),
            "label_rule": rule,
            "band_contract": contract,
            "training": TrainingConfig().model_dump(),
            "frames": list(_FRAMES),
            "weights": {"start": "random initialisation, seed 0"},
            "simulated": True,
        },
    )


SIDES = {"prepare": prepare, "in_memory": in_memory, "area": area}

if __name__ == "__main__":
    side_main(SIDES)
