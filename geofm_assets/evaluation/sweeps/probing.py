"""Probes of a model on a dataset: every setting on val, the best of them on test, once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from geofm_assets.core.errors import DatasetError
from geofm_assets.core.progress import Report, silent
from geofm_assets.evaluation.backbones.base import ModelInfo
from geofm_assets.evaluation.embeddings.store import EmbeddingSet, EncodingKey, Pooling
from geofm_assets.evaluation.embeddings.suitability import choose_patch_size
from geofm_assets.evaluation.probes.data import ProbeData, class_notes, labelled
from geofm_assets.evaluation.probes.knn import knn_predict
from geofm_assets.evaluation.probes.linear import fit_linear
from geofm_assets.evaluation.probes.metrics import higher_is_better
from geofm_assets.evaluation.probes.scoring import Predictions, score_predictions
from geofm_assets.evaluation.registry.entry import SPLITS, DatasetEntry
from geofm_assets.evaluation.sweeps.schema import TRAINED
from geofm_assets.evaluation.sweeps.settings import SweepSettings, offers_knn
from geofm_assets.evaluation.sweeps.split_rows import split_rows

Row = dict[str, Any]


@dataclass(frozen=True)
class Variant:
    """One input of probes: an encoding and a pooling of it."""

    encoding: EncodingKey
    embeddings: EmbeddingSet
    pooling: Pooling


@dataclass(frozen=True)
class Probed:
    """What a sweep's probes came to.

    Attributes:
        rows: of PROBE_SCORE.
        notes: what a reader must know of the data, such as a class that train lacks.
    """

    rows: list[Row]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Probing:
    """One model, dataset and sweep.

    Attributes:
        entry: of the dataset.
        settings: of the sweep.
        variants: all inputs.
        rows: row numbers by split.
        labels: by split.
        sample_ids: by split.
        shared: columns that every row has.
    """

    entry: DatasetEntry
    settings: SweepSettings
    variants: Sequence[Variant]
    rows: Mapping[str, NDArray[np.int64]]
    labels: Mapping[str, NDArray[Any]]
    sample_ids: Mapping[str, tuple[str, ...]]
    shared: Row

    def features(self, variant: Variant, split: str) -> NDArray[Any]:
        """Embeddings of a split."""
        return variant.embeddings.take(variant.pooling, self.rows[split])

    def data(self, split: str) -> ProbeData:
        """A split with all inputs."""
        features = tuple(self.features(variant, split) for variant in self.variants)
        return ProbeData(features, self.labels[split], split, self.sample_ids[split])

    def row(self, variant: Variant, probe: str, **fields: Any) -> Row:
        """A row of PROBE_SCORE."""
        lost = variant.embeddings.meta.get("cosine", {}).get(variant.pooling, {})
        return {
            **self.shared,
            "cosine_mean": lost.get("mean"),
            "cosine_min": lost.get("min"),
            "probe": probe,
            "normalization": variant.encoding.normalization,
            "patch_size": variant.encoding.patch_size,
            "pooling": variant.pooling,
            "embeddings": variant.embeddings.key,
            "rate": None,
            "best_epoch": None,
            "low": None,
            "high": None,
            "main": True,
            "chosen": False,
            **fields,
        }

    def better(self, value: float, than: float | None) -> bool:
        """Whether a value beats the best so far, in the metric's direction; NaN never does."""
        if np.isnan(value):
            return False
        if than is None:
            return True
        return value > than if higher_is_better(self.entry.metric) else value < than

    def tested(self, variant: Variant, probe: str, found: Predictions, **setting: Any) -> list[Row]:
        """Rows of test: every metric, with intervals."""
        scores = score_predictions(
            self.labels["test"],
            found,
            task_type=self.entry.task_type,
            classes=self.entry.classes,
            metric=self.entry.metric,
            resamples=self.settings.resamples,
            seed=self.settings.seed,
        )
        if not scores or scores[0].metric != self.entry.metric:
            raise DatasetError(
                f"{self.entry.metric} has no value on test",
                where=f"dataset {self.entry.name}, split test",
                fix="Ingest the dataset again with labels in every split, or another metric",
            )
        return [
            self.row(
                variant, probe, **setting, chosen=True, split="test", metric=score.metric,
                value=score.value, low=score.low, high=score.high, n=score.n,
                main=score.metric == self.entry.metric,
            )
            for score in scores
        ]  # fmt: skip


def probe_scores(
    info: ModelInfo,
    entry: DatasetEntry,
    samples: Any,
    sets: Mapping[EncodingKey, EmbeddingSet],
    settings: SweepSettings,
    *,
    inputs: str,
    seen: int | None = None,
    report: Report = silent,
) -> Probed:
    """Score every setting of a sweep on val, and the best of each probe on test.

    Args:
        info: of the model.
        entry: of the dataset.
        samples: of the dataset: `table` (EVAL_SAMPLE) and `labels(rows)`, as `PackedSamples`.
        sets: the sweep's encodings, the model's default normalisation first.
        settings: of the sweep.
        inputs: digest of all of them.
        seen: test samples in windows the model was trained on; None where that is not known.
        report: told of epochs.

    Raises:
        DatasetError: a split without samples, labels that cannot be used, or embeddings of other
            samples than the dataset's.
    """
    table: pa.Table = samples.table
    ids = table["sample_id"].to_pylist()
    for found in sets.values():
        if found.sample_ids != ids:
            raise DatasetError(
                "The embeddings are of other samples than the dataset's",
                where=found.key,
                fix="Remove the file and run the sweep again",
            )
    rows = split_rows(table, entry, settings.subset)
    probing = _Probing(
        entry=entry,
        settings=settings,
        variants=[Variant(key, found, p) for key, found in sets.items() for p in settings.poolings],
        rows=rows,
        labels={split: samples.labels(rows[split]) for split in SPLITS},
        sample_ids={split: tuple(ids[row] for row in rows[split]) for split in SPLITS},
        shared={
            "model": info.name,
            "model_id": info.model_id,
            "start": info.start,
            "dataset": entry.name,
            "dataset_id": entry.dataset_id,
            "sweep": settings.sweep,
            "precision": settings.precision,
            "subset": settings.subset,
            **{name: getattr(settings, name) for name in TRAINED},
            "default_patch": next(iter(sets)).patch_size == choose_patch_size(info, entry),
            "test_samples": len(rows["test"]),
            "seen_in_training": seen,
            "inputs": inputs,
            "simulated": info.simulated or entry.simulated,
        },
    )
    scored = _knn(probing) if offers_knn(entry.task_type) else []
    linear, notes = _linear(probing, report)
    train, test = probing.labels["train"], probing.labels["test"]
    notes += class_notes(train, test, "test", entry.task_type, entry.classes)
    return Probed(scored + linear, tuple(dict.fromkeys(notes)))


def _knn(probing: _Probing) -> list[Row]:
    """Nearest neighbours in train: one result an input."""
    entry, metric = probing.entry, probing.entry.metric
    scored: list[Row] = []
    best: tuple[float, int, Variant] | None = None
    for variant in probing.variants:
        train = _one(probing, variant, "train")
        found = _ask(probing, train, variant, "val")
        scores = score_predictions(
            probing.labels["val"], found, task_type=entry.task_type, classes=entry.classes,
            metric=metric, resamples=0,
        )  # fmt: skip
        main = next((score for score in scores if score.metric == metric), None)
        if main is None:
            continue
        if probing.better(main.value, best[0] if best else None):
            best = (main.value, len(scored), variant)
        scored.append(
            probing.row(variant, "knn", split="val", metric=metric, value=main.value, n=main.n)
        )
    if best is None:
        raise DatasetError(
            f"{metric} has no value on val",
            where=f"dataset {entry.name}, split val",
            fix="Ingest the dataset again with labels in every split",
        )
    _, at, variant = best
    scored[at]["chosen"] = True
    found = _ask(probing, _one(probing, variant, "train"), variant, "test")
    return scored + probing.tested(variant, "knn", found)


def _one(probing: _Probing, variant: Variant, split: str) -> ProbeData:
    features = (probing.features(variant, split),)
    return ProbeData(features, probing.labels[split], split, probing.sample_ids[split])


def _ask(probing: _Probing, train: ProbeData, variant: Variant, split: str) -> Predictions:
    return knn_predict(
        train,
        probing.features(variant, split),
        task_type=probing.entry.task_type,
        classes=probing.entry.classes,
    )


def _linear(probing: _Probing, report: Report) -> tuple[list[Row], list[str]]:
    """Linear probes: all rates on all inputs in one pass."""
    entry, settings = probing.entry, probing.settings
    sweep = fit_linear(
        probing.data("train"),
        probing.data("val"),
        task_type=entry.task_type,
        classes=entry.classes,
        rates=settings.rates(entry.task_type),
        metric=entry.metric,
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        seed=settings.seed,
        eval_every=settings.eval_every,
        report=report,
    )
    judged = int(labelled(probing.labels["val"], entry.task_type).sum())
    scored = [
        probing.row(
            probing.variants[choice.variant], "linear", rate=choice.rate, best_epoch=choice.epoch,
            split="val", metric=entry.metric, value=choice.value, n=judged,
            chosen=choice == sweep.best,
        )
        for of_variant in sweep.probes
        for choice in of_variant
        if not np.isnan(choice.value)
    ]  # fmt: skip
    best = sweep.best
    variant = probing.variants[best.variant]
    found = sweep.predict(probing.features(variant, "test"))
    tested = probing.tested(variant, "linear", found, rate=best.rate, best_epoch=best.epoch)
    return scored + tested, list(sweep.notes)
