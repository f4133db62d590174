"""Contact sheets: what the samples of a class look like, one picture per class and split."""

import io
import re
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from geofm_assets.core.hashing import keyed_hashes
from geofm_assets.core.store import Store
from geofm_assets.evaluation.registry.entry import SPLITS, ModalityEntry
from geofm_assets.evaluation.samples.packed import PackedSamples
from geofm_assets.evaluation.samples.types import EvalSample, SampleImage
from geofm_assets.imagery.bands import SENTINEL1, SENTINEL2

_COLUMNS, _ROWS = 6, 3
_TILE, _GAP, _HEADER = 96, 4, 18
_PAPER, _INK, _EMPTY = (250, 250, 248), (40, 40, 40), (190, 190, 190)
_RGB: Mapping[str, tuple[str, ...]] = {
    SENTINEL2: ("B04", "B03", "B02"),
    SENTINEL1: ("vv", "vh", "vv"),
    "landsat": ("B4", "B3", "B2"),
}


def write_sheets(
    store: Store, samples: PackedSamples, modalities: Mapping[str, ModalityEntry], seed: int
) -> list[str]:
    """Write one PNG for every class and split that has samples.

    True colour of the image with most valid pixels where there is Sentinel-2 or Landsat,
    Sentinel-1 as VV, VH, VV elsewhere; for dense labels the label beside it. Regressions have one
    class, `all`.

    Args:
        store: where to.
        samples: of the dataset.
        modalities: their statistics stretch the colours (2nd to 98th percentile of train).
        seed: which samples are shown.

    Returns:
        Store keys, sorted.
    """
    ids: list[str] = samples.table["sample_id"].to_pylist()
    keys: list[str] = []
    taken: set[str] = set()
    for class_id, name in enumerate(samples.classes or ("all",)):
        slug = _slug(name, class_id, taken)
        for split in SPLITS:
            rows = _showing(samples, samples.rows(split), class_id)
            if not len(rows):
                continue
            order = np.argsort(keyed_hashes([ids[r] for r in rows], seed), kind="stable")
            shown = rows[order][: _COLUMNS * _ROWS].tolist()
            tiles = [_tile(samples.read(row), samples, modalities, class_id) for row in shown]
            title = f"{samples.name}  {split}  {name}  ({len(rows)} samples)"
            key = f"evaluation/datasets/{samples.name}/sheets/{split}-{slug}.png"
            store.write_bytes(key, _sheet(title, tiles))
            keys.append(key)
    return sorted(keys)


def _slug(name: str, class_id: int, taken: set[str]) -> str:
    """A class name as a file name, distinct also where case is not told apart."""
    slug = re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_")[:80] or f"class_{class_id}"
    if slug.lower() in taken:
        slug = f"{slug}_{class_id}"
    taken.add(slug.lower())
    return slug


def _showing(samples: PackedSamples, rows: np.ndarray, class_id: int) -> np.ndarray:
    """Those of some rows that show a class."""
    if not samples.classes or not len(rows):
        return rows
    if samples.task_type == "segmentation":
        shown = [bool((samples.labels([row]) == class_id).any()) for row in rows.tolist()]
        return rows[np.array(shown, bool)]
    labels = samples.labels(rows)
    held = labels[:, class_id] == 1 if samples.task_type == "multilabel" else labels == class_id
    return rows[held]


def _tile(
    sample: EvalSample,
    samples: PackedSamples,
    modalities: Mapping[str, ModalityEntry],
    class_id: int,
) -> Image.Image:
    tile = _enlarged(_colours(sample, modalities))
    if samples.task_type == "segmentation":
        mask = np.where(sample.label == class_id, 230, 60).astype(np.uint8)
        mask[sample.label < 0] = 140
        return _beside(tile, _enlarged(np.repeat(mask[..., None], 3, axis=2)))
    if samples.task_type == "per_pixel_regression":
        grey = _stretched(sample.label, *_range(sample.label))
        return _beside(tile, _enlarged(np.repeat(grey[..., None], 3, axis=2)))
    return tile


def _colours(sample: EvalSample, modalities: Mapping[str, ModalityEntry]) -> np.ndarray:
    """uint8 (H, W, 3)."""
    order = [name for name in (SENTINEL2, "landsat", SENTINEL1) if name in sample.images]
    name = (order or sorted(sample.images))[0]
    image, entry = sample.images[name], modalities[name]
    bands = [b for b in _RGB.get(name, ()) if b in image.bands]
    if len(bands) < 3:
        bands = [image.bands[0]] * 3
    values = image.values[_clearest(image)]
    planes = []
    for band in bands:
        said = entry.statistics.get(band)
        plane = values[image.bands.index(band)]
        low, high = (said.p02, said.p98) if said else _range(plane)
        planes.append(_stretched(plane, low, high))
    return np.stack(planes, axis=2)


def _clearest(image: SampleImage) -> int:
    """The image with most valid pixels; of equals the one in the middle."""
    valid = np.isfinite(image.values).mean(axis=(1, 2, 3))
    best = np.flatnonzero(valid == valid.max())
    return int(best[len(best) // 2])


def _range(values: np.ndarray) -> tuple[float, float]:
    finite = values[np.isfinite(values)]
    return (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)


def _stretched(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """uint8 between two values; black where there is no data."""
    span = high - low if high > low else 1.0
    share = np.nan_to_num((values.astype(np.float64) - low) / span, nan=0.0, posinf=1.0, neginf=0.0)
    return np.rint(np.clip(share, 0.0, 1.0) * 255).astype(np.uint8)


def _enlarged(pixels: np.ndarray) -> Image.Image:
    return Image.fromarray(pixels).resize((_TILE, _TILE), Image.Resampling.NEAREST)


def _beside(left: Image.Image, right: Image.Image) -> Image.Image:
    both = Image.new("RGB", (2 * _TILE, _TILE), _EMPTY)
    both.paste(left, (0, 0))
    both.paste(right, (_TILE, 0))
    return both


def _sheet(title: str, tiles: Sequence[Image.Image]) -> bytes:
    width = tiles[0].width
    columns = min(_COLUMNS, len(tiles))
    rows = -(-len(tiles) // columns)
    font = ImageFont.load_default(size=11)
    text = title.encode("latin-1", "replace").decode("latin-1")
    size = (
        max(columns * (width + _GAP) + _GAP, int(font.getlength(text)) + 2 * _GAP),
        _HEADER + rows * (_TILE + _GAP) + _GAP,
    )
    sheet = Image.new("RGB", size, _PAPER)
    ImageDraw.Draw(sheet).text((_GAP, 3), text, fill=_INK, font=font)
    for number, tile in enumerate(tiles):
        row, column = divmod(number, columns)
        sheet.paste(tile, (_GAP + column * (width + _GAP), _HEADER + row * (_TILE + _GAP)))
    sink = io.BytesIO()
    sheet.save(sink, format="PNG")
    return sink.getvalue()
