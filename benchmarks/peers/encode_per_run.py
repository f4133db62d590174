"""The usual sweep: every combination of rate, normalisation and pooling encodes the dataset anew.

Same encoder, samples, probes, seeds and choices as ours, so that both must end with the same
settings and the same scores. Embeddings are rounded to half precision as ours are in the store.
What suits it was chosen: samples are encoded in batches as ours are, test is scored for the best
run alone, and kNN uses the embeddings of the first rate's runs instead of runs of its own.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from geofm_assets.core.store import Store
from geofm_assets.evaluation.backbones.base import EvalModel, Normalization
from geofm_assets.evaluation.embeddings.pooling import POOLINGS, pool
from geofm_assets.evaluation.embeddings.suitability import choose_batch_size, choose_patch_size
from geofm_assets.evaluation.probes.data import ProbeData
from geofm_assets.evaluation.probes.knn import knn_predict
from geofm_assets.evaluation.probes.linear import fit_linear
from geofm_assets.evaluation.probes.scoring import Predictions, score_predictions
from geofm_assets.evaluation.registry.entry import DatasetEntry
from geofm_assets.evaluation.samples.packed import PackedSamples
from geofm_assets.evaluation.sweeps.settings import SweepSettings

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Best:
    """The best run of a probe: its setting (normalisation, pooling, rate), val and test."""

    setting: tuple[str, str, float | None]
    val: float
    test: float


@dataclass
class Sweep:
    """What all runs came to."""

    encoded: int = 0
    runs: int = 0
    best: dict[str, Best] = field(default_factory=dict)


def sweep(model: EvalModel, store: Store, entry: DatasetEntry) -> Sweep:
    """Every run of a full sweep, one after the other."""
    settings, done = SweepSettings(), Sweep()
    rates = settings.rates(entry.task_type)
    for normalization in model.info.normalizations:
        for pooling in POOLINGS:
            for rate in rates:
                data = _encode(model, store, entry, normalization, pooling, done)
                done.runs += 1
                _linear(entry, data, settings, (normalization, pooling, rate), done)
                if rate == rates[0]:
                    _knn(entry, data, settings, (normalization, pooling, None), done)
    return done


def warm_up(model: EvalModel, store: Store, entry: DatasetEntry) -> None:
    """What happens once a process: imports, first calls. Both sides profit."""
    samples = PackedSamples(store, entry.name)
    patch = choose_patch_size(model.info, entry)
    with torch.inference_mode():
        model.embed([samples.read(0)], "dataset", entry.modalities, patch)
    rows = np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32)
    tiny = ProbeData((rows,), np.arange(8) % 2, "train")
    fit_linear(tiny, tiny, task_type="classification", classes="ab", rates=[0.01], epochs=1)


def _encode(
    model: EvalModel,
    store: Store,
    entry: DatasetEntry,
    normalization: Normalization,
    pooling: str,
    done: Sweep,
) -> dict[str, ProbeData]:
    """Embeddings of all samples by split, as one run reads them."""
    samples = PackedSamples(store, entry.name)
    patch = choose_patch_size(model.info, entry)
    size = choose_batch_size(model.info, entry, patch)
    parts = []
    for start in range(0, len(samples), size):
        batch = [samples.read(row) for row in range(start, min(start + size, len(samples)))]
        with torch.inference_mode():
            tokens = model.embed(batch, normalization, entry.modalities, patch)
            parts.append(getattr(pool(tokens, dense=entry.dense), pooling).numpy())
        done.encoded += len(batch)
    features = np.concatenate(parts).astype(np.float16)
    rows = {split: samples.rows(split) for split in SPLITS}
    return {
        split: ProbeData((features[found],), samples.labels(found), split)
        for split, found in rows.items()
    }


def _linear(
    entry: DatasetEntry,
    data: dict[str, ProbeData],
    settings: SweepSettings,
    setting: tuple[str, str, float],
    done: Sweep,
) -> None:
    fitted = fit_linear(
        data["train"], data["val"], task_type=entry.task_type, classes=entry.classes,
        rates=[setting[2]], metric=entry.metric, epochs=settings.epochs,
        batch_size=settings.batch_size, seed=settings.seed, eval_every=settings.eval_every,
    )  # fmt: skip
    found = fitted.best.value
    if _better(found, done.best.get("linear")):
        said = fitted.predict(data["test"].features[0])
        done.best["linear"] = Best(setting, found, _score(entry, data["test"], said, settings))


def _knn(
    entry: DatasetEntry,
    data: dict[str, ProbeData],
    settings: SweepSettings,
    setting: tuple[str, str, None],
    done: Sweep,
) -> None:
    def ask(split: str) -> float:
        said = knn_predict(
            data["train"], data[split].features[0],
            task_type=entry.task_type, classes=entry.classes,
        )  # fmt: skip
        return _score(entry, data[split], said, settings)

    found = ask("val")
    if _better(found, done.best.get("knn")):
        done.best["knn"] = Best(setting, found, ask("test"))


def _better(value: float, than: Best | None) -> bool:
    """Accuracy, the benchmark's metric: more is better."""
    return than is None or value > than.val


def _score(
    entry: DatasetEntry, data: ProbeData, said: Predictions, settings: SweepSettings
) -> float:
    given: dict[str, Any] = {"task_type": entry.task_type, "classes": entry.classes}
    scores = score_predictions(
        data.labels, said, metric=entry.metric, resamples=settings.resamples, **given
    )
    return scores[0].value
