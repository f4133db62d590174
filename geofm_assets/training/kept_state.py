"""The state of a training under way, kept in the bucket so that another machine can go on.

In a folder the state lies beside the checkpoint and whoever runs next finds it. With the store in a
bucket it lies in this machine's scratch folder (docs/store.md), which a lost pod takes with it; so
every few minutes a copy is published, whole or not at all, and removed when the training ends.
"""

import json
import os
import shutil
import time
from pathlib import Path

from geofm_assets.core.errors import StoreError
from geofm_assets.core.progress import Report
from geofm_assets.core.store import Store
from geofm_assets.training.checkpoint import replace_bytes
from geofm_assets.training.resume import BEST, LAST, OWNER

EVERY_S = 300.0
"""Seconds between copies, at least; each holds the weights and the optimiser's state."""
_PLACE = "place.json"


class KeptState:
    """A copy in the bucket of one training's state; nothing of a local store.

    Args:
        store: that gets the checkpoint.
        key: store prefix of the copy.
        work: folder of the state.
        run_key: of the run; the state of another is never taken up.
    """

    def __init__(self, store: Store, key: str, work: Path, run_key: str) -> None:
        self._store, self._key, self._work = store, key, work
        # Lightning knows the best epoch so far only in the folder it was found in
        self._said = {"run_key": run_key, "folder": str(work)}
        self._due = time.monotonic() + EVERY_S

    def bring(self) -> None:
        """Bring the state of this run here, unless this machine has one.

        Raises:
            StoreError: the bucket does not answer.
        """
        if self._store.is_local or self._owned():
            return
        try:
            copy = self._store.fetch_folder(self._key)
        except FileNotFoundError:
            return
        if json.loads((copy / _PLACE).read_text()) != self._said:
            return
        shutil.rmtree(self._work, ignore_errors=True)
        for name in (BEST, LAST, OWNER):  # the owner last: it makes the others count
            replace_bytes(self._work / name, (copy / name).read_bytes())

    def told(self, report: Report) -> Report:
        """A listener that keeps a copy when it is time and passes on what it is told."""

        def tell(done: int, total: int, note: str) -> None:
            try:
                self._keep()
            except StoreError as error:  # the training can do without; whoever watches is told
                note += f"; its state could not be kept: {error}"
            report(done, total, note)

        return tell

    def drop(self) -> None:
        """Remove the copy."""
        if not self._store.is_local:
            self._store.delete(self._key)

    def _owned(self) -> bool:
        owner = self._work / OWNER
        ours = {"run_key": self._said["run_key"]}
        return (
            (self._work / LAST).is_file()
            and owner.is_file()
            and json.loads(owner.read_text()) == ours
        )

    def _keep(self) -> None:
        there = all((self._work / name).is_file() for name in (LAST, BEST, OWNER))
        if self._store.is_local or not there or time.monotonic() < self._due:
            return
        with self._store.publishing(self._key) as folder:
            # the last first: an epoch that ends meanwhile may make a newer best, never an older
            for name in (LAST, BEST, OWNER):
                os.link(self._work / name, folder / name)
            (folder / _PLACE).write_text(json.dumps(self._said))
        self._due = time.monotonic() + EVERY_S
