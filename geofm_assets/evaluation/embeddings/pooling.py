"""Mean and max of a model's tokens, both from one pass.

What one encoding costs is the encoder, so both poolings are taken while the tokens are at hand.
Tokens without data never count, whatever their values.
"""

from dataclasses import dataclass

import torch

from geofm_assets.evaluation.backbones.base import Tokens

POOLINGS = ("mean", "max")


@dataclass(frozen=True)
class Pooled:
    """Embeddings of a batch.

    Attributes:
        mean: float32 (B, D), of dense tasks (B, h, w, D); zeros where there is nothing to pool.
        max: likewise.
        found: bool (B,), of dense tasks (B, h, w): whether any token had data.
    """

    mean: torch.Tensor
    max: torch.Tensor
    found: torch.Tensor


def pool(tokens: Tokens, *, dense: bool) -> Pooled:
    """Pool a batch's tokens over the window, or at each place of it.

    Args:
        tokens: of a batch.
        dense: each place keeps its own vector: tokens are pooled over times and band sets within
            each modality first, then over the modalities that have any, so that twelve months of
            one sensor do not outweigh a single image of another. Otherwise every token of the
            window counts alike, as in published evaluations of OlmoEarth.
    """
    values, valid = tokens.values.float(), tokens.valid
    if not dense:
        mean, found = _mean(values.flatten(1, 3), valid.flatten(1))
        return Pooled(mean, _max(values.flatten(1, 3), valid.flatten(1)), found)
    owner = torch.tensor(tokens.modality)
    means, maxima, present = [], [], []
    for modality in sorted(set(tokens.modality)):
        columns = torch.nonzero(owner == modality).flatten().to(values.device)
        part, mask = values[..., columns, :], valid[..., columns]
        mean, found = _mean(part, mask)
        means.append(mean)
        maxima.append(_max(part, mask))
        present.append(found)
    mask = torch.stack(present, dim=-1)
    mean, found = _mean(torch.stack(means, dim=-2), mask)
    return Pooled(mean, _max(torch.stack(maxima, dim=-2), mask), found)


def _mean(values: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean over the tokens (..., L, D) that are not masked away, and whether there are any."""
    count = mask.sum(dim=-1)
    kept = torch.where(mask.unsqueeze(-1), values, 0.0)  # not a product: NaN times 0 is NaN
    return kept.sum(dim=-2) / count.clamp(min=1).unsqueeze(-1), count > 0


def _max(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Largest of the tokens (..., L, D) that are not masked away; 0 where there are none."""
    kept = torch.where(mask.unsqueeze(-1), values, -torch.inf)
    return torch.where(mask.any(dim=-1).unsqueeze(-1), kept.amax(dim=-2), 0.0)
