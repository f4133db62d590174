"""A folder over HTTP with Range requests, on loopback, that can be told to misbehave."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


@dataclass
class RangeServer:
    """What is served, and what happened.

    Attributes:
        url: of the folder.
        asked: path and Range of every request.
        next: what to do with the next requests instead of answering: a status, `hang`, `short`
            (half of what was asked for), `drop` (end the connection half way), `whole` (ignore
            the range) or `ok`.
    """

    url: str
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    next: list[int | str] = field(default_factory=list)


@contextmanager
def serve(folder: Path) -> Iterator[RangeServer]:
    """Serve a folder until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:
            pass

        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            server.asked.append((self.path, wanted))
            action = server.next.pop(0) if server.next else "ok"
            path = folder / self.path.lstrip("/")
            if action == "hang":
                time.sleep(1.0)
            if isinstance(action, int) or not path.is_file():
                self._answer(action if isinstance(action, int) else 404, b"")
                return
            data = path.read_bytes()
            if wanted is None or action == "whole":
                self._answer(200, data)
                return
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            part = data[int(first) : int(last or len(data)) + 1]
            if not part:
                self._answer(416, b"")
                return
            if action == "short":
                part = part[: len(part) // 2]
            self._answer(206, part, drop=action == "drop")

        def _answer(self, status: int, data: bytes, drop: bool = False) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            try:
                self.wfile.write(data[: len(data) // 2] if drop else data)
            except (BrokenPipeError, ConnectionResetError):
                return  # the reader gave up first
            self.close_connection = drop

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    httpd.daemon_threads = True
    server = RangeServer(f"http://127.0.0.1:{httpd.server_address[1]}")
    thread = threading.Thread(target=httpd.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        httpd.shutdown()
        httpd.server_close()
        thread.join()
