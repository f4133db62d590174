"""Under which terms the data behind a map may be used: what is stated, and what nobody has said."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

import pyarrow.compute as pc

from geofm_assets.core.store import Store
from geofm_assets.imagery.bands import LAYERS
from geofm_assets.imagery.resources import ImagerySource
from geofm_assets.labels.worldcereal.collections import UNSTATED
from geofm_assets.training.experiments import Experiment
from geofm_assets.training.stages import ManifestStage, TrainingTask

NOT_STATED = "not stated"
SIMULATED = "simulated data"
_BY_COLLECTION = "stated by the collection"  # STAC collections must have one


def map_terms(
    store: Store,
    task: TrainingTask,
    source: ImagerySource,
    experiment: Experiment,
    scenes: Iterable[str],
) -> dict[str, Any]:
    """Licences and attributions of a map's labels and imagery.

    Args:
        store: where the task lies.
        task: whose model it is.
        source: imagery the map was made with.
        experiment: of the model; layers it does not read are left out.
        scenes: names of the local scenes drawn on.

    Returns:
        JSON-encodable: `labels` and `imagery`, a list of terms each, and `notes`, which say how to
        state what is not stated.
    """
    labels = _label_terms(store, task)
    imagery = _scene_terms(task, source, experiment, set(scenes))
    if imagery is None:
        imagery = _catalogue_terms(source, experiment)
    notes = []
    unknown = [row["collection"] for row in labels if row["licence"] == NOT_STATED]
    if unknown:
        notes.append(f"The licence of the labels {', '.join(unknown)} is not stated{_how(task)}")
    unknown = sorted({row["collection"] for row in imagery if row["licence"] == NOT_STATED})
    if unknown:
        notes.append(
            f"The licence of the imagery {', '.join(unknown)} is not stated: give the scenes "
            "`licence` and `attribution` in items.json"
        )
    return {"labels": labels, "imagery": imagery, "notes": notes}


def _how(task: TrainingTask) -> str:
    """How the owner of a task states the licence of its labels."""
    if task.imagery.sampling.labels.source == "worldcereal":
        return " by the reference data module"
    return (
        ": set labels.licence and labels.attribution in the task file, or "
        f"geofm run {task.name} --set labels.licence=TEXT"
    )


def _label_terms(store: Store, task: TrainingTask) -> list[dict[str, str]]:
    """Terms of the collections the model learned from: as listed, else as the task file says."""
    manifest = store.read_table(ManifestStage(task).key(), ["collection_id", "simulated"])
    key = task.imagery.sampling.source.collections_key
    listed = store.read_table(key).to_pylist() if store.exists(key) else []
    by_listing = {row["collection_id"]: row["access_type"] for row in listed}
    said = task.imagery.sampling.labels
    found = []
    for name in sorted(set(manifest["collection_id"].to_pylist())):
        rows = manifest.filter(pc.equal(manifest["collection_id"], name))
        licence = by_listing.get(name, UNSTATED)
        stated = licence if licence != UNSTATED else said.licence
        simulated = bool(pc.all(rows["simulated"]).as_py())
        found.append({"collection": name, **_said(stated, said.attribution, simulated)})
    return found


def _scene_terms(
    task: TrainingTask, source: ImagerySource, experiment: Experiment, names: set[str]
) -> list[dict[str, Any]] | None:
    """Terms of the local scenes drawn on, with how many have them; None for a catalogue."""
    index = task.imagery.scene_index(source)
    if index is None:
        return None
    layers = {LAYERS[layer].collection: str(layer) for layer in experiment.layers}
    counts = Counter(
        (layers[scene.collection], scene.collection, scene.terms, scene.simulated)
        for scene in index.scenes
        if scene.name in names and scene.collection in layers
    )
    rows = [
        {
            "modality": modality,
            "collection": collection,
            "source": "local scenes",
            **_said(terms.licence, terms.attribution, simulated),
            "scenes": count,
        }
        for (modality, collection, terms, simulated), count in counts.items()
    ]
    return sorted(rows, key=lambda row: [str(value) for value in row.values()])


def _catalogue_terms(source: ImagerySource, experiment: Experiment) -> list[dict[str, Any]]:
    """Where a catalogue states the terms of its collections."""
    found = []
    for layer in experiment.layers:
        collection = LAYERS[layer].collection
        href = f"{source.stac_url.rstrip('/')}/collections/{collection}"
        said = {"licence": _BY_COLLECTION, "attribution": _BY_COLLECTION}
        found.append({"modality": str(layer), "collection": collection, "source": href, **said})
    return found


def _said(licence: str | None, attribution: str | None, simulated: bool) -> dict[str, str]:
    """What is stated; of simulated data that it is, whatever else is."""
    unsaid = SIMULATED if simulated else NOT_STATED
    mark = f"{SIMULATED}; " if simulated else ""
    return {
        "licence": f"{mark}{licence}" if licence else unsaid,
        "attribution": f"{mark}{attribution}" if attribution else unsaid,
    }
