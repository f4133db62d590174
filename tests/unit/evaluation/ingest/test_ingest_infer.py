"""What is inferred of a source, from where, and which flag says what cannot be."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from geofm_assets.core.errors import DatasetError
from geofm_assets.evaluation.ingest.infer import infer
from geofm_assets.evaluation.ingest.modalities import resolve_modality
from geofm_assets.evaluation.ingest.options import IngestOptions
from tests.eval_dataset import Recipe, grid, write_dataset


def options(source: Path, **said: Any) -> IngestOptions:
    return IngestOptions(name="d", source=str(source), **said)


def facts(source: Path, **said: Any) -> dict[str, tuple[str, str]]:
    return {f.field: (f.value, f.source) for f in infer(source, options(source, **said)).facts}


@pytest.mark.parametrize(
    ("layer", "modality"),
    [
        ("sentinel2", "sentinel2_l2a"),
        ("sentinel2_l2a", "sentinel2_l2a"),
        ("pre_sentinel2", "sentinel2_l2a"),
        ("post_sentinel2_l2a", "sentinel2_l2a"),
        ("sentinel1_ascending", "sentinel1"),
        ("Sentinel1", "sentinel1"),
        ("landsat_c2_l2", "landsat"),
        ("sentinel2_l1c", None),
        ("worldcover", None),
    ],
)
def test_layers_are_known_by_their_name(layer: str, modality: str | None) -> None:
    assert resolve_modality(layer) == modality


def test_text_labels_are_classes(tmp_path: Path) -> None:
    found = infer(source := write_dataset(tmp_path, grid(8)), options(source))
    assert found.task_type == "classification"
    assert found.classes == ("forest", "water")


def test_numbers_are_a_regression(tmp_path: Path) -> None:
    source = write_dataset(tmp_path, grid(8, labels=(1.5, 2, 3)))
    assert infer(source, options(source)).task_type == "window_regression"


def test_lists_are_multilabel(tmp_path: Path) -> None:
    found = infer(
        source := write_dataset(tmp_path, grid(8, labels=(["a", "b"], ["c"]))), options(source)
    )
    assert found.task_type == "multilabel"
    assert found.classes == ("a", "b", "c")


def test_numbers_are_classes_where_that_is_said(tmp_path: Path) -> None:
    source = write_dataset(tmp_path, grid(8, labels=(10, 2)))
    assert infer(source, options(source, task_type="classification")).classes == ("2", "10")


def test_numbers_are_class_ids_where_classes_are_named(tmp_path: Path) -> None:
    source = write_dataset(tmp_path, grid(8, labels=(1, 0)))
    found = infer(source, options(source, classes="land,sea"))
    assert found.task_type == "classification"
    assert found.label.ids


def test_whole_numbers_in_a_raster_are_a_segmentation(tmp_path: Path) -> None:
    recipe = Recipe(
        label_type="uint8", label_pixels=lambda m: np.ones((8, 8)), class_names=["no", "yes"]
    )
    found = infer(source := write_dataset(tmp_path, grid(8), recipe), options(source))
    assert found.task_type == "segmentation"
    assert found.classes == ("no", "yes")


def test_fractions_in_a_raster_are_a_per_pixel_regression(tmp_path: Path) -> None:
    recipe = Recipe(label_type="float32", label_pixels=lambda m: np.ones((8, 8)))
    found = infer(source := write_dataset(tmp_path, grid(8), recipe), options(source))
    assert found.task_type == "per_pixel_regression"


def test_raster_classes_without_names_are_asked_for(tmp_path: Path) -> None:
    recipe = Recipe(label_type="uint8", label_pixels=lambda m: np.ones((8, 8)))
    source = write_dataset(tmp_path, grid(8), recipe)
    with pytest.raises(DatasetError, match="--classes"):
        infer(source, options(source))


def test_mixed_labels_are_asked_for(tmp_path: Path) -> None:
    source = write_dataset(tmp_path, grid(8, labels=(1, "a")))
    with pytest.raises(DatasetError, match=r"number and text.*--task-type"):
        infer(source, options(source))


def test_an_unusual_property_is_found_if_it_is_the_only_one(tmp_path: Path) -> None:
    source = write_dataset(tmp_path, grid(8), Recipe(property_name="cover"))
    assert facts(source)["property"] == ("cover", "features of layer label: the only one")


def test_bands_get_model_order_and_names(tmp_path: Path) -> None:
    recipe = Recipe(layers={"sentinel2": ("B8", "B04", "B3", "B02"), "sentinel1": ("VH", "VV")})
    found = infer(source := write_dataset(tmp_path, grid(8), recipe), options(source))
    assert found.modalities["sentinel2_l2a"].layout.bands == ("B02", "B03", "B04", "B08")
    assert found.modalities["sentinel2_l2a"].picks == {"sentinel2": (3, 2, 1, 0)}
    assert found.modalities["sentinel1"].layout.bands == ("vv", "vh")


def test_layers_of_one_modality_are_joined(tmp_path: Path) -> None:
    recipe = Recipe(layers={"pre_sentinel2": ("B02", "B03"), "post_sentinel2": ("B03", "B02")})
    found = infer(source := write_dataset(tmp_path, grid(8), recipe), options(source))
    assert found.modalities["sentinel2_l2a"].layers == ("pre_sentinel2", "post_sentinel2")
    assert facts(source)["item groups of sentinel2_l2a"][0] == "4"


def test_an_unknown_band_is_named(tmp_path: Path) -> None:
    recipe = Recipe(layers={"sentinel2": ("B02", "B77")})
    source = write_dataset(tmp_path, [], recipe)
    write_dataset(tmp_path, grid(8), Recipe(layers={"sentinel2": ("B02", "B77")}))
    with pytest.raises(DatasetError, match=r"no band B77 at config.json, layer sentinel2"):
        infer(source, options(source))


def test_a_modality_that_is_not_there_is_named(tmp_path: Path) -> None:
    source = write_dataset(tmp_path, grid(8))
    with pytest.raises(DatasetError, match=r"no modality landsat at --modalities"):
        infer(source, options(source, modalities="landsat"))


def test_a_layer_that_is_not_there_is_named(tmp_path: Path) -> None:
    source = write_dataset(tmp_path, grid(8))
    with pytest.raises(DatasetError, match="no layer truth at --label-layer"):
        infer(source, options(source, label_layer="truth"))


def test_what_was_said_is_marked_as_said(tmp_path: Path) -> None:
    source = write_dataset(tmp_path, grid(8))
    assert facts(source, property_name="category")["property"] == ("category", "--property-name")


def test_the_sources_splits_are_counted(tmp_path: Path) -> None:
    found = facts(write_dataset(tmp_path, grid(8)))
    assert found["splits of the source"][0] == "train 4, val 2, test 2"


def test_a_groups_name_can_be_its_split(tmp_path: Path) -> None:
    windows = [w for g in ("train", "valid", "test") for w in grid(2, group=g, split=None)]
    source = write_dataset(tmp_path, windows)
    assert facts(source)["splits of the source"][0] == "train 2, val 2, test 2"


def test_a_source_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"source is not there at .*/nothing.*--source"):
        infer(tmp_path / "nothing", options(tmp_path / "nothing"))


def test_a_folder_that_is_no_dataset(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"config.json is missing"):
        infer(tmp_path, options(tmp_path))


def test_a_damaged_configuration(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(DatasetError, match=r"Not JSON at .*config.json"):
        infer(tmp_path, options(tmp_path))


def test_a_file_system_nobody_knows() -> None:
    with pytest.raises(DatasetError, match="cannot be read"):
        infer("nowhere://bucket/x", IngestOptions(name="d", source="nowhere://bucket/x"))


def test_a_group_that_is_not_there_is_named(tmp_path: Path) -> None:
    source = write_dataset(tmp_path, grid(8))
    with pytest.raises(DatasetError, match="no group other at --groups"):
        infer(source, options(source, groups="other"))


@pytest.mark.parametrize(
    ("field", "typed", "value"),
    [
        ("modalities", "sentinel1, landsat", ("sentinel1", "landsat")),
        ("tags", ["a=1", "b"], {"a": "1", "b": None}),
        ("subsets", [20, 5, 5], (5, 20)),
    ],
)
def test_options_are_read_as_people_type_them(field: str, typed: Any, value: Any) -> None:
    assert getattr(IngestOptions(name="d", source="x", **{field: typed}), field) == value


@pytest.mark.parametrize(
    "said",
    [
        {"name": "Togo"},
        {"subsets": (0,)},
        {"temporal_range": ("2022-02-01", "2022-01-01")},
        {"classes": "a,a"},
        {"typo": 1},
    ],
)
def test_options_that_cannot_be_are_refused(said: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        IngestOptions.model_validate({"name": "d", "source": "x", **said})
