"""`geofm predict`: a map of an area, made by a fine-tuned model."""

import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from geofm_assets.cli_terminal import JsonOption, StoreOption, console, print_rows, split_commas
from geofm_assets.core.errors import RequestError
from geofm_assets.core.settings import load_settings
from geofm_assets.core.store import Store

if TYPE_CHECKING:
    from geofm_assets.prediction.mask import Mask


def predict(
    task: Annotated[str, typer.Argument(help="Name of a task, e.g. worldcereal_cropland.")],
    request: Annotated[
        Path,
        typer.Option(help="GeoJSON whose polygons carry oe_start_time and oe_end_time."),
    ],
    experiment: Annotated[str, typer.Option(help="Experiment whose model makes the map.")],
    mask: Annotated[Path | None, typer.Option(help="Raster that says where to map.")] = None,
    mask_values: Annotated[
        str | None, typer.Option(help="Values of the mask that are mapped, e.g. 1,2.")
    ] = None,
    overlap: Annotated[
        int | None,
        typer.Option(
            help="Pixels neighbouring crops share; if not given, half a crop for "
            "segmentation, none for classification."
        ),
    ] = None,
    scenes: Annotated[
        str | None, typer.Option(help="Folder of scenes, if not those of the training.")
    ] = None,
    as_json: JsonOption = False,
    store: StoreOption = None,
) -> None:
    """Map the area of a request. A run that died goes on; a finished map is left alone."""
    from geofm_assets.platform.maps import MapDriver
    from geofm_assets.platform.report import Reporter
    from geofm_assets.prediction.asked import Asked
    from geofm_assets.prediction.request import read_request

    settings = load_settings(store)
    asked = Asked(
        read_request(request),
        experiment,
        overlap,
        _mask(mask, mask_values),
        str(Path(scenes).expanduser().resolve()) if scenes else "",
    )
    reporter = Reporter(Console(quiet=True) if as_json else console)
    driver = MapDriver(settings, task, reporter)
    map_id, result = driver.make_map(asked)
    summary = map_summary(driver.store, task, map_id, made=bool(result.made))
    if as_json:
        print(json.dumps(summary, indent=1))
        return
    print_map(summary)


def _mask(path: Path | None, values: str | None) -> "Mask | None":
    """The mask of two flags.

    Raises:
        RequestError: one is given without the other, or they cannot be used.
    """
    from geofm_assets.prediction.mask import open_mask

    texts = split_commas([values] if values is not None else None)
    if path is None:
        if texts is not None:
            raise RequestError("Values without a mask", where="--mask-values", fix="Pass --mask")
        return None
    try:
        numbers = [float(text) for text in texts or []]
    except ValueError as error:
        raise RequestError(
            "The mask's values are not numbers", where=f"--mask-values {values}", fix="Write 1,2"
        ) from error
    return open_mask(path, numbers)


def map_summary(store: Store, task: str, map_id: str, *, made: bool) -> dict[str, Any]:
    """What a person or a program wants to know of a finished map."""
    from geofm_assets.prediction.stages import work_done

    folder = f"maps/{task}/{map_id}"
    record = store.read_json(f"{folder}/request.json")
    tiles = store.read_table(f"{folder}/tiles.parquet")
    products = store.read_json(f"{folder}/products.json")
    rows, (pixels, seconds) = tiles.to_pylist(), work_done(tiles)
    classes: dict[str, int] = {}
    for row in rows:
        for name, count in json.loads(row["class_pixels"]).items():
            classes[name] = classes.get(name, 0) + count
    return {
        "map": map_id,
        "path": f"{store.url}/{folder}",
        "made": made,
        "experiment": record["experiment"],
        "model_id": record["model_id"],
        "days": record["days"],
        "zones": record["zones"],
        "tiles": dict(sorted(Counter(row["status"] for row in rows).items())),
        "class_pixels": classes,
        "pixels": pixels,
        "seconds": round(seconds, 1),
        "pixels_per_second": round(pixels / max(seconds, 1e-3)),
        "simulated": record["simulated"],
        "terms": record["terms"],
        "quality": {found["name"]: found for found in products["quality"]},
        "polygons": products["polygons"],
        "scores": _scores(store, folder),
    }


def _scores(store: Store, folder: str) -> dict[str, Any]:
    """How the map fits known fires; empty if there are none to compare it with."""
    key = f"{folder}/map_summary.parquet"
    rows = store.read_table(key).to_pylist() if store.exists(key) else []
    return {row.pop("metric"): row for row in rows if row["fires"]}


def print_map(summary: dict[str, Any]) -> None:
    """Print what `map_summary` says."""
    for day in summary["days"]:
        first, last = (text[:10] for text in day["time_range"])
        console.print(f"Mapped for {day['valid_time']} (a window of {first} to {last})")
    print_rows(
        [
            {"zone": f"EPSG:{z['epsg']}", "tiles": str(z["tiles"]), "mapped": str(z["done"])}
            for z in summary["zones"]
        ]
    )
    total = max(sum(summary["class_pixels"].values()), 1)
    for name, count in sorted(summary["class_pixels"].items()):
        console.print(f"  {name}: {count:,} pixels, {count / total:.1%}", highlight=False)
    if summary["made"]:
        console.print(f"{summary['pixels_per_second']:,} pixels a second", highlight=False)
    else:
        console.print("The map was finished and current: nothing was made")
    for found in summary["quality"].values():
        mark = "ok" if found["passed"] else "LOOK"
        console.print(f"  {mark:5}{found['name']}: {found['text']}", highlight=False)
    for metric, row in summary["scores"].items():
        if row["value"] is not None:
            known = row["low"] is not None
            spread = f"{row['low']:.3f} to {row['high']:.3f}" if known else "no interval"
            of = f"fires: {row['fires']}, groups: {row['groups']}"
            console.print(f"  {metric} {row['value']:.3f} ({spread}; {of})", highlight=False)
    for note in summary["terms"]["notes"]:
        console.print(note, highlight=False, markup=False, soft_wrap=True)
    if summary["simulated"]:
        console.print("This map is of SIMULATED data.", style="bold magenta")
    console.print(
        f"Mosaics, {summary['polygons']} polygons, STAC item and preview: {summary['path']}",
        highlight=False,
        soft_wrap=True,
    )
