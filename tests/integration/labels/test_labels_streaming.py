"""Collections of any size: flat memory, repeated ids wherever they lie, bad files by name."""

import gc
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from geofm_assets.core.errors import LabelFileError
from geofm_assets.core.store import Store
from geofm_assets.core.table_writer import TableWriter
from geofm_assets.labels.config import LabelsConfig
from geofm_assets.labels.source import WORLDCEREAL, label_source
from geofm_assets.labels.stages import ReferencePointsStage
from geofm_assets.labels.streaming import WrittenPoints, write_points
from geofm_assets.labels.worldcereal.points import read_batches
from geofm_assets.sampling.candidates import CandidateFold
from geofm_assets.sampling.config import SamplingConfig, SplitConfig
from geofm_assets.sampling.stages import CandidatesStage
from geofm_assets.sampling.task import SamplingTask
from tests.servers.label_files import COLLECTION_ROW, GOOD_CODE, geoparquet

ID = COLLECTION_ROW["collection_id"]
KEY, QUARANTINE = WORLDCEREAL.points_key(ID), f"reference/quarantine/{ID}.parquet"
MADE = {"inputs": "i", "code_version": "1", "simulated": False}
LABELS = LabelsConfig(source="worldcereal", rule="ai2_v1")


def stream(store: Store, path: Path) -> WrittenPoints:
    return write_points(store, KEY, QUARANTINE, read_batches(path, COLLECTION_ROW), 1, MADE)


def task(per_cell: int = 2) -> SamplingTask:
    sampling = SamplingConfig(per_cell=per_cell)
    return SamplingTask("t", label_source("t", LABELS), LABELS, sampling, SplitConfig(), 320.0)


def dense(path: Path, rows: int) -> Path:
    """So many fields of one H3 cell."""
    step = np.arange(rows) * 1e-7
    boxes = shapely.box(9.5 + step, 42.0, 9.5001 + step, 42.0001)
    return geoparquet(path, list(boxes), sample_id=[f"s{i:07d}" for i in range(rows)])


def test_a_collection_without_rows_gives_empty_tables(tmp_path):
    store = Store(tmp_path / "store")
    written = stream(store, geoparquet(tmp_path / "a.parquet", []))
    CandidatesStage(task()).make(store, ID, False)
    assert (written.rows_read, written.points.rows, written.quarantined) == (0, 0, 0)
    assert store.rows(CandidatesStage(task()).key(ID)) == 0


@pytest.mark.parametrize("spoilt", ["truncated", "flipped"])
def test_a_spoilt_file_is_named_and_no_table_appears(tmp_path, spoilt):
    path = geoparquet(tmp_path / "a.parquet", [shapely.Point(10, 47)] * 3000)
    data = bytearray(path.read_bytes())
    if spoilt == "truncated":
        del data[len(data) // 2 :]
    else:
        data[50:2000] = bytes(b ^ 0x55 for b in data[50:2000])
    path.write_bytes(data)
    store = Store(tmp_path / "store")
    with pytest.raises(LabelFileError, match=r"a\.parquet"):
        stream(store, path)
    assert store.list_keys("reference") == []


fields = st.lists(
    st.tuples(st.integers(0, 6), st.integers(0, 4), st.sampled_from([GOOD_CODE, 2001000000, 7])),
    min_size=1,
    max_size=25,
)


@settings(max_examples=20, deadline=None)
@given(fields, st.randoms(use_true_random=False), st.integers(1, 9), st.integers(1, 9))
def test_order_row_groups_and_batches_do_not_show_in_candidates(
    tmp_path_factory, rows, random, group, batch
):
    folder = tmp_path_factory.mktemp("stream")
    shuffled = rows.copy()
    random.shuffle(shuffled)
    found = []
    for name, order, sizes in (("a", rows, (100, 100)), ("b", shuffled, (group, batch))):
        path = geoparquet(
            folder / f"{name}.parquet",
            [shapely.Point(10 + place / 50, 47) for _, place, _ in order],
            sample_id=[f"s{number}" for number, _, _ in order],
            ewoc_code=pa.array([code for *_, code in order], pa.int64()),
        )
        pq.write_table(pq.read_table(path), path, row_group_size=sizes[0])
        store = Store(folder / name)
        with (
            mock.patch("geofm_assets.labels.geoparquet.BATCH_ROWS", sizes[1]),
            mock.patch("geofm_assets.core.table_writer.BATCH_ROWS", sizes[1]),
            mock.patch("geofm_assets.sampling.candidates._MERGE_ROWS", sizes[1]),
            mock.patch("geofm_assets.labels.streaming._SUSPECTS_AT_ONCE", 2),
        ):
            written = stream(store, path)
            CandidatesStage(task()).make(store, ID, False)
        assert written.points.rows + written.quarantined == len(rows)
        kept = store.read_table(KEY).drop_columns(["source_row"]).sort_by("sample_id")
        reasons = dict(sorted(written.reasons.items()))
        candidates = store.provenance(CandidatesStage(task()).key(ID))
        found.append((kept.to_pylist(), reasons, candidates.content))
    assert found[0] == found[1]


def test_of_repeated_ids_in_different_batches_one_stays(tmp_path):
    path = geoparquet(
        tmp_path / "a.parquet",
        [shapely.Point(11 - i / 10, 47) for i in range(6)],
        sample_id=["a", "b", "a", "c", "d", "a"],
    )
    store = Store(tmp_path / "store")
    with mock.patch("geofm_assets.labels.geoparquet.BATCH_ROWS", 2):
        written = stream(store, path)
    points = store.read_table(KEY)
    assert points["sample_id"].to_pylist() == ["b", "c", "d", "a"]
    assert written.reasons == {"duplicate_sample_id": 2}
    lost = store.read_table(QUARANTINE).to_pylist()
    assert [row["source_row"] for row in lost] == [0, 2]
    assert json.loads(lost[0]["row_json"])["lon"] == 11.0


def noting(method: Callable[..., Any], held: list[int]) -> Callable[..., Any]:
    """A method that notes first what Arrow holds."""

    def noted(*args: Any) -> Any:
        held.append(pa.total_allocated_bytes())
        return method(*args)

    return noted


@pytest.fixture
def usual_garbage() -> Iterator[None]:
    """Garbage is looked for as often as outside of tests: what waits for it holds memory."""
    ours = gc.get_threshold()
    gc.set_threshold(700, 10, 10)
    yield
    gc.set_threshold(*ours)


@pytest.mark.usefixtures("usual_garbage")
def test_memory_does_not_grow_with_the_rows_of_a_cell(tmp_path):
    """What Arrow holds while batches of 4,096 are written, for 20,000 and 200,000 rows."""
    peaks = []
    for rows in (20_000, 200_000):
        path = dense(tmp_path / f"{rows}.parquet", rows)
        pq.write_table(pq.read_table(path), path, row_group_size=8192)
        store = Store(tmp_path / str(rows))
        held: list[int] = []

        before = pa.total_allocated_bytes()
        with (
            mock.patch("geofm_assets.labels.geoparquet.BATCH_ROWS", 4096),
            mock.patch("geofm_assets.core.table_writer.BATCH_ROWS", 4096),
            mock.patch("geofm_assets.sampling.candidates._MERGE_ROWS", 4096),
            mock.patch.object(TableWriter, "write", noting(TableWriter.write, held)),
            mock.patch.object(CandidateFold, "add", noting(CandidateFold.add, held)),
        ):
            stream(store, path)
            CandidatesStage(task(per_cell=100)).make(store, ID, False)
        assert store.rows(CandidatesStage(task()).key(ID)) == 200
        assert len(held) >= 2 * rows // 4096
        peaks.append(max(held) - before)
    assert peaks[1] < 1.5 * peaks[0] + 2_000_000


def test_points_left_alone_are_not_read(tmp_path):
    stage = ReferencePointsStage(WORLDCEREAL)
    store = Store(tmp_path / "store")
    path = geoparquet(tmp_path / "a.parquet", [shapely.Point(10, 47)])
    with mock.patch.object(ReferencePointsStage, "inputs", return_value="i"):
        stream(store, path)
        with mock.patch("geofm_assets.core.store.read_parquet", side_effect=AssertionError):
            outcome = stage.make(store, ID, False)
    assert outcome.skipped
    assert outcome.metadata["dagster/partition_row_count"] == 1
