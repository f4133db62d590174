"""Events of a Dagster instance in SQLite, as dagster.yaml names them: `SqliteEvents`."""

from pathlib import Path
from typing import Any, Self

import dagster as dg
from dagster._serdes import ConfigurableClassData

from geofm_assets.platform.check_states import StatesAtOnce
from geofm_assets.platform.kept_open import KeptOpen


class SqliteEvents(StatesAtOnce, KeptOpen):
    """Dagster's own storage, in its own files, that records and shows many cells fast.

    Dagster's wants the absolute path of its folder in dagster.yaml, which a store that is moved, or
    mounted elsewhere, would belie. This one has the folder that Dagster uses by default: it opens
    when it is told of its instance, which Dagster does before anything else.
    """

    def __init__(self, inst_data: ConfigurableClassData | None = None) -> None:
        self._inst_data = inst_data

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        """Nothing to configure."""
        return {}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Any) -> Self:
        """As dagster.yaml names it."""
        return cls(inst_data)

    def register_instance(self, instance: dg.DagsterInstance) -> None:
        """Open the files beside the instance's other ones."""
        folder = Path(instance.root_directory) / "history" / "runs"
        KeptOpen.__init__(self, str(folder), self._inst_data)
        super().register_instance(instance)
