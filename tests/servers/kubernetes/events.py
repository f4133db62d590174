"""Events as controllers record them."""

import uuid

from tests.servers.kubernetes.objects import EVENT, Kind, Manifest, ObjectStore, timestamp


class Recorder:
    """Writes events; a repeated one is counted instead."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._written: dict[tuple[str, str, str], Manifest] = {}

    def record(
        self, kind: Kind, about: Manifest, type: str, reason: str, message: str, component: str
    ) -> None:
        """Record that something happened to an object; type is Normal or Warning."""
        metadata = about["metadata"]
        namespace = metadata.get("namespace", "default")
        repeated = self._written.get((metadata["uid"], reason, message))
        if repeated is not None:
            repeated["count"] += 1
            repeated["lastTimestamp"] = timestamp()
            self._store.touch(EVENT, repeated)
            return
        event = {
            "metadata": {
                "name": f"{metadata['name']}.{uuid.uuid4().hex[:16]}",
                "namespace": namespace,
            },
            "involvedObject": {
                "kind": kind.name,
                "apiVersion": kind.api_version,
                "namespace": namespace,
                "name": metadata["name"],
                "uid": metadata["uid"],
                "resourceVersion": metadata["resourceVersion"],
            },
            "type": type,
            "reason": reason,
            "message": message,
            "count": 1,
            "firstTimestamp": timestamp(),
            "lastTimestamp": timestamp(),
            "source": {"component": component},
            "reportingComponent": component,
            "reportingInstance": "",
        }
        self._written[metadata["uid"], reason, message] = self._store.create(EVENT, event)
