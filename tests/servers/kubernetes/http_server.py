"""The wire: HTTP/1.1 on loopback, behind a secret path, chunked streams, ordered faults."""

import json
import secrets
import socket
import threading
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.servers.kubernetes.access import refuse_forbidden
from tests.servers.kubernetes.api import Api
from tests.servers.kubernetes.discovery import discovery
from tests.servers.kubernetes.errors import ApiError
from tests.servers.kubernetes.faults import Faults, RequestFault
from tests.servers.kubernetes.objects import POD, ObjectStore
from tests.servers.kubernetes.protobuf import CONTENT_TYPE, decode
from tests.servers.kubernetes.routes import is_true, target_of

_REASONS = {
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    409: "Conflict",
    410: "Expired",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
    504: "Timeout",
}


@dataclass
class Request:
    """One request that came in.

    Attributes:
        method: of HTTP.
        path: with its query, without the secret.
        time: time.time() when it came.
        group: API group; empty for the core and for requests about the server itself.
        resource: as a Role names it (`pods/log`); empty for requests about the server itself.
        verb: as a Role names it.
        namespace: None for all, empty for what has none.
        status: of the answer; None while there is none, or where it was dropped.
    """

    method: str
    path: str
    time: float
    group: str = ""
    resource: str = ""
    verb: str = ""
    namespace: str | None = ""
    status: int | None = None


class HttpServer(ThreadingHTTPServer):
    """Serves an Api to who knows its address.

    Clients of any kind get in by the secret first part of the path: kubectl sends no token over
    plain HTTP, and who may talk to this server may run commands. A service account has another,
    and only the rights that Roles give it.

    Attributes:
        requests: what came in, in order.
        errors: of the stand-in itself.
        url: with the secret.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, store: ObjectStore, api: Api, faults: Faults) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.store, self.api, self.faults = store, api, faults
        self.accounts: dict[str, tuple[str, str] | None] = {}
        self.url = self.url_for(None)
        self.requests: list[Request] = []
        self.errors: list[Exception] = []
        self._connections: set[socket.socket] = set()
        self._lock = threading.Lock()

    def url_for(self, account: tuple[str, str] | None) -> str:
        """Another address of the API: of a service account (namespace, name), or of an admin."""
        prefix = secrets.token_urlsafe(12)
        self.accounts[prefix] = account
        return f"http://127.0.0.1:{self.server_address[1]}/{prefix}"

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no error of the server."""

    def close_connections(self) -> None:
        """Close what clients keep open."""
        with self._lock:
            for connection in self._connections:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:  # closed by the client already
                    continue


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # one packet an answer
    disable_nagle_algorithm = True
    server: HttpServer

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        self._serve()

    do_POST = do_PUT = do_PATCH = do_DELETE = do_GET

    def _serve(self) -> None:
        _, prefix, *rest = self.path.split("/", 2)
        path = f"/{'/'.join(rest)}" if prefix in self.server.accounts else self.path
        request = Request(self.command, path, time.time())
        self.server.requests.append(request)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fault = self.server.faults.next_for(self.command, path) or RequestFault()
        if fault.delay_s:
            time.sleep(fault.delay_s)
        if fault.drop == "request":
            self.close_connection = True
            return
        try:
            if fault.status is not None:
                reason = _REASONS.get(fault.status, "Unknown")
                text = f"ordered by the test: {fault.status}"
                raise ApiError(fault.status, reason, text, retry_after=fault.retry_after)
            answer = self._answer(request, body)
        except ApiError as error:
            answer = error.code, error
        except Exception as error:  # noqa: BLE001 - reported to the test when the server closes
            self.server.errors.append(error)
            text = f"stand-in failed: {traceback.format_exc()}"
            answer = 500, ApiError(500, "InternalError", text)
        if fault.drop == "answer":
            self.close_connection = True
            return
        request.status = answer[0]
        self._send(*answer)

    def _answer(self, request: Request, body: bytes) -> tuple[int, Any]:
        parts = urlsplit(request.path)
        query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
        prefix = self.path.split("/", 2)[1]
        if prefix not in self.server.accounts:
            raise ApiError(401, "Unauthorized", "Unauthorized")
        about_server = discovery(parts.path, f"/{prefix}")
        if about_server is not None:
            return 200, about_server
        target = target_of(self.command, parts.path, query)
        request.group, request.resource = target.kind.group, target.resource
        request.verb, request.namespace = target.verb, target.namespace
        account = self.server.accounts[prefix]
        if account is not None:
            refuse_forbidden(self.server.store, account, target)
        if target.verb == "watch":
            return 200, self.server.api.watch(target, query)
        if target.kind is POD and target.subresource == "log":
            lines = self.server.api.log(target, query)
            return 200, lines if is_true(query.get("follow")) else b"".join(lines)
        kind = self.headers.get_content_type()
        return self.server.api.answer(target, query, _content(kind, body), kind)

    def _send(self, status: int, content: Any) -> None:
        self.send_response(status)
        if isinstance(content, Iterator):
            self._stream(content)
            return
        if isinstance(content, ApiError):
            if content.retry_after is not None:
                self.send_header("Retry-After", str(content.retry_after))
            content = content.status()
        kind = "text/plain" if isinstance(content, bytes) else "application/json"
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _stream(self, parts: Iterator[bytes]) -> None:
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.flush()
        for part in parts:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
            self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")


def _content(kind: str, body: bytes) -> Any:
    if not body:
        return None
    if kind == CONTENT_TYPE:
        return decode(body)
    try:
        return json.loads(body)
    except ValueError as error:
        raise ApiError(400, "BadRequest", f"the body is not JSON: {error}") from error
