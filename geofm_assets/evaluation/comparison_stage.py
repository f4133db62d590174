"""How a task's comparison of set-ups is made.

Plain Python: it can be made from a notebook with a `Store`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import yaml
from pydantic import ValidationError

from geofm_assets.core.errors import ExperimentError
from geofm_assets.core.hashing import json_digest
from geofm_assets.core.outcome import Location, Markdown, Outcome, markdown_table, schema_check
from geofm_assets.core.plots import figure_png, png_markdown
from geofm_assets.core.stage import MissingUpstreamError, content_of, inputs_digest, is_current
from geofm_assets.core.store import MadeFrom, Store
from geofm_assets.evaluation.comparison import HEADS, METRIC, SPLIT, Setup, differences
from geofm_assets.evaluation.comparison_plot import comparison_figure
from geofm_assets.evaluation.comparison_schema import COMPARISON, Comparison, Difference
from geofm_assets.evaluation.comparison_table import readable_comparison, readable_differences
from geofm_assets.evaluation.fire_samples import groups_of, samples_keys, task_samples
from geofm_assets.evaluation.stages import BaselinesStage, ScoresStage
from geofm_assets.models.config import WeightsConfig
from geofm_assets.training.config import TrainingConfig
from geofm_assets.training.experiments import AXES, Experiment
from geofm_assets.training.stages import (
    CheckpointStage,
    ManifestStage,
    PredictionsStage,
    TrainingTask,
)

BASELINE = "baseline_"
_OF_THE_MACHINE = {"accelerator", "num_workers", "threads"}  # settings that make no other model


@dataclass(frozen=True)
class Compared:
    """A comparison in memory.

    Attributes:
        rows: COMPARISON table.
        differences: DIFFERENCE table.
    """

    rows: pa.Table
    differences: pa.Table

    @property
    def simulated(self) -> bool:
        """Whether any of it rests on simulated data."""
        return bool(pc.any(self.rows["simulated"]).as_py())


@dataclass(frozen=True)
class ComparisonStage:
    """Every experiment beside every other: scores, and what each axis is worth."""

    task: TrainingTask
    code_version: str = "2"

    def key(self, partition: str = "") -> str:
        """Store key of the experiments' rows, written last."""
        return f"tasks/{self.task.name}/comparison.parquet"

    def differences_key(self) -> str:
        """Store key of the differences between the values of each axis."""
        return f"tasks/{self.task.name}/comparison_differences.parquet"

    def plot_key(self) -> str:
        """Store key of the picture."""
        return f"tasks/{self.task.name}/comparison.png"

    def inputs(self, store: Store, partition: str = "") -> str:
        """Scores, predictions, notes, and what says which of them are of today's data."""
        said: list[object] = [METRIC, SPLIT, self.task.training.seed, self.task.experiments.head]
        for name, key in self._scored(store):
            said.append([name, content_of(store, key), self._why_stale(store, name)])
            if not name.startswith(BASELINE):
                checkpoint = CheckpointStage(self.task)
                said.append([checkpoint.note(store, name), self._config(store, name)])
                predictions = store.provenance(PredictionsStage(self.task).key(name))
                said.append(predictions.content if predictions else None)
        manifest = ManifestStage(self.task).key()
        said += [content_of(store, k) for k in samples_keys(store, self.task, manifest)]
        return inputs_digest(self, *said)

    def compare(self, store: Store, metric: str = METRIC, split: str = SPLIT) -> Compared:
        """Compare everything that has been scored so far; nothing is written.

        Raises:
            MissingUpstreamError: nothing has been scored.
            ExperimentError: no experiment has the metric on the split.
        """
        rows, setups, known = [], [], set()
        for name, key in self._scored(store):
            scores = store.read_table(key).to_pylist()
            known |= {s["metric"] for s in scores if s["split"] == split}
            row = self._row(store, name, scores, metric, split)
            rows.append(row)
            if row["state"] == "compared":
                setups.append(self._setup(store, name, split))
        if not rows:
            raise MissingUpstreamError(
                "Nothing has been scored yet",
                where=f"tasks/{self.task.name}/experiments",
                fix=f"Run geofm run {self.task.name}",
            )
        if metric not in known:
            choices = ", ".join(sorted(known)) or f"another split than {split}"
            raise ExperimentError(
                f"No experiment has the metric on {split}", where=metric, fix=f"Choose {choices}"
            )
        samples = task_samples(store, self.task, ManifestStage(self.task).key())
        found = differences(
            setups,
            self.task.rule.classes,
            metric=metric,
            split=split,
            groups=None if samples is None else groups_of(samples),
            order={axis: getattr(self.task.experiments, axis) for axis in AXES},
            seed=self.task.training.seed,
        )
        return Compared(pa.Table.from_pylist(rows, schema=COMPARISON), found)

    def make(self, store: Store) -> Outcome:
        """Compare, and write tables and picture."""
        inputs = self.inputs(store)
        compared = self.compare(store)
        png = figure_png(comparison_figure(compared.rows, compared.differences))
        store.write_bytes(self.plot_key(), png)
        made: MadeFrom = {
            "inputs": inputs,
            "code_version": self.code_version,
            "simulated": compared.simulated,
        }
        between = store.write_table(
            self.differences_key(), compared.differences, Difference, **made
        )
        ref = store.write_table(
            self.key(), compared.rows, Comparison, measured=["training_seconds"], **made
        )
        metadata = {
            "dagster/row_count": compared.rows.num_rows,
            "store_key": ref.key,
            "simulated": compared.simulated,
            "experiments": Markdown(markdown_table(readable_comparison(compared.rows))),
            "differences": Markdown(markdown_table(readable_differences(compared.differences))),
            "plot": Markdown(png_markdown(png, "comparison of set-ups")),
            "picture": Location(f"{store.url}/{self.plot_key()}"),
        }
        content = json_digest([ref.provenance.content, between.provenance.content])
        return Outcome(content, inputs, metadata, [schema_check(ref.report)])

    def _scored(self, store: Store) -> list[tuple[str, str]]:
        """Names of experiments and baselines with scores, sorted, and the keys of these."""
        keys = store.list_keys(f"tasks/{self.task.name}/experiments", "/metrics.parquet")
        return sorted((key.split("/")[-2], key) for key in keys)

    def _row(
        self, store: Store, name: str, scores: list[dict[str, Any]], metric: str, split: str
    ) -> dict[str, Any]:
        """A COMPARISON row."""
        experiment = None if name.startswith(BASELINE) else Experiment.parse(name)
        head = experiment.head if experiment else _baseline_head(name)
        row: dict[str, Any] = {
            **dict.fromkeys(COMPARISON.names),
            "experiment": name,
            "head": head,
            "level": HEADS[head],
            "split": split,
            "metric": metric,
            **{k: scores[0][k] for k in ("model_id", "label_rule", "simulated")},
        }
        wanted = [s for s in scores if (s["metric"], s["split"]) == (metric, split)]
        if wanted:
            # scores of before groups were counted are stale, and still to be shown
            row |= {k: wanted[0].get(k) for k in ("value", "low", "high", "n", "groups")}
        if experiment:
            row |= {axis: getattr(experiment, axis) for axis in AXES}
            row |= _training(CheckpointStage(self.task).note(store, name))
        stale = self._why_stale(store, name)
        if stale:
            return row | {"state": "stale", "reason": stale}
        if not wanted:
            reason = f"a {head} head has no {metric} on {split}"
            return row | {"state": "lacks_metric", "reason": reason}
        return row | {"state": "compared" if experiment else "baseline"}

    def _setup(self, store: Store, name: str, split: str) -> Setup:
        rows = store.read_table(PredictionsStage(self.task).key(name))
        rows = rows.filter(pc.equal(rows["split"], split)).sort_by("window_name")
        config = self._config(store, name)
        assert config is not None  # without it the experiment would be stale
        return Setup(Experiment.parse(name), rows, _trained(config))

    def _config(self, store: Store, name: str) -> dict[str, Any] | None:
        """What the experiment was last trained with; None if that is not recorded."""
        key = f"{self.task.folder(name)}/config.yaml"
        return yaml.safe_load(store.read_bytes(key)) if store.exists(key) else None

    def _why_stale(self, store: Store, name: str) -> str | None:
        """Why a score is not of today's data; None if it is."""
        if name.startswith(BASELINE):
            made = store.provenance(f"{BaselinesStage(self.task).folder(name)}/metrics.parquet")
            wanted = BaselinesStage(self.task).inputs(store)
            return None if made and made.inputs == wanted else "made from other data than today's"
        note = CheckpointStage(self.task).note(store, name)
        config = self._config(store, name)
        if note is None or config is None:
            return "it has scores but no checkpoint"
        if config["inputs"] != note["inputs"]:
            return "its training was started again and has not ended"
        if config["manifest"] != content_of(store, ManifestStage(self.task).key()):
            return "trained on another split manifest than today's"
        rule = self.task.rule
        if (config["label_rule"], config["classes"]) != (rule.label, list(rule.classes)):
            return f"trained with label rule {config['label_rule']}, today's is {rule.label}"
        try:
            return self._why_old(store, name, note, config)
        except (ExperimentError, MissingUpstreamError) as error:
            return f"not of today's task: {error.what}"
        except ValidationError:
            return "trained by a version with other settings"

    def _why_old(
        self, store: Store, name: str, note: Mapping[str, Any], config: Mapping[str, Any]
    ) -> str | None:
        """Whether model, predictions and scores follow from each other and from today's data."""
        # other training settings do not make a model stale: they are compared as what they are
        encoder = {k: v for k, v in config["encoder"].items() if k != "name"}
        recorded = replace(
            self.task,
            training=TrainingConfig.model_validate(config["training"]),
            weights=WeightsConfig.model_validate(encoder),
        )
        if note["inputs"] != CheckpointStage(recorded).inputs(store, name):
            return "trained on other masks or months, or by an earlier version"
        if not is_current(store, PredictionsStage(self.task), name):
            return "its predictions are older than its model or the windows"
        if not is_current(store, ScoresStage(self.task), name):
            return "its scores are older than its predictions"
        return None


def _baseline_head(name: str) -> str:
    return "segmentation" if name.endswith("_seg") else "classification"


def _training(note: Mapping[str, Any] | None) -> dict[str, Any]:
    """What a checkpoint's note says of the training."""
    if note is None:
        return {}
    weights, history = note["weights"], note["history"]
    seconds = [epoch["seconds"] for epoch in history if "seconds" in epoch]
    return {
        "encoder_start": weights["start"],
        "parameters_loaded": weights["parameters_loaded"],
        "parameters_total": weights["parameters_total"],
        "epochs": len(history),
        "training_seconds": sum(seconds) if seconds and len(seconds) == len(history) else None,
    }


def _trained(config: Mapping[str, Any]) -> str:
    """Digest of how an experiment was trained, apart from its axes and the machine."""
    training = {k: v for k, v in config["training"].items() if k not in _OF_THE_MACHINE}
    encoder = dict(config["encoder"])
    name, location = encoder.pop("name"), encoder.pop("location")
    where = location.replace(name, "{name}") if location else None
    return json_digest([training, encoder, where])
