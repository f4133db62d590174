"""How the split manifest, checkpoints and predictions are made, stage by stage.

Plain Python: a stage can be made from a notebook with a `Store`.
"""

from dataclasses import dataclass
from typing import Any

import pyarrow.compute as pc
import yaml

from geofm_assets.core.errors import ExperimentError
from geofm_assets.core.outcome import (
    CheckOutcome,
    Json,
    Location,
    Markdown,
    Outcome,
    kept_check,
    schema_check,
    table_metadata,
)
from geofm_assets.core.progress import Report
from geofm_assets.core.stage import MissingUpstreamError, content_of, inputs_digest
from geofm_assets.core.store import Store
from geofm_assets.imagery.chips import read_chips
from geofm_assets.imagery.stages import ChipsStage, ImageryTask, imagery_record
from geofm_assets.labels.rules import LabelRule, get_rule
from geofm_assets.models.config import EncoderSpec, WeightsConfig
from geofm_assets.models.hub import ModelHub
from geofm_assets.sampling.plan import promised_distance_m
from geofm_assets.sampling.stages import planned_cells
from geofm_assets.training.config import TrainingConfig
from geofm_assets.training.experiments import Experiment, ExperimentsConfig, impossible
from geofm_assets.training.fit import fit
from geofm_assets.training.manifest import (
    ManifestCheck,
    ModelInputs,
    cell_manifest,
    check_classes,
    check_leakage,
    class_counts,
    join_manifest,
    split_map,
)
from geofm_assets.training.predict import predict
from geofm_assets.training.schema import Manifest, Prediction
from geofm_assets.windows.stages import WindowGroupStage


@dataclass(frozen=True)
class TrainingTask:
    """What training needs to know of a task.

    Attributes:
        imagery: the task's imagery, windows and sampling.
        training: optimiser, epochs, seed.
        experiments: the grid of the task file.
        weights: where the encoders' weights come from.
    """

    imagery: ImageryTask
    training: TrainingConfig
    experiments: ExperimentsConfig
    weights: WeightsConfig

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
            months=self.imagery.imagery.months,
            layers=self.imagery.imagery.modalities,
        )
        if reason is not None:
            raise ExperimentError(
                f"The experiment cannot be: {reason}",
                where=experiment.name,
                fix="Choose one that `geofm experiments` lists",
            )
        return experiment

    def folder(self, experiment: str) -> str:
        """Store prefix of an experiment."""
        return f"tasks/{self.name}/experiments/{Experiment.parse(experiment).name}"


def experiments_partitions(task: str) -> str:
    """Name of a task's dynamic partition set of experiments."""
    return f"{task}_experiments"


@dataclass(frozen=True)
class ManifestStage:
    """The split manifest."""

    task: TrainingTask
    code_version: str = "2"

    def key(self, partition: str = "") -> str:
        """Store key of the manifest."""
        return f"tasks/{self.task.name}/split_manifest.parquet"

    def inputs(self, store: Store, partition: str = "") -> str:
        """Every planned cell's windows and chips."""
        stage = ChipsStage(self.task.imagery)
        contents = {}
        for cell in planned_cells(store, self.task.name):
            note = stage.note(store, cell)
            if note is None:
                raise MissingUpstreamError(
                    "A planned cell has no chips", where=cell, fix="Materialize chips for it"
                )
            contents[cell] = [note["content"], content_of(store, self._windows(cell))]
        split = self.task.imagery.sampling.split.model_dump()
        return inputs_digest(self, contents, split)

    def _windows(self, cell: str) -> str:
        return WindowGroupStage(self.task.imagery.sampling, self.task.imagery.windows).key(cell)

    def make(self, store: Store) -> Outcome:
        """Gather the cells, check classes and leakage, write the table."""
        inputs = self.inputs(store)
        stage = ChipsStage(self.task.imagery)
        cells = planned_cells(store, self.task.name)
        parts, looked = [], ModelInputs(len(cells))
        for cell in cells:
            chips = read_chips(store.local_path(stage.folder(cell)))
            parts.append(cell_manifest(store.read_table(self._windows(cell)), chips))
            looked.look(chips)
        manifest = join_manifest(parts)
        sampling = self.task.imagery.sampling
        hashed = sampling.split.by == "ai2_hash"
        promised = 0.0
        if not hashed:
            promised = promised_distance_m(sampling.split, sampling.window_extent_m)
        checks = [
            looked.check(),
            check_leakage(manifest, promised),
            check_classes(manifest, ("train", "val") if hashed else ("train", "val", "test")),
        ]
        simulated = bool(pc.any(manifest["simulated"]).as_py() or False)
        simulated = simulated or bool(imagery_record(store, self.task.name)["simulated"])
        ref = store.write_table(
            self.key(),
            manifest,
            Manifest,
            inputs=inputs,
            code_version=self.code_version,
            simulated=simulated,
        )
        metadata = {
            **table_metadata(manifest, ref),
            "dagster/row_count": manifest.num_rows,
            "cells": len(cells),
            "classes": Json(class_counts(manifest)),
            "map": Markdown(split_map(manifest)),
        }
        outcomes = [schema_check(ref.report), *map(_as_check, checks)]
        return Outcome(ref.provenance.content, inputs, metadata, outcomes)


def _as_check(check: ManifestCheck) -> CheckOutcome:
    return CheckOutcome(check.name, check.passed, check.description, check.metadata)


@dataclass(frozen=True)
class CheckpointStage:
    """The fine-tuned model of one experiment."""

    task: TrainingTask
    code_version: str = "1"

    def record_key(self, experiment: str) -> str:
        """Store key of the note on the checkpoint, written last."""
        return f"{self.task.folder(experiment)}/checkpoint.json"

    def inputs(self, store: Store, experiment: str) -> str:
        """The manifest, the experiment, the training settings and where the encoder starts."""
        parsed = self.task.feasible(experiment)
        return inputs_digest(
            self,
            content_of(store, ManifestStage(self.task).key()),
            parsed.model_dump(),
            self.task.training.model_dump(),
            self.task.encoder(parsed).model_dump(),
            [self.task.rule.name, self.task.rule.version, self.task.rule.classes],
        )

    def note(self, store: Store, experiment: str) -> dict[str, Any] | None:
        """Inputs, model id and weights proof; None if never trained."""
        key = self.record_key(experiment)
        return store.read_json(key) if store.exists(key) else None

    def is_current(self, store: Store, experiment: str) -> bool:
        """Whether the model was trained from today's inputs."""
        note = self.note(store, experiment)
        return note is not None and note["inputs"] == self.inputs(store, experiment)

    def make(
        self, store: Store, hub: ModelHub, experiment: str, force: bool, report: Report
    ) -> Outcome:
        """Train, or go on from the last epoch of a run that died with the same inputs."""
        inputs = self.inputs(store, experiment)
        note = self.note(store, experiment)
        skipped = note is not None and note["inputs"] == inputs and not force
        if note is None or not skipped:
            note = self._train(store, hub, experiment, inputs, report)
        metadata = {
            "model_id": note["model_id"],
            "encoder_start": note["weights"]["start"],
            "simulated": note["simulated"],
            "weights": Json(note["weights"]),
            "history": Json(note["history"]),
            "path": Location(f"{store.url}/{self.task.folder(experiment)}"),
        }
        check = _weights_check(note["weights"])
        return Outcome(note["model_id"], inputs, metadata, [check], skipped)

    def _train(
        self, store: Store, hub: ModelHub, experiment: str, inputs: str, report: Report
    ) -> dict[str, Any]:
        task, parsed = self.task, Experiment.parse(experiment)
        folder_key = task.folder(experiment)
        manifest_key = ManifestStage(task).key()
        provenance = store.provenance(manifest_key)
        simulated = provenance is not None and provenance.simulated
        config: dict[str, Any] = {
            "task": task.name,
            "experiment": parsed.model_dump(),
            "training": task.training.model_dump(),
            "encoder": task.encoder(parsed).model_dump(),
            "label_rule": f"{task.rule.name}@{task.rule.version}",
            "classes": list(task.rule.classes),
            "positive": task.rule.positive,
            "manifest": content_of(store, manifest_key),
            "inputs": inputs,
            "simulated": simulated,
        }
        store.write_bytes(f"{folder_key}/config.yaml", yaml.safe_dump(config).encode())
        result = fit(
            experiment=parsed,
            manifest=store.read_table(manifest_key),
            chips_root=store.local_path(f"tasks/{task.name}/chips"),
            classes=task.rule.classes,
            label_rule=config["label_rule"],
            config=task.training,
            encoder=task.encoder(parsed),
            hub=hub,
            out_dir=store.local_path(folder_key),
            run_key=inputs,
            simulated=simulated,
            progress=report,
        )
        note = {
            "inputs": inputs,
            "model_id": result.model_id,
            "weights": result.proof.as_dict(),
            "history": result.history,
            "simulated": simulated,
        }
        store.write_json(f"{folder_key}/weights.json", note["weights"])
        store.write_json(self.record_key(experiment), note)
        return note


def _weights_check(weights: dict[str, Any]) -> CheckOutcome:
    random_start = weights["start"].startswith("random")
    passed = random_start or (weights["share"] > 0 and not weights["unexpected"])
    text = f"{weights['start']}: {weights['share']:.1%} of parameters loaded"
    metadata = {k: v for k, v in weights.items() if isinstance(v, str | int | float)}
    return CheckOutcome("weights", passed, text, metadata)


@dataclass(frozen=True)
class PredictionsStage:
    """One row a window: what the experiment's model says of it."""

    task: TrainingTask
    code_version: str = "1"

    def key(self, experiment: str) -> str:
        """Store key of the predictions."""
        return f"{self.task.folder(experiment)}/predictions.parquet"

    def inputs(self, store: Store, experiment: str) -> str:
        """The model and the manifest."""
        note = CheckpointStage(self.task).note(store, experiment)
        if note is None:
            raise MissingUpstreamError(
                "The experiment has no checkpoint", where=experiment, fix="Materialize checkpoint"
            )
        return inputs_digest(
            self, note["model_id"], content_of(store, ManifestStage(self.task).key())
        )

    def make(self, store: Store, experiment: str, force: bool) -> Outcome:
        """Predict every window of the manifest."""
        inputs = self.inputs(store, experiment)
        found = store.provenance(self.key(experiment))
        skipped = found is not None and found.inputs == inputs and not force
        if found is not None and skipped:
            table, content = store.read_table(self.key(experiment)), found.content
            schema = kept_check(table)
        else:
            table = predict(
                checkpoint=store.local_path(f"{self.task.folder(experiment)}/checkpoint.ckpt"),
                manifest=store.read_table(ManifestStage(self.task).key()),
                chips_root=store.local_path(f"tasks/{self.task.name}/chips"),
                batch_size=self.task.training.batch_size,
                accelerator=self.task.training.accelerator,
                threads=self.task.training.threads,
            )
            ref = store.write_table(
                self.key(experiment),
                table,
                Prediction,
                inputs=inputs,
                code_version=self.code_version,
                simulated=bool(pc.any(table["simulated"]).as_py()),
            )
            content, schema = ref.provenance.content, schema_check(ref.report)
        manifest_rows = store.read_table(ManifestStage(self.task).key(), ["window_name"]).num_rows
        complete = CheckOutcome(
            "every_window",
            table.num_rows == manifest_rows,
            f"{table.num_rows} predictions for {manifest_rows} windows",
        )
        return Outcome(content, inputs, table_metadata(table), [schema, complete], skipped)
