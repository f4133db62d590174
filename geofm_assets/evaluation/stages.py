"""How scores and the score table are made, stage by stage.

Plain Python: a stage can be made from a notebook with a `Store`.
"""

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from geofm_assets.core.outcome import (
    Markdown,
    Outcome,
    kept_check,
    markdown_table,
    schema_check,
    table_metadata,
)
from geofm_assets.core.stage import content_of, inputs_digest
from geofm_assets.core.store import MadeFrom, Store
from geofm_assets.evaluation.baseline_stage import BaselinesStage
from geofm_assets.evaluation.fire_samples import (
    groups_of,
    positive_id,
    samples_keys,
    task_samples,
)
from geofm_assets.evaluation.plots import confusion_plot, score_plot
from geofm_assets.evaluation.readable import readable, readable_parts
from geofm_assets.evaluation.schema import SCORE, Score, SegmentationPart
from geofm_assets.evaluation.scores import class_slugs
from geofm_assets.evaluation.scores import scores as make_scores
from geofm_assets.evaluation.segmentation_parts import scores_by_part
from geofm_assets.evaluation.segmentation_scores import segmentation_scores
from geofm_assets.training.experiment import Experiment
from geofm_assets.training.stages import PredictionsStage, TrainingTask

__all__ = ["BaselinesStage", "ScoreTableStage", "ScoresStage", "readable"]


@dataclass(frozen=True)
class ScoresStage:
    """Metrics of one experiment, from its predictions alone."""

    task: TrainingTask
    code_version: str = "2"

    def key(self, experiment: str) -> str:
        """Store key of the metrics."""
        return f"{self.task.folder(experiment)}/metrics.parquet"

    def inputs(self, store: Store, experiment: str) -> str:
        """The predictions, and of a segmentation head the samples they are grouped by."""
        key = PredictionsStage(self.task).key(experiment)
        said = [content_of(store, key)]
        if _segments(experiment):
            said += [content_of(store, k) for k in samples_keys(store, self.task, key)]
        return inputs_digest(self, *said)

    def make(self, store: Store, experiment: str, force: bool) -> Outcome:
        """Score every split, with bootstrap intervals."""
        if _segments(experiment):
            return self._of_pixels(store, experiment, force)
        inputs = self.inputs(store, experiment)
        predictions = store.read_table(PredictionsStage(self.task).key(experiment))
        classes = self.task.rule.classes
        found = store.provenance(self.key(experiment))
        skipped = found is not None and found.inputs == inputs and not force
        if found is not None and skipped:
            table, content = store.read_table(self.key(experiment)), found.content
            schema = kept_check(table)
        else:
            table = make_scores(predictions, classes, seed=self.task.training.seed)
            ref = store.write_table(
                self.key(experiment),
                table,
                Score,
                inputs=inputs,
                code_version=self.code_version,
                simulated=bool(pc.any(table["simulated"]).as_py()),
            )
            content, schema = ref.provenance.content, schema_check(ref.report)
        metadata = {
            **table_metadata(table),
            "simulated": bool(pc.any(table["simulated"]).as_py()),
            "encoder_start": predictions["encoder_start"][0].as_py(),
            "test": Markdown(markdown_table(readable(table))),
            "confusion": Markdown(confusion_plot(predictions, classes)),
        }
        return Outcome(content, inputs, metadata, [schema], skipped)

    def parts_key(self, experiment: str) -> str:
        """Store key of a segmentation head's scores by fire size, fire year and kind."""
        return f"{self.task.folder(experiment)}/metrics_by_part.parquet"

    def _of_pixels(self, store: Store, experiment: str, force: bool) -> Outcome:
        """Score a segmentation head; by parts too where samples are of fires."""
        inputs = self.inputs(store, experiment)
        key = PredictionsStage(self.task).key(experiment)
        rows, rule = store.read_table(key), self.task.rule
        samples = task_samples(store, self.task, key)
        found = store.provenance(self.key(experiment))
        skipped = found is not None and found.inputs == inputs and not force
        if found is not None and skipped:
            table, content = store.read_table(self.key(experiment)), found.content
            schema = kept_check(table)
        else:
            seed = self.task.training.seed
            groups = None if samples is None else groups_of(samples)
            table = segmentation_scores(rows, rule.classes, groups=groups, seed=seed)
            written: MadeFrom = {
                "inputs": inputs,
                "code_version": self.code_version,
                "simulated": bool(pc.any(table["simulated"]).as_py()),
            }
            if samples is not None:
                positive = positive_id(rule)
                parts = scores_by_part(rows, rule.classes, positive, samples, seed=seed)
                store.write_table(self.parts_key(experiment), parts, SegmentationPart, **written)
            ref = store.write_table(self.key(experiment), table, Score, **written)
            content, schema = ref.provenance.content, schema_check(ref.report)
        metadata = {
            **table_metadata(table),
            "simulated": bool(pc.any(table["simulated"]).as_py()),
            "encoder_start": rows["encoder_start"][0].as_py(),
            "test": Markdown(markdown_table(readable(table))),
            "intervals": "over windows"
            if samples is None
            else "over groups: a fire with its ring and complex, "
            "or a far sample; over windows in a split with only one group",
        }
        if samples is not None:
            slug = class_slugs(rule.classes)[positive_id(rule)]
            shown = ("accuracy", f"iou_{slug}", f"f1_{slug}", f"false_alarm_rate_{slug}")
            parts = store.read_table(self.parts_key(experiment))
            metadata["by_part"] = Markdown(markdown_table(readable_parts(parts, shown)))
        return Outcome(content, inputs, metadata, [schema], skipped)


def _segments(experiment: str) -> bool:
    """Whether an experiment has one class a pixel."""
    return Experiment.parse(experiment).head == "segmentation"


@dataclass(frozen=True)
class ScoreTableStage:
    """All experiments of a task and its baselines, in one table."""

    task: TrainingTask
    code_version: str = "2"

    def key(self, partition: str = "") -> str:
        """Store key of the table."""
        return f"tasks/{self.task.name}/scores.parquet"

    def _parts(self, store: Store) -> dict[str, str]:
        keys = store.list_keys(f"tasks/{self.task.name}/experiments", "/metrics.parquet")
        return {key: content_of(store, key) for key in keys}

    def inputs(self, store: Store, partition: str = "") -> str:
        """Every experiment's metrics."""
        return inputs_digest(self, self._parts(store))

    def make(self, store: Store) -> Outcome:
        """Gather what has been scored so far."""
        inputs = self.inputs(store)
        parts = [store.read_table(key) for key in self._parts(store)]
        # an experiment scored by an earlier version lacks a column
        both = pa.concat_tables([SCORE.empty_table(), *parts], promote_options="default")
        table = both.sort_by(
            [("experiment", "ascending"), ("split", "ascending"), ("metric", "ascending")]
        )
        simulated = bool(pc.any(table["simulated"]).as_py())
        ref = store.write_table(
            self.key(),
            table,
            Score,
            inputs=inputs,
            code_version=self.code_version,
            simulated=simulated,
        )
        metadata = {
            **table_metadata(table, ref),
            "dagster/row_count": table.num_rows,
            "scores": Markdown(markdown_table(readable(table))),
            "plot": Markdown(score_plot(table)),
        }
        return Outcome(ref.provenance.content, inputs, metadata, [schema_check(ref.report)])
