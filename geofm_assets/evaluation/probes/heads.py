"""Many linear heads trained in step: every learning rate on every input at once.

Heads on one input see the same batch, so their weights stand side by side in one matrix and a
step is one product forward and one back, whatever the number of rates. Gradients are written out:
they are short, and autograd would keep every head's activations.

A head's numbers are the same to the last bit whatever is trained beside it. At the larger rates
training is chaotic, so anything less would let the list of rates decide which of them is best.
That takes matrices that begin where the memory's lines do: the order of a product's sums depends
on it.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

BETAS = (0.9, 0.999)  # of AdamW; torch's defaults, as are the next two
ADAM_EPS = 1e-8
NORM_EPS = 1e-5  # of batch normalisation
NORM_MOMENTUM = 0.1
_LINE = 16  # float32 numbers in a line of memory
_ACTIVATIONS = 1 << 16  # logits of one head worked on at once: what the caches hold

Gradient = Callable[[torch.Tensor, slice], torch.Tensor]
"""Derivative of the loss by logits (R, n, T, O) of these samples of the batch; same shape."""


@dataclass(frozen=True)
class HeadShape:
    """One head.

    Attributes:
        size: D, of an embedding.
        outputs: O, of a token.
        normalised: whether batch normalisation comes before the linear layer.
        labels: of a sample: its pixels, or 1.
    """

    size: int
    outputs: int
    normalised: bool
    labels: int

    def at_once(self, tokens: int) -> int:
        """How many samples are worked on together; the same whatever is trained beside."""
        return max(1, _ACTIVATIONS // max(tokens * self.outputs, self.labels))


@dataclass
class HeadStates:
    """Parameters of V x R heads, and what their normalisation knows of V inputs.

    Attributes:
        theta: (V, R, S): weights (D, O), biases (O), and where normalised scale and shift (D).
        mean: (V, R, D) running mean of the inputs; all rates of an input have the same, until
            states of different epochs are put together.
        var: (V, R, D) running variance.
    """

    theta: torch.Tensor
    mean: torch.Tensor
    var: torch.Tensor

    def clone(self) -> "HeadStates":
        """A copy."""
        return HeadStates(self.theta.clone(), self.mean.clone(), self.var.clone())

    def keep(self, other: "HeadStates", which: torch.Tensor) -> None:
        """Take over another's heads where (V, R) is true."""
        mask = which.unsqueeze(-1)
        for name in ("theta", "mean", "var"):
            mine, its = getattr(self, name), getattr(other, name)
            setattr(self, name, torch.where(mask, its, mine))

    def only(self, variant: int, rate: int) -> "HeadStates":
        """One head."""
        v, r = slice(variant, variant + 1), slice(rate, rate + 1)
        return HeadStates(self.theta[v, r], self.mean[v, r], self.var[v, r])


def start(shape: HeadShape, variants: int, rates: int, seed: int, dtype: torch.dtype) -> HeadStates:
    """Every head from the same draw, that of torch's linear layer: U(-1, 1) / sqrt(D)."""
    generator = torch.Generator().manual_seed(seed)
    bound = 1 / math.sqrt(shape.size)
    drawn = (torch.rand((shape.size + 1) * shape.outputs, generator=generator) * 2 - 1) * bound
    pieces = [drawn]
    if shape.normalised:
        pieces += [torch.ones(shape.size), torch.zeros(shape.size)]
    theta = torch.cat(pieces).to(dtype).repeat(variants, rates, 1)
    of_inputs = torch.zeros(variants, rates, shape.size, dtype=dtype)
    return HeadStates(theta, of_inputs, of_inputs + 1)


class Heads:
    """Heads under training with AdamW; its moments are never reset.

    Args:
        shape: of each.
        states: where they start.
        decay: weight decay, of all parameters as torch's AdamW has it.
    """

    def __init__(self, shape: HeadShape, states: HeadStates, decay: float) -> None:
        self.shape, self.states, self.decay = shape, states, decay
        self._grad = torch.zeros_like(states.theta)
        self._first = torch.zeros_like(states.theta)
        self._second = torch.zeros_like(states.theta)
        self._steps = 0

    def step(self, x: torch.Tensor, gradient: Gradient, rates: torch.Tensor) -> None:
        """One step of all heads on one batch.

        Args:
            x: (V, B, T, D) embeddings of B samples with T tokens.
            gradient: of the loss by the logits of one input's heads.
            rates: (R,) learning rates of this step.
        """
        if self.shape.normalised:
            x = self._normalise(x)
        weight, bias = folded(self.shape, self.states.theta)
        by_weight, by_bias, *_ = parts(self.shape, self._grad)
        self._grad.zero_()
        size, tokens = self.shape.at_once(x.shape[2]), x.shape[2]
        for variant, whole in enumerate(x):
            for begin in range(0, len(whole), size):
                rows = slice(begin, begin + size)
                part = whole[rows].flatten(0, 1).clone().expand(len(rates), -1, -1)
                found = _apply(self.shape, part, weight[variant], bias[variant])
                by_found = gradient(found.unflatten(1, (-1, tokens)), rows).flatten(1, 2)
                by_bias[variant] += by_found.sum(dim=1)
                product = torch.bmm(part.transpose(1, 2), _aligned(by_found))
                by_weight[variant] += product[..., : self.shape.outputs]
        if self.shape.normalised:
            self._unfold()
        self._update(rates.unsqueeze(-1))

    def _normalise(self, x: torch.Tensor) -> torch.Tensor:
        """Embeddings by mean and variance of the batch, which the running ones learn from."""
        flat = x.flatten(1, 2)
        count = flat.shape[1]
        # an input at a time, so that a sum does not depend on what lies beside it
        both = [torch.var_mean(one, dim=0, correction=0) for one in flat]
        var, mean = (torch.stack(part).unsqueeze(1) for part in zip(*both, strict=True))
        states = self.states
        states.mean.lerp_(mean.expand_as(states.mean), NORM_MOMENTUM)
        states.var.lerp_((var * (count / (count - 1))).expand_as(states.var), NORM_MOMENTUM)
        return (x - mean.unsqueeze(1)) * torch.rsqrt(var + NORM_EPS).unsqueeze(1)

    def _unfold(self) -> None:
        """Gradients by the folded weights to those by weights, scale and shift."""
        weight, _, scale, shift = parts(self.shape, self.states.theta)
        by_weight, by_bias, by_scale, by_shift = parts(self.shape, self._grad)
        by_scale.copy_((by_weight * weight).sum(dim=-1))
        by_shift.copy_((weight * by_bias.unsqueeze(-2)).sum(dim=-1))
        by_weight.mul_(scale.unsqueeze(-1)).add_(shift.unsqueeze(-1) * by_bias.unsqueeze(-2))

    def _update(self, rates: torch.Tensor) -> None:
        """AdamW, each rate for its own heads."""
        self._steps += 1
        grad, (one, two) = self._grad, BETAS
        theta = self.states.theta
        theta.mul_(1 - rates * self.decay)
        self._first.lerp_(grad, 1 - one)
        self._second.mul_(two).addcmul_(grad, grad, value=1 - two)
        below = self._second.sqrt().div_(math.sqrt(1 - two**self._steps)).add_(ADAM_EPS)
        theta.sub_(self._first.div(below).mul_(rates / (1 - one**self._steps)))


def logits(shape: HeadShape, states: HeadStates, variant: int, x: torch.Tensor) -> torch.Tensor:
    """(R, n, T, O) of embeddings (n, T, D) of one input, with the running normalisation.

    All rates of the input have to have the same running mean and variance.
    """
    tokens, rates = x.shape[1], states.theta.shape[1]
    if shape.normalised:
        x = (x - states.mean[variant, 0]) * torch.rsqrt(states.var[variant, 0] + NORM_EPS)
    weight, bias = folded(shape, states.theta[variant : variant + 1])
    part = x.flatten(0, 1).clone().expand(rates, -1, -1)
    return _apply(shape, part, weight[0], bias[0]).unflatten(1, (-1, tokens))


def parts(shape: HeadShape, theta: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Views of weights (V, R, D, O), biases (V, R, O), and if there are, scale, shift (V, R, D)."""
    sizes = [shape.size * shape.outputs, shape.outputs]
    if shape.normalised:
        sizes += [shape.size, shape.size]
    weight, *others = theta.split(sizes, dim=-1)
    return weight.unflatten(-1, (shape.size, shape.outputs)), *others


def folded(shape: HeadShape, theta: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights and biases with the normalisation's scale and shift in them, aligned."""
    weight, bias, *norm = parts(shape, theta)
    if norm:
        scale, shift = norm
        bias = bias + (weight * shift.unsqueeze(-1)).sum(dim=-2)
        weight = weight * scale.unsqueeze(-1)
    return _aligned(weight), _aligned(bias)


def _apply(
    shape: HeadShape, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor
) -> torch.Tensor:
    """(R, M, O) of embeddings (R, M, D)."""
    return torch.baddbmm(bias.unsqueeze(1), x, weight)[..., : shape.outputs]


def _aligned(matrices: torch.Tensor) -> torch.Tensor:
    """A copy whose last axis is filled up with zeros to whole lines of memory."""
    lacking = -matrices.shape[-1] % _LINE
    return torch.nn.functional.pad(matrices, (0, lacking)) if lacking else matrices.contiguous()
