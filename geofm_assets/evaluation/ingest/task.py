"""A task's own windows as an evaluation dataset, so that every model can be swept on them.

They are read from the task's tables and packed files (`from_chips`); nothing is copied but what
becomes a sample.

Plain Python: a stage can be made from a notebook with a `Store`.
"""

from dataclasses import dataclass

from geofm_assets.core.outcome import Outcome
from geofm_assets.core.progress import Report, silent
from geofm_assets.core.stage import MissingUpstreamError
from geofm_assets.core.store import Store
from geofm_assets.evaluation.ingest.options import CODE_VERSION
from geofm_assets.evaluation.ingest.stages import EvaluationDatasetStage
from geofm_assets.training.stages import ManifestStage, TrainingTask
from geofm_assets.windows.stages import dataset_key


@dataclass(frozen=True)
class TaskDatasetStage:
    """The evaluation dataset of a task, under the task's name; its splits are the task's."""

    task: TrainingTask
    code_version: str = CODE_VERSION

    def make(self, store: Store, report: Report = silent) -> Outcome:
        """Pack the task's windows as samples, or leave them if nothing changed.

        Raises:
            MissingUpstreamError: the task has no split manifest yet.
            DatasetError: something is wrong with the windows; one error names all of it.
        """
        manifest = store.provenance(ManifestStage(self.task).key())
        if manifest is None:
            raise MissingUpstreamError(
                "The task has no split manifest", where=self.task.name, fix="Materialize it"
            )
        said = {
            "source": str(store.path(dataset_key(self.task.name))),
            "display_name": f"{self.task.name}, {self.task.rule.name} {self.task.rule.version}",
            "task_type": "classification",
            "split_rule": "kept",
            "simulated": manifest.simulated,
            "overwrite": True,
        }
        return EvaluationDatasetStage({}).make(store, self.task.name, said, report)
