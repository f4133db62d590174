"""What an encoding took, kept beside it for the next plan."""

from geofm_assets.core.store import Store
from geofm_assets.evaluation.embeddings.store import EncodingKey
from geofm_assets.evaluation.registry.entry import DatasetEntry


def places(entry: DatasetEntry, patch_size: int) -> float:
    """Places times timesteps of a sample: what an encoder's cost grows with."""
    timesteps = sum(modality.timesteps for modality in entry.modalities.values())
    return (entry.window_size / patch_size) ** 2 * timesteps


def write_cost(
    store: Store, encoding: EncodingKey, entry: DatasetEntry, samples: int, seconds: float
) -> None:
    """Keep the seconds so many samples took."""
    rate = seconds / samples
    cost = {
        "samples": samples,
        "seconds_per_sample": rate,
        "seconds_per_place": rate / places(entry, encoding.patch_size),
    }
    store.write_json(encoding.cost_key, cost)


def seconds_per_place(store: Store, encoding: EncodingKey) -> float | None:
    """Seconds for a place at one time; None if nobody measured it."""
    if not store.exists(encoding.cost_key):
        return None
    return float(store.read_json(encoding.cost_key)["seconds_per_place"])
