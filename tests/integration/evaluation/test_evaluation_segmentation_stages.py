"""From masks in a store to scores of both heads, stage by stage."""

import shutil

import numpy as np
import pyarrow as pa
import pytest

from geofm_assets.core.errors import ExperimentError
from geofm_assets.core.progress import listening
from geofm_assets.core.schema import validate
from geofm_assets.core.stage import MissingUpstreamError, is_current
from geofm_assets.evaluation.schema import SegmentationPart
from geofm_assets.evaluation.stages import BaselinesStage, ScoresStage, ScoreTableStage
from geofm_assets.labels.calfire.sample_schema import SAMPLE, Sample
from geofm_assets.labels.calfire.side_tables import samples_key
from geofm_assets.models.hub import ModelHub
from geofm_assets.training.schema import MANIFEST, Manifest
from geofm_assets.training.stages import CheckpointStage, ManifestStage, PredictionsStage
from geofm_assets.windows.schema import WINDOW, Mask, Window
from tests.segmentation_store import CLASSIFIES, MADE, SEGMENTS, YEAR, fire_store, fire_task


def silent(done, total, note):
    """Nobody listens."""


def run(store, task, experiment):
    """Checkpoint, predictions and scores of an experiment."""
    return [
        CheckpointStage(task).make(store, ModelHub(), experiment, False, silent),
        PredictionsStage(task).make(store, experiment, False),
        ScoresStage(task).make(store, experiment, False),
    ]


@pytest.fixture(scope="module")
def task():
    return fire_task()


@pytest.fixture(scope="module")
def done(task, tmp_path_factory):
    store = fire_store(tmp_path_factory.mktemp("root"), task)
    manifest = ManifestStage(task).make(store)
    return store, manifest, {name: run(store, task, name) for name in (SEGMENTS, CLASSIFIES)}


@pytest.fixture
def copied(done, tmp_path):
    shutil.copytree(done[0].local_path("tasks").parent, tmp_path / "store")
    return type(done[0])(tmp_path / "store")


def test_the_manifest_tells_the_labelled_pixels(done):
    labelled = done[1].metadata["labelled_pixels"].value
    assert sorted(labelled) == ["test", "train", "val"]
    assert labelled["train"]["unburnt"] > labelled["train"]["burnt"] > 0


def test_each_head_has_its_own_rows(done, task):
    store = done[0]
    assert "tp" in store.read_table(f"{task.folder(SEGMENTS)}/segmentation.parquet").column_names
    rows = store.read_table(f"{task.folder(CLASSIFIES)}/predictions.parquet")
    assert "probabilities" in rows.column_names


@pytest.mark.parametrize("experiment", [SEGMENTS, CLASSIFIES])
def test_every_check_passes_and_all_is_current(done, task, experiment):
    store, _, outcomes = done
    assert [c.description for o in outcomes[experiment] for c in o.checks if not c.passed] == []
    assert CheckpointStage(task).is_current(store, experiment)
    for stage in (PredictionsStage(task), ScoresStage(task)):
        assert is_current(store, stage, experiment)
    assert all(o.skipped for o in run(store, task, experiment))


def test_parts_are_scored_by_fire(done, task):
    parts = done[0].read_table(ScoresStage(task).parts_key(SEGMENTS))
    report = validate(parts, SegmentationPart)
    assert report.passed, report.describe()
    assert set(parts["dimension"].to_pylist()) == {"fire_size", "fire_year", "kind"}
    assert "fire_size" in done[2][SEGMENTS][2].metadata["by_part"].text


def test_baselines_of_both_heads_stand_in_the_table(done, task):
    store = done[0]
    BaselinesStage(task).make(store)
    assert is_current(store, BaselinesStage(task))
    ScoreTableStage(task).make(store)
    table = store.read_table(ScoreTableStage(task).key())
    assert set(table["experiment"].to_pylist()) == {
        SEGMENTS,
        CLASSIFIES,
        "baseline_majority",
        "baseline_logistic",
        "baseline_majority_seg",
        "baseline_logistic_seg",
        "baseline_dnbr_seg",
    }


def test_baselines_of_real_labels_on_simulated_scenes_are_simulated(copied, task):
    """Neither windows nor samples are simulated; the imagery is, and so all that rests on it."""
    key = ManifestStage(task).key()
    real = copied.read_table(key).to_pylist()
    table = pa.Table.from_pylist([r | {"simulated": False} for r in real], schema=MANIFEST)
    copied.write_table(key, table, Manifest, **MADE)
    BaselinesStage(task).make(copied)
    for key in copied.list_keys(f"tasks/{task.name}/experiments", ".parquet"):
        if "/baseline_" in key:
            assert set(copied.read_table(key)["simulated"].to_pylist()) == {True}, key
            assert copied.provenance(key).simulated


def test_windows_without_imagery_are_counted_by_kind_and_said(copied, task):
    cell = copied.read_table(f"tasks/{task.name}/cells.parquet")["h3_cell"][0].as_py()
    key = f"tasks/{task.name}/windows/h3_cell={cell}/windows.parquet"
    rows = copied.read_table(key).to_pylist()
    samples = samples_key(task.imagery.sampling.source.root, f"frap{YEAR}")
    kinds = copied.read_table(samples).to_pylist()
    for number, kind in enumerate(["ring"] * 5 + ["burnt"]):
        name = f"unseen{number}"
        place = {"lon": rows[0]["lon"] + 0.1 * (number + 1)}
        rows.append(rows[0] | place | {"window_name": name, "sample_id": name})
        kinds.append(kinds[0] | {"sample_id": name, "kind": kind})
    windows = pa.Table.from_pylist(rows, schema=WINDOW).sort_by("window_name")
    copied.write_table(key, windows, Window, **MADE)
    table = pa.Table.from_pylist(kinds, schema=SAMPLE).sort_by("sample_id")
    copied.write_table(samples, table, Sample, **MADE)
    said = []
    with listening(silent, said.append):
        outcome = ManifestStage(task).make(copied)
    assert said == ["6 of 38 windows have no imagery: 5 ring, 1 burnt"]
    assert outcome.metadata["without_imagery"].value == {"ring": 5, "burnt": 1}
    (check,) = [c for c in outcome.checks if c.name == "imagery_coverage"]
    assert (check.passed, check.blocking, check.description) == (False, False, said[0])


def change_a_mask(store, task):
    cell = store.read_table(f"tasks/{task.name}/cells.parquet")["h3_cell"][0].as_py()
    table = store.read_table(task.masks_key(cell))
    rows = table.to_pylist()
    mask = np.zeros((8, 8), np.uint8)
    rows[0] |= {"mask": mask.tobytes(), "burnt": 0, "unburnt": 64, "nodata": 0}
    changed = pa.Table.from_pylist(rows, schema=table.schema)
    store.write_table(task.masks_key(cell), changed, Mask, **MADE)


def test_a_changed_mask_makes_segmentation_stale_and_nothing_else(copied, task):
    change_a_mask(copied, task)
    assert not is_current(copied, ManifestStage(task))
    ManifestStage(task).make(copied)
    assert not CheckpointStage(task).is_current(copied, SEGMENTS)
    assert not is_current(copied, PredictionsStage(task), SEGMENTS)
    assert CheckpointStage(task).is_current(copied, CLASSIFIES)


def test_missing_masks_are_one_error(copied, task):
    cell = copied.read_table(f"tasks/{task.name}/cells.parquet")["h3_cell"][0].as_py()
    table = copied.read_table(task.masks_key(cell))
    copied.write_table(task.masks_key(cell), table.slice(2), Mask, **MADE)
    with pytest.raises(ExperimentError, match="2 of 32 windows have no mask"):
        ManifestStage(task).make(copied)


def test_a_cell_without_masks_is_upstream(copied, task):
    shutil.rmtree(copied.local_path(task.masks_folder))
    with pytest.raises(MissingUpstreamError, match="does not exist"):
        ManifestStage(task).inputs(copied)


def test_without_segmentation_no_masks_are_asked_for(copied):
    points = fire_task(head=["classification"])
    shutil.rmtree(copied.local_path(points.masks_folder))
    assert "labelled_pixels" not in ManifestStage(points).make(copied).metadata
    with pytest.raises(ExperimentError, match="trains no segmentation head"):
        CheckpointStage(points).inputs(copied, SEGMENTS)
