"""Models whose weights must be fetched, with no network to fetch them over."""

import time
from pathlib import Path

import pytest
import torch

from geofm_assets.core.errors import GeofmError, SourceUnavailableError, WeightsError
from geofm_assets.core.store import Store
from geofm_assets.evaluation.backbones.build import build_model
from geofm_assets.evaluation.backbones.names import WRAPPED
from geofm_assets.evaluation.sweeps.run import run_sweep
from geofm_assets.evaluation.sweeps.settings import SweepSettings
from geofm_assets.models.hub import ModelHub
from tests.sweep_world import MemorySamples, make_entry, store_dataset

NOWHERE = "http://127.0.0.1:9"  # nothing listens on the discard port


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModelHub:
    """A hub that does not answer; packages that fetch by themselves find no network either."""
    for variable in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(variable, NOWHERE)
    for variable in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(variable, "127.0.0.1")
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "torch"))
    monkeypatch.setattr(time, "sleep", lambda seconds: None)  # rslearn waits between attempts
    return ModelHub(NOWHERE, tmp_path / "cache", retries=0, timeout_s=2.0)


@pytest.mark.parametrize("name", ["olmoearth_v1_2_nano", "presto", "galileo_nano", *WRAPPED])
def test_a_model_that_cannot_be_fetched_is_one_clear_line(name: str, hub: ModelHub) -> None:
    with pytest.raises((WeightsError, SourceUnavailableError)) as caught:
        build_model(f"{name}@hub", hub=hub)
    message = str(caught.value)
    assert name.split("_")[0] in message.lower()
    assert "\n" not in message
    assert caught.value.fix


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a store but its locks, which are empty."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.mark.parametrize("name", ["presto@hub", "croma_base@hub"])
def test_an_offline_sweep_leaves_registry_and_store_as_they_were(
    name: str, hub: ModelHub, tmp_path: Path
) -> None:
    store = Store(tmp_path / "store")
    store_dataset(store, MemorySamples(count=20), make_entry(count=20))
    before = contents(tmp_path / "store")
    with pytest.raises(GeofmError, match=r"did not answer.*give the weights as a folder"):
        run_sweep(store, [name], ["toy"], settings=SweepSettings(sweep="defaults"), hub=hub)
    assert contents(tmp_path / "store") == before
