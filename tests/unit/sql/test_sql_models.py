import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from geofm_assets.core.errors import ConfigError, SchemaError
from geofm_assets.core.stage import MissingUpstreamError
from geofm_assets.core.store import Store
from geofm_assets.platform.sql_models import load_models, models_folder
from geofm_assets.platform.sql_run import connect, run_model, run_tests, write_model
from geofm_assets.platform.sql_sources import source_files

HEADER = """/* ---
description: points
columns:
  task: its task
  sample_id: its key
  simulated: whether it is
{tests}--- */
"""
SELECT = "SELECT task, sample_id, simulated\nFROM {table}\nORDER BY task, sample_id\n"


def model(table="sampled_points", tests="", select=SELECT):
    return HEADER.format(tests=tests) + select.format(table=table)


def only(folder):
    return load_models(folder)[0]


# loading


def test_models_come_after_what_they_read(folder):
    found = load_models(folder(marts__a=model("b"), intermediate__b=model("c"), staging__c=model()))
    assert [m.name for m in found] == ["c", "b", "a"]


def test_a_model_knows_its_layer_key_and_upstreams(folder):
    found = load_models(folder(marts__a=model("b"), staging__b=model()))[1]
    assert (found.layer, found.key) == ("marts", "sql/marts/a.parquet")
    assert (found.upstreams, found.model_keys) == (("b",), {"b": "sql/staging/b.parquet"})


def test_column_lineage_leads_through_ctes_to_upstream_columns(folder):
    select = (
        "WITH w AS (SELECT *, lon * 2 AS twice FROM sampled_points)\n"
        "SELECT w.task, w.sample_id || cells.digest AS sample_id, twice > 0 AS simulated\n"
        "FROM w JOIN cells ON w.h3_cell = cells.h3_cell ORDER BY ALL"
    )
    found = only(folder(marts__a=model(select=select)))
    assert found.column_lineage == {
        "task": (("sampled_points", "task"),),
        "sample_id": (("cells", "digest"), ("sampled_points", "sample_id")),
        "simulated": (("sampled_points", "lon"),),
    }


def test_a_cte_may_have_the_name_of_a_source(folder):
    select = (
        "WITH windows AS (SELECT task, sample_id, simulated FROM sampled_points)\n"
        "SELECT task, sample_id, simulated FROM windows ORDER BY ALL"
    )
    assert only(folder(marts__a=model(select=select))).upstreams == ("sampled_points",)


def test_a_changed_file_is_read_again(folder):
    load_models(folder(marts__a=model()))
    assert only(folder(marts__a=model("windows"))).upstreams == ("windows",)


BAD = {
    "without_header": ("SELECT 1", r"a.sql:1.*\/\* ---"),
    "header_not_yaml": (model().replace("points\n", "[points\n", 1), r"Not YAML.*a.sql:[23]"),
    "unknown_header_key": (model().replace("columns:", "colums:"), r"'colums' at \S+a.sql:3"),
    "no_description": (model().replace("description: points", "tests: []"), r"no description"),
    "column_without_meaning": (model().replace("its key", ""), r"'sample_id'.*a.sql:5"),
    "column_not_produced": (
        model().replace("task: its task", "tusk: its task"),
        r"'tusk' is described but the SQL does not produce it at \S+a.sql:4",
    ),
    "column_not_described": (
        model().replace("SELECT task", "SELECT lon, task"),
        r"'lon' is produced but not described at \S+a.sql:",
    ),
    "columns_in_another_order": (
        model().replace("task, sample_id, simulated", "sample_id, task, simulated"),
        r"another order.*a.sql:4",
    ),
    "unknown_column": (model().replace("sample_id,", "sample_od AS sample_id,"), r"sample_od"),
    "unknown_table": (model("pointz"), r"named 'pointz' at \S+a.sql:9"),
    "not_sql": (model().replace("FROM", "FORM ("), r"Not SQL that DuckDB reads.*a.sql:\d"),
    "two_statements": (model() + "; SELECT 2", r"is one SELECT"),
    "not_a_select": (HEADER.format(tests="") + "DROP TABLE x", r"is one SELECT"),
    "reads_a_file": (
        model().replace("sampled_points", "read_parquet('x.parquet')"),
        r"not a table of this project",
    ),
    "no_order": (model().replace("ORDER BY task, sample_id", ""), r"ends with ORDER BY"),
    "ordered_by_an_expression": (model().replace("BY task", "BY lower(task)"), "ends with ORDER"),
    "not_simulated": (
        model().replace("  simulated: whether it is\n", ""),
        r"no column 'simulated' at \S+a.sql:4",
    ),
    "unknown_test": (
        model(tests="tests:\n  - not_null: task\n  - nonnull: task\n"),
        r"A test is one of.*a.sql:9",
    ),
    "test_of_unknown_column": (model(tests="tests:\n  - unique: [tusk]\n"), r"'tusk'.*a.sql:8"),
    "accepted_values_without_values": (
        model(tests="tests:\n  - accepted_values: {column: task}\n"),
        r"accepted_values takes",
    ),
    "expression_not_text": (model(tests="tests:\n  - expression: 3\n"), r"is SQL text"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_is_refused_with_file_and_line(folder, case):
    text, message = BAD[case]
    with pytest.raises(ConfigError) as error:
        load_models(folder(marts__a=text))
    assert re.search(message, str(error.value), re.DOTALL), str(error.value)
    assert "a.sql:" in str(error.value)


def test_a_circle_is_refused_by_its_members(folder):
    with pytest.raises(ConfigError, match=r"in a circle: (a <- b <- a|b <- a <- b) at \S+sql:9"):
        load_models(folder(marts__a=model("b"), staging__b=model("a")))


def test_a_model_may_not_take_the_name_of_a_source(folder):
    with pytest.raises(ConfigError, match="'windows' is taken by a source"):
        load_models(folder(marts__windows=model()))


def test_a_name_is_used_once(folder):
    with pytest.raises(ConfigError, match=r"'a' is taken by \S+a.sql"):
        load_models(folder(marts__a=model(), staging__a=model()))


def test_a_file_outside_a_layer_is_refused(folder):
    with pytest.raises(ConfigError, match="lies in a layer"):
        load_models(folder(elsewhere__a=model()))


def test_the_folder_lies_beside_the_package():
    assert models_folder() == Path(__file__).resolve().parents[3] / "dbt_like_sql"


def test_the_folder_can_be_another(monkeypatch, tmp_path):
    monkeypatch.setenv("GEOFM_SQL_MODELS", str(tmp_path))
    assert models_folder() == tmp_path


def test_a_folder_that_is_not_there_is_refused(monkeypatch, tmp_path):
    monkeypatch.setenv("GEOFM_SQL_MODELS", str(tmp_path / "gone"))
    with pytest.raises(ConfigError, match="gone"):
        models_folder()


# running


def test_sources_are_put_together_from_files_with_their_task(folder, store):
    table = run_model(only(folder(marts__a=model())), source_files(store), store)
    assert table["task"].to_pylist() == ["crops"] * 6 + ["own"]


def test_shared_sources_have_no_task(folder, store):
    found = only(folder(marts__a=model("reference_points")))
    assert set(run_model(found, source_files(store), store)["task"].to_pylist()) == {None}


def test_a_task_may_have_reference_points_of_its_own(folder, store):
    data = store.read_bytes("reference/points/first.parquet")
    store.write_bytes("tasks/own/reference/points/mine.parquet", data)
    found = only(folder(marts__a=model("reference_points")))
    table = run_model(found, source_files(store), store)
    assert table["task"].to_pylist() == ["own"] * 4 + [None] * 7


def test_the_folder_name_does_not_replace_the_column(folder, store):
    select = "SELECT task, h3_cell AS sample_id, simulated FROM windows ORDER BY ALL"
    table = run_model(only(folder(marts__a=model(select=select))), source_files(store), store)
    assert table["sample_id"].to_pylist() == ["cell_a"] * 3 + ["cell_b"]


def test_two_runs_give_the_same_bytes(store):
    for found in load_models(models_folder()):
        first, second = (run_model(found, source_files(store), store) for _ in range(2))
        assert first.equals(second)
        write_model(store, found, first)
        data = store.read_bytes(found.key)
        write_model(store, found, second)
        assert store.read_bytes(found.key) == data


def test_the_order_of_files_does_not_matter(folder, store):
    found = only(folder(marts__a=model("reference_points")))
    files = source_files(store)
    turned = {name: list(reversed(f)) for name, f in files.items()}
    assert run_model(found, files, store).equals(run_model(found, turned, store))


def test_an_order_that_leaves_rows_to_chance_is_refused(folder, store):
    select = "SELECT task, sample_id, simulated FROM sampled_points ORDER BY task"
    with pytest.raises(ConfigError, match="does not tell 5 of 7 rows apart"):
        run_model(only(folder(marts__a=model(select=select))), source_files(store), store)


def test_sql_that_fails_names_its_file(folder, store):
    select = (
        "SELECT task, sample_id::INTEGER AS sample_id, simulated FROM sampled_points ORDER BY ALL"
    )
    with pytest.raises(ConfigError, match=r"The SQL failed: .* at \S+a.sql"):
        run_model(only(folder(marts__a=model(select=select))), source_files(store), store)


def test_a_model_that_was_never_written_is_asked_for(folder, store):
    second = load_models(folder(marts__a=model("b"), staging__b=model()))[1]
    with pytest.raises(MissingUpstreamError, match="sql/staging/b"):
        run_model(second, source_files(store), store)


def test_a_source_file_without_its_columns_is_refused(folder, store):
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"x": [1]}), sink)
    store.write_bytes("tasks/crops/sample.parquet", sink.getvalue().to_pybytes())
    with pytest.raises(SchemaError, match="source sampled_points cannot be read"):
        run_model(only(folder(marts__a=model())), source_files(store), store)


def test_a_quote_in_a_path_is_only_a_quote(folder, tmp_path, store):
    odd = Store(tmp_path / "it's")
    odd.write_bytes("tasks/t/sample.parquet", store.read_bytes("tasks/own/sample.parquet"))
    assert run_model(only(folder(marts__a=model())), source_files(odd), odd).num_rows == 1


def test_remote_files_are_read_like_local_ones(folder, store):
    remote = Store("memory://sql-test")
    for key in ("tasks/crops/sample.parquet", "tasks/own/sample.parquet"):
        (remote.path(key)).parent.mkdir(parents=True, exist_ok=True)
        remote.write_bytes(key, store.read_bytes(key))
    found = only(folder(marts__a=model()))
    local = run_model(found, source_files(store), store)
    assert run_model(found, source_files(remote), remote).equals(local)


# testing


TESTS = """tests:
  - not_null: [task, sample_id]
  - unique: sample_id
  - accepted_values: {column: task, values: [crops, "it's"]}
  - expression: "sample_id <> 's1'"
  - expression: "NOT simulated"
"""


def test_tests_count_the_rows_that_fail(folder):
    found = only(folder(marts__a=model(tests=TESTS)))
    table = pa.table(
        {
            "task": ["crops", "it's", "own", None],
            "sample_id": ["s1", "s1", "s2", "s3"],
            "simulated": [True, False, None, False],
        }
    )
    assert {r.name: (r.passed, r.failing_rows) for r in run_tests(found, table)} == {
        "not_null_task_sample_id": (False, 1),
        "unique_sample_id": (False, 2),
        "accepted_values_task": (False, 2),
        "expression_sample_id_s1": (False, 2),
        "expression_not_simulated": (False, 2),
    }


def test_tests_of_an_empty_table_pass(folder):
    found = only(folder(marts__a=model(tests=TESTS)))
    empty = pa.schema(
        [("task", pa.string()), ("sample_id", pa.string()), ("simulated", pa.bool_())]
    ).empty_table()
    assert all(r.passed for r in run_tests(found, empty))


def test_an_expression_that_is_not_sql_names_itself(folder):
    tests = 'tests:\n  - expression: "sample_id >>> "\n'
    found = only(folder(marts__a=model(tests=tests)))
    with pytest.raises(ConfigError, match="sample_id >>>"):
        run_tests(found, pa.table({"task": ["a"], "sample_id": ["b"], "simulated": [True]}))


def test_tests_with_the_same_text_have_names_of_their_own(folder):
    tests = 'tests:\n  - expression: "simulated = TRUE"\n  - expression: "simulated <> TRUE"\n'
    names = [t.name for t in only(folder(marts__a=model(tests=tests))).tests]
    assert names == ["expression_simulated_true", "expression_simulated_true_2"]


# writing


def test_a_written_model_says_whether_it_is_simulated(folder, store):
    found = only(folder(marts__a=model()))
    key = write_model(store, found, run_model(found, source_files(store), store))
    assert key == "sql/marts/a.parquet"
    assert store.provenance(key).simulated


def test_models_are_found_in_an_installed_copy(tmp_path):
    """A wheel puts dbt_like_sql beside the package; so does this copy."""
    root = Path(__file__).resolve().parents[3]
    for name in ("geofm_assets", "dbt_like_sql"):
        shutil.copytree(
            root / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "*.tmp*")
        )
    code = (
        "from geofm_assets.platform.sql_models import *; print(len(load_models(models_folder())))"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout) >= 14


def test_what_a_connection_is_told_of_is_its_own():
    with connect() as one, connect() as other:
        for con, number in ((one, 1), (other, 2)):
            con.register("given", pa.table({"x": [number]}))
            con.execute("CREATE TEMP VIEW seen AS SELECT x FROM given")
        assert one.sql("SELECT x FROM seen").fetchall() == [(1,)]
        assert other.sql("SELECT x FROM seen").fetchall() == [(2,)]
    with connect() as later, pytest.raises(duckdb.CatalogException):
        later.sql("SELECT x FROM seen")


def test_a_closed_connection_keeps_no_table():
    table = pa.table({"x": pa.array(range(100_000))})
    before = pa.total_allocated_bytes() - table.nbytes
    with connect() as con:
        con.register("given", table)
        assert con.execute("SELECT count(*) FROM given").fetchone() == (100_000,)
    del table
    assert pa.total_allocated_bytes() <= before + 10_000
