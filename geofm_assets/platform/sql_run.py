"""Running SQL models over a store with DuckDB, and testing what comes out."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any

import duckdb
import pandas as pd
import pandera.pandas as pp
import pyarrow as pa
import pyarrow.compute as pc

from geofm_assets.core.errors import ConfigError, SchemaError
from geofm_assets.core.hashing import json_digest, table_digest
from geofm_assets.core.objects import talking
from geofm_assets.core.parquet import read_parquet
from geofm_assets.core.schema import TableModel
from geofm_assets.core.stage import MissingUpstreamError
from geofm_assets.core.store import Store
from geofm_assets.platform.sql_parse import SIMULATED, SqlModel
from geofm_assets.platform.sql_sources import SOURCES, Source, SourceFile

_LOCAL = ("", "file", "local")
_AT_ONCE = 16


@dataclass(frozen=True)
class TestResult:
    """What a test of a model came to.

    Attributes:
        name: the test's.
        passed: whether no row fails.
        failing_rows: how many do.
        description: the test as written.
    """

    __test__ = False  # not a test class, whatever pytest thinks

    name: str
    passed: bool
    failing_rows: int
    description: str = ""


def run_model(
    model: SqlModel, sources: Mapping[str, Sequence[SourceFile]], store: Store
) -> pa.Table:
    """The table of a model.

    Sources are read from their files (a source without files is an empty table), models from
    where they were written. One thread and the model's ORDER BY make the result a function of
    the input's content.

    Args:
        model: what to run.
        sources: files of each source, as `source_files` gives them.
        store: where the models it reads were written.

    Raises:
        MissingUpstreamError: a model it reads was never materialized.
        SchemaError: a source file lacks a column.
        ConfigError: the SQL fails, or its ORDER BY does not tell the rows apart.
    """
    with connect() as con:
        for name in model.upstreams:
            if name in model.model_keys:
                con.register(name, _written(store, name, model.model_keys[name]))
            else:
                _attach(con, name, SOURCES[name], sources.get(name, ()))
        try:
            table = con.sql(model.sql).to_arrow_table()
        except duckdb.Error as error:
            raise ConfigError(f"The SQL failed: {_reason(error)}", where=str(model.path)) from error
    if table.column_names != list(model.columns):
        raise ConfigError(
            f"The SQL gave columns {', '.join(table.column_names)}",
            where=str(model.path),
            fix="Describe these under columns",
        )
    _require_total_order(model, table)
    return table.replace_schema_metadata(None).combine_chunks()


def run_tests(model: SqlModel, table: pa.Table) -> list[TestResult]:
    """Every test of a model on its table.

    Raises:
        ConfigError: an expression is not SQL.
    """
    results = []
    with connect() as con:
        con.register(model.name, table)
        for test in model.tests:
            failing = test.failing.replace("{table}", f'"{model.name}"')
            try:
                row = con.execute(f"SELECT count(*) FROM ({failing})").fetchone()
            except duckdb.Error as error:
                raise ConfigError(
                    f"Test {test.description!r} failed to run: {_reason(error)}",
                    where=str(model.path),
                ) from error
            count = int(row[0]) if row else 0
            results.append(TestResult(test.name, count == 0, count, test.description))
    return results


def write_model(store: Store, model: SqlModel, table: pa.Table, inputs: str = "") -> str:
    """Write a model's table and return its store key.

    Args:
        store: where to.
        model: whose table it is.
        table: what `run_model` gave.
        inputs: digest of what it was made from; of the SQL and the content if empty.
    """
    version = json_digest(model.sql)[:12]
    store.write_table(
        model.key,
        table,
        table_model(model, table.schema),
        inputs=inputs or json_digest([model.sql, table_digest(table)]),
        code_version=version,
        simulated=bool(pc.any(table[SIMULATED]).as_py()),
    )
    return model.key


def table_model(model: SqlModel, schema: pa.Schema) -> type[TableModel]:
    """A pandera model with a SQL model's columns and types; its rules are its own tests."""
    hints: dict[str, Any] = {f.name: Annotated[pd.ArrowDtype, f.type] for f in schema}
    fields = {f.name: pp.Field(nullable=True) for f in schema}
    name = "".join(part.capitalize() for part in model.name.split("_"))
    return type(name, (TableModel,), {"__annotations__": hints, "__module__": __name__, **fields})


def connect() -> duckdb.DuckDBPyConnection:
    """A DuckDB connection in memory, on one thread, with clocks in UTC.

    What is registered on it, and temporary views, are its own.
    """
    con = _database().cursor()
    con.execute("SET TimeZone = 'UTC'")
    return con


@cache
def _database() -> duckdb.DuckDBPyConnection:
    """The process's database: to open one takes 30 ms of CPU time, more than most models do."""
    return duckdb.connect(":memory:", config={"threads": 1})


def _attach(
    con: duckdb.DuckDBPyConnection, name: str, source: Source, files: Sequence[SourceFile]
) -> None:
    """Make a source readable under its name."""
    groups: dict[tuple[str | None, str | None], list[SourceFile]] = {}
    for file in files:
        groups.setdefault((file.task, file.stage), []).append(file)
    con.register(f"{name}__none", source.columns.empty_table())
    names = ", ".join(f'"{n}"' for n in source.columns.names)
    parts = [f'SELECT {names} FROM "{name}__none"']
    columns = ", ".join(f'"{n}"' for n in source.schema.names)
    for number, ((task, stage), members) in enumerate(groups.items()):
        read = _reader(con, f"{name}__{number}", source, members)
        added = f"{_text(task)} AS task"
        added += f", {_text(stage)} AS stage" if source.staged else ""
        parts.append(f"SELECT {columns}, {added} FROM {read}")
    try:
        con.execute(f'CREATE TEMP VIEW "{name}" AS ' + " UNION ALL ".join(parts))
    except duckdb.Error as error:
        raise SchemaError(
            f"Files of source {name} cannot be read together: {_reason(error)}",
            where=str(files[0].path) if files else name,
            fix="Materialize the assets that wrote them again",
        ) from error


def _reader(
    con: duckdb.DuckDBPyConnection, alias: str, source: Source, files: list[SourceFile]
) -> str:
    """What to read a group of files from: the files themselves, or a table if they are remote."""
    if all(f.path.protocol in _LOCAL for f in files):
        listed = ", ".join(_text(f.path.path) for f in files)
        # folders are named h3_cell=..., and the column is in the files already
        if not source.grown:
            return f"read_parquet([{listed}], hive_partitioning = false)"
        con.register(f"{alias}__schema", source.schema.empty_table())
        parts = f"read_parquet([{listed}], hive_partitioning = false, union_by_name = true)"
        return f'(SELECT * FROM "{alias}__schema" UNION ALL BY NAME SELECT * FROM {parts})'
    columns = None if source.grown else source.schema.names

    def read(file: SourceFile) -> pa.Table:
        with talking(str(file.path)):
            return read_parquet(file.path, columns)

    with ThreadPoolExecutor(_AT_ONCE) as pool:  # a bucket answers slowly, and many at once
        tables = list(pool.map(read, files))
    if source.grown:
        tables.insert(0, source.schema.empty_table())
    con.register(alias, pa.concat_tables(tables, promote_options="default"))
    return f'"{alias}"'


def _written(store: Store, name: str, key: str) -> pa.Table:
    if not store.exists(key):
        raise MissingUpstreamError(
            f"SQL model {name} was never materialized",
            where=key,
            fix=f"Materialize {key.removesuffix('.parquet')} first",
        )
    return store.read_table(key)


def _require_total_order(model: SqlModel, table: pa.Table) -> None:
    if not model.order_by:
        return
    columns = list(model.order_by)
    distinct = table.select(columns).group_by(columns).aggregate([]).num_rows
    if distinct < table.num_rows:
        raise ConfigError(
            f"ORDER BY {', '.join(columns)} does not tell {table.num_rows - distinct} of "
            f"{table.num_rows} rows apart, so their order is left to chance",
            where=str(model.path),
            fix="Order by more columns, or write ORDER BY ALL",
        )


def _text(value: str | None) -> str:
    return "NULL::VARCHAR" if value is None else "'" + value.replace("'", "''") + "'"


def _reason(error: duckdb.Error) -> str:
    """DuckDB's message without the excerpt of the statement it adds."""
    return str(error).split("\n", 1)[0]
