"""A stage: how one artifact per partition is keyed, and when it is current.

An artifact carries the digest of everything it was made from. It is current when that digest is
what would go in today, so a run that died, a new collection and a changed setting all come down
to the same question, asked of the store alone.
"""

from typing import Protocol

from geofm_assets.core.errors import GeofmError
from geofm_assets.core.hashing import json_digest
from geofm_assets.core.store import Store


class MissingUpstreamError(GeofmError):
    """An artifact this one is made from does not exist yet."""


class Versioned(Protocol):
    """Something whose code has a version."""

    @property
    def code_version(self) -> str:
        """Version of the code; part of the inputs of what it makes."""


class Stage(Versioned, Protocol):
    """One kind of artifact."""

    def key(self, partition: str) -> str:
        """Store key of the artifact's main table."""

    def inputs(self, store: Store, partition: str) -> str:
        """Digest of what the artifact would be made from today.

        Raises:
            MissingUpstreamError: something upstream was never made.
        """


def is_current(store: Store, stage: Stage, partition: str = "") -> bool:
    """Whether the artifact exists and was made from today's inputs."""
    found = store.provenance(stage.key(partition))
    return found is not None and found.inputs == stage.inputs(store, partition)


def content_of(store: Store, key: str) -> str:
    """Content digest of an upstream table.

    Raises:
        MissingUpstreamError: it was never made.
    """
    found = store.provenance(key)
    if found is None:
        raise MissingUpstreamError(
            "An upstream artifact does not exist",
            where=key,
            fix="Materialize the asset above first",
        )
    return found.content


def inputs_digest(stage: Versioned, *parts: object) -> str:
    """Digest of upstream contents and settings, the stage's code version included."""
    return json_digest([type(stage).__name__, stage.code_version, *parts])
