"""The dataset's config.json."""

import json
from pathlib import Path

import pytest
from pydantic import ValidationError
from rslearn.config import DatasetConfig

from geofm_assets.core.errors import ConfigError
from geofm_assets.imagery.config import ImageryConfig
from geofm_assets.imagery.dataset import PLANETARY_COMPUTER, dataset_config, ensure_dataset

PC = ImageryConfig(profile="planetary_computer")


def make_window(dataset: Path) -> None:
    (dataset / "windows" / "cell" / "window").mkdir(parents=True)


@pytest.mark.parametrize("imagery", [ImageryConfig(), PC], ids=lambda c: c.profile)
def test_rslearn_reads_the_configuration(imagery: ImageryConfig, tmp_path: Path) -> None:
    config = DatasetConfig.model_validate(dataset_config(imagery, str(tmp_path), None))
    assert list(config.layers) == ["label", "sentinel2_l2a", "sentinel1"]


@pytest.mark.parametrize("imagery", [ImageryConfig(), PC], ids=lambda c: c.profile)
def test_the_order_of_time_is_stated(imagery: ImageryConfig, tmp_path: Path) -> None:
    config = dataset_config(imagery, str(tmp_path), None)
    for layer in ("sentinel2_l2a", "sentinel1"):
        query = config["layers"][layer]["data_source"]["query_config"]
        assert query["per_period_mosaic_reverse_time_order"] is False


def test_planetary_computer_makes_decibels_and_local_scenes_hold_them(tmp_path: Path) -> None:
    def linear(imagery: ImageryConfig) -> bool:
        layer = dataset_config(imagery, str(tmp_path), None)["layers"]["sentinel1"]
        flag: bool = layer["compositing_method"]["init_args"]["linear_to_decibels"]
        return flag

    assert (linear(PC), linear(ImageryConfig())) == (True, False)


def test_the_catalogue_is_planetary_computer_unless_said(tmp_path: Path) -> None:
    def url(stac_url: str | None) -> str:
        source = dataset_config(PC, None, stac_url)["layers"]["sentinel1"]["data_source"]
        address: str = source["init_args"]["base_url"]
        return address

    assert (url(None), url("http://127.0.0.1:1")) == (PLANETARY_COMPUTER, "http://127.0.0.1:1")


def test_local_scenes_need_a_folder() -> None:
    with pytest.raises(ConfigError, match="needs a folder of scenes"):
        dataset_config(ImageryConfig(), None, None)


def test_the_same_configuration_is_not_written_again(tmp_path: Path) -> None:
    ensure_dataset(tmp_path, ImageryConfig(), "scenes", None)
    before = (tmp_path / "config.json").stat().st_mtime_ns
    ensure_dataset(tmp_path, ImageryConfig(), "scenes", None)
    assert (tmp_path / "config.json").stat().st_mtime_ns == before


def test_another_configuration_under_windows_is_refused(tmp_path: Path) -> None:
    ensure_dataset(tmp_path, ImageryConfig(), "scenes", None)
    make_window(tmp_path)
    with pytest.raises(ConfigError, match=r"layers\.sentinel1\..* is .*, now "):
        ensure_dataset(tmp_path, ImageryConfig(months=6), "scenes", None)


def test_without_windows_the_configuration_may_change(tmp_path: Path) -> None:
    ensure_dataset(tmp_path, ImageryConfig(), "scenes", None)
    ensure_dataset(tmp_path, ImageryConfig(months=6), "scenes", None)
    assert '"max_matches": 6' in (tmp_path / "config.json").read_text()


def test_scenes_may_move_under_windows(tmp_path: Path) -> None:
    ensure_dataset(tmp_path, ImageryConfig(), "scenes", None)
    make_window(tmp_path)
    config = ensure_dataset(tmp_path, ImageryConfig(), "moved", None)
    assert json.loads((tmp_path / "config.json").read_text()) == config


def test_a_broken_configuration_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ConfigError, match=r"Not JSON.*config\.json"):
        ensure_dataset(tmp_path, ImageryConfig(), "scenes", None)


@pytest.mark.parametrize(
    "wrong", [{"months": 0}, {"modalities": []}, {"modalities": ["landsat"]}, {"month": 12}]
)
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ImageryConfig.model_validate(wrong)
