"""Files that an earlier version wrote, of a source that has gained columns since."""

import uuid

import pyarrow as pa
import pytest

from geofm_assets.core.store import Store
from geofm_assets.evaluation.schema import SCORE
from geofm_assets.platform.sql_models import load_models
from geofm_assets.platform.sql_run import run_model
from geofm_assets.platform.sql_sources import source_files
from tests.unit.sql.conftest import put

MODEL = """/* ---
description: groups
columns:
  experiment: which
  groups: how many
  simulated: whether it is
--- */
SELECT experiment, groups, simulated
FROM scores
ORDER BY experiment
"""
BEFORE = pa.schema([field for field in SCORE if field.name != "groups"])


@pytest.fixture(params=["files", "objects"])
def store(request, tmp_path):
    """A folder, which DuckDB reads itself, and what stands for a bucket, which Arrow reads."""
    kept = f"memory://{uuid.uuid4().hex}" if request.param == "objects" else tmp_path / "store"
    return Store(kept)


def key(experiment):
    return f"tasks/fires/experiments/{experiment}/metrics.parquet"


def groups(store, folder):
    (model,) = load_models(folder(marts__a=MODEL))
    return run_model(model, source_files(store), store)["groups"].to_pylist()


def test_a_column_that_a_file_lacks_is_null(store, folder):
    put(store, key("new"), SCORE, [{"experiment": "new", "groups": 7}])
    put(store, key("old"), BEFORE, [{"experiment": "old"}])
    assert groups(store, folder) == [7, None]


def test_a_column_that_every_file_lacks_is_null(store, folder):
    put(store, key("old"), BEFORE, [{"experiment": "old"}])
    assert groups(store, folder) == [None]
