"""How the split manifest, checkpoints and predictions are made, stage by stage.

Plain Python: a stage can be made from a notebook with a `Store`.
"""

import math
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import yaml
from upath import UPath

from geofm_assets.core.claims import claimed
from geofm_assets.core.errors import WeightsError
from geofm_assets.core.leases import lease_seconds
from geofm_assets.core.outcome import (
    CheckOutcome,
    Json,
    Location,
    Outcome,
    kept_check,
    schema_check,
    table_metadata,
)
from geofm_assets.core.progress import Report, say
from geofm_assets.core.stage import MissingUpstreamError, content_of, inputs_digest
from geofm_assets.core.store import Store
from geofm_assets.models.hub import ModelHub
from geofm_assets.training.config import CHECKPOINT
from geofm_assets.training.experiments import Experiment
from geofm_assets.training.manifest_stage import ManifestStage
from geofm_assets.training.schema import Prediction, Segmentation
from geofm_assets.training.task import TrainingTask, experiments_partitions

__all__ = [
    "CheckpointStage",
    "ManifestStage",
    "PredictionsStage",
    "TrainingTask",
    "experiments_partitions",
]

_LAUNCHED_WAIT_LEASES = 1.5


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
            *([self.task.frames] if self.task.frames is not None else []),
            *([ManifestStage(self.task).masks_content(store)] if _segments(experiment) else []),
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
        """Train, or go on from the last epoch of a run that died with the same inputs.

        One training of an experiment goes on at a time, whoever started it: the second waits, then
        finds it made. One that a launcher has started as several processes gives up instead, since
        they wait for each other for minutes only.

        Raises:
            LockError: it gave up, or the store cannot be locked.
        """
        inputs, note = self._current(store, experiment, force)
        skipped = note is not None
        if note is None:
            from geofm_assets.training.layout import launched

            with self._alone(store, experiment):
                if not launched():  # all processes of one must decide alike
                    inputs, note = self._current(store, experiment, force)
                skipped = note is not None
                note = note or self._train(store, hub, experiment, inputs, report)
        metadata = {
            "model_id": note["model_id"],
            "encoder_start": note["weights"]["start"],
            "simulated": note["simulated"],
            "weights": Json(note["weights"]),
            "history": Json(note["history"]),
            "path": Location(f"{store.url}/{self.task.folder(experiment)}"),
            **_hardware_metadata(note.get("hardware")),
        }
        check = _weights_check(note["weights"])
        return Outcome(note["model_id"], inputs, metadata, [check], skipped)

    def _current(
        self, store: Store, experiment: str, force: bool
    ) -> tuple[str, dict[str, Any] | None]:
        """Today's inputs, and the note on a model trained from them, if it need not be made."""
        inputs, note = self.inputs(store, experiment), self.note(store, experiment)
        return inputs, None if force or note is None or note["inputs"] != inputs else note

    def _alone(self, store: Store, experiment: str) -> AbstractContextManager[None]:
        """Be the only one to train an experiment; of several processes the first claims it."""
        from geofm_assets.training.layout import is_first, launched

        if not is_first():
            return nullcontext()
        # one that was killed and is started again finds its own claim, until the lease ends
        wait_s = _LAUNCHED_WAIT_LEASES * lease_seconds() if launched() else math.inf
        return claimed(store, f"{self.task.name}/checkpoint/{experiment}", say, wait_s)

    def _train(
        self, store: Store, hub: ModelHub, experiment: str, inputs: str, report: Report
    ) -> dict[str, Any]:
        from geofm_assets.training.fit import WORK_FOLDER, fit
        from geofm_assets.training.kept_state import KeptState
        from geofm_assets.training.layout import is_first

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
        if is_first():
            store.write_bytes(f"{folder_key}/config.yaml", yaml.safe_dump(config).encode())
        out_dir = store.working_folder(folder_key)
        kept = KeptState(store, f"{folder_key}/training", out_dir / WORK_FOLDER, inputs)
        if is_first():
            kept.bring()
        result = fit(
            experiment=parsed,
            manifest=store.read_table(manifest_key),
            chips_root=store.path(f"tasks/{task.name}/chips"),
            classes=task.rule.classes,
            label_rule=config["label_rule"],
            config=task.training,
            encoder=task.encoder(parsed),
            masks_root=_masks_root(store, task, experiment),
            frames=task.frames,
            hub=hub,
            out_dir=out_dir,
            run_key=inputs,
            simulated=simulated,
            progress=kept.told(report),
            finished=lambda path: store.take_in(f"{folder_key}/{CHECKPOINT}", path),
        )
        note = {
            "inputs": inputs,
            "model_id": result.model_id,
            "weights": result.proof.as_dict(),
            "history": result.history,
            "simulated": simulated,
            "hardware": result.hardware,
        }
        if not is_first():
            return note
        store.write_json(f"{folder_key}/weights.json", note["weights"])
        store.write_json(self.record_key(experiment), note)
        kept.drop()
        return note


def _segments(experiment: str) -> bool:
    """Whether an experiment has one class a pixel."""
    return Experiment.parse(experiment).head == "segmentation"


def _masks_root(store: Store, task: TrainingTask, experiment: str) -> UPath | None:
    """Folder of the masks an experiment reads; None if it reads none."""
    return store.path(task.masks_folder) if _segments(experiment) else None


def checkpoint_file(store: Store, task: TrainingTask, experiment: str) -> Path:
    """An experiment's checkpoint as a file of this machine.

    Raises:
        WeightsError: there is none.
    """
    key = f"{task.folder(experiment)}/{CHECKPOINT}"
    try:
        return store.fetch_file(key)
    except FileNotFoundError as error:
        raise WeightsError(
            "No checkpoint", where=f"{store.url}/{key}", fix="Train the experiment first"
        ) from error


def _hardware_metadata(hardware: dict[str, Any] | None) -> dict[str, Any]:
    """What a model was trained on and how fast; nothing of one trained before that was noted."""
    if hardware is None:
        return {}
    shown = {"hardware": Json(hardware), "samples_per_s": hardware["samples_per_s"]}
    if hardware.get("gpu_utilization") is not None:
        shown["gpu_utilization"] = hardware["gpu_utilization"]
    return shown


def _weights_check(weights: dict[str, Any]) -> CheckOutcome:
    random_start = weights["start"].startswith("random")
    passed = random_start or (weights["share"] > 0 and not weights["unexpected"])
    text = f"{weights['start']}: {weights['share']:.1%} of parameters loaded"
    metadata = {k: v for k, v in weights.items() if isinstance(v, str | int | float)}
    return CheckOutcome("weights", passed, text, metadata)


@dataclass(frozen=True)
class PredictionsStage:
    """One row a window: what the experiment's model says of it, or of its pixels."""

    task: TrainingTask
    code_version: str = "1"

    def key(self, experiment: str) -> str:
        """Store key of the predictions."""
        name = "segmentation" if _segments(experiment) else "predictions"
        return f"{self.task.folder(experiment)}/{name}.parquet"

    def inputs(self, store: Store, experiment: str) -> str:
        """The model and the manifest, and the masks if pixels are counted."""
        note = CheckpointStage(self.task).note(store, experiment)
        if note is None:
            raise MissingUpstreamError(
                "The experiment has no checkpoint", where=experiment, fix="Materialize checkpoint"
            )
        manifest = ManifestStage(self.task)
        masks = [manifest.masks_content(store)] if _segments(experiment) else []
        return inputs_digest(self, note["model_id"], content_of(store, manifest.key()), *masks)

    def make(self, store: Store, experiment: str, force: bool) -> Outcome:
        """Predict every window of the manifest."""
        from geofm_assets.training.predict import predict

        inputs = self.inputs(store, experiment)
        found = store.provenance(self.key(experiment))
        skipped = found is not None and found.inputs == inputs and not force
        if found is not None and skipped:
            table, content = store.read_table(self.key(experiment)), found.content
            schema = kept_check(table)
        else:
            table = predict(
                checkpoint=checkpoint_file(store, self.task, experiment),
                manifest=store.read_table(ManifestStage(self.task).key()),
                chips_root=store.path(f"tasks/{self.task.name}/chips"),
                masks_root=_masks_root(store, self.task, experiment),
                batch_size=self.task.training.batch_size,
                accelerator=self.task.training.accelerator,
                threads=self.task.training.threads,
            )
            ref = store.write_table(
                self.key(experiment),
                table,
                Segmentation if _segments(experiment) else Prediction,
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
