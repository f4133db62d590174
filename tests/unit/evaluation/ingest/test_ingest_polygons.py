"""Labels of pixels drawn from polygons."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from rslearn.utils import Feature, STGeometry

from geofm_assets.core.errors import DatasetError
from geofm_assets.core.store import Store
from geofm_assets.evaluation.ingest.dense import DenseLabel, drawn_label
from geofm_assets.evaluation.ingest.ingest import IngestResult, ingest_dataset
from geofm_assets.evaluation.ingest.label_plan import LabelPlan
from geofm_assets.evaluation.ingest.labels import LabelError
from geofm_assets.evaluation.ingest.options import IngestOptions
from geofm_assets.evaluation.ingest.validate import validate_source
from geofm_assets.evaluation.samples.packed import PackedSamples
from geofm_assets.evaluation.samples.types import IGNORE
from tests.eval_dataset import UTM, Made, Recipe, grid, write_dataset

SIDE = 8
PLAN = LabelPlan("segmentation", "label", "category", ("forest", "water"))


def drawn(
    shapes: list[tuple[Any, Any]], plan: LabelPlan = PLAN, corner: tuple[int, int] = (0, 0)
) -> DenseLabel:
    features = [Feature(STGeometry(UTM, shape, None), {"category": v}) for shape, v in shapes]
    return drawn_label(features, (SIDE, SIDE), corner, plan)


def halves(made: Made) -> list[tuple[Any, Any]]:
    """Forest left and water right of the upper half; two pixels in both."""
    return [(shapely.box(0, 0, 5, 4), "forest"), (shapely.box(4, 2, 8, 4), "water")]


def ingested(tmp_path: Path, recipe: Recipe, **said: Any) -> tuple[IngestResult, PackedSamples]:
    source = write_dataset(tmp_path / "source", grid(8), recipe)
    store = Store(tmp_path / "store")
    options = IngestOptions(name="d", source=str(source), task_type="segmentation", **said)
    return ingest_dataset(store, options), PackedSamples(store, "d")


def test_polygons_become_classes_of_pixels(tmp_path: Path) -> None:
    result, samples = ingested(tmp_path, Recipe(polygons=halves))
    label = samples.labels([0])[0]
    assert result.entry.task_type == "segmentation"
    assert result.entry.classes == ("forest", "water")
    expected = np.full((SIDE, SIDE), IGNORE)
    expected[:4, :4] = 0
    expected[:2, 4] = 0
    expected[2:4, 5:] = 1
    np.testing.assert_array_equal(label, expected)


def test_what_is_unsure_is_counted_and_what_is_outside_is_said(tmp_path: Path) -> None:
    result, _ = ingested(tmp_path, Recipe(polygons=halves))
    (shared,) = result.report.warnings
    assert shared.what.startswith("16 pixels of 8 windows lie in polygons of different labels")
    assert shared.where == "window default/w000 (2 pixels)"
    facts = {fact.field: fact.value for fact in result.inferred}
    assert facts["pixels outside polygons"] == "no label"


def test_pixels_outside_can_be_a_class(tmp_path: Path) -> None:
    result, samples = ingested(tmp_path, Recipe(polygons=halves), label_outside="bare")
    assert result.entry.classes == ("bare", "forest", "water")
    label = samples.labels([0])[0]
    assert (label[7, 0], label[0, 0], label[2, 4]) == (0, 1, IGNORE)


def test_classes_by_number_and_a_value_that_is_no_label(tmp_path: Path) -> None:
    recipe = Recipe(
        polygons=lambda made: [
            (shapely.box(0, 0, 4, 8), 0),
            (shapely.box(4, 0, 8, 8), 1),
            (shapely.box(3, 3, 5, 5), 255),
        ]
    )
    result, samples = ingested(tmp_path, recipe, classes=("no", "yes"), label_nodata=255)
    assert result.report.warnings == ()
    label = samples.labels([0])[0]
    assert (label[0, 0], label[0, 7]) == (0, 1)
    assert (label[3:5, 3:5] == IGNORE).all()


def test_a_regression_of_pixels_is_drawn_too(tmp_path: Path) -> None:
    recipe = Recipe(polygons=lambda made: [(shapely.box(0, 0, 4, 4), int(made.name[-1]) + 0.5)])
    source = write_dataset(tmp_path / "source", grid(8), recipe)
    options = IngestOptions(name="d", source=str(source), task_type="per_pixel_regression")
    store = Store(tmp_path / "store")
    ingest_dataset(store, options)
    samples = PackedSamples(store, "d")
    label = samples.labels([samples.table["window_name"].to_pylist().index("w003")])[0]
    assert (label[:4, :4] == 3.5).all()
    assert np.isnan(label[4:]).all()


def test_a_window_without_polygons_has_no_label_and_is_said(tmp_path: Path) -> None:
    recipe = Recipe(polygons=lambda made: [] if made.name == "w001" else halves(made))
    result, samples = ingested(tmp_path, recipe)
    said = " ".join(f.what for f in result.report.warnings)
    assert "label of a window has no valid pixel (1 window)" in said
    row = samples.table["window_name"].to_pylist().index("w001")
    assert (samples.labels([row]) == IGNORE).all()


def test_a_polygon_without_a_class_is_left_out_and_said(tmp_path: Path) -> None:
    recipe = Recipe(polygons=lambda made: [*halves(made), (shapely.box(0, 6, 8, 8), None)])
    result, _ = ingested(tmp_path, recipe)
    said = " ".join(str(warning) for warning in result.report.warnings)
    assert "Polygons without a category are left out (8 windows)" in said


def test_a_raster_wins_over_polygons_unless_said(tmp_path: Path) -> None:
    recipe = Recipe(
        label_type="uint8",
        label_pixels=lambda made: np.full((8, 8), int(made.name[-1]) % 2),
        class_names=["no", "yes"],
    )
    _, samples = ingested(tmp_path, recipe)
    assert samples.classes == ("no", "yes")


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"label_outside": "bare", "task_type": "classification"}, "outside polygons at .*outside"),
        ({"label_outside": "bare", "classes": "forest,water"}, "no class bare at .*label-outside"),
        ({"classes": "forest"}, "Class 'water' is unknown"),
    ],
)
def test_options_that_do_not_fit_are_refused_by_flag(
    tmp_path: Path, said: dict[str, Any], message: str
) -> None:
    source = write_dataset(tmp_path, grid(8), Recipe(polygons=halves))
    options = IngestOptions(
        **{"name": "d", "source": str(source), "task_type": "segmentation", **said}
    )
    with pytest.raises(DatasetError, match=message):
        validate_source(source, options).require_passed(str(source))


def test_window_classes_of_several_polygons_point_to_segmentation(tmp_path: Path) -> None:
    source = write_dataset(tmp_path, grid(8), Recipe(polygons=halves))
    (error,) = validate_source(source, IngestOptions(name="d", source=str(source))).errors
    assert "several classes (8 windows)" in error.what
    assert "--task-type segmentation" in error.fix


def test_a_point_labels_its_pixel() -> None:
    label = drawn([(shapely.Point(12.5, 23.5), "water")], corner=(10, 20)).values
    assert label[3, 2] == 1
    assert (label >= 0).sum() == 1


def test_holes_and_nan_and_lists() -> None:
    ring = shapely.box(0, 0, 8, 8) - shapely.box(2, 2, 6, 6)
    label = drawn([(ring, "forest"), (shapely.Polygon(), "water")]).values
    assert (label[2:6, 2:6] == IGNORE).all()
    assert (label == 0).sum() == 48
    for value, message in ((float("nan"), "is nan"), (["forest", "water"], "list of labels")):
        with pytest.raises(LabelError, match=message):
            drawn([(ring, value)])


box = st.tuples(*[st.floats(-2, 10, allow_nan=False) for _ in range(4)]).map(
    lambda c: shapely.box(min(c[0], c[2]), min(c[1], c[3]), max(c[0], c[2]), max(c[1], c[3]))
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(box, st.sampled_from(["forest", "water"])), max_size=5), st.randoms())
def test_a_pixel_is_of_the_one_class_whose_polygons_hold_its_centre(
    shapes: list[tuple[Any, str]], random: Any
) -> None:
    label = drawn(shapes)
    centres = [(x + 0.5, y + 0.5) for y in range(SIDE) for x in range(SIDE)]
    edges = [shape.boundary for shape, _ in shapes]
    conflicts = 0
    for (x, y), value in zip(centres, label.values.ravel().tolist(), strict=True):
        point = shapely.Point(x, y)
        if any(edge.distance(point) < 1e-6 for edge in edges):
            return  # on an edge either answer is right
        held = {v for shape, v in shapes if shape.contains(point)}
        conflicts += len(held) > 1
        expected = PLAN.classes.index(held.pop()) if len(held) == 1 else IGNORE
        assert value == expected
    assert label.conflicts == conflicts
    shuffled = list(shapes)
    random.shuffle(shuffled)
    np.testing.assert_array_equal(drawn(shuffled).values, label.values)
