"""An S3 server on loopback: moto's, made to keep what S3 promises, and to fail when told to."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

import boto3
from moto.core import DEFAULT_ACCOUNT_ID
from moto.moto_server.werkzeug_app import (
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)
from moto.s3.models import s3_backends
from werkzeug.serving import make_server

KEY_ID, SECRET = "AKIASTANDIN00000000A", "not/a+real/secret/but/long/enough/0000000"
"""Credentials of the stand-in, made up: tests look for them where they must not be."""

Fault = Callable[[str, str, dict[str, list[str]]], int | str | None]


@dataclass
class S3Server:
    """What is served, and what happened.

    Attributes:
        url: of the server.
        asked: method, path and query of every request.
        fault: told method, path and query of a request, says what to do instead of answering: a
            status, `hang` (until the fault is taken away), or None.
        after: the same, but says what to answer once the request was done.
        heedless: take no notice of conditions of a put.
    """

    url: str
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    fault: Fault | None = None
    after: Fault | None = None
    heedless: bool = False

    def environment(self) -> dict[str, str]:
        """Variables under which a process finds this server."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": KEY_ID,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def client(self) -> Any:
        """boto3's own client of it."""
        return boto3.client(
            "s3",
            endpoint_url=self.url,
            aws_access_key_id=KEY_ID,
            aws_secret_access_key=SECRET,
            region_name="us-east-1",
        )

    def fill(self, bucket: str, keys: Iterable[str]) -> None:
        """Put empty objects, many in no time."""
        backend = s3_backends[DEFAULT_ACCOUNT_ID]["aws"]
        for key in keys:
            backend.put_object(bucket, key, b"")


@contextmanager
def serve() -> Iterator[S3Server]:
    """Serve until the block ends; buckets are shared by all servers of a process, as moto's are."""
    app = DomainDispatcherApplication(create_backend_app)
    writes = threading.Lock()  # S3 decides conditional puts one by one; moto looks, then writes

    def answer(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        query = environ.get("QUERY_STRING", "")
        server.asked.append((method, path, query))
        said = parse_qs(query, keep_blank_values=True)
        wrong = server.fault(method, path, said) if server.fault else None
        while wrong == "hang" and server.fault is not None:
            time.sleep(0.02)
        if isinstance(wrong, int):
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            start(f"{wrong} told so", [("Content-Length", "0")])
            return [b""]
        if server.heedless:
            environ.pop("HTTP_IF_NONE_MATCH", None)
            environ.pop("HTTP_IF_MATCH", None)
        if method == "GET":
            return app(environ, start)
        with writes:
            instead = server.after(method, path, said) if server.after else None
            answered = app(environ, start if instead is None else _nothing)
        if instead is None:
            return answered
        start(f"{instead} told so", [("Content-Length", "0")])
        return [b""]

    httpd = make_server("127.0.0.1", 0, answer, threaded=True, request_handler=_Quiet)
    server = S3Server(f"http://127.0.0.1:{httpd.server_port}")
    thread = threading.Thread(target=httpd.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.fault = None
        httpd.shutdown()
        httpd.server_close()
        thread.join()


def _nothing(*args: object, **kwargs: object) -> None:
    """An answer nobody gets."""


class _Quiet(MotoRequestHandler):
    """Says nothing of requests."""

    def log_request(self, *args: object) -> None:
        pass
