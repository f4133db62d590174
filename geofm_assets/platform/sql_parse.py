"""Reading a SQL model: what it reads, what it gives, and where each column comes from."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import sqlglot
from sqlglot import exp
from sqlglot.errors import OptimizeError, ParseError, SqlglotError, TokenError
from sqlglot.lineage import lineage
from sqlglot.optimizer.qualify import qualify
from sqlglot.optimizer.scope import build_scope, traverse_scope

from geofm_assets.core.errors import ConfigError
from geofm_assets.platform.sql_header import Header, SqlTest, parse_header

DIALECT = "duckdb"
LAYERS = ("staging", "intermediate", "marts")
SIMULATED = "simulated"


@dataclass(frozen=True)
class SqlModel:
    """One table defined by SQL.

    Attributes:
        name: table name; the file's name.
        layer: staging, intermediate or marts; the file's folder.
        path: the file.
        sql: the SELECT, without the header.
        description: what the table is.
        columns: meaning of each column, in order.
        tests: what must hold of its rows.
        upstreams: sources and models it reads, sorted.
        column_lineage: for each column the (table, column) pairs of `upstreams` it comes from.
        model_keys: store keys of the models among `upstreams`.
        order_by: columns the rows are sorted by, which tell them apart; empty for ORDER BY ALL.
    """

    name: str
    layer: str
    path: Path
    sql: str
    description: str
    columns: Mapping[str, str]
    tests: tuple[SqlTest, ...]
    upstreams: tuple[str, ...]
    column_lineage: Mapping[str, tuple[tuple[str, str], ...]]
    model_keys: Mapping[str, str]
    order_by: tuple[str, ...]

    @property
    def key(self) -> str:
        """Store key of the model's table."""
        return store_key(self.layer, self.name)


@dataclass(frozen=True)
class ParsedFile:
    """A model file before the other models are known.

    Attributes:
        name: table name.
        layer: the folder.
        path: the file.
        header: the YAML header.
        sql: the SELECT.
        tree: its syntax tree.
        tables: tables it reads, by the line of the file they are first named at.
    """

    name: str
    layer: str
    path: Path
    header: Header
    sql: str
    tree: exp.Query
    tables: dict[str, int] = field(default_factory=dict)


def store_key(layer: str, name: str) -> str:
    """Store key of a model's table."""
    return f"sql/{layer}/{name}.parquet"


def parse_file(path: Path, layer: str) -> ParsedFile:
    """Read one model file.

    Raises:
        ConfigError: the header or the SQL is wrong; names file and line.
    """
    header, sql = parse_header(path.read_text(encoding="utf-8"), path)
    try:
        statements = [s for s in sqlglot.parse(sql, dialect=DIALECT) if s is not None]
    except (ParseError, TokenError) as error:
        line = error.errors[0].get("line") if isinstance(error, ParseError) else None
        where = f"{path}:{_file_line(header, line)}"
        raise ConfigError(
            f"Not SQL that DuckDB reads: {_first_line(error)}", where=where
        ) from error
    if len(statements) != 1 or not isinstance(statements[0], exp.Query):
        raise ConfigError("A SQL model is one SELECT", where=f"{path}:{header.body_line}")
    tree = statements[0]
    if SIMULATED not in header.columns:
        raise ConfigError(
            f"The model has no column {SIMULATED!r}",
            where=f"{path}:{min(header.lines.values())}",
            fix="Carry it along: bool_or(simulated) where rows are grouped",
        )
    tables: dict[str, int] = {}
    for scope in traverse_scope(tree):
        for table in scope.tables:
            if not isinstance(table.this, exp.Identifier) or table.db:
                raise ConfigError(
                    f"{table.sql(DIALECT)} is not a table of this project",
                    where=f"{path}:{header.body_line}",
                    fix="Read sources and models by their names",
                )
            if isinstance(scope.sources.get(table.alias_or_name), exp.Table):
                line = _file_line(header, table.this.meta.get("line"))
                tables.setdefault(table.name, line)
    return ParsedFile(path.stem, layer, path, header, sql.strip(), tree, tables)


def resolve(
    parsed: ParsedFile,
    tables: Mapping[str, tuple[str, ...]],
    model_keys: Mapping[str, str],
) -> SqlModel:
    """Check a file against the tables it reads, and find its lineage.

    Args:
        parsed: the file.
        tables: columns of every table it reads.
        model_keys: store keys of those that are models.

    Raises:
        ConfigError: a column is unknown, undescribed or not produced, or rows have no order.
    """
    where = f"{parsed.path}:{parsed.header.body_line}"
    schema: dict[str, object] = {
        name: dict.fromkeys(tables[name], "VARCHAR") for name in parsed.tables
    }
    try:
        qualified = qualify(
            parsed.tree.copy(), schema=schema, dialect=DIALECT, validate_qualify_columns=True
        )
    except (OptimizeError, SqlglotError) as error:
        raise ConfigError(_first_line(error), where=where) from error
    _require_columns(parsed, qualified.named_selects)
    scope = build_scope(qualified)
    sources = {}
    for column in parsed.header.columns:
        node = lineage(  # untrimmed: only its leaves are asked for, and copies cost most of it
            column, qualified, schema, scope=scope, dialect=DIALECT, trim_selects=False, copy=False
        )
        leaves = [n for n in node.walk() if not n.downstream and isinstance(n.source, exp.Table)]
        pairs = {(leaf.source.name, leaf.name.rsplit(".", 1)[-1].strip('"')) for leaf in leaves}
        sources[column] = tuple(sorted(p for p in pairs if p[0] in parsed.tables))
    return SqlModel(
        name=parsed.name,
        layer=parsed.layer,
        path=parsed.path,
        sql=parsed.sql,
        description=parsed.header.description,
        columns=parsed.header.columns,
        tests=parsed.header.tests,
        upstreams=tuple(sorted(parsed.tables)),
        column_lineage=sources,
        model_keys={n: k for n, k in sorted(model_keys.items()) if n in parsed.tables},
        order_by=_order(parsed, where),
    )


def _require_columns(parsed: ParsedFile, produced: list[str]) -> None:
    described = list(parsed.header.columns)
    for name in described:
        if name not in produced:
            raise ConfigError(
                f"Column {name!r} is described but the SQL does not produce it",
                where=f"{parsed.path}:{parsed.header.lines[name]}",
                fix=f"It produces {', '.join(produced)}",
            )
    for name in produced:
        if name not in described:
            raise ConfigError(
                f"Column {name!r} is produced but not described",
                where=f"{parsed.path}:{parsed.header.body_line}",
                fix="Describe it under columns",
            )
    if described != produced:
        raise ConfigError(
            "Columns are described in another order than they are produced",
            where=f"{parsed.path}:{parsed.header.lines[described[0]]}",
            fix=f"Describe them as {', '.join(produced)}",
        )


def _order(parsed: ParsedFile, where: str) -> tuple[str, ...]:
    """Columns of the outermost ORDER BY; empty for ORDER BY ALL."""
    order = parsed.tree.args.get("order")
    terms = [o.this for o in order.expressions] if order else []
    if len(terms) == 1 and terms[0].sql(DIALECT).upper() == "ALL":
        return ()
    names = [t.name for t in terms if isinstance(t, exp.Column) and not t.table]
    if not terms or len(names) < len(terms) or not set(names) <= set(parsed.header.columns):
        raise ConfigError(
            "A SQL model ends with ORDER BY over columns it produces, so that the same input gives "
            "the same table",
            where=where,
            fix="Name the columns that tell its rows apart, or write ORDER BY ALL",
        )
    return tuple(names)


def _file_line(header: Header, line: int | None) -> int:
    return header.body_line + (line - 1 if line else 0)


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0].replace("\x1b[4m", "").replace("\x1b[0m", "")
