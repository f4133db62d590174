"""Settings: given, then environment, then what the store remembers, then the profile."""

import pytest

from geofm_assets.core.errors import ConfigError
from geofm_assets.core.settings import load_settings


def test_the_store_remembers_what_a_run_was_told(tmp_path):
    told = load_settings(str(tmp_path), {}, rdm=str(tmp_path / "m"), overrides={"t": {"a.b": 1}})
    told.remember()
    found = load_settings(str(tmp_path), {})
    assert found.rdm == str(tmp_path / "m")
    assert found.task_overrides("t") == {"a.b": 1}


def test_the_environment_wins_over_the_store_and_arguments_over_both(tmp_path):
    load_settings(str(tmp_path), {}, scenes="/remembered").remember()
    environment = {"GEOFM_SCENES": "/environment"}
    assert load_settings(str(tmp_path), environment).scenes == "/environment"
    assert load_settings(str(tmp_path), environment, scenes="/given").scenes == "/given"


def test_production_knows_where_the_rdm_is_and_uses_a_catalogue(tmp_path):
    settings = load_settings(str(tmp_path), {}, profile="production")
    assert settings.rdm.startswith("https://")
    assert settings.executor == "kubernetes"
    assert settings.task_overrides("any") == {"imagery.profile": "planetary_computer"}


def test_a_wrong_value_names_the_setting(tmp_path):
    with pytest.raises(ConfigError, match="executor"):
        load_settings(str(tmp_path), {"GEOFM_EXECUTOR": "slurm"})


def test_a_setting_that_launched_runs_would_not_find_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("GEOFM_PROFILE", "production")
    settings = load_settings(str(tmp_path), profile="local")
    with pytest.raises(ConfigError, match="GEOFM_PROFILE"):
        settings.remember(launched=True)
    assert not list(tmp_path.iterdir())
    settings.remember()
    monkeypatch.setenv("GEOFM_PROFILE", "local")
    settings.remember(launched=True)
