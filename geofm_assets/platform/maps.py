"""Makes a map through a real Dagster instance, as `Driver` makes a task."""

import time

from geofm_assets.core.settings import Settings
from geofm_assets.core.stage import is_current
from geofm_assets.imagery.resources import ImagerySource
from geofm_assets.platform.driver import Driver, StageResult
from geofm_assets.platform.report import Reporter
from geofm_assets.prediction.asked import Asked, checkpoint_note
from geofm_assets.prediction.assets import map_key, scores_key
from geofm_assets.prediction.stages import MapStage, requests_partitions
from geofm_assets.prediction.truth_stage import MapScoresStage


class MapDriver(Driver):
    """Materializes maps of a task.

    Args:
        settings: of the deployment.
        task: name of the task.
        reporter: told of progress.

    Raises:
        ConfigError: the task does not exist or its file is wrong.
    """

    def __init__(self, settings: Settings, task: str, reporter: Reporter) -> None:
        super().__init__(settings, task, reporter)
        self.stage = MapStage(self.task)
        self._source = ImagerySource(scenes=settings.scenes, stac_url=settings.stac_url)

    def make_map(self, asked: Asked) -> tuple[str, StageResult]:
        """Make a map unless it is finished and current, and compare it with what is known.

        Returns:
            The map's id, and what was made.

        Raises:
            ExperimentError: the experiment cannot be.
            MissingUpstreamError: it has no checkpoint.
            ImageryError: the scenes cannot be used.
            StageFailedError: the map could not be made; tiles made so far are kept.
        """
        self.task.feasible(asked.experiment)
        checkpoint_note(self.store, self.task, asked.experiment)
        map_id = self.stage.ask(self.store, self._source, asked)
        partitions, key = requests_partitions(self.task.name), map_key(self.task.name)
        if map_id not in self.instance.get_dynamic_partitions(partitions):
            self.instance.add_dynamic_partitions(partitions, [map_id])
        recorded = map_id in self.instance.get_materialized_partitions(key)
        current = recorded and self.stage.is_current(self.store, self._source, map_id)
        todo = [] if current else [map_id]
        began = time.monotonic()
        result = self._materialize(key, partitions, todo, int(current), (1, 1))
        result.seconds = time.monotonic() - began
        self._score(map_id)
        return map_id, result

    def _score(self, map_id: str) -> None:
        """Score the map if the task's labels are polygons and the store has some of its years."""
        stage, key = MapScoresStage(self.task), scores_key(self.task.name)
        if not stage.possible(self.store, map_id):
            return
        recorded = map_id in self.instance.get_materialized_partitions(key)
        current = recorded and is_current(self.store, stage, map_id)
        todo = [] if current else [map_id]
        self._materialize(key, requests_partitions(self.task.name), todo, int(current), (1, 1))
