"""Linear probes: all learning rates on all inputs in one pass, the best by validation.

Settings are those of OlmoEarth's published evaluations: AdamW with weight decay 0.01, 50 epochs,
warm-up of a tenth of them, step by step, then half a cosine down to 1e-5; batch normalisation
before the linear layer for labels of windows, none where pixels have labels; regressions learn
standardised targets. There, validating along the way begins AdamW's moments anew; here it does
not, so the same probe is trained however often it is looked at.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from geofm_assets.core.errors import ConfigError, DatasetError, ModelInputError
from geofm_assets.core.progress import Report, silent
from geofm_assets.evaluation.probes.data import DENSE, ProbeData, checked, class_notes
from geofm_assets.evaluation.probes.heads import Heads, HeadShape, HeadStates, logits, start
from geofm_assets.evaluation.probes.judging import Inputs, Judge
from geofm_assets.evaluation.probes.metrics import higher_is_better, require_metric
from geofm_assets.evaluation.probes.objectives import Objective, make_objective
from geofm_assets.evaluation.probes.one_thread import one_thread
from geofm_assets.evaluation.probes.schedule import batches, scheduled
from geofm_assets.evaluation.probes.scoring import Predictions
from geofm_assets.evaluation.registry.entry import DEFAULT_METRIC, TaskType

EPOCHS = 50
BATCH_SIZE = 128
WEIGHT_DECAY = 0.01
EVAL_EVERY = 5


@dataclass(frozen=True)
class Choice:
    """One probe of a sweep.

    Attributes:
        variant: which input.
        rate: its learning rate.
        epoch: epochs it was trained for; its best by validation.
        value: of the sweep's metric on val, then.
    """

    variant: int
    rate: float
    epoch: int
    value: float


@dataclass(frozen=True)
class LinearSweep:
    """Trained probes, each at its best epoch.

    Attributes:
        task_type: what they predict.
        classes: names by class id.
        metric: they were judged by.
        rates: (R,) learning rates.
        epochs: (E,) epochs after which val was looked at.
        curve: (V, R, E) metric on val; NaN where a probe's answer had none.
        probes: V x R choices, each probe at its best.
        best: the best of them; of equals the first input, rate and epoch.
        notes: what a reader must know of the data: classes that train lacks.
        samples: of train that taught.
    """

    task_type: TaskType
    classes: tuple[str, ...]
    metric: str
    rates: tuple[float, ...]
    epochs: tuple[int, ...]
    curve: NDArray[np.float64]
    probes: tuple[tuple[Choice, ...], ...]
    best: Choice
    notes: tuple[str, ...]
    samples: int
    _shape: HeadShape
    _states: HeadStates
    _objective: Objective
    _token_axes: tuple[int, ...]

    @property
    def best_rate(self) -> float:
        """Learning rate of the best probe."""
        return self.best.rate

    @property
    def best_epoch(self) -> int:
        """Epochs the best probe was trained for."""
        return self.best.epoch

    def predict(self, features: NDArray[Any], choice: Choice | None = None) -> Predictions:
        """What a probe says, at its best epoch.

        Args:
            features: (M, D), of dense tasks (M, h, w, D), of the probe's own input.
            choice: which probe; the best by default.

        Raises:
            ModelInputError: embeddings of another shape than the probe was trained on.
        """
        wanted = (*self._token_axes, self._shape.size)
        if features.shape[1:] != wanted:
            raise ModelInputError(
                f"Embeddings are {features.shape[1:]}, the probe was trained on {wanted}",
                where="probe linear",
                fix="Predict with embeddings of the same model, patch size and dataset",
            )
        chosen = choice or self.best
        states = self._states.only(chosen.variant, self.rates.index(chosen.rate))
        inputs = Inputs((features,), states.theta.dtype)
        step = self._shape.at_once(inputs.tokens)
        labels, scores = [], []
        with one_thread(), torch.inference_mode():
            for begin in range(0, len(features), step):
                rows = np.arange(begin, min(begin + step, len(features)))
                x = inputs.take(rows)[0]
                found = self._objective.decode(logits(self._shape, states, 0, x))
                labels.append(found[0][0].numpy())
                if found[1] is not None:
                    scores.append(found[1][0].numpy())
        return Predictions(np.concatenate(labels), np.concatenate(scores) if scores else None)


def fit_linear(
    train: ProbeData,
    val: ProbeData,
    *,
    task_type: TaskType,
    classes: Sequence[str],
    rates: Sequence[float],
    metric: str | None = None,
    epochs: int = EPOCHS,
    batch_size: int = BATCH_SIZE,
    seed: int = 0,
    eval_every: int = EVAL_EVERY,
    weight_decay: float = WEIGHT_DECAY,
    report: Report = silent,
) -> LinearSweep:
    """Train a probe for each rate on each input, in step, and keep each at its best epoch.

    All start from the same weights and see the same batches, drawn from seed and epoch alone. A
    batch without a labelled pixel is passed over.

    Args:
        train: learned from; float64 features are probed in float64, others in float32.
        val: judged on, with as many inputs.
        task_type: what is predicted.
        classes: names by class id; empty for regressions.
        rates: learning rates, distinct.
        metric: to judge by; the task type's own by default.
        epochs: in all.
        batch_size: samples; a lone last one joins the batch before it.
        seed: of start and order.
        eval_every: epochs between looks at val; the last epoch always is one.
        weight_decay: of AdamW.
        report: told of epochs.

    Raises:
        ConfigError: no rate, one that is not above 0, or a metric the task type does not have.
        DatasetError: no usable labels (see `checked`), a single train sample, or no probe's
            answers on val have a value.
        ModelInputError: embeddings that are not numbers or do not fit each other.
    """
    metric = metric or DEFAULT_METRIC[task_type]
    require_metric(metric, task_type, classes)
    _check_settings(rates, epochs, batch_size, eval_every)
    train, val = checked(train, task_type, classes), checked(val, task_type, classes)
    _check_pair(train, val, task_type)
    dtype = _dtype(train.features)
    objective = make_objective(task_type, classes, train)
    shape = HeadShape(
        size=train.features[0].shape[-1],
        outputs=objective.outputs,
        normalised=task_type not in DENSE,
        labels=train.labels[0].size if task_type in DENSE else 1,
    )
    heads = Heads(shape, start(shape, len(train.features), len(rates), seed, dtype), weight_decay)
    inputs = Inputs(train.features, dtype)
    judge = Judge(val, objective, shape, task_type, tuple(classes), metric)
    given = torch.tensor(list(rates), dtype=torch.float64)
    looked, curve, best = [], [], heads.states.clone()
    better = np.full((len(train.features), len(rates)), -np.inf)
    with one_thread(), torch.inference_mode():
        for epoch in range(epochs):
            cut = batches(len(train), batch_size, seed, epoch)
            for number, rows in enumerate(cut):
                targets = objective.batch(train.labels[rows], dtype)
                if targets is not None:
                    now = scheduled(given, epoch + number / len(cut), epochs)
                    heads.step(inputs.take(rows), targets.gradient, now.to(dtype))
            if (epoch + 1) % eval_every == 0 or epoch + 1 == epochs:
                looked.append(epoch + 1)
                curve.append(judge(heads.states))
                worth = curve[-1] if higher_is_better(metric) else -curve[-1]
                improved = worth > better  # never for NaN
                best.keep(heads.states, torch.from_numpy(improved))
                better = np.where(improved, worth, better)
            report(epoch + 1, epochs, f"epoch {epoch + 1}")
    values = np.stack(curve, axis=-1)
    probes, top = _choices(values, looked, rates, metric)
    notes = class_notes(train.labels, val.labels, val.split, task_type, classes)
    return LinearSweep(
        task_type, tuple(classes), metric, tuple(rates), tuple(looked), values, probes, top,
        tuple(notes), len(train), shape, best, objective, train.features[0].shape[1:-1],
    )  # fmt: skip


def predict(
    sweep: LinearSweep, features: NDArray[Any], choice: Choice | None = None
) -> Predictions:
    """See `LinearSweep.predict`."""
    return sweep.predict(features, choice)


def _choices(
    values: NDArray[np.float64], looked: Sequence[int], rates: Sequence[float], metric: str
) -> tuple[tuple[tuple[Choice, ...], ...], Choice]:
    """Each probe at its best, and the best of all."""
    if np.isnan(values).all():
        raise DatasetError(
            f"{metric} has no value on val for any probe",
            where="split val",
            fix="Take another metric, or a val split with more than one class or target",
        )
    worth = np.where(np.isnan(values), -np.inf, values if higher_is_better(metric) else -values)
    at = worth.argmax(axis=-1)
    probes = tuple(
        tuple(
            Choice(v, rates[r], looked[at[v, r]], float(values[v, r, at[v, r]]))
            for r in range(len(rates))
        )
        for v in range(len(values))
    )
    v, r = np.unravel_index(int(worth.max(axis=-1).argmax()), at.shape)
    return probes, probes[int(v)][int(r)]


def _dtype(features: Sequence[NDArray[Any]]) -> torch.dtype:
    return torch.float64 if all(a.dtype == np.float64 for a in features) else torch.float32


def _check_settings(rates: Sequence[float], epochs: int, batch_size: int, eval_every: int) -> None:
    if not rates or min(rates) <= 0 or len(set(rates)) < len(rates):
        raise ConfigError(
            f"Learning rates have to be above 0 and distinct, these are {list(rates)}",
            where="rates",
            fix="Leave them out to take the published ones",
        )
    for name, value, least in (
        ("epochs", epochs, 1), ("batch_size", batch_size, 2), ("eval_every", eval_every, 1),
    ):  # fmt: skip
        if value < least:
            raise ConfigError(f"{name} is {value}", where=name, fix=f"Take at least {least}")


def _check_pair(train: ProbeData, val: ProbeData, task_type: TaskType) -> None:
    shapes = [[array.shape[1:] for array in data.features] for data in (train, val)]
    if shapes[0] != shapes[1] or train.labels.shape[1:] != val.labels.shape[1:]:
        raise ModelInputError(
            f"Train and {val.split} differ: embeddings {shapes[0]} and {shapes[1]}, labels "
            f"{train.labels.shape[1:]} and {val.labels.shape[1:]}",
            where="probe linear",
            fix="Encode both with one model and patch size",
        )
    if len(train) < 2 and task_type not in DENSE:
        raise DatasetError(
            "A single sample has no variance to normalise by",
            where=f"split {train.split}",
            fix="Use a larger share of train (--subset)",
        )
