"""The hub over real HTTP on loopback, serving a seeded random model."""

import hashlib
import io
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch

from geofm_assets.core.errors import (
    AddressRefusedError,
    DownloadError,
    SourceUnavailableError,
    WeightsError,
)
from geofm_assets.models.architecture import architecture, bundle_config, model_config
from geofm_assets.models.config import EncoderSpec
from geofm_assets.models.encoders import build_encoder
from geofm_assets.models.hub import ModelHub

NANO = "olmoearth_v1_2_nano"
REPO = "allenai/OlmoEarth-v1_2-Nano"
FILES = ("config.json", "weights.pth")


class Hub(ThreadingHTTPServer):
    """Files by path; the first answers can be made to fail."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Answer)
        self.files, self.failures, self.requests, self.headers = {}, [], [], {}
        self.redirects = {}

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"


class Answer(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.requests.append(self.path)
        if self.path in self.server.redirects:
            self.send_response(302)
            self.send_header("Location", self.server.redirects[self.path])
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        failure = self.server.failures.pop(0) if self.server.failures else None
        body = self.server.files.get(self.path)
        if isinstance(failure, int) or body is None:
            self.send_response(failure or 404)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        for name, value in self.server.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if failure == "truncate" else body)

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """config.json and weights.pth of a seeded random model."""
    folder = tmp_path_factory.mktemp("bundle")
    torch.manual_seed(1)
    torch.save(model_config(architecture(NANO)).build().state_dict(), folder / "weights.pth")
    (folder / "config.json").write_text(json.dumps(bundle_config(architecture(NANO))))
    return {name: (folder / name).read_bytes() for name in FILES}


@pytest.fixture
def server(bundle):
    with Hub() as hub:
        thread = threading.Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        for name, body in bundle.items():
            hub.files[f"/{REPO}/resolve/main/{name}"] = body
        yield hub
        hub.shutdown()
        thread.join()


@pytest.fixture
def client(server, tmp_path):
    return ModelHub(server.url, cache=tmp_path, timeout_s=5, retries=2, backoff_s=0.01)


def test_encoder_from_the_hub_is_proven(client, bundle):
    proof = build_encoder(EncoderSpec(name=NANO, source="hub"), 4, hub=client).proof
    assert proof.start == f"hub {REPO}@main"
    assert proof.sha256 == hashlib.sha256(bundle["weights.pth"]).hexdigest()
    assert proof.share == 1.0


def test_second_fetch_asks_nobody(client, server):
    client.fetch(REPO, FILES)
    server.requests.clear()
    client.fetch(REPO, FILES)
    assert server.requests == []


def test_changed_cache_is_fetched_anew(client, server, bundle):
    folder = client.fetch(REPO, FILES).folder
    (folder / "config.json").write_text("{}")
    client.fetch(REPO, FILES)
    assert (folder / "config.json").read_bytes() == bundle["config.json"]


def test_revision_is_part_of_the_address(client, server):
    server.files[f"/{REPO}/resolve/v2/config.json"] = b"two"
    folder = client.fetch(f"{REPO}@v2", ("config.json",)).folder
    assert (folder / "config.json").read_bytes() == b"two"


@pytest.mark.parametrize("failure", [503, 429, "truncate"])
def test_passing_failure_is_retried(client, server, bundle, failure):
    server.failures = [failure]
    folder = client.fetch(REPO, ("weights.pth",)).folder
    assert (folder / "weights.pth").read_bytes() == bundle["weights.pth"]


def test_lasting_failure_names_the_address(client, server):
    server.failures = [503] * 3
    with pytest.raises(SourceUnavailableError, match=r"3 attempts.*503.*resolve/main/config\.json"):
        client.fetch(REPO, FILES)


def test_missing_file_is_not_retried(client, server):
    with pytest.raises(WeightsError, match="HTTP status 404"):
        client.fetch(REPO, ("nothing.bin",))
    assert len(server.requests) == 1


def test_wrong_checksum_is_refused(client, server):
    server.headers = {"X-Linked-Etag": f'"{"0" * 64}"'}
    with pytest.raises(DownloadError, match="the hub promised 000"):
        client.fetch(REPO, ("weights.pth",))


def test_failed_download_leaves_nothing(client, server, tmp_path):
    server.failures = ["truncate"] * 3
    with pytest.raises((DownloadError, SourceUnavailableError)):
        client.fetch(REPO, ("weights.pth",))
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


def test_unreachable_hub_says_what_to_do(tmp_path):
    hub = ModelHub("http://127.0.0.1:9", cache=tmp_path, timeout_s=1, retries=1, backoff_s=0.01)
    with pytest.raises(SourceUnavailableError, match="give the weights as a folder"):
        hub.fetch(REPO, FILES)


@pytest.mark.parametrize("location", ["nano", "../etc/passwd", "a/b/c", "a/b@../x", "a/b@"])
def test_what_is_no_repository_is_refused(client, location, server):
    if location == "a/b@":  # an empty revision is the default one
        with pytest.raises(WeightsError, match="404"):
            client.fetch(location, FILES)
        return
    with pytest.raises(WeightsError, match="Not a hub repository"):
        client.fetch(location, FILES)
    assert server.requests == []


@pytest.fixture
def moved(server, bundle):
    """The weights lie on another host, to which the hub sends us on."""
    server.files["/stored/weights"] = bundle["weights.pth"]
    elsewhere = f"http://localhost:{server.server_port}/stored/weights"
    server.redirects[f"/{REPO}/resolve/main/weights.pth"] = elsewhere
    return server


def test_a_host_the_hub_sends_us_to_is_refused_at_once(client, moved, tmp_path):
    with pytest.raises(AddressRefusedError, match="GEOFM_ALLOWED_HOSTS"):
        client.fetch(REPO, ("weights.pth",))
    assert moved.requests == [f"/{REPO}/resolve/main/weights.pth"]
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


def test_a_host_that_is_allowed_is_gone_to(client, moved, bundle, monkeypatch):
    monkeypatch.setenv("GEOFM_ALLOWED_HOSTS", "localhost")
    folder = client.fetch(REPO, ("weights.pth",)).folder
    assert (folder / "weights.pth").read_bytes() == bundle["weights.pth"]


def test_weights_from_a_hub_never_run_code(client, server, tmp_path):
    class Malice:
        def __reduce__(self):
            return open, (str(tmp_path / "ran"), "w")

    sink = io.BytesIO()
    torch.save({"encoder.x": Malice()}, sink)
    server.files[f"/{REPO}/resolve/main/weights.pth"] = sink.getvalue()
    with pytest.raises(WeightsError, match="cannot be read"):
        build_encoder(EncoderSpec(name=NANO, source="hub"), 4, hub=client)
    assert not (tmp_path / "ran").exists()


def test_hub_without_a_hub_is_refused():
    with pytest.raises(WeightsError, match="need a hub"):
        build_encoder(EncoderSpec(name=NANO, source="hub"), 4)
