"""What a synthetic toss costs a device: its page, its starts, the energy counter."""

import ctypes
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from experiments.recordings.problems import CUBE
from experiments.tosses_alpha import episode_cost
from worldmodel import runtime


def test_starts_are_unit_turns_above_the_table() -> None:
    qpos, qvel = episode_cost.starts(CUBE, 64)
    assert qpos.shape == (64, 7) and qvel.shape == (64, 6)
    np.testing.assert_allclose(np.linalg.norm(qpos[:, 3:7], axis=1), 1.0)
    assert (qpos[:, 2] > 0.09).all()  # the cube's half diagonal: nothing begins in the table


@pytest.mark.parametrize("energy", [None, 12.5])
def test_the_page_says_what_was_not_counted(energy: float | None) -> None:
    row = {
        "recording": "cube_toss",
        "batch": 64,
        "frames": 121,
        "seconds_of_motion": 121 / 148,
        "episodes": 640,
        "finite": energy is None,
        "first_batch_s": 30.0,
        "episode_seconds": 0.05,
        "energy_joules": energy,
        "idle_watts": energy,
        "dtype": "float32",
        "device": "a device",
    }
    provenance = {"versions": {}, "date": "", "cpu": "", "devices": ["a device"], "commit": "c"}
    text = episode_cost.page({"command": "", "provenance": {"a device": provenance}, "rows": [row]})
    line = next(line for line in text.splitlines() if line.startswith("| cube_toss"))
    assert "| 50 | 20 | 16.4× |" in line
    assert line.endswith("| – | – | 30 |" if energy is None else "| 12.5 | 12 | 30 |")
    assert ("NOT FINITE" in line) == (energy is not None)


def nvml(monkeypatch: pytest.MonkeyPatch, failing: str = "") -> list[int]:
    """Replaces NVIDIA's library: device i has used 1000 i + 500 mJ, ``failing`` fails; the devices
    that were asked for are returned."""
    asked: list[int] = []

    def handle(index: ctypes.c_uint, device: Any) -> int:
        asked.append(index.value)
        device._obj.value = index.value + 1
        return 2 * (failing == "nvmlDeviceGetHandleByIndex_v2")

    def energy(device: ctypes.c_void_p, used: Any) -> int:
        used._obj.value = 1000 * ((device.value or 0) - 1) + 500
        return 3 * (failing == "nvmlDeviceGetTotalEnergyConsumption")

    library = SimpleNamespace(
        nvmlInit_v2=lambda: 1 * (failing == "nvmlInit_v2"),
        nvmlDeviceGetHandleByIndex_v2=handle,
        nvmlDeviceGetTotalEnergyConsumption=energy,
    )
    monkeypatch.setattr(ctypes, "CDLL", {"libnvidia-ml.so.1": library}.__getitem__)
    return asked


@pytest.mark.parametrize(
    ("visible", "device"), [(None, 0), ("", 0), ("3", 3), ("2,0", 2), ("GPU-1f2e", 0)]
)
def test_energy_is_that_of_the_first_visible_gpu_in_joules(
    monkeypatch: pytest.MonkeyPatch, visible: str | None, device: int
) -> None:
    asked = nvml(monkeypatch)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert runtime.energy_joules() == device + 0.5
    assert asked == [device]


@pytest.mark.parametrize(
    "failing",
    ["nvmlInit_v2", "nvmlDeviceGetHandleByIndex_v2", "nvmlDeviceGetTotalEnergyConsumption"],
)
def test_a_failing_energy_counter_gives_none(monkeypatch: pytest.MonkeyPatch, failing: str) -> None:
    nvml(monkeypatch, failing)
    assert runtime.energy_joules() is None


def test_without_nvidias_library_there_is_no_energy(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", absent)
    assert runtime.energy_joules() is None


def test_idle_power_is_energy_over_time(monkeypatch: pytest.MonkeyPatch) -> None:
    readings = iter([10.0, 13.0, 20.0, None, None])
    monkeypatch.setattr(runtime, "energy_joules", lambda: next(readings))
    monkeypatch.setattr(episode_cost.time, "sleep", lambda seconds: None)
    assert episode_cost.power(1.5) == 2.0
    assert episode_cost.power(1.5) is None  # the counter fails at the second reading
    assert episode_cost.power(1.5) is None
