"""A small STAC API on loopback: item search with paging and queries, assets with ranges.

What is asked for under /moved/ lies under /assets/ of another host, `localhost`.

It runs in a process of its own: GDAL keeps Python's lock while it opens a URL, so a server thread
in the same process would never answer. Both sides share a folder: `items.json` is what the server
holds, `failures.json` the statuses its next searches answer with, `searches.jsonl` what was asked.
"""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import shapely
import shapely.geometry


@dataclass
class StacServer:
    """The test's side of a server.

    Attributes:
        folder: files served under /assets/, and what is shared with the server.
        items: STAC items; hrefs of assets may start with "{base}".
        page_size: at most so many items a page.
        base: the server's address.
    """

    folder: Path
    items: list[dict[str, Any]] = field(default_factory=list)
    page_size: int = 100
    base: str = ""

    def publish(self) -> None:
        """Let the server hold `items` as they are now."""
        said = {"items": self.items, "page_size": self.page_size}
        (self.folder / "items.json").write_text(json.dumps(said))

    def fail_next(self, *statuses: int) -> None:
        """Let the next searches answer with these statuses."""
        (self.folder / "failures.json").write_text(json.dumps(statuses))

    def slow_down(self) -> None:
        """Let every answer take so long that requests of one moment are seen together."""
        (self.folder / "slow").touch()

    def busiest(self) -> int:
        """Most requests under way at the same time so far, searches and assets together."""
        return int((self.folder / "busiest.txt").read_text())

    def searches(self) -> list[dict[str, Any]]:
        """Bodies of the searches answered so far."""
        path = self.folder / "searches.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _search(folder: Path, base: str, body: dict[str, Any]) -> dict[str, Any]:
    with (folder / "searches.jsonl").open("a") as log:
        log.write(json.dumps(body) + "\n")
    held = json.loads((folder / "items.json").read_text())
    found = [item for item in held["items"] if _matches(item, body)]
    for sort in reversed(body.get("sortby", [])):
        found.sort(key=lambda item: item[sort["field"]])
    start = int(body.get("token", 0))
    stop = start + min(held["page_size"], body.get("limit", 10))
    page = json.loads(json.dumps(found[start:stop]).replace("{base}", base))
    following = {"rel": "next", "method": "POST", "href": f"{base}/search"}
    links = [{**following, "body": {**body, "token": stop}}] if stop < len(found) else []
    return {"type": "FeatureCollection", "features": page, "links": links}


def _next_failure(folder: Path) -> int | None:
    path = folder / "failures.json"
    waiting = json.loads(path.read_text()) if path.exists() else []
    path.write_text(json.dumps(waiting[1:]))
    return waiting[0] if waiting else None


def _matches(item: dict[str, Any], body: dict[str, Any]) -> bool:
    if item["collection"] not in body.get("collections", [item["collection"]]):
        return False
    if "ids" in body and item["id"] not in body["ids"]:
        return False
    if "intersects" in body:
        wanted = shapely.geometry.shape(body["intersects"])
        if not shapely.geometry.shape(item["geometry"]).intersects(wanted):
            return False
    if "datetime" in body:
        start, _, end = body["datetime"].partition("/")
        if not start <= item["properties"]["datetime"] <= (end or start):
            return False
    return all(
        _holds(item["properties"].get(name), operator, value)
        for name, rules in (body.get("query") or {}).items()
        for operator, value in rules.items()
    )


def _holds(found: Any, operator: str, value: Any) -> bool:
    if found is None:
        return False
    tests = {
        "eq": lambda: found == value,
        "lt": lambda: found < value,
        "lte": lambda: found <= value,
        "gt": lambda: found > value,
        "in": lambda: found in value,
    }
    return bool(tests[operator]())


class _UnderWay:
    """Counts requests until they are answered, and notes the most of one moment.

    A request ends before its answer's first byte: a client that has the last one asks for more at
    once.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._lock, self._now, self._most = folder, threading.Lock(), 0, 0

    def begin(self) -> None:
        with self._lock:
            self._now += 1
            if self._now > self._most:
                self._most = self._now
                (self._folder / "busiest.txt").write_text(str(self._most))
        if (self._folder / "slow").exists():
            time.sleep(0.02)

    def end(self) -> None:
        with self._lock:
            self._now -= 1


def _handler(folder: Path) -> type[BaseHTTPRequestHandler]:
    under_way = _UnderWay(folder)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # one packet an answer, or every answer waits for an acknowledgement
        disable_nagle_algorithm = True

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

        def do_POST(self) -> None:
            under_way.begin()
            self._searched()

        def _searched(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            failure = _next_failure(folder)
            if failure is not None:
                self._answer(failure, b"{}", "application/json")
                return
            base = f"http://{self.headers['Host']}"
            answer = json.dumps(_search(folder, base, body)).encode()
            self._answer(200, answer, "application/geo+json")

        def do_HEAD(self) -> None:
            under_way.begin()
            self._asset(head=True)

        def do_GET(self) -> None:
            under_way.begin()
            self._asset(head=False)

        def _asset(self, head: bool) -> None:
            if self.path.startswith("/moved/"):
                port = self.headers["Host"].rpartition(":")[2]
                target = f"http://localhost:{port}/assets/{self.path.removeprefix('/moved/')}"
                self._answer(302, b"", "text/plain", {"Location": target}, head)
                return
            path = folder / self.path.removeprefix("/assets/")
            if not self.path.startswith("/assets/") or not path.is_file():
                self._answer(404, b"", "text/plain")
                return
            data, status, extra = path.read_bytes(), 200, {}
            wanted = self.headers.get("Range")
            if wanted:
                first, _, last = wanted.removeprefix("bytes=").partition("-")
                begin, end = int(first), min(int(last or len(data) - 1), len(data) - 1)
                extra = {"Content-Range": f"bytes {begin}-{end}/{len(data)}"}
                data, status = data[begin : end + 1], 206
            self._answer(status, data, "application/octet-stream", extra, head)

        def _answer(
            self,
            status: int,
            data: bytes,
            kind: str,
            extra: dict[str, str] | None = None,
            head: bool = False,
        ) -> None:
            under_way.end()
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            self.send_header("Accept-Ranges", "bytes")
            for name, value in (extra or {}).items():
                self.send_header(name, value)
            self.end_headers()
            if not head:
                self.wfile.write(data)

    return Handler


@contextmanager
def serve(server: StacServer) -> Iterator[StacServer]:
    """Serve on a free loopback port until the block ends."""
    server.publish()
    process = subprocess.Popen(
        [sys.executable, __file__, str(server.folder)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        server.base = process.stdout.readline().strip()
        yield server
    finally:
        process.terminate()
        process.wait(timeout=10)


if __name__ == "__main__":
    http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(Path(sys.argv[1])))
    print(f"http://127.0.0.1:{http.server_address[1]}", flush=True)
    http.serve_forever()
