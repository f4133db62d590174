"""Where things are: districts of fields, a few to each H3 cell, in one UTM zone.

A district is 112 x 112 pixels of 10 m with a mosaic of fields (a Voronoi diagram of random
seeds), each field of one land cover. Districts of one cell share one scene grid.
"""

from dataclasses import dataclass

import h3
import numpy as np
from pyproj import Transformer
from scipy.spatial import cKDTree

CRS = "EPSG:32631"
PIXEL_M = 10.0
DISTRICT_PIXELS = 112
SCENE_PIXELS = 2016
_FIELDS = 70
# Corners of districts within their scene, in blocks of DISTRICT_PIXELS: far apart, so that blocks
# of a finer H3 resolution tell them apart.
_CORNERS = ((1, 1), (15, 2), (7, 15))
# South-western cell of the world; others lie around it.
_ORIGIN = (46.5, 3.0)


@dataclass(frozen=True)
class Cover:
    """A land cover of the sample world.

    Attributes:
        name: what people call it.
        ewoc_code: its WorldCereal code.
        share: how often a field has it.
        crop: which label text it has in the CSV of labels.
    """

    name: str
    ewoc_code: int
    share: float
    crop: str


# Shares are chosen so that about 55 % of the fields are cropland under rule ai2_v1.
COVERS = (
    Cover("winter cereals", 1101010000, 0.20, "cereals"),
    Cover("maize", 1101060000, 0.14, "maize"),
    Cover("sunflower", 1106000031, 0.09, "other crops"),
    Cover("fodder grass", 1111000000, 0.05, "other crops"),
    Cover("orchard", 1201000000, 0.07, "other crops"),
    Cover("grassland", 2001000000, 0.17, "no crop"),
    Cover("trees", 4100000000, 0.12, "no crop"),
    Cover("shrubs", 3000000000, 0.07, "no crop"),
    Cover("built-up", 6000000000, 0.03, "no crop"),
    Cover("water", 7000000000, 0.03, "no crop"),
    Cover("bare", 5000000000, 0.03, "no crop"),
)


@dataclass(frozen=True)
class District:
    """One patch of the world.

    Attributes:
        index: position in the world.
        cell: H3 cell of its centre at resolution 3.
        scene: index of the scene grid it lies in.
        row, column: of its upper left pixel in the scene.
        easting, northing: of its upper left corner, in metres of `CRS`.
        fields: field number of each pixel, shape (112, 112).
        covers: cover index of each field.
        vigour: of each field, about 1.
        shift_days: of each field's season, about 0; later in the north.
    """

    index: int
    cell: str
    scene: int
    row: int
    column: int
    easting: float
    northing: float
    fields: np.ndarray
    covers: np.ndarray
    vigour: np.ndarray
    shift_days: np.ndarray

    def cover_at(self, row: int, column: int) -> Cover:
        """The land cover of a pixel of the district."""
        return COVERS[int(self.covers[self.fields[row, column]])]


def scene_corner(cell: str) -> tuple[float, float]:
    """Upper left corner of a cell's scene, in metres of `CRS`, on the 10 m grid."""
    lat, lon = h3.cell_to_latlng(cell)
    easting, northing = Transformer.from_crs(4326, CRS, always_xy=True).transform(lon, lat)
    half = SCENE_PIXELS * PIXEL_M / 2
    return round((easting - half) / PIXEL_M) * PIXEL_M, round((northing + half) / PIXEL_M) * PIXEL_M


def world_cells(count: int) -> list[str]:
    """The first `count` resolution-3 cells around the origin, nearest rings first."""
    centre = h3.latlng_to_cell(*_ORIGIN, 3)
    cells: list[str] = []
    ring = 0
    while len(cells) < count:
        cells += sorted(h3.grid_ring(centre, ring))
        ring += 1
    return cells[:count]


def districts(cells: int, per_cell: int, seed: int) -> list[District]:
    """The districts of a world.

    Args:
        cells: how many H3 cells.
        per_cell: districts in each, at most three.
        seed: of field mosaics, covers and seasons.
    """
    made: list[District] = []
    for scene, cell in enumerate(world_cells(cells)):
        easting, northing = scene_corner(cell)
        for corner in _CORNERS[:per_cell]:
            row, column = corner[0] * DISTRICT_PIXELS, corner[1] * DISTRICT_PIXELS
            rng = np.random.default_rng([seed, scene, row, column])
            made.append(
                District(
                    index=len(made),
                    cell=cell,
                    scene=scene,
                    row=row,
                    column=column,
                    easting=easting + column * PIXEL_M,
                    northing=northing - row * PIXEL_M,
                    fields=_mosaic(rng),
                    covers=_covers(rng),
                    vigour=rng.normal(1.0, 0.10, _FIELDS).clip(0.6, 1.3),
                    shift_days=rng.normal(_season_shift(northing), 8.0, _FIELDS),
                )
            )
    return made


def _season_shift(northing: float) -> float:
    """Days the season is later; 4 a degree of latitude (Hopkins' rule), from 46.5 degrees north."""
    degrees = (northing - 5_150_000.0) / 111_000.0
    return 4.0 * degrees


def _mosaic(rng: np.random.Generator) -> np.ndarray:
    seeds = rng.uniform(0, DISTRICT_PIXELS, (_FIELDS, 2))
    rows, columns = np.mgrid[0:DISTRICT_PIXELS, 0:DISTRICT_PIXELS] + 0.5
    _, nearest = cKDTree(seeds).query(np.stack([rows.ravel(), columns.ravel()], axis=1))
    return nearest.reshape(DISTRICT_PIXELS, DISTRICT_PIXELS).astype(np.int16)


def _covers(rng: np.random.Generator) -> np.ndarray:
    """Cover of each field; every district has at least a cereal, a grassland and a wood."""
    shares = np.array([c.share for c in COVERS])
    drawn = rng.choice(len(COVERS), size=_FIELDS, p=shares / shares.sum())
    drawn[:3] = (0, 5, 6)
    return rng.permutation(drawn).astype(np.int16)
