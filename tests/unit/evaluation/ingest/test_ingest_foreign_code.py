"""A dataset from outside does not choose what code runs here."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from geofm_assets.core.errors import DatasetError
from geofm_assets.evaluation.ingest.options import IngestOptions
from geofm_assets.evaluation.ingest.source import open_source, source_path
from geofm_assets.evaluation.ingest.validate import validate_source
from tests.eval_dataset import Recipe, grid, write_dataset

FOREIGN = {"class_path": "malice.Malice"}


@pytest.fixture
def malice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A module that leaves a file when it is imported."""
    ran = tmp_path / "ran"
    folder = tmp_path / "modules"
    folder.mkdir()
    text = f"import pathlib\npathlib.Path({str(ran)!r}).touch()\nclass Malice: pass\n"
    (folder / "malice.py").write_text(text)
    monkeypatch.syspath_prepend(str(folder))
    yield ran
    sys.modules.pop("malice", None)


def source(tmp_path: Path, **change: Any) -> Path:
    folder = write_dataset(
        tmp_path / "source", grid(8), Recipe(months=1, layers={"sentinel2_l2a": ("B02", "B03")})
    )
    config = json.loads((folder / "config.json").read_text())
    config["layers"]["sentinel2_l2a"]["band_sets"][0].update(change.pop("band_set", {}))
    config["layers"]["sentinel2_l2a"].update(change.pop("layer", {}))
    (folder / "config.json").write_text(json.dumps({**config, **change}))
    return folder


@pytest.mark.parametrize(
    "change",
    [
        {"storage": FOREIGN},
        {"window_data_storage": FOREIGN},
        {"band_set": {"format": FOREIGN}},
        {"storage": {"class_path": "rslearn_evil.Storage"}},
    ],
)
def test_a_class_of_another_package_is_refused(
    tmp_path: Path, malice: Path, change: dict[str, Any]
) -> None:
    folder = source(tmp_path, **change)
    with pytest.raises(DatasetError, match="must not choose what code runs here"):
        open_source(source_path(folder))
    report = validate_source(str(folder), IngestOptions(name="d", source=str(folder)))
    assert "must not choose" in report.errors[0].what
    assert not malice.exists()


def test_where_a_layer_once_came_from_is_not_looked_at(tmp_path: Path, malice: Path) -> None:
    folder = source(tmp_path, layer={"data_source": FOREIGN})
    assert validate_source(str(folder), IngestOptions(name="d", source=str(folder))).passed
    assert not malice.exists()
