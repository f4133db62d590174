"""Contact sheets: what the samples of a class look like, in every split."""

import io
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from geofm_assets.core.hashing import keyed_hashes
from geofm_assets.core.store import Store
from geofm_assets.evaluation.registry.entry import SPLITS, ModalityEntry
from geofm_assets.evaluation.samples.packed import PackedSamples
from geofm_assets.evaluation.samples.types import EvalSample, SampleImage
from geofm_assets.imagery.bands import SENTINEL1, SENTINEL2

OWN_SHEETS = 24
"""Up to so many classes have sheets of their own."""
PAGE_ROWS, PAGES = 12, 20
"""Classes on a page that several share, and pages of a split."""
_PAGED = PAGE_ROWS * PAGES
_COLUMNS, _ROWS = 6, 3
_TILE, _GAP, _HEADER = 96, 4, 18
_PAPER, _INK, _EMPTY = (250, 250, 248), (40, 40, 40), (190, 190, 190)
_SIMULATED, _WARN = "SIMULATED", (190, 0, 140)
_RGB: Mapping[str, tuple[str, ...]] = {
    SENTINEL2: ("B04", "B03", "B02"),
    SENTINEL1: ("vv", "vh", "vv"),
    "landsat": ("B4", "B3", "B2"),
}


@dataclass(frozen=True)
class Sheets:
    """What was drawn.

    Attributes:
        keys: store keys, sorted.
        classes: how many classes are shown.
        of: how many there are.
    """

    keys: list[str]
    classes: int
    of: int


def write_sheets(
    store: Store, samples: PackedSamples, modalities: Mapping[str, ModalityEntry], seed: int
) -> Sheets:
    """Draw samples of every class and split.

    True colour of the image with most valid pixels where there is Sentinel-2 or Landsat,
    Sentinel-1 as VV, VH, VV elsewhere; for dense labels the label beside it. Regressions have one
    class, `all`. Up to OWN_SHEETS classes have a PNG each, per split; more share pages, a row of
    samples each, of which there are at most PAGES a split: classes with most samples in train come
    first into those, and stand there in order of class id. Pictures of simulated data say so.

    Args:
        store: where to.
        samples: of the dataset.
        modalities: their statistics stretch the colours (2nd to 98th percentile of train).
        seed: which samples are shown.
    """
    names = samples.classes or ("all",)
    drawing = _Drawing(samples, modalities, seed, samples.table["sample_id"].to_pylist())
    by_split = {split: _by_class(samples, samples.rows(split)) for split in SPLITS}
    draw, most = (_own_sheets, OWN_SHEETS) if len(names) <= OWN_SHEETS else (_pages, _PAGED)
    shown = _most_seen(by_split["train"], len(names), most)
    keys = []
    for split, rows in by_split.items():
        for file, data in draw(drawing, split, {c: rows[c] for c in shown if c in rows}):
            key = f"evaluation/datasets/{samples.name}/sheets/{split}-{file}.png"
            store.write_bytes(key, data)
            keys.append(key)
    return Sheets(sorted(keys), len(shown), len(names))


@dataclass(frozen=True)
class _Drawing:
    """What sheets are drawn from."""

    samples: PackedSamples
    modalities: Mapping[str, ModalityEntry]
    seed: int
    ids: Sequence[str]

    @property
    def simulated(self) -> bool:
        """Whether the pictures must say that the data was simulated."""
        return self.samples.layout.simulated

    def tiles(self, rows: np.ndarray, class_id: int, count: int) -> list[Image.Image]:
        """The samples whose ids hash lowest."""
        order = np.argsort(keyed_hashes([self.ids[r] for r in rows], self.seed), kind="stable")
        chosen = rows[order][:count].tolist()
        read = self.samples.read
        return [_tile(read(row), self.samples, self.modalities, class_id) for row in chosen]


def _own_sheets(
    drawing: _Drawing, split: str, rows: Mapping[int, np.ndarray]
) -> Iterator[tuple[str, bytes]]:
    """A file and its bytes for every class that a split has."""
    taken: set[str] = set()
    for class_id, name in enumerate(drawing.samples.classes or ("all",)):
        slug = _slug(name, class_id, taken)
        if class_id in rows:
            tiles = drawing.tiles(rows[class_id], class_id, _COLUMNS * _ROWS)
            title = f"{drawing.samples.name}  {split}  {name}  ({len(rows[class_id])} samples)"
            yield slug, _sheet(title, tiles, drawing.simulated)


def _pages(
    drawing: _Drawing, split: str, rows: Mapping[int, np.ndarray]
) -> Iterator[tuple[str, bytes]]:
    """A file and its bytes for every PAGE_ROWS classes that a split has."""
    classes = drawing.samples.classes
    held = sorted(rows)
    count = -(-len(held) // PAGE_ROWS)
    for page in range(count):
        lines = []
        for class_id in held[page * PAGE_ROWS : (page + 1) * PAGE_ROWS]:
            tiles = drawing.tiles(rows[class_id], class_id, _COLUMNS)
            lines.append((f"{classes[class_id]}  ({len(rows[class_id])} samples)", tiles))
        title = f"{drawing.samples.name}  {split}  page {page + 1} of {count}"
        yield f"page_{page + 1:02d}", _page(title, lines, drawing.simulated)


def _most_seen(rows: Mapping[int, np.ndarray], count: int, most: int) -> list[int]:
    """At most so many of `count` class ids: those with most samples, of equals the lower."""
    order = sorted(range(count), key=lambda c: (-len(rows.get(c, ())), c))
    return sorted(order[:most])


def _slug(name: str, class_id: int, taken: set[str]) -> str:
    """A class name as a file name, distinct also where case is not told apart."""
    slug = re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_")[:80] or f"class_{class_id}"
    if slug.lower() in taken:
        slug = f"{slug}_{class_id}"
    taken.add(slug.lower())
    return slug


def _by_class(samples: PackedSamples, rows: np.ndarray) -> dict[int, np.ndarray]:
    """Those of some rows that show a class, by class id; classes none shows are left out."""
    if not len(rows):
        return {}
    if not samples.classes:
        return {0: rows}
    found: dict[int, list[int]] = defaultdict(list)
    for row in rows.tolist():
        (label,) = samples.labels([row])
        held = np.flatnonzero(label) if samples.task_type == "multilabel" else np.unique(label)
        for class_id in held[held >= 0].tolist():
            found[class_id].append(row)
    return {class_id: np.array(held) for class_id, held in sorted(found.items())}


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


def _sheet(title: str, tiles: Sequence[Image.Image], simulated: bool) -> bytes:
    """Samples of one class."""
    columns = min(_COLUMNS, len(tiles))
    rows = [tiles[start : start + columns] for start in range(0, len(tiles), columns)]
    sheet = _paper(title, rows, _TILE, simulated)
    for number, row in enumerate(rows):
        _lay(sheet, row, _HEADER + number * (_TILE + _GAP))
    return _png(sheet)


def _page(title: str, lines: Sequence[tuple[str, Sequence[Image.Image]]], simulated: bool) -> bytes:
    """Samples of several classes, a row each below its name."""
    sheet = _paper(title, [tiles for _, tiles in lines], _HEADER + _TILE, simulated)
    for number, (name, tiles) in enumerate(lines):
        top = _HEADER + number * (_HEADER + _TILE + _GAP)
        ImageDraw.Draw(sheet).text((_GAP, top + 3), _latin(name), fill=_INK, font=_font())
        _lay(sheet, tiles, top + _HEADER)
    return _png(sheet)


def _paper(
    title: str, rows: Sequence[Sequence[Image.Image]], height: int, simulated: bool
) -> Image.Image:
    """An empty sheet with its title, for rows of tiles of a height in pixels each."""
    said = f"{_SIMULATED}  " if simulated else ""
    before = int(_font().getlength(said))
    across = max(len(row) * (row[0].width + _GAP) for row in rows) + _GAP
    width = max(across, before + int(_font().getlength(_latin(title))) + 2 * _GAP)
    sheet = Image.new("RGB", (width, _HEADER + len(rows) * (height + _GAP) + _GAP), _PAPER)
    ImageDraw.Draw(sheet).text((_GAP, 3), said, fill=_WARN, font=_font())
    ImageDraw.Draw(sheet).text((_GAP + before, 3), _latin(title), fill=_INK, font=_font())
    return sheet


def _lay(sheet: Image.Image, tiles: Sequence[Image.Image], top: int) -> None:
    for column, tile in enumerate(tiles):
        sheet.paste(tile, (_GAP + column * (tile.width + _GAP), top))


def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=11)


def _latin(text: str) -> str:
    """What the font that comes with the library can write."""
    return text.encode("latin-1", "replace").decode("latin-1")


def _png(sheet: Image.Image) -> bytes:
    sink = io.BytesIO()
    sheet.save(sink, format="PNG")
    return sink.getvalue()
