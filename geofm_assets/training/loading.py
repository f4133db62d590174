"""In which order windows are read: the same for the same seed, whatever was interrupted."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch.distributed
from torch.utils.data import BatchSampler, DataLoader, Sampler

from geofm_assets.training.config import TrainingConfig
from geofm_assets.training.data import Example, WindowDataset, collate


class EpochSampler(Sampler[tuple[int, int]]):
    """A new order every epoch, drawn from seed and epoch alone.

    A run that resumes at epoch 7 sees the order it would have seen without the break. With
    several processes each takes every n-th row of the common order.

    Args:
        rows: which rows to draw from.
        seed: of the order.
    """

    def __init__(self, rows: Sequence[int], seed: int) -> None:
        self.rows, self.seed, self.epoch = np.asarray(rows, dtype=np.int64), seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before each epoch."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[tuple[int, int]]:
        rank, processes = _place()
        order = np.random.default_rng([self.seed, self.epoch]).permutation(self.rows)
        padded = np.resize(order, len(self) * processes)  # repeats the first rows
        for row in padded[rank::processes].tolist():
            yield self.epoch, row

    def __len__(self) -> int:
        return -(-len(self.rows) // _place()[1])


def _place() -> tuple[int, int]:
    """This process's rank and how many there are."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1


def loaders(
    dataset: WindowDataset, train: Sequence[int], val: Sequence[int], config: TrainingConfig
) -> tuple["DataLoader[Example]", "DataLoader[Example]"]:
    """Loader of the training rows in a new order every epoch, and of all validation rows.

    Args:
        dataset: with augmentation, which validation rows escape (they come without an epoch).
        train: rows to learn from.
        val: rows to validate on.
        config: batch size, seed and workers.
    """
    order: Any = EpochSampler(train, config.seed)  # torch types batches as lists of int only
    batches = BatchSampler(order, config.batch_size, drop_last=False)
    workers = config.num_workers
    shared: dict[str, Any] = {"num_workers": workers, "collate_fn": collate}
    shared["persistent_workers"] = workers > 0  # they keep what they have opened and verified
    learn = DataLoader(dataset, batch_sampler=batches, **shared)
    check = DataLoader(dataset, sampler=list(val), batch_size=config.batch_size, **shared)
    return learn, check
