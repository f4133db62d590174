"""How baselines are made.

Plain Python: a stage can be made from a notebook with a `Store`.
"""

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from geofm_assets.core.outcome import Markdown, Outcome, markdown_table, schema_check
from geofm_assets.core.schema import TableModel
from geofm_assets.core.stage import content_of, inputs_digest
from geofm_assets.core.store import MadeFrom, Store, TableRef
from geofm_assets.evaluation.baselines import LOGISTIC, baseline_predictions
from geofm_assets.evaluation.fire_samples import (
    groups_of,
    positive_id,
    samples_keys,
    task_samples,
)
from geofm_assets.evaluation.readable import readable
from geofm_assets.evaluation.schema import Score
from geofm_assets.evaluation.scores import scores as make_scores
from geofm_assets.evaluation.segmentation_baselines import LOGISTIC as SEGMENTATION_LOGISTIC
from geofm_assets.evaluation.segmentation_baselines import segmentation_baselines
from geofm_assets.evaluation.segmentation_scores import segmentation_scores
from geofm_assets.training.schema import Prediction, Segmentation
from geofm_assets.training.stages import ManifestStage
from geofm_assets.training.task import TrainingTask


@dataclass(frozen=True)
class BaselinesStage:
    """What a majority vote and rules that look at one pixel reach on the same split."""

    task: TrainingTask
    code_version: str = "2"

    def folder(self, name: str) -> str:
        """Store prefix of a baseline."""
        return f"tasks/{self.task.name}/experiments/{name}"

    def key(self, partition: str = "") -> str:
        """Store key of the last baseline's scores, written last."""
        last = SEGMENTATION_LOGISTIC if self.task.segments else LOGISTIC
        return f"{self.folder(last)}/metrics.parquet"

    def inputs(self, store: Store, partition: str = "") -> str:
        """The manifest (which names the chips), the seed, and masks and samples if pixels count."""
        manifest = ManifestStage(self.task)
        said: list[object] = [content_of(store, manifest.key()), self.task.training.seed]
        if self.task.segments:
            keys = samples_keys(store, self.task, manifest.key())
            samples = [content_of(store, key) for key in keys]
            said += [manifest.masks_content(store), samples, self.task.frames]
        return inputs_digest(self, *said)

    def make(self, store: Store) -> Outcome:
        """Fit on train, predict and score every split."""
        inputs = self.inputs(store)
        heads = self.task.experiments.head
        gathered = []
        if "classification" in heads:
            gathered += self._of_windows(store, inputs)
        if "segmentation" in heads:
            gathered += self._of_pixels(store, inputs)
        both = pa.concat_tables([store.read_table(ref.key) for ref in gathered])
        metadata = {
            "dagster/row_count": both.num_rows,
            "test": Markdown(markdown_table(readable(both))),
        }
        last = gathered[-1]
        return Outcome(last.provenance.content, inputs, metadata, [schema_check(last.report)])

    def _manifest(self, store: Store) -> pa.Table:
        """The manifest, all of it simulated where labels or imagery are."""
        key = ManifestStage(self.task).key()
        table, made = store.read_table(key), store.provenance(key)
        if made is None or not made.simulated:
            return table
        said = pa.repeat(pa.scalar(value=True), table.num_rows)
        return table.set_column(table.column_names.index("simulated"), "simulated", said)

    def _of_windows(self, store: Store, inputs: str) -> list[TableRef]:
        rule = self.task.rule
        tables = baseline_predictions(
            self._manifest(store),
            store.path(f"tasks/{self.task.name}/chips"),
            rule.classes,
            label_rule=f"{rule.name}@{rule.version}",
            seed=self.task.training.seed,
        )
        return [
            self._written(
                store,
                inputs,
                name,
                ("predictions", tables[name], Prediction),
                make_scores(tables[name], rule.classes, seed=self.task.training.seed),
            )
            for name in sorted(tables, key=lambda n: n == LOGISTIC)
        ]

    def _of_pixels(self, store: Store, inputs: str) -> list[TableRef]:
        task, rule = self.task, self.task.rule
        key = ManifestStage(task).key()
        frames = task.frames or ()
        tables = segmentation_baselines(
            self._manifest(store),
            store.path(f"tasks/{task.name}/chips"),
            store.path(task.masks_folder),
            rule.classes,
            size=task.imagery.windows.size,
            positive=positive_id(rule) if len(frames) > 1 else None,
            label_rule=f"{rule.name}@{rule.version}",
            seed=task.training.seed,
        )
        samples = task_samples(store, task, key)
        groups = None if samples is None else groups_of(samples)
        return [
            self._written(
                store,
                inputs,
                name,
                ("segmentation", tables[name], Segmentation),
                segmentation_scores(
                    tables[name], rule.classes, groups=groups, seed=task.training.seed
                ),
            )
            for name in sorted(tables, key=lambda n: n == SEGMENTATION_LOGISTIC)
        ]

    def _written(
        self,
        store: Store,
        inputs: str,
        name: str,
        rows: tuple[str, pa.Table, type[TableModel]],
        scores: pa.Table,
    ) -> TableRef:
        """Write a baseline's rows and then its scores."""
        file, table, schema = rows
        written: MadeFrom = {
            "inputs": inputs,
            "code_version": self.code_version,
            "simulated": bool(pc.any(table["simulated"]).as_py()),
        }
        folder = self.folder(name)
        store.write_table(f"{folder}/{file}.parquet", table, schema, **written)
        return store.write_table(f"{folder}/metrics.parquet", scores, Score, **written)
