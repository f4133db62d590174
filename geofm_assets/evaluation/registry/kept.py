"""What the store keeps of ingests beside the registry: warnings, and datasets never registered."""

from dataclasses import dataclass

from geofm_assets.core.errors import DatasetError
from geofm_assets.core.store import Store
from geofm_assets.evaluation.ingest.remember import read_record
from geofm_assets.evaluation.ingest.report import ValidationReport
from geofm_assets.evaluation.registry.registry import Registry
from geofm_assets.evaluation.samples.packing import samples_key


@dataclass(frozen=True)
class Leftover:
    """A dataset that has files in the store and is not registered.

    Attributes:
        finished: its samples were made, and only registering was not asked for.
        source: what it was made from; None if no ingest was finished.
        simulated: whether its data was; None likewise.
    """

    finished: bool
    source: str | None
    simulated: bool | None


def find_leftovers(store: Store, registry: Registry) -> dict[str, Leftover]:
    """Datasets that are not registered, by name."""
    found = {}
    for name in registry.leftovers():
        try:
            record = read_record(store, name)
        except DatasetError:  # it can be removed all the same
            record = None
        samples = store.provenance(samples_key(name)) if record is not None else None
        found[name] = Leftover(
            finished=samples is not None,
            source=str(record["options"]["source"]) if record is not None else None,
            simulated=samples.simulated if samples is not None else None,
        )
    return found


def kept_warnings(store: Store, name: str) -> tuple[str, ...]:
    """What validation warned of at a dataset's last ingest; that the note on it is damaged."""
    try:
        record = read_record(store, name)
    except DatasetError as error:
        return (f"warning: {error}",)
    if record is None or "report" not in record:
        return ()
    return tuple(str(f) for f in ValidationReport.from_json(record["report"]).warnings)
