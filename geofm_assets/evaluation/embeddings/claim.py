"""One process encodes a dataset with a model at a time."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager

from geofm_assets.core.progress import Report
from geofm_assets.core.store import Store
from geofm_assets.evaluation.embeddings.shards import rows_in
from geofm_assets.evaluation.embeddings.store import EncodingKey
from geofm_assets.evaluation.registry.lock import exclusive

_SAID_EVERY_S = 2.0


@contextmanager
def alone(
    store: Store, encoding: EncodingKey, folder: str, total: int, report: Report
) -> Iterator[None]:
    """Claim an encoding; while another process has it, wait and report how far that one is.

    In a folder and on S3 the claim of a process that was killed ends, so waiting has an end.

    Args:
        store: that keeps it.
        encoding: which.
        folder: store prefix of the rows encoded so far.
        total: samples there are.
        report: told of samples done.

    Raises:
        RegistryError: another process has the claim and the store is another bucket, where claims
            do not end by themselves; or it has no locks.
    """
    said: list[float] = []

    def waiting(holder: str) -> None:
        if not said or time.monotonic() - said[-1] >= _SAID_EVERY_S:
            said[:] = [time.monotonic()]
            note = f"waiting for another process that encodes this ({holder})"
            report(rows_in(store, folder), total, note)

    with exclusive(
        store,
        f"{encoding.stem}.lock",
        taken="Another process encodes the same dataset with the same model",
        wait_s=math.inf if store.locks_end else 0.0,
        waiting=waiting,
    ):
        yield
