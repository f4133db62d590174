"""What a training ran on and how busy that was; nothing is said that was not measured."""

import time
from collections.abc import Mapping, Sequence

import pynvml
import torch

from geofm_assets.training.layout import Layout

Hardware = dict[str, str | int | float | None]
_EVERY_S = 1.0  # NVML averages over at most the last second


class UtilizationMeter:
    """Share of time in which a GPU computed, from NVML, sampled between steps.

    Args:
        device: whose; a CPU is never asked.
    """

    def __init__(self, device: torch.device | None = None) -> None:
        self._device = device if device is not None and device.type == "cuda" else None
        self._samples: list[float] = []
        self._next = time.monotonic() + _EVERY_S

    def sample(self) -> None:
        """Ask, if the last time is long enough ago."""
        if self._device is None or time.monotonic() < self._next:
            return
        self._next = time.monotonic() + _EVERY_S
        try:
            self._samples.append(torch.cuda.utilization(self._device) / 100)
        except (pynvml.NVMLError, RuntimeError):  # a part of a GPU (MIG) has no such figure
            self._device = None

    def mean(self) -> float | None:
        """Mean of the samples, 0 to 1; None if there is none."""
        return sum(self._samples) / len(self._samples) if self._samples else None


def hardware(found: Layout, precision: str, history: Sequence[Mapping[str, float]]) -> Hardware:
    """What a training ran on.

    Args:
        found: its processes.
        precision: Lightning's name of it.
        history: a row an epoch.

    Returns:
        `accelerator` (name of the GPU, or `cpu`), `devices` (processes a machine), `nodes`,
        `precision`, `samples_per_s` (windows learned from a second, over all epochs) and, on
        GPUs, `gpu_utilization` (0 to 1, mean of epochs; None if NVML gave none).
    """
    seconds = sum(float(row["seconds"]) for row in history)
    samples = sum(float(row["samples_per_s"]) * float(row["seconds"]) for row in history)
    said: Hardware = {
        "accelerator": torch.cuda.get_device_name() if found.gpu else "cpu",
        "devices": found.devices,
        "nodes": found.nodes,
        "precision": precision,
        "samples_per_s": samples / seconds,
    }
    if found.gpu:
        busy = [float(row["gpu_utilization"]) for row in history if "gpu_utilization" in row]
        said["gpu_utilization"] = sum(busy) / len(busy) if busy else None
    return said
