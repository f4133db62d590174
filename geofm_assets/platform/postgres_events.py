"""Events of a Dagster instance in PostgreSQL, as dagster.yaml names them: `PostgresEvents`."""

from collections.abc import Mapping
from typing import Any, Self

from dagster._serdes import ConfigurableClassData
from dagster_postgres.event_log import PostgresEventLogStorage
from dagster_postgres.utils import get_token_provider_from_config, pg_url_from_config

from geofm_assets.platform.check_states import StatesAtOnce


class PostgresEvents(StatesAtOnce, PostgresEventLogStorage):
    """Dagster's own storage, in its own tables, that shows the checks of many cells fast.

    dagster.yaml configures it as Dagster's: `postgres_url`, or the parts of one in `postgres_db`.
    """

    def __init__(self, *given: Any, **named: Any) -> None:
        self._tables: set[str] = set()
        super().__init__(*given, **named)

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> Self:
        """As dagster.yaml names it; Dagster's would make one of Dagster's class."""
        return cls(
            postgres_url=pg_url_from_config(config_value),
            should_autocreate_tables=config_value.get("should_autocreate_tables", True),
            inst_data=inst_data,
            token_provider=get_token_provider_from_config(config_value),
        )

    def has_table(self, table_name: str) -> bool:
        """Whether the database has a table; Dagster asks for every event, and one stays."""
        if table_name not in self._tables and super().has_table(table_name):
            self._tables.add(table_name)
        return table_name in self._tables
