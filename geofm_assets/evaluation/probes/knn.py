"""Nearest neighbours in embedding space: what embeddings are worth without any training.

Settings are those of OlmoEarth's published evaluations: 20 neighbours by cosine, votes weighted
by exp(cosine / 0.07).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from geofm_assets.core.errors import ConfigError, ModelInputError
from geofm_assets.evaluation.probes.data import DENSE, ProbeData, checked
from geofm_assets.evaluation.probes.one_thread import one_thread
from geofm_assets.evaluation.probes.scoring import Predictions
from geofm_assets.evaluation.registry.entry import TaskType

NEIGHBOURS = 20
TEMPERATURE = 0.07
CHUNK = 2000
_EPS = 1e-8
_SIMILARITIES = 1 << 26  # held in memory at once, 256 MiB


def knn_predict(
    train: ProbeData,
    features: NDArray[Any],
    *,
    task_type: TaskType,
    classes: Sequence[str],
    variant: int = 0,
    neighbours: int = NEIGHBOURS,
    temperature: float = TEMPERATURE,
    chunk: int = CHUNK,
) -> Predictions:
    """Predict samples from their nearest neighbours in train.

    Classes by the largest sum of votes; of several labels those with more than half of the
    votes; numbers as the votes' weighted mean. Fewer train samples than neighbours: all vote.

    Args:
        train: what is looked among; samples without a label do not vote.
        features: (M, D) of the samples asked about.
        task_type: what is predicted; not one with a label for each pixel.
        classes: names by class id.
        variant: which of train's inputs `features` belong to.
        neighbours: that vote.
        temperature: of the votes' weights.
        chunk: samples looked up at once.

    Raises:
        ConfigError: a dense task type.
        DatasetError: labels of train are not usable.
        ModelInputError: embeddings are not numbers, or not as long as train's.
    """
    if task_type in DENSE:
        raise ConfigError(
            f"Nearest neighbours are not offered for {task_type}",
            where="probe knn",
            fix="Use the linear probe",
        )
    one = ProbeData((train.features[variant],), train.labels, train.split, train.sample_ids)
    known = checked(one, task_type, classes)
    asked = ProbeData((features,), np.zeros(len(features)), "asked")
    checked(asked, "window_regression", ())
    bank = _unit(known.features[0])
    if features.shape[1] != bank.shape[1]:
        raise ModelInputError(
            f"Embeddings have {features.shape[1]} numbers, train's have {bank.shape[1]}",
            where="probe knn",
            fix="Compare embeddings of one model",
        )
    values = torch.from_numpy(_votes(known.labels, task_type, len(classes)))
    step = max(1, min(chunk, _SIMILARITIES // len(bank)))
    parts = []
    with one_thread(), torch.inference_mode():
        for start in range(0, len(features), step):
            near = (_unit(features[start : start + step]) @ bank.T).topk(
                min(neighbours, len(bank)), dim=1
            )
            weights = torch.exp(near.values / temperature)
            weights = weights / weights.sum(dim=1, keepdim=True)
            parts.append((weights.double().unsqueeze(-1) * values[near.indices]).sum(dim=1))
    found = torch.cat(parts).numpy()
    if task_type == "window_regression":
        return Predictions(found[:, 0])
    if task_type == "multilabel":
        return Predictions((found > 0.5).astype(np.uint8), found)
    return Predictions(found.argmax(axis=1), found)


def _unit(features: NDArray[Any]) -> torch.Tensor:
    """Embeddings at length one."""
    values = torch.from_numpy(np.array(features, dtype=np.float32))
    return torch.nn.functional.normalize(values, dim=1, eps=_EPS)


def _votes(labels: NDArray[Any], task_type: TaskType, classes: int) -> NDArray[np.float64]:
    """(N, K) what a train sample votes for; (N, 1) its number."""
    if task_type == "classification":
        return np.eye(classes)[labels]
    return labels.reshape(len(labels), -1).astype(np.float64)
