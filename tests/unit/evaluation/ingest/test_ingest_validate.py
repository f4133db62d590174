"""Validation says everything that is wrong with a source, at once."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from geofm_assets.core.errors import DatasetError
from geofm_assets.evaluation.ingest.options import IngestOptions
from geofm_assets.evaluation.ingest.report import Finding, ValidationReport
from geofm_assets.evaluation.ingest.validate import validate_source
from tests.eval_dataset import Made, Recipe, grid, write_dataset


def validated(source: Path, **said: Any) -> ValidationReport:
    return validate_source(source, IngestOptions(name="d", source=str(source), **said))


def found(report: ValidationReport, text: str) -> Finding:
    """The one finding that says something."""
    (held,) = [f for f in report.findings if text in str(f)]
    return held


def test_a_good_source_passes(tmp_path: Path) -> None:
    report = validated(write_dataset(tmp_path, grid(16)))
    assert report.findings == ()
    assert report.windows == 16
    assert report.counts == {"train": 8, "val": 4, "test": 4}


def test_a_source_that_is_not_there_is_a_finding() -> None:
    report = validated(Path("/nowhere/at/all"))
    assert [f.level for f in report.findings] == ["error"]
    assert "not there" in report.findings[0].what


def test_everything_wrong_is_said_at_once(tmp_path: Path) -> None:
    windows = grid(16)
    windows[0].label, windows[1].size = None, 6
    windows += [Made("twin", (2, 0), label="forest"), Made("far", (9, 9), "test", "bog")]

    def empty_one(made: Made, layer: str, month: int, pixels: np.ndarray) -> np.ndarray | None:
        return np.zeros_like(pixels) if made.name == "w005" else pixels

    recipe = Recipe(layers={"sentinel2_l2a": ("B02", "B03", "B04")}, change=empty_one)
    report = validated(write_dataset(tmp_path, windows, recipe))
    said = " ".join(f.what for f in report.errors)
    for part in (
        "label is missing (1 window)",
        "several sizes: 8 x 8 (17), 6 x 6 (1)",
        "no valid pixel (1 window)",
        "one place and time have different labels",
        "Class 'bog' (1 window) is not in train",
    ):
        assert part in said


def test_the_same_trouble_of_many_windows_is_one_finding(tmp_path: Path) -> None:
    windows = grid(16)
    for made in windows[:5]:
        made.label = None
    missing = found(validated(write_dataset(tmp_path, windows)), "label is missing")
    assert missing.what == "The label is missing (5 windows)"
    assert missing.where == "window default/w000, default/w001, default/w002, ..."


def test_an_unknown_class_names_the_flag(tmp_path: Path) -> None:
    report = validated(write_dataset(tmp_path, grid(16)), classes="water,bog")
    unknown = found(report, "'forest' is unknown")
    assert unknown.level == "error"
    assert "--classes" in unknown.fix


def test_nan_labels_are_errors(tmp_path: Path) -> None:
    windows = grid(16, labels=(1.0, 2.0))
    windows[3].label = float("nan")
    nan = found(validated(write_dataset(tmp_path, windows)), "label is nan")
    assert nan.where == "window default/w003"


def test_a_class_only_in_test_is_an_error(tmp_path: Path) -> None:
    windows = [*grid(16), Made("odd", (9, 9), "test", "bog")]
    gap = found(validated(write_dataset(tmp_path, windows)), "'bog'")
    assert gap.level == "error"
    assert "not in train" in gap.what


def test_a_class_missing_only_in_test_is_a_warning(tmp_path: Path) -> None:
    windows = [*grid(16), Made("a", (9, 9), "train", "bog"), Made("b", (9, 7), "val", "bog")]
    assert found(validated(write_dataset(tmp_path, windows)), "'bog'").level == "warning"


def test_overlap_between_splits_is_leakage(tmp_path: Path) -> None:
    windows = [*grid(16), Made("near", (0, 0), "test", "water", shift=4)]
    leak = found(validated(write_dataset(tmp_path, windows)), "Leakage")
    assert leak.level == "error"
    assert leak.where == "windows default/near and default/w000"


def test_overlap_is_taken_on_the_sources_word_if_said(tmp_path: Path) -> None:
    source = write_dataset(tmp_path, [*grid(16), Made("near", (0, 0), "test", "water", shift=4)])
    assert found(validated(source, split_rule="kept"), "Leakage").level == "warning"
    assert validated(source, split_rule="spatial_blocks").passed


def test_linear_sentinel1_is_refused_with_the_flag(tmp_path: Path) -> None:
    def linear(made: Made, layer: str, month: int, pixels: np.ndarray) -> np.ndarray:
        return 10 ** (pixels / 10) if layer == "sentinel1" else pixels

    source = write_dataset(tmp_path, grid(16), Recipe(change=linear))
    assert "--sentinel1-unit linear" in found(validated(source), "linear power").fix
    assert validated(source, sentinel1_unit="linear").passed


def test_decibels_said_to_be_linear_are_refused(tmp_path: Path) -> None:
    source = write_dataset(tmp_path, grid(8))
    wrong = found(validated(source, sentinel1_unit="linear"), "most of it is negative")
    assert wrong.level == "error"


def test_reflectance_of_0_to_1_is_refused(tmp_path: Path) -> None:
    def small(made: Made, layer: str, month: int, pixels: np.ndarray) -> np.ndarray:
        return np.full_like(pixels, 1) if layer == "sentinel2_l2a" else pixels

    report = validated(write_dataset(tmp_path, grid(16), Recipe(change=small)))
    assert found(report, "instead of reflectance").level == "error"


def test_images_without_a_date_are_refused(tmp_path: Path) -> None:
    report = validated(write_dataset(tmp_path, grid(8), Recipe(dated=False)))
    assert len(report.errors) == 2
    assert "date of an image of sentinel1 is not known (8 windows)" in report.errors[0].what


def test_one_image_without_a_date_is_of_the_windows_time(tmp_path: Path) -> None:
    assert validated(write_dataset(tmp_path, grid(16), Recipe(dated=False, months=1))).passed


def test_duplicates_of_one_label_are_a_warning(tmp_path: Path) -> None:
    source = write_dataset(tmp_path, [*grid(16), Made("twin", (0, 0), label="water")])
    assert found(validated(source), "one place and time").level == "warning"


def test_a_raster_value_that_is_no_class_is_named(tmp_path: Path) -> None:
    def pixels(made: Made) -> np.ndarray:
        return np.full((8, 8), 255 if made.name == "w002" else int(made.name[-1]) % 2)

    recipe = Recipe(label_type="uint8", label_pixels=pixels, class_names=["no", "yes"])
    source = write_dataset(tmp_path, grid(16), recipe)
    wrong = found(validated(source), "no class: 255")
    assert wrong.level == "error"
    assert "--label-nodata" in wrong.fix
    report = validated(source, label_nodata=255)
    assert report.passed
    assert "label of a window has no valid pixel" in report.warnings[0].what


def test_windows_that_are_not_square(tmp_path: Path) -> None:
    source = write_dataset(tmp_path, grid(8))
    for path in source.glob("windows/default/*/metadata.json"):
        text = path.read_text()
        bounds = text[text.index('"bounds"') : text.index("]", text.index('"bounds"'))]
        right = bounds.split(",")[2]
        path.write_text(text.replace(bounds, bounds.replace(right, f" {int(right) + 1}")))
    assert "8 x 9" in found(validated(source), "8 x 9").what


def test_a_damaged_raster_is_a_finding(tmp_path: Path) -> None:
    source = write_dataset(tmp_path, grid(8))
    path = next((source / "windows/default/w001/layers/sentinel1").rglob("*.tif"))
    path.write_bytes(b"not a raster")
    broken = found(validated(source), "rasters of sentinel1 cannot be read (1 window)")
    assert broken.where.startswith("window default/w001: RasterioIOError: ")
    assert str(path) in broken.where


def test_a_raster_cut_short_is_named_with_the_cause(tmp_path: Path) -> None:
    source = write_dataset(tmp_path, grid(8))
    for window in ("w001", "w003"):
        path = next((source / f"windows/default/{window}/layers/sentinel1.1").rglob("*.tif"))
        path.write_bytes(path.read_bytes()[:-200])
    broken = found(validated(source), "rasters of sentinel1 cannot be read (2 windows)")
    assert "w001/layers/sentinel1.1/vv_vh" in broken.where
    assert "geotiff.tif" in broken.where  # of the cause; rasterio's own message names no file


@pytest.mark.parametrize(
    ("data", "said"), [("{", "JSONDecodeError"), ('{"features": [{}]}', "KeyError: 'geometry'")]
)
def test_a_damaged_vector_label_is_named_with_its_message(
    tmp_path: Path, data: str, said: str
) -> None:
    source = write_dataset(tmp_path, grid(8))
    (source / "windows/default/w001/layers/label/data.geojson").write_text(data)
    broken = found(validated(source), "The label cannot be read")
    assert "default/w001/layers/label (" in broken.where
    assert said in broken.where


def test_a_damaged_raster_label_is_named_with_its_message(tmp_path: Path) -> None:
    recipe = Recipe(
        label_type="uint8",
        label_pixels=lambda made: np.full((8, 8), int(made.name[-1]) % 2),
        class_names=["no", "yes"],
    )
    source = write_dataset(tmp_path, grid(8), recipe)
    path = next((source / "windows/default/w001/layers/label").rglob("*.tif"))
    path.write_bytes(b"not a raster")
    broken = found(validated(source), "The label cannot be read")
    assert str(path) in broken.where
    assert "not recognized" in broken.where


def test_a_target_that_never_changes_is_found(tmp_path: Path) -> None:
    recipe = Recipe(label_type="float32", label_pixels=lambda made: np.full((8, 8), 2.0))
    same = found(validated(write_dataset(tmp_path, grid(8), recipe)), "Every target")
    assert same.level == "error"


def test_nothing_is_written(tmp_path: Path) -> None:
    source = write_dataset(tmp_path, grid(8))
    before = sorted(source.rglob("*"))
    validated(source)
    assert sorted(source.rglob("*")) == before


def test_one_error_says_all_of_them() -> None:
    errors = tuple(Finding("error", f"thing {i}", f"place {i}", f"fix {i}") for i in range(2))
    with pytest.raises(DatasetError, match=r"2 things are wrong.*thing 0.*thing 1.*fix 0; fix 1"):
        ValidationReport(errors).require_passed("somewhere")


def test_a_split_nobody_knows_is_said(tmp_path: Path) -> None:
    source = write_dataset(tmp_path, grid(40, split="fold_a"))
    unknown = found(validated(source), "'fold_a', which is no split (40 windows)")
    assert "--split-property" in unknown.fix


def test_the_split_and_its_reason_are_printed(tmp_path: Path) -> None:
    report = validated(write_dataset(tmp_path, grid(40, split="train")))
    (fact,) = [f for f in report.facts if f.field == "split"]
    assert fact.value == "spatial_blocks: train 28, val 6, test 6"
    assert fact.source == "of its own the source has train; 40 separate blocks of 2560 m"


def test_damaged_metadata_is_named(tmp_path: Path) -> None:
    source = write_dataset(tmp_path, grid(8))
    (source / "windows/default/w003/metadata.json").write_text("{")
    (damaged,) = validated(source).findings
    assert damaged.where.endswith("windows/default/w003/metadata.json")


def test_a_band_that_is_empty_everywhere_is_a_warning(tmp_path: Path) -> None:
    def without_b08(made: Made, layer: str, month: int, pixels: np.ndarray) -> np.ndarray:
        if layer == "sentinel2_l2a":
            pixels[3] = 0
        return pixels

    source = write_dataset(tmp_path, grid(8), Recipe(change=without_b08))
    empty = found(validated(source), "valid pixel in B08")
    assert (empty.level, empty.where) == ("warning", "modality sentinel2_l2a")


def test_a_single_class_is_a_warning(tmp_path: Path) -> None:
    one = found(validated(write_dataset(tmp_path, grid(8, labels=("water",)))), "one class only")
    assert (one.level, one.what) == ("warning", "Train has one class only, 'water'")


def test_a_class_no_window_shows_cannot_be_learned(tmp_path: Path) -> None:
    report = validated(write_dataset(tmp_path, grid(8)), classes="water,forest,bog")
    unseen = found(report, "No window shows class 'bog'")
    assert (unseen.level, "cannot be learned" in unseen.fix) == ("warning", True)


def test_a_layer_of_no_known_modality_is_a_warning_unless_it_is_left_out_by_name(
    tmp_path: Path,
) -> None:
    recipe = Recipe(months=1, layers={"sentinel2_l2a": ("B02",), "foolayer": ("F1",)})
    source = write_dataset(tmp_path, grid(8), recipe)
    unknown = found(validated(source), "Layer foolayer")
    assert (unknown.level, unknown.where) == ("warning", "config.json")
    assert "sentinel2_l2a, sentinel1, landsat" in unknown.fix
    assert validated(source, modalities="sentinel2_l2a").findings == ()


def test_a_modality_that_lies_outside_the_temporal_range_names_the_flag(tmp_path: Path) -> None:
    def only_late(made: Made, layer: str, month: int, pixels: np.ndarray) -> np.ndarray | None:
        return None if layer == "sentinel1" and month == 0 else pixels

    source = write_dataset(tmp_path, grid(8), Recipe(change=only_late))
    outside = found(validated(source, temporal_range="2022-01-01,2022-01-20"), "of sentinel1")
    assert outside.level == "warning"
    assert "within --temporal-range 2022-01-01/2022-01-20 (8 windows)" in outside.what
