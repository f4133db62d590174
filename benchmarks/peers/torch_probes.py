"""Linear probes as everybody writes them: one after the other, torch's own modules and AdamW.

The same starts, batches, schedule and looks at val as ours, so that both train the same probes.
What suits it was chosen: data lies in tensors, batches are indexed and not loaded one by one, and
AdamW runs its fast path for many tensors.
"""

import copy
from typing import Any

import numpy as np
import torch

from benchmarks.generate_embeddings import CLASSES, PATCH, SIZE, generate
from benchmarks.harness import Arguments, Side, done, measured, side_main
from geofm_assets.evaluation.probes.schedule import batches, scheduled


def one_at_a_time(arguments: Arguments) -> Side:
    """Every rate on every input, one probe after the other."""
    torch.set_num_threads(1)
    dense = bool(arguments["dense"])
    train, val = generate(arguments["windows"], arguments["seed"], dense=dense)
    labels = [torch.from_numpy(data.labels) for data in (train, val)]
    _fit(torch.from_numpy(train.features[0][:8]), labels[0][:8], None, None, 0.01, 1, dense)
    with measured() as taken:
        curves = [
            _fit(
                torch.from_numpy(train.features[i]), labels[0],
                torch.from_numpy(val.features[i]), labels[1],
                rate, arguments["epochs"], dense,
            )
            for i in range(len(train.features))
            for rate in arguments["rates"]
        ]  # fmt: skip
    return done(taken, len(curves), last=[curve[-1] for curve in curves])


def _fit(
    x: torch.Tensor,
    y: torch.Tensor,
    val_x: torch.Tensor | None,
    val_y: torch.Tensor | None,
    rate: float,
    epochs: int,
    dense: bool,
) -> list[float]:
    """One probe; its accuracy on val every five epochs."""
    model = _model(dense)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.01)
    rates = torch.tensor([rate], dtype=torch.float64)
    curve: list[float] = []
    best: tuple[float, dict[str, Any]] | None = None
    for epoch in range(epochs):
        model.train()
        cut = batches(len(x), 128, 0, epoch)
        for number, rows in enumerate(cut):
            now = scheduled(rates, epoch + number / len(cut), epochs)
            optimizer.param_groups[0]["lr"] = float(now)
            chosen = torch.from_numpy(rows)
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(_logits(model, x[chosen], dense), y[chosen])
            loss.backward()
            optimizer.step()
        if (
            val_x is not None
            and val_y is not None
            and ((epoch + 1) % 5 == 0 or epoch + 1 == epochs)
        ):
            model.eval()
            with torch.inference_mode():
                said = _logits(model, val_x, dense).argmax(dim=1)
            curve.append(float((said == val_y).double().mean()))
            if best is None or curve[-1] > best[0]:
                best = (curve[-1], copy.deepcopy(model.state_dict()))
    return curve


def _model(dense: bool) -> torch.nn.Module:
    """A head, from the draw ours starts from."""
    outputs = len(CLASSES) * (PATCH**2 if dense else 1)
    linear = torch.nn.Linear(SIZE, outputs)
    generator = torch.Generator().manual_seed(0)
    drawn = (torch.rand((SIZE + 1) * outputs, generator=generator) * 2 - 1) / np.sqrt(SIZE)
    linear.weight.data = drawn[: SIZE * outputs].view(SIZE, outputs).T.contiguous()
    linear.bias.data = drawn[SIZE * outputs :].clone()
    return linear if dense else torch.nn.Sequential(torch.nn.BatchNorm1d(SIZE), linear)


def _logits(model: torch.nn.Module, x: torch.Tensor, dense: bool) -> torch.Tensor:
    found: torch.Tensor = model(x)
    if not dense:
        return found
    n, h, w, _ = x.shape
    tiles = found.view(n, h, w, len(CLASSES), PATCH, PATCH).permute(0, 3, 1, 4, 2, 5)
    return tiles.reshape(n, len(CLASSES), h * PATCH, w * PATCH)


SIDES = {"one_at_a_time": one_at_a_time}

if __name__ == "__main__":
    side_main(SIDES)
