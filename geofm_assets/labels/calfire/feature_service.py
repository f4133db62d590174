"""Fire perimeters from a layer of an ArcGIS feature service.

The query operation is paged with resultOffset and resultRecordCount in the order of the object
ids; a page may be short and say `exceededTransferLimit`. Dates come as epoch milliseconds, errors
often in an answer of status 200.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

import pyarrow as pa
import shapely

from geofm_assets.core.errors import ConfigError, LabelFileError, SourceUnavailableError
from geofm_assets.core.hosts import allowed_for, checked_session
from geofm_assets.labels.calfire.columns import require_columns, to_records
from geofm_assets.labels.calfire.config import PerimeterColumns
from geofm_assets.labels.worldcereal.http import Http, Patience, TransientError

EVERY_ROW = "1=1"
_READS = 3
_BUSY_CODES = frozenset({408, 429})
_TOKEN_CODES = frozenset({498, 499})


@dataclass(frozen=True)
class ServiceSettings:
    """How a feature service is asked; see `CalfireConfig`."""

    timeout_s: float = 60.0
    retries: int = 5
    backoff_s: float = 0.5
    page_size: int = 1000
    allowed_hosts: tuple[str, ...] = ()


@dataclass(frozen=True)
class LayerInfo:
    """What a layer says of itself.

    Attributes:
        name: its name.
        fields: esri type by field name.
        object_id: the field of object ids.
        max_records: the longest page it gives.
        last_edit: epoch ms of the last edit; None if it does not say.
        statistics: whether it can be asked for a maximum.
    """

    name: str
    fields: Mapping[str, str]
    object_id: str
    max_records: int
    last_edit: int | None
    statistics: bool


class FeatureLayer:
    """A layer such as `https://…/FeatureServer/0`.

    Args:
        url: of the layer.
        columns: which column holds what.
        prescribed: whether it holds prescribed burns.
        settings: how it is asked.

    Raises:
        ConfigError: the URL is not that of a layer.
    """

    def __init__(
        self,
        url: str,
        columns: PerimeterColumns,
        prescribed: bool = False,
        settings: ServiceSettings | None = None,
    ) -> None:
        settings = settings or ServiceSettings()
        parts = urlsplit(url)
        self.url = parts._replace(query="", fragment="").geturl().rstrip("/")
        pieces = self.url.split("/")
        if parts.hostname is None or not pieces[-1].isdigit() or not pieces[-2].endswith("Server"):
            raise ConfigError(
                "Not the URL of a feature-service layer",
                where=url,
                fix="It ends in FeatureServer/0 or another layer's number; "
                "download files first and give their path",
            )
        self.columns, self.prescribed = columns, prescribed
        self._page_size = settings.page_size
        allowed = allowed_for(self.url, *settings.allowed_hosts)
        self._http = Http(checked_session(allowed), settings.timeout_s)
        self._patience = Patience(settings.retries, settings.backoff_s)

    @property
    def label(self) -> str:
        """The URL."""
        return self.url

    def state(self) -> dict[str, Any]:
        """Time of the last edit, number of features and latest year.

        Raises:
            SourceUnavailableError: no answer, or one that is an error.
            LabelFileError: the layer lacks a column.
        """
        info = self.info()
        found = require_columns(list(info.fields), self.columns, self.prescribed, self.url)
        latest = self._latest(found["year"]) if info.statistics else None
        return {
            "url": self.url,
            "last_edit": info.last_edit,
            "count": self.count(),
            "max_year": latest,
        }

    def _latest(self, field: str) -> str | None:
        """The greatest value of a field."""
        statistic = {
            "statisticType": "max",
            "onStatisticField": field,
            "outStatisticFieldName": "max_value",
        }
        answer = self._query(outStatistics=json.dumps([statistic]), f="json")
        features = answer.get("features") or [{}]
        values = {k.lower(): v for k, v in (features[0].get("attributes") or {}).items()}
        latest = values.get("max_value")
        return None if latest is None else str(latest)

    def info(self) -> LayerInfo:
        """What the layer says of itself.

        Raises:
            SourceUnavailableError: no answer, or none of a layer.
            LabelFileError: the layer has no polygons or cannot be paged.
        """
        answer = self._ask(f"{self.url}?f=json")
        try:
            fields = {str(f["name"]): str(f["type"]) for f in answer["fields"]}
            name, kind = str(answer["name"]), str(answer["geometryType"])
        except (KeyError, TypeError) as error:
            raise SourceUnavailableError(
                "The answer does not describe a layer (name, geometryType, fields)",
                where=self.url,
                fix="Check the address in a browser",
            ) from error
        if kind != "esriGeometryPolygon":
            raise LabelFileError(f"The layer holds {kind}, not polygons", where=self.url)
        able = answer.get("advancedQueryCapabilities") or {}
        if able.get("supportsPagination") is False:
            raise LabelFileError(
                "The layer cannot be read page by page",
                where=self.url,
                fix="Export it to a file and give its path",
            )
        by_type = [n for n, t in fields.items() if t == "esriFieldTypeOID"]
        return LayerInfo(
            name,
            fields,
            str(answer.get("objectIdField") or (by_type or ["OBJECTID"])[0]),
            int(answer.get("maxRecordCount") or self._page_size),
            (answer.get("editingInfo") or {}).get("lastEditDate"),
            able.get("supportsStatistics") is not False,
        )

    def count(self) -> int:
        """How many features the layer has."""
        answer = self._query(returnCountOnly="true", f="json")
        if not isinstance(answer.get("count"), int):
            raise _not_expected(self.url, "a count")
        return int(answer["count"])

    def read(self) -> pa.Table:
        """Every feature, as RECORD, in the order of the object ids.

        The layer is read again if it changes meanwhile, since its pages then shift.

        Raises:
            SourceUnavailableError: no answer, or one that is an error.
            LabelFileError: the layer lacks a column, has no polygons or cannot be paged.
        """
        info = self.info()
        found = require_columns(list(info.fields), self.columns, self.prescribed, self.url)
        for _ in range(_READS):
            expected = self.count()
            features = self._features(info, [info.object_id, *found.values()])
            ids = {(f.get("properties") or {}).get(info.object_id, f.get("id")) for f in features}
            if len(features) == expected == len(ids):
                return self._records(features, info, found)
        raise SourceUnavailableError(
            f"{len(ids)} different features came where {expected} were announced, "
            f"in each of {_READS} readings",
            where=self.url,
            fix="Run again later: the layer is being edited",
        )

    def _features(self, info: LayerInfo, fields: Sequence[str]) -> list[dict[str, Any]]:
        features: list[dict[str, Any]] = []
        size = min(self._page_size, info.max_records)
        while True:
            page = self._query(
                outFields=",".join(fields),
                outSR="4326",
                orderByFields=info.object_id,
                resultOffset=str(len(features)),
                resultRecordCount=str(size),
                f="geojson",
            )
            found = page.get("features")
            if not isinstance(found, list):
                raise _not_expected(self.url, "a page of features")
            # as WKB at once: coordinates as Python numbers take ten times the memory
            features += [{**f, "geometry": _wkb(f.get("geometry"))} for f in found]
            if not found or (len(found) < size and not _more(page)):
                return features

    def _records(
        self, features: Sequence[dict[str, Any]], info: LayerInfo, found: Mapping[str, str]
    ) -> pa.Table:
        properties = [feature.get("properties") or {} for feature in features]
        attributes = {
            name: _column([values.get(name) for values in properties], info.fields[name])
            for name in found.values()
        }
        wkb = pa.array([feature["geometry"] for feature in features], pa.binary())
        return to_records(attributes, wkb, found, layer=info.name, prescribed=self.prescribed)

    def _query(self, **parameters: str) -> dict[str, Any]:
        return self._ask(f"{self.url}/query?{urlencode({'where': EVERY_ROW, **parameters})}")

    def _ask(self, url: str) -> dict[str, Any]:
        def once() -> dict[str, Any]:
            with self._http.get(url) as response:
                body = response.content
            try:
                answer = json.loads(body)
            except ValueError as error:
                raise SourceUnavailableError(
                    f"The answer is not JSON (it begins {body[:60]!r})",
                    where=url,
                    fix="Check that the address is that of an ArcGIS feature-service layer",
                ) from error
            if not isinstance(answer, dict):
                raise _not_expected(url, "an object")
            _raise_for_error(answer, url)
            return answer

        return self._patience.call(url, once)


def _raise_for_error(answer: Mapping[str, Any], url: str) -> None:
    """Raise for an error that came with status 200."""
    error = answer.get("error")
    if not isinstance(error, dict):
        return
    code = error.get("code")
    details = "; ".join(str(d) for d in error.get("details") or [] if d)
    reason = f"error {code} {error.get('message') or ''}" + (f" ({details})" if details else "")
    if isinstance(code, int) and (code >= 500 or code in _BUSY_CODES) and code < 600:
        raise TransientError(reason)
    fix = "Open the address in a browser"
    if code in _TOKEN_CODES:
        fix = "The layer needs a login: give a public one, or export it to a file"
    raise SourceUnavailableError(f"The feature service answered {reason}", where=url, fix=fix)


def _not_expected(url: str, what: str) -> SourceUnavailableError:
    fix = "Check the address in a browser"
    return SourceUnavailableError(f"The answer is not {what}", where=url, fix=fix)


def _more(page: Mapping[str, Any]) -> bool:
    """Whether a page says that there are more; GeoJSON has it in `properties`."""
    nested = page.get("properties") or {}
    return bool(page.get("exceededTransferLimit") or nested.get("exceededTransferLimit"))


def _column(values: list[Any], kind: str) -> pa.Array:
    """A field as Arrow; dates stay numbers where they came as epoch ms."""
    numbers = all(isinstance(v, int | float) or v is None for v in values)
    if numbers:
        dates = kind.startswith("esriFieldTypeDate")
        floats = dates or any(isinstance(v, float) for v in values)
        return pa.array(values, pa.float64() if floats else None)
    return pa.array([None if v is None else str(v) for v in values], pa.string())


def _wkb(geometry: Any) -> bytes | None:
    """A GeoJSON geometry as WKB; empty bytes if it cannot be read."""
    if geometry is None:
        return None
    read = shapely.from_geojson(json.dumps(geometry), on_invalid="ignore")
    return b"" if read is None else bytes(shapely.to_wkb(read))
