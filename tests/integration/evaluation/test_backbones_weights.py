"""Real and served weights: Presto's published ones, Galileo's over HTTP."""

import functools
import json
import shutil
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch

from geofm_assets.core.errors import WeightsError
from geofm_assets.evaluation.backbones.build import build_model
from geofm_assets.models.hub import ModelHub
from tests.backbone_samples import ENTRIES, sample

NANO = {"embedding_size": 128, "depth": 4, "num_heads": 8, "mlp_ratio": 4}


@pytest.fixture(scope="module")
def presto_folder(real_dir, tmp_path_factory):
    source = real_dir / "weights" / "presto_default_model.pt"
    if not source.is_file():
        pytest.skip(f"no Presto weights at {source}")
    folder = tmp_path_factory.mktemp("presto")
    shutil.copy(source, folder / "default_model.pt")
    return folder


@pytest.mark.real
def test_published_presto_embeds(presto_folder):
    model = build_model(f"presto@path:{presto_folder}")
    tokens = model.embed([sample(size=2)], "pretrained", ENTRIES, 1)
    assert model.info.start == f"path {presto_folder}"
    assert tokens.values.shape == (1, 2, 2, 1, 128)
    assert tokens.values.isfinite().all()


@pytest.mark.real
def test_the_published_file_needs_no_folder(presto_folder, real_dir):
    file = real_dir / "weights" / "presto_default_model.pt"
    given, held = build_model(f"presto@path:{file}"), build_model(f"presto@path:{presto_folder}")
    assert given.info.start == f"path {file}"
    assert given.info.model_id == held.info.model_id


@pytest.mark.real
def test_published_presto_is_not_its_random_start(presto_folder):
    published, drawn = build_model(f"presto@path:{presto_folder}"), build_model("presto")
    assert published.info.model_id != drawn.info.model_id
    first, second = (
        m.embed([sample(size=1)], "pretrained", ENTRIES, 1).values for m in (published, drawn)
    )
    assert not torch.allclose(first, second, atol=1e-2)


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture
def hub(tmp_path):
    """A hub that serves a seeded Galileo under the published names."""
    folder = tmp_path / "served" / "owner" / "galileo" / "resolve" / "main" / "models" / "nano"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"model": {"encoder": NANO}}))
    torch.save(build_model("galileo_nano@seed:4").encoder.state_dict(), folder / "encoder.pt")
    handler = functools.partial(Quiet, directory=tmp_path / "served")
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield ModelHub(f"http://127.0.0.1:{server.server_port}", tmp_path / "cache", retries=0)
    server.shutdown()
    server.server_close()


def test_galileo_comes_from_a_hub(hub):
    found = build_model("galileo_nano@hub:owner/galileo", hub=hub)
    assert found.info.start == "hub owner/galileo@main"
    assert found.info.model_id == build_model("galileo_nano@seed:4").info.model_id


def test_a_hub_without_the_file_is_said(hub):
    with pytest.raises(WeightsError, match="refused the file with HTTP status 404"):
        build_model("galileo_tiny@hub:owner/galileo", hub=hub)
