"""An ArcGIS feature-service layer over real HTTP on loopback, for tests, with faults to order.

    with FeatureServer(rows) as service:
        service.fault("resultOffset=2", status=500)
        FeatureLayer(service.url, columns).read()

It answers a layer's description and its query operation as ArcGIS does: pages by resultOffset and
resultRecordCount, at most `max_records` and `max_vertices` a page, exceededTransferLimit where
there is more, dates as epoch milliseconds, counts, statistics, and errors in an answer of status
200. Rows can be changed while it runs.
"""

import datetime as dt
import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

import shapely

PATH = "/arcgis/rest/services/Fire_Perimeters/FeatureServer/0"
_EPOCH = dt.datetime(1970, 1, 1)
_TYPES = {
    "ALARM_DATE": "esriFieldTypeDate",
    "CONT_DATE": "esriFieldTypeDate",
    "YEAR_": "esriFieldTypeSmallInteger",
    "CAUSE": "esriFieldTypeSmallInteger",
    "GIS_ACRES": "esriFieldTypeDouble",
    "OBJECTID": "esriFieldTypeOID",
    "GlobalID": "esriFieldTypeGlobalID",
}


@dataclass
class Fault:
    """Something that goes wrong with requests whose path and query contain `path`.

    Attributes:
        path: what the request target must contain.
        times: how many requests it spoils; -1 for all.
        status: answer with this status instead.
        body: answer with this text instead.
        error: answer with this error, in an answer of status 200.
        drop: close the connection without an answer.
        redirect: answer 302 to this address.
    """

    path: str
    times: int = 1
    status: int = 200
    body: str = "{}"
    error: dict[str, Any] | None = None
    drop: bool = False
    redirect: str | None = None


class FeatureServer:
    """The server; a context manager.

    Args:
        rows: attributes by name and `geometry`, a polygon in EPSG:4326; dates as ISO 8601 days.

    Attributes:
        rows: what is served, in the order of OBJECTID.
        max_records: the longest page.
        max_vertices: of a page; one feature is always given.
        last_edit: epoch ms of editingInfo; None to say nothing.
        flag_in_properties: where GeoJSON says exceededTransferLimit; both ways are met.
        able: advancedQueryCapabilities.
        geometry_type: what the description says.
        count_offset: added to counts, as if rows were edited meanwhile.
        requests: what was asked for, in order.
    """

    def __init__(self, rows: Sequence[dict[str, Any]]) -> None:
        self.rows = [dict(row) for row in rows]
        self.max_records = 2000
        self.max_vertices: int | None = None
        self.last_edit: int | None = 1_700_000_000_000
        self.flag_in_properties = True
        self.able: dict[str, Any] = {"supportsPagination": True, "supportsStatistics": True}
        self.geometry_type = "esriGeometryPolygon"
        self.count_offset = 0
        self.requests: list[str] = []
        self.faults: list[Fault] = []
        self._lock = threading.Lock()
        handler = type("Handler", (_Handler,), {"service": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )

    @property
    def url(self) -> str:
        """URL of the layer."""
        return f"http://127.0.0.1:{self._server.server_address[1]}{PATH}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def fault(self, path: str, **what: Any) -> Fault:
        """Order a fault, see `Fault`."""
        fault = Fault(path, **what)
        self.faults.append(fault)
        return fault

    def pages(self) -> list[int]:
        """resultOffset of the pages asked for, in order."""
        queries = [parse_qs(urlsplit(target).query) for target in self.requests]
        return [int(q["resultOffset"][0]) for q in queries if "resultOffset" in q]

    def take_fault(self, target: str) -> Fault | None:
        """The fault of this request, counted down."""
        with self._lock:
            self.requests.append(target)
            for fault in self.faults:
                if fault.path in target and fault.times != 0:
                    fault.times -= 1
                    return fault
        return None

    def answer(self, path: str, query: dict[str, str]) -> dict[str, Any]:
        """What the layer says."""
        if path == PATH:
            return self._description()
        if path != f"{PATH}/query" or "where" not in query:
            return {"error": {"code": 400, "message": "Invalid URL", "details": []}}
        if query.get("returnCountOnly") == "true":
            return {"count": len(self.rows) + self.count_offset}
        if "outStatistics" in query:
            asked = json.loads(query["outStatistics"])[0]
            values = [row[asked["onStatisticField"]] for row in self.rows]
            name = asked["outStatisticFieldName"].upper()  # as some servers do
            return {"features": [{"attributes": {name: max(v for v in values if v is not None)}}]}
        return self._page(query)

    def _fields(self) -> list[str]:
        return ["OBJECTID", *(name for name in self.rows[0] if name != "geometry")]

    def _description(self) -> dict[str, Any]:
        fields = [{"name": n, "type": _TYPES.get(n, "esriFieldTypeString")} for n in self._fields()]
        editing = {} if self.last_edit is None else {"lastEditDate": self.last_edit}
        return {
            "name": "Fire Perimeters (all)",
            "geometryType": self.geometry_type,
            "fields": fields,
            "objectIdField": "OBJECTID",
            "maxRecordCount": self.max_records,
            "advancedQueryCapabilities": self.able,
            "editingInfo": editing,
        }

    def _page(self, query: dict[str, str]) -> dict[str, Any]:
        wrong = {name for name in query["outFields"].split(",") if name not in self._fields()}
        if wrong or query["f"] != "geojson" or query["orderByFields"] != "OBJECTID":
            return {"error": {"code": 400, "message": "Invalid query", "details": sorted(wrong)}}
        start = int(query["resultOffset"])
        size = min(int(query["resultRecordCount"]), self.max_records)
        features: list[dict[str, Any]] = []
        vertices = 0
        for number, row in enumerate(self.rows[start : start + size], start=start):
            vertices += shapely.count_coordinates(row["geometry"])
            if features and self.max_vertices is not None and vertices > self.max_vertices:
                break
            features.append(_feature(number + 1, row, query["outFields"].split(",")))
        page: dict[str, Any] = {"type": "FeatureCollection", "features": features}
        if start + len(features) < len(self.rows):
            flag = {"exceededTransferLimit": True}
            page |= {"properties": flag} if self.flag_in_properties else flag
        return page


def _feature(object_id: int, row: dict[str, Any], fields: Sequence[str]) -> dict[str, Any]:
    values = {"OBJECTID": object_id} | {name: row[name] for name in row if name != "geometry"}
    for name, kind in _TYPES.items():
        if kind == "esriFieldTypeDate" and isinstance(values.get(name), str):
            day = dt.datetime.fromisoformat(values[name])
            values[name] = int((day - _EPOCH).total_seconds() * 1000)
    geometry = row["geometry"]
    return {
        "type": "Feature",
        "id": object_id,
        "properties": {name: values[name] for name in fields},
        "geometry": None if geometry is None else shapely.geometry.mapping(geometry),
    }


class _Handler(BaseHTTPRequestHandler):
    service: FeatureServer
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one packet: two would wait for an acknowledgement

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        fault = self.service.take_fault(self.path)
        if fault is not None and fault.drop:
            self.close_connection = True
            return
        if fault is not None and fault.redirect is not None:
            self._send("", 302, {"Location": fault.redirect})
            return
        if fault is not None:
            body = json.dumps({"error": fault.error}) if fault.error else fault.body
            self._send(body, fault.status)
            return
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        self._send(json.dumps(self.service.answer(parts.path, query)), 200)

    def _send(self, body: str, status: int, headers: dict[str, str] | None = None) -> None:
        data = body.encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)
