"""What the processes of one training tell each other; a lone process talks to itself."""

from typing import Any, TypeVar

import torch
import torch.distributed as dist

T = TypeVar("T")


def place() -> tuple[int, int]:
    """This process's rank and how many there are."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def gathered(value: T) -> list[T]:
    """Every process's value, in the order of ranks; all processes have to ask."""
    processes = place()[1]
    if processes == 1:
        return [value]
    values: list[T | None] = [None] * processes
    dist.all_gather_object(values, value)
    return values  # type: ignore[return-value]


def from_first(value: T) -> T:
    """The first process's value; all processes have to ask."""
    if place()[1] == 1:
        return value
    shared = [value]
    dist.broadcast_object_list(shared, src=0)
    return shared[0]


def summed(tensor: torch.Tensor) -> torch.Tensor:
    """The sum over processes, through which gradients flow; all processes have to ask."""
    total: torch.Tensor = tensor if place()[1] == 1 else _Sum.apply(tensor)
    return total


class _Sum(torch.autograd.Function):
    """What every process adds counts in all their losses, so gradients are summed alike."""

    @staticmethod
    def forward(ctx: Any, tensor: torch.Tensor) -> torch.Tensor:
        total = tensor.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> torch.Tensor:
        return summed(gradients[0])


def shared_batch_norm(norm: torch.nn.BatchNorm2d, features: torch.Tensor) -> torch.Tensor:
    """Batch normalisation over the windows of all processes, as one process would do it.

    torch's SyncBatchNorm does so on GPUs only, and not where a process has no window.

    Args:
        norm: in training mode; its running statistics are updated.
        features: (B, D, H, W) float32; B may be 0, and differ between processes.
    """
    mine = features.double()
    count = mine.new_full((1,), features.numel() / features.shape[1])
    parts = [mine.sum(dim=(0, 2, 3)), mine.square().sum(dim=(0, 2, 3)), count]
    # The weight's gradient, and with it the one bucket of all gradients, waits for the backward
    # pass of this sum on every process; otherwise their messages could cross.
    sums = summed(torch.cat(parts) + 0 * norm.weight.double().sum())
    squares, n = sums[features.shape[1] : -1], float(sums[-1].detach())
    if n < 2:  # a lone token has no variance and takes the running one
        return torch.nn.functional.batch_norm(
            features, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps
        )
    mean = sums[: features.shape[1]] / n
    variance = (squares / n - mean.square()).clamp(min=0)
    with torch.no_grad():
        assert norm.running_mean is not None
        assert norm.running_var is not None
        assert norm.num_batches_tracked is not None
        assert norm.momentum is not None
        norm.num_batches_tracked += 1
        norm.running_mean.lerp_(mean.float(), norm.momentum)
        norm.running_var.lerp_((variance * n / (n - 1)).float(), norm.momentum)
    scale = norm.weight * (variance + norm.eps).rsqrt().float()
    shift = norm.bias - mean.float() * scale
    return features * scale[:, None, None] + shift[:, None, None]
