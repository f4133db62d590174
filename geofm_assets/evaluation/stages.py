"""How baselines, scores and the score table are made, stage by stage.

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
from geofm_assets.evaluation.baselines import baseline_predictions
from geofm_assets.evaluation.plots import confusion_plot, score_plot
from geofm_assets.evaluation.schema import Score
from geofm_assets.evaluation.scores import scores as make_scores
from geofm_assets.training.schema import Prediction
from geofm_assets.training.stages import ManifestStage, PredictionsStage, TrainingTask


@dataclass(frozen=True)
class ScoresStage:
    """Metrics of one experiment, from its predictions alone."""

    task: TrainingTask
    code_version: str = "1"

    def key(self, experiment: str) -> str:
        """Store key of the metrics."""
        return f"{self.task.folder(experiment)}/metrics.parquet"

    def inputs(self, store: Store, experiment: str) -> str:
        """The predictions."""
        return inputs_digest(self, content_of(store, PredictionsStage(self.task).key(experiment)))

    def make(self, store: Store, experiment: str, force: bool) -> Outcome:
        """Score every split, with bootstrap intervals."""
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


@dataclass(frozen=True)
class BaselinesStage:
    """What a majority vote and a per-pixel logistic regression reach on the same split."""

    task: TrainingTask
    code_version: str = "1"

    def folder(self, name: str) -> str:
        """Store prefix of a baseline."""
        return f"tasks/{self.task.name}/experiments/{name}"

    def key(self, partition: str = "") -> str:
        """Store key of the last baseline's scores, written last."""
        return f"{self.folder('baseline_logistic')}/metrics.parquet"

    def inputs(self, store: Store, partition: str = "") -> str:
        """The manifest (which names the chips) and the seed."""
        manifest = content_of(store, ManifestStage(self.task).key())
        return inputs_digest(self, manifest, self.task.training.seed)

    def make(self, store: Store) -> Outcome:
        """Fit on train, predict and score every split."""
        inputs = self.inputs(store)
        manifest = store.read_table(ManifestStage(self.task).key())
        rule = self.task.rule
        tables = baseline_predictions(
            manifest,
            store.local_path(f"tasks/{self.task.name}/chips"),
            rule.classes,
            label_rule=f"{rule.name}@{rule.version}",
            seed=self.task.training.seed,
        )
        gathered = []
        for name in sorted(tables, key=lambda n: n == "baseline_logistic"):
            written: MadeFrom = {
                "inputs": inputs,
                "code_version": self.code_version,
                "simulated": bool(pc.any(tables[name]["simulated"]).as_py()),
            }
            folder = self.folder(name)
            store.write_table(f"{folder}/predictions.parquet", tables[name], Prediction, **written)
            table = make_scores(tables[name], rule.classes, seed=self.task.training.seed)
            ref = store.write_table(f"{folder}/metrics.parquet", table, Score, **written)
            gathered.append(table)
        both = pa.concat_tables(gathered)
        metadata = {
            "dagster/row_count": both.num_rows,
            "test": Markdown(markdown_table(readable(both))),
        }
        return Outcome(ref.provenance.content, inputs, metadata, [schema_check(ref.report)])


@dataclass(frozen=True)
class ScoreTableStage:
    """All experiments of a task and its baselines, in one table."""

    task: TrainingTask
    code_version: str = "1"

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
        table = pa.concat_tables(parts).sort_by(
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


def readable(scores: pa.Table, split: str = "test") -> pa.Table:
    """Scores of one split as people read them: value with its interval."""
    rows = scores.filter(pc.equal(scores["split"], split)).to_pylist()
    return pa.Table.from_pylist(
        [
            {
                "experiment": r["experiment"],
                "metric": r["metric"],
                "value": f"{r['value']:.3f}",
                "95 % interval": f"{r['low']:.3f} to {r['high']:.3f}",
                "windows": r["n"],
                "data": "SIMULATED" if r["simulated"] else "real",
            }
            for r in rows
        ]
        or [{"experiment": "none yet", "metric": "", "value": "", "windows": 0, "data": ""}]
    )
