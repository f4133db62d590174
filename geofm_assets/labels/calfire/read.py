"""Fire perimeters from any file GDAL reads, and the sources of a task."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyogrio
import pyogrio.errors
import pyproj
import shapely

from geofm_assets.core.errors import LabelFileError
from geofm_assets.core.hashing import sha256_file
from geofm_assets.labels.calfire.columns import find_columns, require_columns, to_records
from geofm_assets.labels.calfire.config import CalfireConfig, PerimeterColumns, is_url
from geofm_assets.labels.calfire.containers import inside_zip, require_data
from geofm_assets.labels.calfire.feature_service import FeatureLayer, ServiceSettings
from geofm_assets.labels.calfire.shapes import reproject

_UNREADABLE = (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError)
_AREAL = ("Polygon", "Unknown", "Curve", "Surface", "GeometryCollection")


class PerimeterSource(Protocol):
    """A layer of perimeters or of prescribed burns."""

    @property
    def label(self) -> str:
        """What it is called in messages."""
        ...

    def state(self) -> dict[str, Any]:
        """What tells one version of the layer from the next, JSON-encodable."""
        ...

    def read(self) -> pa.Table:
        """Every row, as RECORD."""
        ...


def open_sources(config: CalfireConfig) -> list[PerimeterSource]:
    """The perimeters' source and, if the task has one, that of prescribed burns."""
    sources = [_open(config, config.perimeters, config.layer, config.columns, prescribed=False)]
    burns = config.prescribed or (config.perimeters if config.prescribed_layer else None)
    if burns is not None:
        columns, layer = config.prescribed_columns, config.prescribed_layer
        sources.append(_open(config, burns, layer, columns, prescribed=True))
    return sources


def _open(
    config: CalfireConfig,
    location: str,
    layer: str | None,
    columns: PerimeterColumns,
    *,
    prescribed: bool,
) -> PerimeterSource:
    if is_url(location):
        settings = ServiceSettings(
            timeout_s=config.timeout_s,
            retries=config.retries,
            backoff_s=config.backoff_s,
            page_size=config.page_size,
            allowed_hosts=tuple(config.allowed_hosts),
        )
        return FeatureLayer(location, columns, prescribed, settings)
    return PerimeterFile(Path(location).expanduser(), layer, columns, prescribed)


@dataclass(frozen=True)
class PerimeterFile:
    """A layer of a file, or of the file in a zip archive.

    Attributes:
        path: file, file geodatabase (a folder) or zip archive.
        layer: its name; None for the only one with polygons and the columns needed.
        columns: which column holds what.
        prescribed: whether it holds prescribed burns.
    """

    path: Path
    layer: str | None
    columns: PerimeterColumns
    prescribed: bool

    @property
    def label(self) -> str:
        """The path, and the layer if one is asked for."""
        return f"{self.path}, layer {self.layer}" if self.layer else str(self.path)

    def state(self) -> dict[str, Any]:
        """Name and sha256 of the content, wherever the file lies.

        Raises:
            LabelFileError: there is no such file.
        """
        self._require()
        if self.path.is_file():
            files = [self.path]
            if self.path.suffix.lower() == ".shp":  # one of at least three files
                files = [f for f in self.path.parent.iterdir() if f.stem == self.path.stem]
        else:
            files = [f for f in self.path.rglob("*") if f.is_file() and f.suffix != ".lock"]
        parts = sorted((f.name, sha256_file(f)) for f in files)
        digest = hashlib.sha256(repr(parts).encode()).hexdigest()
        return {"file": self.path.name, "layer": self.layer, "sha256": digest}

    def read(self) -> pa.Table:
        """Every row, as RECORD, geometry in EPSG:4326.

        Raises:
            LabelFileError: the file cannot be read, has no such layer, no CRS, no geometry or
                lacks a column.
        """
        self._require()
        if self.path.suffix.lower() == ".zip":
            dataset = inside_zip(self.path)
        else:
            dataset = str(self.path)
            require_data(self.path)
        layer = self._choose_layer(dataset)
        where = f"{self.path}, layer {layer}"
        # dates as text, whatever type the file gives them
        meta, _, geometry, fields = self._try(
            lambda: pyogrio.raw.read(dataset, layer=layer, datetime_as_string=True)
        )
        if geometry is None:
            raise LabelFileError("The layer has no geometry", where=where)
        if not len(geometry):
            raise LabelFileError("The layer has no rows", where=where, fix="Give one with fires")
        names = [str(name) for name in meta["fields"]]
        found = require_columns(names, self.columns, self.prescribed, where)
        if not meta["crs"]:
            raise LabelFileError(
                "The layer has no coordinate reference system",
                where=where,
                fix="Assign the one its coordinates are in, for example with ogr2ogr -a_srs",
            )
        attributes = {
            name: pa.array(values, from_pandas=True)
            for name, values in zip(names, fields, strict=True)
            if name in found.values()
        }
        wkb = to_wgs84(geometry, meta["crs"], where)
        return to_records(attributes, wkb, found, layer=layer, prescribed=self.prescribed)

    def _require(self) -> None:
        if not self.path.exists():
            setting = "prescribed" if self.prescribed else "perimeters"
            raise LabelFileError(
                "The file of perimeters does not exist",
                where=str(self.path),
                fix=f"Set labels.calfire.{setting} to a file or to the URL of a feature layer",
            )

    def _choose_layer(self, dataset: str) -> str:
        listed = self._try(lambda: pyogrio.list_layers(dataset))
        kinds = {str(name): str(kind or "") for name, kind in listed}
        setting = "prescribed_layer" if self.prescribed else "layer"
        if self.layer is not None:
            if self.layer in kinds:
                return self.layer
            raise LabelFileError(
                f"There is no layer {self.layer}",
                where=str(self.path),
                fix=f"Set labels.calfire.{setting} to one of {', '.join(kinds)}",
            )
        if len(kinds) == 1:
            return next(iter(kinds))
        fitting = [
            name
            for name, kind in kinds.items()
            if any(word in kind for word in _AREAL) and not self._missing(dataset, name)
        ]
        if len(fitting) == 1:
            return fitting[0]
        what = f"{len(fitting)} layers have" if fitting else "No layer has"
        raise LabelFileError(
            f"{what} polygons and the columns of a year and two dates",
            where=str(self.path),
            fix=f"Set labels.calfire.{setting} to one of {', '.join(fitting or kinds) or 'none'}, "
            "and its columns if they have other names than FRAP's",
        )

    def _missing(self, dataset: str, layer: str) -> list[str]:
        info = self._try(lambda: pyogrio.read_info(dataset, layer=layer))
        return find_columns([str(f) for f in info["fields"]], self.columns, self.prescribed)[1]

    def _try(self, reading: Callable[[], Any]) -> Any:
        try:
            return reading()
        except _UNREADABLE as error:
            raise LabelFileError(
                f"The file of perimeters cannot be read ({error})",
                where=str(self.path),
                fix="Give a file geodatabase (also zipped), GeoPackage, shapefile or GeoJSON",
            ) from error


def to_wgs84(wkb: np.ndarray, crs: str, where: str) -> pa.Array:
    """WKB in degrees EPSG:4326, longitude first; empty bytes for what is no geometry.

    Args:
        wkb: bytes or None, object, shape (n,).
        crs: of these geometries, anything PROJ reads.
        where: file and layer, for errors.

    Raises:
        LabelFileError: PROJ does not know the CRS.
    """
    geometries = shapely.from_wkb(wkb, on_invalid="ignore")
    unreadable = np.array([v is not None for v in wkb]) & shapely.is_missing(geometries)
    try:
        stated = pyproj.CRS.from_user_input(crs)
        if not stated.equals(pyproj.CRS.from_epsg(4326), ignore_axis_order=True):
            geometries = reproject(geometries, stated, "EPSG:4326")
    except pyproj.exceptions.ProjError as error:
        raise LabelFileError(f"The CRS cannot be used ({error})", where=where) from error
    out = shapely.to_wkb(geometries, output_dimension=3, include_srid=False)
    out[unreadable] = b""
    return pa.array(out, pa.binary())


def read_all(sources: Sequence[PerimeterSource]) -> pa.Table:
    """Rows of all sources, one after the other, as RECORD."""
    return pa.concat_tables([source.read() for source in sources]).combine_chunks()
