"""Exclusive locks of the registry and its datasets: the store's, as errors of the registry."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from geofm_assets.core.errors import LockError, RegistryError
from geofm_assets.core.store import Store


@contextmanager
def exclusive(
    store: Store,
    key: str,
    *,
    taken: str,
    wait_s: float = 0.0,
    waiting: Callable[[str], None] | None = None,
) -> Iterator[None]:
    """Hold a lock of a store; other processes and threads wait or are refused.

    Args:
        store: a folder, or a bucket with conditional puts.
        key: of the lock's file. It stays, empty, when the lock is let go.
        taken: what to say if another holds it: the first half of a sentence that ends in who.
        wait_s: seconds to wait for another holder before giving up.
        waiting: told who holds it, each time it was asked for in vain.

    Raises:
        RegistryError: another holds it; the store cannot be locked; or a bucket's lock was lost
            while it was held.
    """
    try:
        with store.lock(key, taken=taken, wait_s=wait_s, waiting=waiting):
            yield
    except LockError as error:
        raise RegistryError(error.what, where=error.where, fix=error.fix) from error
