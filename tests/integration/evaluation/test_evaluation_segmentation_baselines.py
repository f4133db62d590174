"""Segmentation baselines from packed chips and masks to counted pixels."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from geofm_assets.core.errors import ExperimentError
from geofm_assets.core.schema import validate
from geofm_assets.evaluation.segmentation_baselines import (
    DNBR,
    LOGISTIC,
    MAJORITY,
    segmentation_baselines,
)
from geofm_assets.training.schema import Segmentation
from tests.segmentation_world import CLASSES, make_segmentation_world, write_masks

SIZE = 16


def baselines(root, manifest, masks_root=None, positive=1):
    return segmentation_baselines(
        manifest,
        root / "chips",
        masks_root or root / "masks",
        CLASSES,
        size=SIZE,
        positive=positive,
        label_rule="identity@1",
    )


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("world")
    return root, make_segmentation_world(root, windows=24, size=SIZE)


@pytest.fixture(scope="module")
def tables(world):
    return baselines(*world)


def iou(table, split="test"):
    rows = [r for r in table.to_pylist() if r["split"] == split]
    hits, false, missed = (sum(r[n][1] for r in rows) for n in ("tp", "fp", "fn"))
    return hits / max(hits + false + missed, 1)


@pytest.mark.parametrize("name", [MAJORITY, LOGISTIC, DNBR])
def test_rows_satisfy_the_schema(tables, world, name):
    report = validate(tables[name], Segmentation)
    assert report.passed, report.describe()
    assert tables[name]["window_name"].equals(world[1]["window_name"])
    assert set(tables[name]["encoder_start"].to_pylist()) == {"none"}


def test_majority_says_one_class_everywhere(tables):
    said = [np.add(r["tp"], r["fp"]) for r in tables[MAJORITY].to_pylist()]
    assert {int(s[1]) for s in said} == {0}


def test_pixel_rules_learn_a_plain_signal(tables):
    assert iou(tables[LOGISTIC]) > 0.95
    assert iou(tables[DNBR]) > 0.95


def test_nothing_is_found_where_there_is_nothing(tmp_path):
    manifest = make_segmentation_world(tmp_path, windows=16, size=SIZE, signal=0)
    assert iou(baselines(tmp_path, manifest)[LOGISTIC]) < 0.3


def test_runs_and_row_orders_agree(tables, world):
    root, manifest = world
    turned = manifest.take(pa.array(range(manifest.num_rows - 1, -1, -1)))
    again = baselines(root, turned)
    assert all(again[name].equals(tables[name]) for name in tables)


def test_test_masks_do_not_reach_the_fit(tables, world, tmp_path):
    root, manifest = world
    test = {r["window_name"] for r in manifest.to_pylist() if r["split"] == "test"}
    for cell in sorted(set(manifest["h3_cell"].to_pylist())):
        held = pq.read_table(root / "masks" / f"h3_cell={cell}" / "masks.parquet")
        masks = [np.frombuffer(m, np.uint8).reshape(SIZE, SIZE) for m in held["mask"].to_pylist()]
        names = held["window_name"].to_pylist()
        changed = [1 - m % 2 if n in test else m for n, m in zip(names, masks, strict=True)]
        write_masks(tmp_path / f"h3_cell={cell}", names, np.stack(changed))
    other = baselines(root, manifest, tmp_path)
    assert all(other[n]["model_id"][0] == tables[n]["model_id"][0] for n in tables)


def test_without_a_positive_class_there_is_no_burn_ratio(world):
    assert sorted(baselines(*world, positive=None)) == [LOGISTIC, MAJORITY]


def test_one_class_in_train_is_refused(world, tmp_path):
    rows = world[1].to_pylist()
    for cell in sorted({r["h3_cell"] for r in rows}):
        names = [r["window_name"] for r in rows if r["h3_cell"] == cell]
        write_masks(tmp_path / f"h3_cell={cell}", names, np.zeros((len(names), SIZE, SIZE)))
    with pytest.raises(ExperimentError, match="fewer than two classes"):
        baselines(*world, masks_root=tmp_path)
