"""The SQL models of dbt_like_sql as Dagster assets, with column lineage and tests as checks."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import dagster as dg

from geofm_assets.core.assets import emit
from geofm_assets.core.hashing import json_digest, table_digest
from geofm_assets.core.outcome import CheckOutcome, Outcome, markdown_table
from geofm_assets.core.resources import StoreResource
from geofm_assets.platform.sql_models import load_models, models_folder
from geofm_assets.platform.sql_parse import SqlModel
from geofm_assets.platform.sql_sources import source_files

_PREVIEW_ROWS = 20
# The assets of a task whose tables each SQL source reads.
_SOURCE_ASSETS: dict[str, tuple[str, ...]] = {
    "collections": ("collections",),
    "reference_points": ("reference_points",),
    "quarantine": ("reference_points", "candidates", "sampling_plan"),
    "sampled_points": ("filtered_points",),
    "cells": ("sampling_plan",),
    "windows": ("window_group",),
    "rasters": ("rasters",),
    "split_manifest": ("split_manifest",),
    "predictions": ("predictions", "baseline_scores"),
    "scores": ("eval_scores", "baseline_scores"),
}
_LABEL_ASSETS = {"collections", "reference_points"}


def build_sql_assets(label_prefixes: Mapping[str, Sequence[str]]) -> list[dg.AssetsDefinition]:
    """One asset a model.

    Args:
        label_prefixes: per task the asset key prefix of its label assets.
    """
    return [_sql_asset(model, label_prefixes) for model in load_models(models_folder())]


def _source_keys(name: str, label_prefixes: Mapping[str, Sequence[str]]) -> list[dg.AssetKey]:
    keys = {
        dg.AssetKey([*(prefix if asset in _LABEL_ASSETS else [task]), asset])
        for asset in _SOURCE_ASSETS[name]
        for task, prefix in label_prefixes.items()
    }
    return sorted(keys, key=lambda key: key.to_user_string())


def _model_key(model_name: str, layer: str) -> dg.AssetKey:
    return dg.AssetKey(["sql", layer, model_name])


def _lineage(
    model: SqlModel, layers: dict[str, str], label_prefixes: Mapping[str, Sequence[str]]
) -> dg.TableColumnLineage:
    deps: dict[str, list[dg.TableColumnDep]] = {}
    for column, upstream in model.column_lineage.items():
        found = {
            (key, source_column)
            for table, source_column in upstream
            for key in (
                [_model_key(table, layers[table])]
                if table in layers
                else _source_keys(table, label_prefixes)
            )
        }
        deps[column] = [dg.TableColumnDep(asset_key=k, column_name=c) for k, c in sorted(found)]
    return dg.TableColumnLineage(deps_by_column=deps)


def _sql_asset(model: SqlModel, label_prefixes: Mapping[str, Sequence[str]]) -> dg.AssetsDefinition:
    layers = {m.name: m.layer for m in load_models(models_folder())}
    key = _model_key(model.name, model.layer)
    deps: set[dg.AssetKey] = {
        dep
        for upstream in model.upstreams
        for dep in (
            [_model_key(upstream, layers[upstream])]
            if upstream in layers
            else _source_keys(upstream, label_prefixes)
        )
    }
    version = json_digest(model.sql)[:12]
    columns = dg.TableSchema([dg.TableColumn(n, description=d) for n, d in model.columns.items()])

    @dg.asset(
        key=key,
        deps=sorted(deps),
        group_name="sql",
        kinds={"duckdb", "sql"},
        code_version=version,
        description=f"{model.description}\n\n```sql\n{model.sql.strip()}\n```",
        check_specs=[
            dg.AssetCheckSpec(test.name, asset=key, description=test.description)
            for test in model.tests
        ],
        metadata={
            "dagster/column_schema": columns,
            "dagster/column_lineage": _lineage(model, layers, label_prefixes),
        },
    )
    def sql_model(
        context: dg.AssetExecutionContext, store: StoreResource
    ) -> Iterator[dg.MaterializeResult[Any]]:
        opened = store.open()

        def work() -> Outcome:
            from geofm_assets.platform.sql_run import run_model, run_tests, write_model

            table = run_model(model, source_files(opened), opened)
            written = write_model(opened, model, table)
            checks = [
                CheckOutcome(t.name, t.passed, f"{t.failing_rows} rows fail", blocking=False)
                for t in run_tests(model, table)
            ]
            metadata = {
                "dagster/row_count": table.num_rows,
                "preview": dg.MetadataValue.md(markdown_table(table.slice(0, _PREVIEW_ROWS))),
                "store_key": written,
            }
            content = table_digest(table)
            return Outcome(content, content, metadata, checks)

        yield from emit(context, work)

    return sql_model
