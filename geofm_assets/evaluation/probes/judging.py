"""What probes under training are worth on val."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from geofm_assets.evaluation.probes.data import REGRESSION, ProbeData
from geofm_assets.evaluation.probes.heads import HeadShape, HeadStates, logits
from geofm_assets.evaluation.probes.metrics import RANKING, tally
from geofm_assets.evaluation.probes.objectives import Objective
from geofm_assets.evaluation.probes.scoring import main_value, memberships
from geofm_assets.evaluation.registry.entry import TaskType


class Inputs:
    """Embeddings of V inputs, a batch of them at a time."""

    def __init__(self, features: Sequence[NDArray[Any]], dtype: torch.dtype) -> None:
        self.features, self.dtype = features, dtype
        self.tokens = int(np.prod(features[0].shape[1:-1]))

    def take(self, rows: NDArray[np.int64]) -> torch.Tensor:
        """(V, n, T, D) of these rows."""
        stacked = np.stack([array[rows] for array in self.features])
        whole = torch.from_numpy(stacked).to(self.dtype)
        return whole.view(len(self.features), len(rows), self.tokens, -1)


@dataclass(frozen=True)
class Judge:
    """Values a metric on val."""

    val: ProbeData
    objective: Objective
    shape: HeadShape
    task_type: TaskType
    classes: tuple[str, ...]
    metric: str

    def __call__(self, states: HeadStates) -> NDArray[np.float64]:
        """(V, R) of heads that are at the same step."""
        variants = range(len(states.theta))
        return np.stack([self._of_input(states, variant) for variant in variants])

    def _of_input(self, states: HeadStates, variant: int) -> NDArray[np.float64]:
        """(R,) of the heads on one input."""
        rates, count = range(states.theta.shape[1]), len(self.classes)
        inputs = Inputs(self.val.features[variant : variant + 1], states.theta.dtype)
        step = self.shape.at_once(inputs.tokens)
        known = self.val.labels[~np.isnan(self.val.labels)]
        middle = float(known.mean()) if self.task_type in REGRESSION else None
        totals: list[Any] = [0.0 for _ in rates]
        ranked: list[torch.Tensor] = []
        for begin in range(0, len(self.val), step):
            rows = np.arange(begin, min(begin + step, len(self.val)))
            found = logits(self.shape, states, variant, inputs.take(rows)[0])
            labels, scores = self.objective.decode(found)
            if scores is not None and self.metric in RANKING:
                ranked.append(scores)
            for r in rates:
                said = labels[r].numpy()
                part = tally(self.task_type, count, self.val.labels[rows], said, middle)
                totals[r] = totals[r] + part.total
        pairs: list[tuple[NDArray[np.float64], NDArray[np.bool_]] | None] = [None for _ in rates]
        if ranked:
            yes = memberships(self.val.labels, self.task_type, count)
            pairs = [(one.double().numpy(), yes) for one in torch.cat(ranked, dim=1)]
        return np.array(
            [
                main_value(self.task_type, self.classes, self.metric, totals[r], pairs[r])
                for r in rates
            ]
        )
