"""A task file for anybody's labels, written from the label file itself."""

from pathlib import Path

import yaml

import geofm_assets.tasks
from geofm_assets.core.errors import ConfigError
from geofm_assets.labels.csv.points import distinct_labels, infer_columns
from geofm_assets.tasks.config import COMPONENT_TYPE, load_task_file, require_name

_MAX_CLASSES = 64


def write_task(name: str, labels: Path, folder: Path | None = None) -> Path:
    """Write `<folder>/<name>/defs.yaml` for a CSV or GeoParquet of labels.

    Args:
        name: the task's name.
        labels: the label file; its columns and classes are read from it.
        folder: where task folders lie; the package's own by default.

    Raises:
        ConfigError: the name is not allowed, the task exists already, or the file has too many
            distinct labels.
        LabelFileError: the file cannot be read or lacks a column.
    """
    try:
        require_name(name)
    except ValueError as error:
        raise ConfigError(
            f"{name!r} cannot be the name of a task: {error}", where="NAME", fix="Choose another"
        ) from error
    parent = folder or Path(geofm_assets.tasks.__file__).parent
    path = parent / name / "defs.yaml"
    if path.exists():
        raise ConfigError("The task exists already", where=str(path), fix="Choose another name")
    columns = infer_columns(labels)
    classes = distinct_labels(labels, columns)
    if not 2 <= len(classes) <= _MAX_CLASSES:
        raise ConfigError(
            f"Column {columns.label} has {len(classes)} distinct labels, want 2 to {_MAX_CLASSES}",
            where=str(labels),
            fix="Map your labels to classes first",
        )
    document = {
        "type": COMPONENT_TYPE,
        "attributes": {
            "name": name,
            "labels": {
                "source": "csv",
                "file": str(labels.resolve()),
                "columns": columns.model_dump(exclude_none=True),
                "rule": "identity",
                "classes": classes,
            },
            "sampling": {"h3_resolution": 3, "per_cell": 100, "seed": 0},
            "split": {"by": "h3_cell", "fractions": {"train": 0.7, "val": 0.15, "test": 0.15}},
            "windows": {"size": 32, "resolution": 10, "days_before": 15, "days_after": 15},
            "imagery": {
                "profile": "local_scenes",
                "months": 12,
                "modalities": ["sentinel2_l2a", "sentinel1"],
            },
            "experiments": {
                "encoder": ["olmoearth_v1_2_nano"],
                "modality": ["s2", "s1_s2"],
                "patch_size": [1, 2, 4, 8],
                "window_size": [1, 4, 8, 16, 32],
                "timesteps": [1, 12],
            },
        },
    }
    text = "# Written by `geofm new-task`. Every key is described in docs/tasks.md.\n"
    text += yaml.safe_dump(document, sort_keys=False, default_flow_style=None)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    try:
        load_task_file(path)
    except ConfigError:
        path.unlink()
        path.parent.rmdir()
        raise
    return path
