"""A reference data module over real HTTP on loopback, for tests, with faults to order.

    with RdmServer(mirror) as rdm:
        rdm.fault("/collections?SkipCount=2", status=500, times=1)
        HttpRdm(rdm.url).list_collections()

It serves a mirror folder (collections.json, <id>/metadata_items.json, the GeoParquet) as the RDM
does: paged /collections, /collections/{id}, /collections/{id}/metadata/items with both a sample and
the full file, and the files themselves with ETag and Range. The list of collections can be changed
while it runs.
"""

import hashlib
import io
import json
import socket
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

import pyarrow.parquet as pq

SAMPLE_ROWS = 5


@dataclass
class Fault:
    """Something that goes wrong with requests whose path and query contain `path`.

    Attributes:
        path: what the request target must contain.
        times: how many requests it spoils; -1 for all.
        status: answer with this status instead.
        retry_after: Retry-After header of that answer.
        drop_after: break the connection after so many bytes of the body.
        cut_to: send only so many bytes of the file and close, Content-Length claiming the whole.
        lie_to: send only so many bytes of the file, Content-Length agreeing.
        stall_after: send so many bytes of the body, then nothing for `delay_s`, then the rest.
        delay_s: wait before answering.
        body: answer with these bytes instead.
        ignore_range: answer 200 with the whole file whatever Range says.
        redirect: answer 302 to this address.
    """

    path: str
    times: int = 1
    status: int | None = None
    retry_after: str | None = None
    drop_after: int | None = None
    cut_to: int | None = None
    lie_to: int | None = None
    stall_after: int | None = None
    delay_s: float = 0.0
    body: bytes | None = None
    ignore_range: bool = False
    redirect: str | None = None


@dataclass
class Request:
    """One request that came in."""

    target: str
    range: str | None


@dataclass
class Served:
    """One collection as served; change it at will."""

    record: dict[str, Any]
    file_name: str
    data: bytes
    has_full_file: bool = True
    etag: str | None = field(default=None)

    def current_etag(self) -> str:
        """A strong ETag of the content, unless set."""
        return self.etag or f'"{hashlib.sha256(self.data).hexdigest()[:16]}"'

    def sample(self) -> bytes:
        """The subset the RDM offers beside the full file."""
        table = pq.read_table(io.BytesIO(self.data)).slice(0, SAMPLE_ROWS)
        sink = io.BytesIO()
        pq.write_table(table, sink)
        return sink.getvalue()


class RdmServer:
    """The server; a context manager.

    Args:
        mirror: folder to start from; None for an empty listing.

    Attributes:
        collections: what is served, in listing order, by collectionId.
        faults: what goes wrong; the first that matches a request is used up first.
        requests: what was asked for, in order.
        send_etag: whether files carry an ETag.
        total_count: what the listing claims to hold; None for the truth.
        busiest: most requests under way at the same time so far.
    """

    def __init__(self, mirror: Path | None = None) -> None:
        self.collections: dict[str, Served] = {}
        self.faults: list[Fault] = []
        self.requests: list[Request] = []
        self.send_etag = True
        self.total_count: int | None = None
        self.lock = threading.Lock()
        self.busiest, self._under_way = 0, 0
        if mirror is not None:
            self.load(mirror)
        handler = type("Handler", (_Handler,), {"rdm": self})
        self._server = _QuietServer(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )

    @property
    def url(self) -> str:
        """Base URL, to be given to a client."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def load(self, mirror: Path) -> None:
        """Serve every collection of a mirror folder, beside what is served already."""
        listing = json.loads((mirror / "collections.json").read_text("utf-8"))
        for record in listing["items"]:
            home = mirror / record["collectionId"]
            items = json.loads((home / "metadata_items.json").read_text("utf-8"))
            full = next(i["value"] for i in items if i["name"] == "GeoParquetDownloadUrl")
            path = mirror / full
            self.add(record, path.read_bytes(), path.name)

    def add(self, record: dict[str, Any], data: bytes, file_name: str | None = None) -> Served:
        """List one collection more."""
        key = record["collectionId"]
        served = Served(dict(record), file_name or f"{key}.geoparquet", data)
        with self.lock:
            self.collections[key] = served
        return served

    def change(self, collection_id: str, data: bytes | None = None, **fields: Any) -> None:
        """Change a record's fields, and its file if `data` is given."""
        with self.lock:
            served = self.collections[collection_id]
            served.record |= fields
            if data is not None:
                served.data = data

    def withdraw(self, collection_id: str) -> None:
        """Take a collection out of the listing."""
        with self.lock:
            del self.collections[collection_id]

    def fault(self, path: str, **what: Any) -> Fault:
        """Order a fault, see `Fault`."""
        fault = Fault(path, **what)
        with self.lock:
            self.faults.append(fault)
        return fault

    def count(self, path: str = "") -> int:
        """How many requests had `path` in their target."""
        return sum(path in request.target for request in self.requests)

    def counts(self) -> Counter[str]:
        """Requests by path, queries left out."""
        return Counter(urlsplit(request.target).path for request in self.requests)

    def begin(self) -> None:
        """Count a request as under way."""
        with self.lock:
            self._under_way += 1
            self.busiest = max(self.busiest, self._under_way)

    def end(self) -> None:
        """Count it no longer: before its last byte, on which a client may ask for more."""
        with self.lock:
            self._under_way -= 1

    def take_fault(self, target: str) -> Fault | None:
        """The fault of this request, counted down."""
        with self.lock:
            for fault in self.faults:
                if fault.path in target and fault.times != 0:
                    fault.times -= 1
                    return fault
        return None


class _QuietServer(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that hang up are what these tests are about."""


class _Handler(BaseHTTPRequestHandler):
    rdm: RdmServer
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        self.rdm.begin()
        self._answer()

    def _answer(self) -> None:
        rdm = self.rdm
        with rdm.lock:
            rdm.requests.append(Request(self.path, self.headers.get("Range")))
        fault = rdm.take_fault(self.path)
        if fault is not None:
            if fault.stall_after is None:
                time.sleep(fault.delay_s)
            if fault.redirect is not None:
                self._send(b"", "text/plain", None, status=302, extra={"Location": fault.redirect})
                return
            if fault.status is not None:
                extra = {"Retry-After": fault.retry_after} if fault.retry_after else {}
                self._send(b"{}", "application/json", None, status=fault.status, extra=extra)
                return
            if fault.body is not None:
                self._send(fault.body, "text/html", fault)
                return
        parts = urlsplit(self.path)
        route = [unquote(p) for p in parts.path.strip("/").split("/")]
        with rdm.lock:
            served = rdm.collections.get(route[1]) if len(route) > 1 else None
        if route == ["collections"]:
            self._json(self._page(parse_qs(parts.query)), fault)
        elif route[0] == "collections" and served and len(route) == 2:
            self._json(served.record, fault)
        elif route[0] == "collections" and served and route[2:] == ["metadata", "items"]:
            self._json(self._metadata(served), fault)
        elif route[0] == "public" and served and len(route) == 3:
            is_sample = route[2].startswith("sample_")
            self._file(served.sample() if is_sample else served.data, served.current_etag(), fault)
        else:
            self._send(b'{"error": "not found"}', "application/json", None, status=404)

    def _page(self, query: dict[str, list[str]]) -> dict[str, Any]:
        skip = int(query.get("SkipCount", ["0"])[0])
        size = int(query.get("MaxResultCount", ["10"])[0])
        with self.rdm.lock:
            records = [served.record for served in self.rdm.collections.values()]
        total = len(records) if self.rdm.total_count is None else self.rdm.total_count
        return {"totalCount": total, "items": records[skip : skip + size]}

    def _metadata(self, served: Served) -> list[dict[str, Any]]:
        key = served.record["collectionId"]
        base = f"{self.rdm.url}/public/{key}"
        items = [
            {
                "id": 1,
                "name": "SampleDownloadUrl",
                "type": "link",
                "value": f"{base}/sample_{key}.geoparquet",
            },
            {"id": 2, "name": "codeStats", "type": "text", "value": '{"EwocStats": []}'},
        ]
        if served.has_full_file:
            value = f"{base}/{served.file_name}"
            items.append({"id": 3, "name": "GeoParquetDownloadUrl", "type": "link", "value": value})
        return items

    def _json(self, value: Any, fault: Fault | None) -> None:
        self._send(json.dumps(value).encode(), "application/json", fault)

    def _file(self, data: bytes, etag: str, fault: Fault | None) -> None:
        start, status = 0, 200
        extra = {"Accept-Ranges": "bytes"} | ({"ETag": etag} if self.rdm.send_etag else {})
        wanted = self.headers.get("Range")
        fresh = self.headers.get("If-Range") in (None, etag)
        if wanted and fresh and not (fault and fault.ignore_range):
            start = int(wanted.removeprefix("bytes=").split("-")[0])
            if start >= len(data):
                extra["Content-Range"] = f"bytes */{len(data)}"
                self._send(b"", "text/plain", None, status=416, extra=extra)
                return
            status = 206
            extra["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        self._send(data[start:], "application/octet-stream", fault, status=status, extra=extra)

    def _send(
        self,
        body: bytes,
        content_type: str,
        fault: Fault | None,
        *,
        status: int = 200,
        extra: dict[str, str] | None = None,
    ) -> None:
        self.rdm.end()
        claimed = len(body)
        if fault is not None and fault.lie_to is not None:
            body = body[: fault.lie_to]
            claimed = len(body)
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(claimed))
        for name, value in (extra or {}).items():
            self.send_header(name, value)
        self.end_headers()
        if fault is not None and fault.cut_to is not None:
            self.wfile.write(body[: fault.cut_to])
            self.close_connection = True
            return
        if fault is not None and fault.drop_after is not None:
            self.wfile.write(body[: fault.drop_after])
            self.wfile.flush()
            self.close_connection = True
            # An RST, as when a router forgets the connection; unread bytes may be lost with it.
            time.sleep(0.05)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            self.connection.close()
            return
        if fault is not None and fault.stall_after is not None:
            self.wfile.write(body[: fault.stall_after])
            self.wfile.flush()
            time.sleep(fault.delay_s)
            body = body[fault.stall_after :]
        self.wfile.write(body)
