"""In which order windows are read: the same for the same seed, whatever was interrupted."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from torch.utils.data import BatchSampler, DataLoader, Sampler

from geofm_assets.training.config import TrainingConfig
from geofm_assets.training.data import Example, WindowDataset, collate
from geofm_assets.training.processes import place


class EpochSampler(Sampler[tuple[int, int]]):
    """A new order every epoch, drawn from seed and epoch alone.

    A run that resumes at epoch 7 sees the order it would have seen without the break.

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
        for row in np.random.default_rng([self.seed, self.epoch]).permutation(self.rows).tolist():
            yield self.epoch, row

    def __len__(self) -> int:
        return len(self.rows)


class SharedBatches(Sampler[list[Any]]):
    """This process's part of every batch of an order all processes have in common.

    All take as many steps and together see every row once: torch's DistributedSampler repeats
    rows until they can be shared out evenly. Parts of a batch differ by one row at most, so that
    of a short last batch may be empty.

    Args:
        order: rows, the same on every process.
        batch_size: rows of a batch, of all processes together.
    """

    def __init__(self, order: Any, batch_size: int) -> None:
        self.sampler = order  # Lightning looks for it here to tell it the epoch
        self.batches = BatchSampler(order, batch_size, drop_last=False)

    def __iter__(self) -> Iterator[list[Any]]:
        rank, processes = place()
        for batch in self.batches:
            yield batch[rank::processes]

    def __len__(self) -> int:
        return len(self.batches)


def loaders(
    dataset: WindowDataset, train: Sequence[int], val: Sequence[int], config: TrainingConfig
) -> tuple["DataLoader[Example]", "DataLoader[Example]"]:
    """Loader of the training rows in a new order every epoch, and of all validation rows.

    Args:
        dataset: with augmentation, which validation rows escape (they come without an epoch).
        train: rows to learn from.
        val: rows to validate on.
        config: batch size of all processes together, seed and workers.
    """
    learned = SharedBatches(EpochSampler(train, config.seed), config.batch_size)
    checked = SharedBatches(list(val), config.batch_size)
    workers = config.num_workers
    shared: dict[str, Any] = {"num_workers": workers, "collate_fn": collate}
    shared["persistent_workers"] = workers > 0  # they keep what they have opened and verified
    learn = DataLoader(dataset, batch_sampler=learned, **shared)
    return learn, DataLoader(dataset, batch_sampler=checked, **shared)
