"""On which processes a training runs: here, on several devices, or on several machines."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import ProcessException, ProcessRaisedException

from geofm_assets.core.environment import restored
from geofm_assets.core.errors import ConfigError, TrainingError
from geofm_assets.training.config import TrainingConfig

# What torchrun tells each process it starts; PyTorch documents them under "torchrun".
LAUNCHER = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
_LEFT_BY_LIGHTNING = ("MASTER_ADDR", "MASTER_PORT")
_JOIN = timedelta(minutes=30)  # pods of one training may wait for different nodes


@dataclass(frozen=True)
class Layout:
    """The processes of a training.

    Attributes:
        gpu: whether each has a GPU.
        devices: processes on this machine.
        nodes: machines.
        launched: whether a launcher has started them; else this process starts those it needs.
    """

    gpu: bool
    devices: int
    nodes: int
    launched: bool

    @property
    def processes(self) -> int:
        """How many there are in all."""
        return self.devices * self.nodes

    @property
    def spawns(self) -> bool:
        """Whether this process starts others, and waits for them."""
        return self.processes > 1 and not self.launched


def on_gpu(accelerator: str) -> bool:
    """Whether a run with this setting uses GPUs."""
    return accelerator == "auto" and torch.cuda.is_available()


def in_bfloat16(accelerator: str, precision: str) -> bool:
    """Whether a run with these settings computes in bfloat16."""
    return precision == "bf16-mixed" or (precision == "auto" and on_gpu(accelerator))


def launched(environment: Mapping[str, str] | None = None) -> bool:
    """Whether a launcher has started this process as one of several."""
    variables = os.environ if environment is None else environment
    return all(variables.get(name) for name in LAUNCHER)


def is_first() -> bool:
    """Whether this process writes the results."""
    return not launched() or int(os.environ["RANK"]) == 0


def layout(config: TrainingConfig, environment: Mapping[str, str] | None = None) -> Layout:
    """Where a training runs.

    Args:
        config: the recipe.
        environment: variables to read instead of the process's own.

    Raises:
        ConfigError: settings, launcher and visible GPUs do not fit together.
    """
    variables = os.environ if environment is None else environment
    gpu = on_gpu(config.accelerator)
    visible = torch.cuda.device_count() if gpu else None
    by_launcher = launched(variables)
    if by_launcher:
        devices = _launched_devices(config, variables)
    elif config.nodes > 1:
        raise ConfigError(
            f"training.nodes is {config.nodes}, but no launcher has started this process: "
            f"{', '.join(n for n in LAUNCHER if not variables.get(n))} is not set",
            where="the environment",
            fix="Start `geofm train` by torchrun on every machine (docs/training.md); "
            "`geofm run` then finds the checkpoint",
        )
    else:
        devices = (visible or 1) if config.devices == "auto" else config.devices
    if visible is not None and devices > visible:
        raise ConfigError(
            f"training.devices is {devices}, but {visible} GPUs are visible",
            where="this machine",
            fix="Lower training.devices, or let the process see more GPUs",
        )
    found = Layout(gpu, devices, config.nodes, by_launcher)
    if found.processes > config.batch_size:
        raise ConfigError(
            f"training.batch_size is {config.batch_size}, fewer than {found.processes} processes",
            where="training.batch_size",
            fix="Raise it, or lower training.devices or training.nodes",
        )
    return found


def _launched_devices(config: TrainingConfig, variables: Mapping[str, str]) -> int:
    """Processes on each machine, as the launcher says and the settings allow."""
    world = int(variables["WORLD_SIZE"])
    devices, rest = divmod(world, config.nodes)
    if rest or config.devices not in ("auto", devices):
        raise ConfigError(
            f"The launcher has started {world} processes; training.nodes is {config.nodes}, "
            f"training.devices {config.devices}",
            where="WORLD_SIZE",
            fix="Start nodes x devices processes, or correct the two settings",
        )
    return devices


@contextmanager
def joined(found: Layout) -> Iterator[None]:
    """Join the processes that a launcher has started; leave them if all went well.

    Where there is no launcher, say in our words what became of processes started here.

    Raises:
        TrainingError: a process started here died or failed.
    """
    if found.launched:
        if found.gpu:
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        dist.init_process_group("nccl" if found.gpu else "gloo", timeout=_JOIN)
        yield
        dist.destroy_process_group()  # after an error the others may never answer
        return
    try:
        with restored(*_LEFT_BY_LIGHTNING):
            yield
    except ProcessException as error:
        failed = isinstance(error, ProcessRaisedException)
        said = str(error).strip().splitlines()[-1]
        raise TrainingError(
            f"Process {error.error_index} of {found.processes} "
            f"{'failed' if failed else 'was killed'}: {said}",
            where="training",
            fix="Start it again: it goes on after its last finished epoch. A process killed for "
            "memory needs a smaller training.batch_size",
        ) from error
