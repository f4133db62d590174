"""A small store with what two tasks would have written, and a folder for model files."""

import datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from geofm_assets.core.store import Store
from geofm_assets.imagery.schema import RASTER
from geofm_assets.labels.schema import COLLECTION, QUARANTINED_ROW, REFERENCE_POINT
from geofm_assets.sampling.schema import SAMPLED_POINT
from geofm_assets.training.schema import MANIFEST, PREDICTION
from geofm_assets.windows.schema import WINDOW

NOON = datetime.datetime(2021, 6, 1, tzinfo=datetime.UTC)


def filled(schema, **values):
    """A row with every column of a schema, the values given and dull ones elsewhere."""
    row = {}
    for field in schema:
        if pa.types.is_string(field.type):
            row[field.name] = field.name
        elif pa.types.is_boolean(field.type):
            row[field.name] = False
        elif pa.types.is_temporal(field.type):
            row[field.name] = NOON.date() if pa.types.is_date(field.type) else NOON
        elif pa.types.is_list(field.type):
            row[field.name] = [0.25, 0.75]
        else:
            row[field.name] = 0
    return row | values


def put(store, key, schema, rows):
    table = pa.Table.from_pylist([filled(schema, **r) for r in rows], schema=schema)
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    store.write_bytes(key, sink.getvalue().to_pybytes())


def point(number, split, class_name, cell="cell_a", collection="first", **more):
    return {
        "sample_id": f"s{number}",
        "collection_id": collection,
        "h3_cell": cell,
        "split_unit": cell,
        "split": split,
        "class_name": class_name,
        "lon": 9 + number / 100,
        "lat": 42.0,
        **more,
    }


POINTS = [
    point(1, "train", "Crop"),
    point(2, "train", "Crop"),
    point(3, "train", "Other"),
    point(4, "val", "Crop", "cell_b"),
    point(5, "test", "Other", "cell_c", "second"),
    point(6, "buffer", "Crop", "cell_c", "second"),
]
# (number, split, label, prediction, collection, cell, year)
CALLS = [
    (1, "val", "Crop", "Crop", "first", "cell_a", 2020),
    (2, "val", "Crop", "Other", "first", "cell_a", 2020),
    (3, "val", "Other", "Other", "first", "cell_b", 2021),
    (4, "val", "Other", "Other", "second", "cell_b", 2021),
    (5, "test", "Crop", "Other", "second", "cell_c", 2021),
]


@pytest.fixture
def store(tmp_path):
    return fill(Store(tmp_path / "store"))


@pytest.fixture(scope="session")
def store_of_the_session(tmp_path_factory):
    return fill(Store(tmp_path_factory.mktemp("session") / "store"))


def fill(store):
    put(
        store,
        "reference/collections.parquet",
        COLLECTION,
        [
            {"collection_id": c, "title": t, "feature_count": n}
            for c, t, n in (("first", "First", 10), ("second", "Second", 5), ("third", "Third", 7))
        ],
    )
    for name, rows in (("first", 4), ("second", 2), ("third", 1)):
        put(
            store,
            f"reference/points/{name}.parquet",
            REFERENCE_POINT,
            [{"sample_id": f"{name}{i}", "collection_id": name} for i in range(rows)],
        )
    put(
        store,
        "reference/quarantine/first.parquet",
        QUARANTINED_ROW,
        [{"collection_id": "first", "source_row": i} for i in range(6)],
    )
    put(
        store,
        "tasks/crops/quarantine/second.parquet",
        QUARANTINED_ROW,
        [{"collection_id": "second", "reason": "ignored_label"}],
    )
    put(
        store,
        "tasks/crops/quarantine.parquet",
        QUARANTINED_ROW,
        [{"collection_id": "second", "reason": "duplicate_location"}],
    )
    put(store, "tasks/crops/sample.parquet", SAMPLED_POINT, POINTS)
    put(store, "tasks/own/sample.parquet", SAMPLED_POINT, [point(1, "train", "A", simulated=True)])
    for cell in ("cell_a", "cell_b"):
        rows = [p for p in POINTS if p["h3_cell"] == cell]
        put(
            store,
            f"tasks/crops/windows/h3_cell={cell}/windows.parquet",
            WINDOW,
            [
                {"window_name": f"w_{p['sample_id']}", "col_max": 32, "row_max": 32}
                | {k: p[k] for k in ("sample_id", "split", "class_name", "h3_cell")}
                | {"resolution": 10.0, "time_end": NOON + datetime.timedelta(30)}
                for p in rows
            ],
        )
    put(
        store,
        "tasks/crops/rasters/h3_cell=cell_a/rasters.parquet",
        RASTER,
        [
            {"h3_cell": "cell_a", "timestep": t, "present": t < 3, "nodata_share": share}
            for t, share in enumerate((0.0, 0.5, 0.1, 1.0))
        ],
    )
    put(
        store,
        "tasks/crops/split_manifest.parquet",
        MANIFEST,
        [{"sample_id": "s1"}, {"sample_id": "s4"}],
    )
    put(
        store,
        "tasks/crops/experiments/nano/predictions.parquet",
        PREDICTION,
        [
            {
                "experiment": "nano",
                "window_name": f"w{n}",
                "split": split,
                "class_name": label,
                "predicted_name": said,
                "collection_id": collection,
                "h3_cell": cell,
                "valid_time": datetime.date(year, 6, 1),
            }
            for n, split, label, said, collection, cell, year in CALLS
        ],
    )
    return store


@pytest.fixture
def calls():
    return CALLS


@pytest.fixture
def empty_store(tmp_path):
    return Store(tmp_path / "empty")


@pytest.fixture
def folder(tmp_path):
    """Writes model files and returns their folder."""

    def write(**files):
        for name, text in files.items():
            layer, table = name.split("__")
            path = tmp_path / "models" / layer / f"{table}.sql"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path / "models"

    return write
