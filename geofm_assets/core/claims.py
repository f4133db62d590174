"""One process at a time makes an artifact; whoever comes second waits, then finds it made.

A table is written whole or not at all, and the same inputs give the same bytes, so two processes
that write the same cell do no harm. Two kinds of work need more: what gathers from everything
there is (a score table: the slower of two would put its older view in the newer one's place), and
what goes on from an unfinished file (a download, a training, a map).
"""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager

from geofm_assets.core.progress import Say
from geofm_assets.core.store import Store

FOLDER = "locks"
_SAID_EVERY_S = 60.0


@contextmanager
def claimed(store: Store, name: str, tell: Say, wait_s: float = math.inf) -> Iterator[None]:
    """Be the only one to make something, among all processes that work on the store.

    The claim of a killed process ends, so waiting has an end. In buckets where it would not
    (`Store.locks_end`) nobody is kept apart, since a lost run would stop all later ones.

    Args:
        store: where it is made.
        name: of what is made: the parts of its asset's key, then its partition, with slashes.
        tell: told, now and then, whom the process waits for.
        wait_s: seconds to wait before giving up.

    Raises:
        LockError: the store cannot be locked, the claim was lost meanwhile, or another still has
            it.
    """
    if not store.locks_end:
        yield
        return
    said = -math.inf

    def waiting(holder: str) -> None:
        nonlocal said
        if time.monotonic() - said >= _SAID_EVERY_S:
            said = time.monotonic()
            tell(f"{name}: waiting for {holder}, which makes the same")

    taken = f"Another process makes {name}"
    with store.lock(f"{FOLDER}/{name}", taken=taken, wait_s=wait_s, waiting=waiting):
        yield
