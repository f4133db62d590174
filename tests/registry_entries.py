"""Entries of the registry of evaluation datasets, for tests that need some."""

from typing import Any

from geofm_assets.evaluation.registry.entry import (
    BandStatistics,
    DatasetEntry,
    ModalityEntry,
    SplitEntry,
)

STATISTICS = BandStatistics(
    count=64, mean=0.5, std=0.25, min=0.0, max=1.0, p02=0.01, p50=0.5, p98=0.99
)


def make_entry(name: str = "togo", **changed: Any) -> DatasetEntry:
    """A crop mask of two classes, with some fields changed."""
    values: dict[str, Any] = {
        "name": name,
        "display_name": "Togo crops",
        "source": f"/sources/{name}",
        "content": "0123456789abcdef" * 4,
        "licence": "CC-BY-4.0",
        "task_type": "classification",
        "classes": ("other", "crop"),
        "modalities": {
            "sentinel2_l2a": ModalityEntry(
                bands=("B02", "B03"),
                timesteps=12,
                nodata=0.0,
                statistics={"B02": STATISTICS},
                filled_bands=("B03",),
            )
        },
        "window_size": 8,
        "split": SplitEntry(
            rule="spatial_blocks",
            seed=3,
            block_m=2560.0,
            counts={"train": 40, "val": 8, "test": 1200},
            subsets={"20": 8, "5": 2},
        ),
        "metric": "accuracy",
        "simulated": False,
    }
    return DatasetEntry.model_validate({**values, **changed})
