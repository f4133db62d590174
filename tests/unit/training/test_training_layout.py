"""On which processes a training runs."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from geofm_assets.core.errors import ConfigError
from geofm_assets.training import hardware
from geofm_assets.training.config import TrainingConfig
from geofm_assets.training.hardware import UtilizationMeter
from geofm_assets.training.layout import Layout, in_bfloat16, is_first, layout

LAUNCHED = {
    "RANK": "1",
    "WORLD_SIZE": "4",
    "LOCAL_RANK": "1",
    "MASTER_ADDR": "10.0.0.7",
    "MASTER_PORT": "29500",
}


def config(**values):
    return TrainingConfig(accelerator="cpu", **values)


def test_one_process_unless_told_otherwise():
    found = layout(config(), {})
    assert found == Layout(gpu=False, devices=1, nodes=1, launched=False)
    assert not found.spawns


def test_processes_of_one_machine_are_spawned():
    assert layout(config(devices=3), {}).spawns


@pytest.mark.parametrize("devices", ["auto", 2])
def test_launched_processes_are_shared_out_over_machines(devices):
    found = layout(config(devices=devices, nodes=2), LAUNCHED)
    assert (found.devices, found.nodes, found.processes, found.spawns) == (2, 2, 4, False)


@pytest.mark.parametrize("values", [{"nodes": 3}, {"nodes": 2, "devices": 1}])
def test_launcher_must_start_what_the_task_says(values):
    with pytest.raises(ConfigError, match=r"started 4 processes; training.nodes is \d"):
        layout(config(**values), LAUNCHED)


def test_several_machines_need_a_launcher():
    with pytest.raises(ConfigError, match=r"training.nodes is 2, but no launcher.*MASTER_ADDR"):
        layout(config(nodes=2), {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0"})


def test_every_process_needs_a_window():
    with pytest.raises(ConfigError, match="batch_size is 2, fewer than 3 processes"):
        layout(config(devices=3, batch_size=2), {})


def test_more_devices_than_gpus_are_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert layout(TrainingConfig(), {}) == Layout(True, 2, 1, launched=False)
    with pytest.raises(ConfigError, match=r"training.devices is 4, but 2 GPUs are visible"):
        layout(TrainingConfig(devices=4), {})


@pytest.mark.parametrize(("rank", "first"), [("0", True), ("1", False)])
def test_first_process_writes(monkeypatch, rank, first):
    for name, value in (LAUNCHED | {"RANK": rank}).items():
        monkeypatch.setenv(name, value)
    assert is_first() is first


def test_precision_follows_the_accelerator_unless_named():
    assert not in_bfloat16("cpu", "auto")
    assert in_bfloat16("cpu", "bf16-mixed")
    assert not in_bfloat16("auto", "32-true")


@given(st.integers(1, 8), st.integers(1, 8))
def test_where_it_runs_is_no_part_of_what_is_trained(devices, nodes):
    assert config(devices=devices, nodes=nodes).model_dump() == config().model_dump()


def test_only_a_precision_that_was_chosen_is_kept():
    assert "precision" not in config().model_dump()
    assert config(precision="32-true").model_dump()["precision"] == "32-true"


def test_a_cpu_has_no_utilization():
    meter = UtilizationMeter(torch.device("cpu"))
    meter.sample()
    assert meter.mean() is None
    rows = [{"seconds": 2.0, "samples_per_s": 5.0}, {"seconds": 1.0, "samples_per_s": 20.0}]
    said = hardware.hardware(Layout(False, 2, 1, launched=False), "32-true", rows)
    assert said == {
        "accelerator": "cpu",
        "devices": 2,
        "nodes": 1,
        "precision": "32-true",
        "samples_per_s": 10.0,
    }
