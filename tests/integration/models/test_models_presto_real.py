"""Presto's published weights."""

import shutil

import pytest

from geofm_assets.models.config import EncoderSpec
from geofm_assets.models.encoders import build_encoder

pytestmark = pytest.mark.real


def test_published_weights_load_whole(real_dir, tmp_path):
    source = real_dir / "weights" / "presto_default_model.pt"
    if not source.is_file():
        pytest.skip(f"no Presto weights at {source}")
    shutil.copy(source, tmp_path / "default_model.pt")
    proof = build_encoder(
        EncoderSpec(name="presto", source="path", location=str(tmp_path)), 1
    ).proof
    assert proof.share == 1.0
    assert proof.sha256 == "559c9d76f525bdf2dd3774da8b1e7f1510769b73baacac12e9e4d8d5c67fbe65"
