"""Baselines, scores and the score table as Dagster assets."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc

from geofm_assets.core.assets import (
    CheckOutcome,
    Outcome,
    PartitionConfig,
    check_specs,
    emit,
    emit_partitions,
    markdown_table,
    schema_check,
    table_metadata,
)
from geofm_assets.core.resources import StoreResource
from geofm_assets.core.stage import content_of, inputs_digest
from geofm_assets.core.store import MadeFrom, Store
from geofm_assets.evaluation.baselines import baseline_predictions
from geofm_assets.evaluation.plots import confusion_plot, score_plot
from geofm_assets.evaluation.schema import Score
from geofm_assets.evaluation.scores import scores as make_scores
from geofm_assets.training.assets import ManifestStage, PredictionsStage, TrainingTask
from geofm_assets.training.schema import Prediction


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
            schema = CheckOutcome("schema", True, f"{table.num_rows} rows as written")
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
            "test": dg.MetadataValue.md(markdown_table(readable(table))),
            "confusion": dg.MetadataValue.md(confusion_plot(predictions, classes)),
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
            "test": dg.MetadataValue.md(markdown_table(readable(both))),
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
            "scores": dg.MetadataValue.md(markdown_table(readable(table))),
            "plot": dg.MetadataValue.md(score_plot(table)),
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


def build_evaluation_assets(task: TrainingTask) -> list[dg.AssetsDefinition]:
    """The evaluation assets of a task."""
    scores_stage, baselines_stage, table_stage = (
        ScoresStage(task),
        BaselinesStage(task),
        ScoreTableStage(task),
    )
    key = task.imagery.sampling.asset_key
    scores_key, baselines_key, table_key = (
        key("eval_scores"),
        key("baseline_scores"),
        key("score_table"),
    )

    @dg.asset(
        key=scores_key,
        deps=[key("predictions")],
        partitions_def=task.partitions_def,
        backfill_policy=dg.BackfillPolicy.multi_run(64),
        group_name=task.name,
        kinds={"parquet"},
        code_version=scores_stage.code_version,
        output_required=False,
        check_specs=check_specs(scores_key, "schema", partitions_def=task.partitions_def),
        description="Accuracy, macro-F1 and per-class precision, recall and F1 of an experiment, "
        "per split, each with a bootstrap interval.",
    )
    def eval_scores(
        context: dg.AssetExecutionContext, config: PartitionConfig, store: StoreResource
    ) -> Iterator[Any]:
        opened = store.open()
        yield from emit_partitions(
            context,
            lambda e: scores_stage.make(opened, e, config.force),
            code_version=scores_stage.code_version,
        )

    @dg.asset(
        key=baselines_key,
        deps=[key("split_manifest")],
        group_name=task.name,
        kinds={"scikitlearn"},
        code_version=baselines_stage.code_version,
        check_specs=check_specs(baselines_key, "schema"),
        description="Majority class and per-pixel logistic regression on the same split: what an "
        "encoder has to beat.",
    )
    def baseline_scores(
        context: dg.AssetExecutionContext, store: StoreResource
    ) -> Iterator[dg.MaterializeResult[Any]]:
        opened = store.open()
        yield from emit(
            context, lambda: baselines_stage.make(opened), code_version=baselines_stage.code_version
        )

    @dg.asset(
        key=table_key,
        deps=[scores_key, baselines_key],
        group_name=task.name,
        kinds={"parquet"},
        code_version=table_stage.code_version,
        check_specs=check_specs(table_key, "schema"),
        description="Every experiment beside the baselines.",
    )
    def score_table(
        context: dg.AssetExecutionContext, store: StoreResource
    ) -> Iterator[dg.MaterializeResult[Any]]:
        opened = store.open()
        yield from emit(
            context, lambda: table_stage.make(opened), code_version=table_stage.code_version
        )

    return [eval_scores, baseline_scores, score_table]
