"""What a synthetic toss costs a device, on a small batch."""

import numpy as np
import pytest

from experiments.tosses_alpha import episode_cost
from experiments.recordings.problems import CUBE
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
    made = {"versions": {}, "date": "", "cpu": "", "devices": ["a device"], "commit": "c"}
    text = episode_cost.page({"command": "", "provenance": {"a device": made}, "rows": [row]})
    line = next(line for line in text.splitlines() if line.startswith("| cube_toss"))
    assert "| 50 | 20 | 16.4× |" in line
    assert line.endswith("| – | – | 30 |" if energy is None else "| 12.5 | 12 | 30 |")
    assert ("NOT FINITE" in line) == (energy is not None)


def test_the_energy_counter_does_not_run_backwards() -> None:
    first, then = runtime.energy_joules(), runtime.energy_joules()
    assert first is then is None or (first is not None and then is not None and then >= first > 0)
