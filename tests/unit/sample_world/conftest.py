"""A tiny world, built once."""

import pytest

from geofm_assets.sample_world.build import build


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    return build(tmp_path_factory.mktemp("sample_world") / "tiny", preset="tiny")
