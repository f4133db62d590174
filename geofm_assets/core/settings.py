"""Settings of a deployment: the environment, then what the store remembers, then the profile.

`geofm run` writes what it was told into the store, so that the UI, a later run and a sensor work
on the same inputs with the same task settings.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from geofm_assets.core.errors import ConfigError
from geofm_assets.core.redact import redact, secret_places
from geofm_assets.core.store import Store

SETTINGS_KEY = "settings.json"
DEFAULT_STORE = "store"

Profile = Literal["demo", "local", "production"]
ExecutorName = Literal["in_process", "multiprocess", "kubernetes"]


class Settings(BaseModel):
    """One deployment's settings.

    Attributes:
        store: URL of the store.
        profile: `demo` (sample world), `local` (mirror and scenes folders), `production`.
        rdm: mirror folder or base URL of the RDM.
        scenes: folder of scenes with items.json.
        stac_url: base URL of the imagery catalogue.
        hub_url: base URL of the model hub.
        executor: where the UI's runs execute their steps.
        overrides: per task, dotted keys of its file and the values put in their place.
    """

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    store: str = DEFAULT_STORE
    profile: Profile = "local"
    rdm: str = ""
    scenes: str = ""
    stac_url: str = "https://planetarycomputer.microsoft.com/api/stac/v1"
    hub_url: str = "https://huggingface.co"
    executor: ExecutorName = "in_process"
    overrides: dict[str, dict[str, Any]] = Field(default_factory=dict)

    def task_overrides(self, task: str) -> dict[str, Any]:
        """Values to put into a task's file, those of the profile first."""
        return {**_PROFILE_OVERRIDES[self.profile], **self.overrides.get(task, {})}

    def require_no_secrets(self) -> None:
        """Refuse credentials: settings are saved, shown in the UI and handed to every run.

        Raises:
            ConfigError: a value holds some; names the setting, not the value.
        """
        for place in secret_places(self.model_dump()):
            raise ConfigError(
                f"Setting {place} holds credentials",
                where="the command line, the environment or the store's settings.json",
                fix="Put user and password of a source into ~/.netrc (or the file NETRC names), "
                "keys of a bucket into the environment (AWS_*), and the bare address here",
            )

    def require_heard(self) -> None:
        """Refuse settings that launched runs would not have.

        A run reads the environment before the store, so what was given here for a variable that is
        set otherwise would be remembered and not used.

        Raises:
            ConfigError: names the variable.
        """
        for variable, field in _ENVIRONMENT.items():
            said = os.environ.get(variable)
            said = _absolute(said) if said and field in _FOLDERS else said
            if said and field != "executor" and said != getattr(self, field):
                raise ConfigError(
                    f"The setting {field} would not reach launched runs: {variable} says otherwise",
                    where=f"the environment, {variable}={redact(said)}",
                    fix=f"Change {variable} where it is set, or leave out the option",
                )

    def remember(self, *, launched: bool = False) -> None:
        """Write these settings into the store, for the UI and later runs.

        Args:
            launched: whether runs in processes of their own are to follow them.

        Raises:
            ConfigError: as `require_no_secrets` and `require_heard`; nothing is written.
        """
        self.require_no_secrets()
        if launched:
            self.require_heard()
        value = self.model_dump(exclude={"store", "executor"})
        Store(self.store).write_json(SETTINGS_KEY, value)


_PROFILE_DEFAULTS: dict[str, dict[str, str]] = {
    "demo": {},
    "local": {},
    "production": {"rdm": "https://ewoc-rdm-api.iiasa.ac.at", "executor": "kubernetes"},
}
_PROFILE_OVERRIDES: dict[str, dict[str, Any]] = {
    "demo": {"training.epochs": 15},  # minutes on two cores; enough to beat a majority vote
    "local": {},
    "production": {"imagery.profile": "planetary_computer"},
}
_FOLDERS = ("rdm", "scenes")
_ENVIRONMENT = {
    "GEOFM_PROFILE": "profile",
    "GEOFM_RDM": "rdm",
    "GEOFM_SCENES": "scenes",
    "GEOFM_STAC": "stac_url",
    "GEOFM_HUB": "hub_url",
    "GEOFM_EXECUTOR": "executor",
}


def load_settings(
    store: str | None = None, environment: Mapping[str, str] | None = None, **given: Any
) -> Settings:
    """Settings from what was given, the environment, the store and the profile, in that order.

    Args:
        store: URL of the store; `GEOFM_STORE`, else `./store`, where it is None.
        environment: variables to read instead of the process's own.
        given: fields that win over everything; None values are ignored.

    Raises:
        ConfigError: a value is not allowed or holds credentials; names the field and where it
            came from.
    """
    variables = os.environ if environment is None else environment
    url = store or variables.get("GEOFM_STORE") or DEFAULT_STORE
    opened = Store(url)
    values: dict[str, Any] = {}
    if opened.exists(SETTINGS_KEY):
        values.update(opened.read_json(SETTINGS_KEY))
    values.update({f: variables[v] for v, f in _ENVIRONMENT.items() if variables.get(v)})
    values.update({name: value for name, value in given.items() if value is not None})
    profile = values.get("profile", "local")
    for name, default in _PROFILE_DEFAULTS.get(profile, {}).items():
        values[name] = values.get(name) or default
    for name in _FOLDERS:
        values[name] = _absolute(values.get(name, ""))
    try:
        settings = Settings(**{**values, "store": opened.url})
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigError(
            f"Setting {'.'.join(map(str, first['loc']))} is not allowed: {first['msg']}",
            where=f"the environment or {opened.url}/{SETTINGS_KEY}",
            fix="Correct it",
        ) from error
    settings.require_no_secrets()
    return settings


def _absolute(location: str) -> str:
    """Local folders as absolute paths, since runs start in other folders."""
    if not location or "://" in location:
        return location
    return str(Path(location).expanduser().resolve())
