"""What was asked for, kept before anything is made, so that any process can make it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from geofm_assets.core.errors import RequestError
from geofm_assets.core.stage import MissingUpstreamError
from geofm_assets.core.store import Store
from geofm_assets.imagery.resources import ImagerySource
from geofm_assets.prediction.request import Request, parse_request, request_id
from geofm_assets.training.experiments import Experiment
from geofm_assets.training.stages import CheckpointStage, TrainingTask

if TYPE_CHECKING:
    from geofm_assets.prediction.mask import Mask


@dataclass(frozen=True)
class Asked:
    """One map that was asked for.

    Attributes:
        request: areas and times.
        experiment: name of the experiment whose model makes it.
        overlap: pixels neighbouring crops share; None for the head's usual.
        mask: where to map; None for everywhere.
        scenes: folder of scenes to use instead of the deployment's; empty for none.
        imagery: what the imagery is, wherever it lies: digest of the scenes, or the catalogue's
            address. `MapStage.ask` fills it in.
    """

    request: Request
    experiment: str
    overlap: int | None = None
    mask: "Mask | None" = None
    scenes: str = ""
    imagery: str = ""

    @property
    def id(self) -> str:
        """The map's name: its partition and its folder."""
        mask = None if self.mask is None else [self.mask.values, self.mask.content]
        name = Experiment.parse(self.experiment).name
        return request_id(self.request, name, self.overlap, mask, self.imagery)

    def as_dict(self) -> dict[str, Any]:
        """JSON-encodable."""
        return {
            "request": self.request.as_geojson(),
            "experiment": self.experiment,
            "overlap": self.overlap,
            "mask": None if self.mask is None else self.mask.as_dict(),
            "scenes": self.scenes,
            "imagery": self.imagery,
        }


def asked_key(task: str, map_id: str) -> str:
    """Store key of what was asked."""
    return f"maps/{task}/{map_id}/asked.json"


def write_asked(store: Store, task: str, asked: Asked) -> str:
    """Keep what was asked; gives the map's id."""
    key, said = asked_key(task, asked.id), asked.as_dict()
    if not store.exists(key) or store.read_json(key) != said:
        store.write_json(key, said)
    return asked.id


def read_asked(store: Store, task: str, map_id: str) -> Asked:
    """What was asked under an id.

    Raises:
        RequestError: nothing was, or its mask is gone or has changed.
    """
    from geofm_assets.prediction.mask import Mask

    key = asked_key(task, map_id)
    if not store.exists(key):
        raise RequestError(
            "No such map was asked for",
            where=f"{store.url}/{key}",
            fix=f"geofm predict {task} --request FILE --experiment NAME",
        )
    said = store.read_json(key)
    return Asked(
        parse_request(said["request"], f"{store.url}/{key}"),
        said["experiment"],
        said["overlap"],
        None if said["mask"] is None else Mask.from_dict(said["mask"]),
        said["scenes"],
        said.get("imagery", ""),  # older ones do not say, and are asked for again
    )


def checkpoint_note(store: Store, task: TrainingTask, experiment: str) -> dict[str, Any]:
    """What is recorded of an experiment's checkpoint.

    Raises:
        MissingUpstreamError: there is none.
    """
    note = CheckpointStage(task).note(store, experiment)
    if note is None:
        raise MissingUpstreamError(
            "The experiment has no checkpoint",
            where=f"--experiment {experiment}",
            fix=f"geofm run {task.name} --experiment {experiment}",
        )
    return note


def chosen_source(source: ImagerySource, asked: Asked) -> ImagerySource:
    """The deployment's imagery, or the scenes the map was asked for with."""
    if not asked.scenes:
        return source
    return ImagerySource(scenes=asked.scenes, stac_url=source.stac_url)


def crop_overlap(asked: Asked, experiment: Experiment) -> int:
    """As asked; else half a crop for segmentation, nothing for classification.

    Half costs four times the model's work. With less, the edges of small crops show in the map.
    """
    if asked.overlap is not None:
        return asked.overlap
    return experiment.window_size // 2 if experiment.head == "segmentation" else 0
