"""The state of a training under way: written whole, taken up only by the run it belongs to."""

import io
import json
import shutil
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from geofm_assets.training.checkpoint import replace_bytes
from geofm_assets.training.processes import from_first, place

LAST, BEST, OWNER = "last.ckpt", "best.ckpt", "run.json"


class AtomicCheckpointIO(TorchCheckpointIO):
    """Lightning's checkpoints, written to the same folder and renamed.

    Lightning's own writer goes through the system's temporary folder, and a move between file
    systems is no atomic step.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None
    ) -> None:
        """Write a checkpoint whole or not at all."""
        sink = io.BytesIO()
        torch.save(checkpoint, sink)
        replace_bytes(Path(path), sink.getvalue())

    def load_checkpoint(
        self, path: Any, map_location: Any | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read a checkpoint on the first process, for all: another machine may not have it."""
        data = from_first(Path(path).read_bytes() if place()[0] == 0 else b"")
        state: dict[str, Any] = torch.load(
            io.BytesIO(data), map_location=map_location or "cpu", weights_only=True
        )
        return state


def prepare_work(folder: Path, run_key: str) -> Path | None:
    """The last checkpoint of an interrupted run with this key; else an empty folder and None."""
    owner, last = folder / OWNER, folder / LAST
    if owner.is_file() and json.loads(owner.read_text()) == {"run_key": run_key}:
        return last if last.is_file() else None
    if folder.exists():
        shutil.rmtree(folder)
    replace_bytes(owner, json.dumps({"run_key": run_key}).encode())
    return None
