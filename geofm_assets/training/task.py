"""What fine-tuning needs to know of a task, and where its artifacts lie in the store."""

from dataclasses import dataclass

from geofm_assets.core.errors import ExperimentError
from geofm_assets.imagery.stages import ImageryTask
from geofm_assets.labels.rules import LabelRule, get_rule
from geofm_assets.models.config import EncoderSpec, WeightsConfig
from geofm_assets.training.config import TrainingConfig
from geofm_assets.training.experiments import Experiment, ExperimentsConfig, impossible
from geofm_assets.training.mask_rows import MASKS_FILE
from geofm_assets.windows.config import MasksConfig


@dataclass(frozen=True)
class TrainingTask:
    """What training needs to know of a task.

    Attributes:
        imagery: the task's imagery, windows and sampling.
        training: optimiser, epochs, seed.
        experiments: the grid of the task file.
        weights: where the encoders' weights come from.
        masks: how the masks of its windows are drawn; None if it has none.
    """

    imagery: ImageryTask
    training: TrainingConfig
    experiments: ExperimentsConfig
    weights: WeightsConfig
    masks: MasksConfig | None = None

    @property
    def name(self) -> str:
        """The task's name."""
        return self.imagery.name

    @property
    def rule(self) -> LabelRule:
        """The task's label rule."""
        return get_rule(self.imagery.sampling.labels)

    def encoder(self, experiment: Experiment) -> EncoderSpec:
        """Where the experiment's encoder starts from."""
        return self.weights.spec(experiment.encoder)

    def feasible(self, name: str) -> Experiment:
        """The experiment of a name.

        Raises:
            ExperimentError: it is not the name of one, or it cannot be run on this task.
        """
        experiment = Experiment.parse(name)
        reason = impossible(
            experiment,
            materialized_size=self.imagery.windows.size,
            months=self.imagery.imagery.timesteps,
            layers=self.imagery.imagery.modalities,
        )
        if reason is None and experiment.head not in self.experiments.head:
            reason = f"the task trains no {experiment.head} head (experiments.head)"
        if reason is not None:
            raise ExperimentError(
                f"The experiment cannot be: {reason}",
                where=experiment.name,
                fix="Choose one that `geofm experiments` lists",
            )
        return experiment

    @property
    def segments(self) -> bool:
        """Whether any of its experiments has a class a pixel, so that windows need masks."""
        return "segmentation" in self.experiments.head

    @property
    def frames(self) -> tuple[int, ...] | None:
        """Months its imagery is of, counted from that of the valid time; None if consecutive."""
        return self.imagery.imagery.frames

    @property
    def masks_folder(self) -> str:
        """Store prefix of its masks."""
        return f"tasks/{self.name}/masks"

    def masks_key(self, cell: str) -> str:
        """Store key of a cell's masks."""
        return f"{self.masks_folder}/h3_cell={cell}/{MASKS_FILE}"

    def folder(self, experiment: str) -> str:
        """Store prefix of an experiment."""
        return f"tasks/{self.name}/experiments/{Experiment.parse(experiment).name}"


def experiments_partitions(task: str) -> str:
    """Name of a task's dynamic partition set of experiments."""
    return f"{task}_experiments"
