"""A picture of a map: all zones in one projection, with legend and scale bar."""

import base64
import io
from collections.abc import Sequence
from contextlib import ExitStack

import numpy as np
import pyproj
import rasterio
import rasterio.features
import shapely
from affine import Affine
from matplotlib.axes import Axes
from matplotlib.patches import Patch
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT
from shapely.geometry.base import BaseGeometry

from geofm_assets.core.plots import new_figure
from geofm_assets.prediction.ground import WGS84, moved
from geofm_assets.prediction.legend import NODATA, NODATA_COLOUR, Legend
from geofm_assets.prediction.mosaic import Mosaic

_LONGEST_PX = 900
_MARGIN = 0.02  # of the longer side
_PAPER, _STRIPE = (255, 255, 255), (95, 95, 95)
_STRIPE_PX = 8
_SIMULATED = "SIMULATED DATA"


def preview(
    mosaics: Sequence[Mosaic],
    area: BaseGeometry,
    legend: Legend,
    title: str,
    *,
    simulated: bool,
) -> bytes:
    """A PNG of a map; the same map gives the same bytes.

    One zone is drawn as it lies; more in an equal-area projection about their middle. What was
    asked for and has no class is striped grey, what was not asked for is white.

    Args:
        mosaics: one a zone, at least one.
        area: what was asked for, degrees EPSG:4326.
        legend: of the classes.
        title: what it shows.
        simulated: whether to say that it shows simulated data.
    """
    crs = _projection(mosaics, area)
    outline = moved(np.array([shapely.segmentize(area, 0.05)], dtype=object), WGS84, crs)[0]
    bounds = _around(outline)
    side = max(bounds[2] - bounds[0], bounds[3] - bounds[1]) / _LONGEST_PX
    transform = Affine(side, 0, bounds[0], 0, -side, bounds[3])
    shape = tuple(
        max(1, round(length / side)) for length in (bounds[3] - bounds[1], bounds[2] - bounds[0])
    )
    classes = _drawn(mosaics, crs, transform, shape)
    asked = rasterio.features.rasterize(
        [outline], out_shape=shape, transform=transform, dtype="uint8"
    )
    figure = new_figure(8, 1.3 + 7.2 * shape[0] / shape[1] if shape[1] >= shape[0] else 8.5)
    axes = figure.subplots()
    axes.imshow(_colours(classes, asked > 0, legend), interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    _scale_bar(axes, shape, side)
    _legend(axes, classes, asked > 0, legend)
    axes.set_title(title, fontsize=10)
    if simulated:
        figure.suptitle(_SIMULATED, color="#aa3377", fontsize=13, fontweight="bold")
    sink = io.BytesIO()
    figure.savefig(sink, format="png", dpi=120, metadata={"Software": None})
    return sink.getvalue()


def _projection(mosaics: Sequence[Mosaic], area: BaseGeometry) -> str:
    if len(mosaics) == 1:
        return f"EPSG:{mosaics[0].epsg}"
    # the middle as a direction: areas on both sides of the antimeridian meet there
    points = shapely.get_coordinates([part.envelope for part in shapely.get_parts(area)])
    lon, lat = np.radians(points[:, 0]), np.radians(points[:, 1])
    xyz = np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)]).mean(axis=1)
    middle_lon = float(np.degrees(np.arctan2(xyz[1], xyz[0])))
    middle_lat = float(np.degrees(np.arctan2(xyz[2], np.hypot(xyz[0], xyz[1]))))
    return f"+proj=laea +lat_0={middle_lat:.4f} +lon_0={middle_lon:.4f} +datum=WGS84 +units=m"


def _around(outline: BaseGeometry) -> tuple[float, float, float, float]:
    left, bottom, right, top = outline.bounds
    edge = _MARGIN * max(right - left, top - bottom)
    return (left - edge, bottom - edge, right + edge, top + edge)


def _drawn(
    mosaics: Sequence[Mosaic], crs: str, transform: Affine, shape: tuple[int, ...]
) -> NDArray[np.uint8]:
    """Classes of all zones on the picture's grid; reads overviews where they are fine enough."""
    drawn = np.full(shape, NODATA, dtype=np.uint8)
    target = CRS.from_wkt(pyproj.CRS.from_user_input(crs).to_wkt("WKT1_GDAL"))
    for mosaic in mosaics:
        with ExitStack() as stack:
            source = stack.enter_context(rasterio.open(mosaic.path))
            warped = stack.enter_context(
                WarpedVRT(
                    source,
                    crs=target,
                    transform=transform,
                    height=shape[0],
                    width=shape[1],
                    resampling=Resampling.nearest,
                    src_nodata=NODATA,
                    nodata=NODATA,
                )
            )
            part = warped.read(1)
        drawn = np.where(part == NODATA, drawn, part)
    return drawn


def _colours(
    classes: NDArray[np.uint8], asked: NDArray[np.bool_], legend: Legend
) -> NDArray[np.uint8]:
    """uint8 (H, W, 3)."""
    table = np.full((NODATA + 1, 3), _PAPER, dtype=np.uint8)
    table[: len(legend.colours)] = legend.colours
    image: NDArray[np.uint8] = table[classes]
    rows, columns = np.indices(classes.shape)
    stripe = (rows + columns) % _STRIPE_PX < _STRIPE_PX // 4
    empty = asked & (classes == NODATA)
    image[empty] = NODATA_COLOUR
    image[empty & stripe] = _STRIPE
    return image


def _scale_bar(axes: Axes, shape: tuple[int, ...], side: float) -> None:
    """A bar of one, two or five times a power of ten metres, below the picture."""
    longest = shape[1] * side / 4
    power = 10.0 ** np.floor(np.log10(longest))
    metres = max(step * power for step in (1, 2, 5) if step * power <= longest)
    text = f"{metres / 1000:g} km" if metres >= 1000 else f"{metres:g} m"
    below, end = shape[0] * 1.03, metres / side
    axes.plot([0, end], [below, below], color="black", linewidth=3, clip_on=False)
    axes.text(end * 1.05, below, text, va="center", fontsize=9)
    axes.set(xlim=(-0.5, shape[1] - 0.5), ylim=(shape[0] - 0.5, -0.5))


def _legend(
    axes: Axes, classes: NDArray[np.uint8], asked: NDArray[np.bool_], legend: Legend
) -> None:
    def patch(colour: tuple[int, int, int], label: str, hatch: str | None = None) -> Patch:
        red, green, blue = colour
        return Patch(
            facecolor=(red / 255, green / 255, blue / 255),
            edgecolor="#5f5f5f",
            label=label,
            hatch=hatch,
        )

    seen = set(np.unique(classes).tolist())
    handles = [
        patch(legend.colours[value], name)
        for value, name in enumerate(legend.classes)
        if value in seen or len(legend.classes) <= 8
    ]
    if (asked & (classes == NODATA)).any():
        handles.append(patch(NODATA_COLOUR, "no data", "////"))
    axes.legend(
        handles=handles,
        loc="upper right",
        bbox_to_anchor=(1, -0.01),
        ncols=min(len(handles), 4),
        fontsize=9,
        frameon=False,
    )


def markdown(png: bytes, alt: str) -> str:
    """A PNG as a Markdown image with its bytes inside."""
    return f"![{alt}](data:image/png;base64,{base64.b64encode(png).decode()})"
