"""The table of a recording: rollouts in C, and the files that are written from predictions."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.recordings import source
from experiments.recordings.fitted import Fitted
from experiments.recordings.physics_table import PAIRS, STYLES, compile_in_c, predict_in_c
from experiments.recordings.problems import CUBE, PENDULUM, Problem
from experiments.recordings.tables import headline, publish
from worldmodel.episodes.windows import Windows, cut_windows
from worldmodel.model import WorldModel
from worldmodel.types import Episode

BALL = """<mujoco><worldbody><body pos="0 0 1"><freejoint/><geom size=".1"/></body>
</worldbody></mujoco>"""
SLIDE = """<mujoco><option gravity="0 0 0"/><worldbody><body><joint name="x" type="slide"
axis="1 0 0"/><geom size=".1" mass="2"/></body></worldbody>
<actuator><motor joint="x"/></actuator></mujoco>"""
HZ = 100.0


def windows_of(qpos: np.ndarray, ctrl: np.ndarray, horizon: int, starts: list[int]) -> Windows:
    """Windows of one motionless episode."""
    frames = len(qpos)
    nv = 6 if qpos.shape[1] == 7 else qpos.shape[1]
    episode = Episode.regular(0, HZ, qpos=qpos, qvel=np.zeros((frames, nv)), ctrl=ctrl)
    return cut_windows([episode], [np.array(starts)], horizon)


def test_free_fall_in_c_is_semi_implicit_euler_past_the_episodes_end() -> None:
    qpos = np.tile([0.0, 0, 1, 1, 0, 0, 0], (6, 1))
    windows = windows_of(qpos, np.zeros((6, 0)), 8, [0, 2])
    assert not np.asarray(windows.scored).all()
    substeps = 4
    model = compile_in_c(BALL, 1 / (HZ * substeps))
    predicted = predict_in_c(model, substeps, windows)
    n = substeps * np.arange(1, 9)
    fallen = 9.81 * n * (n + 1) / 2 / (HZ * substeps) ** 2
    assert predicted.shape == (2, 8, 7)
    np.testing.assert_allclose(predicted[..., 2], 1 - np.tile(fallen, (2, 1)), rtol=1e-12)


def test_controls_are_held_per_frame_and_windows_start_afresh() -> None:
    ctrl = np.zeros((5, 1))
    ctrl[0] = 3.0
    windows = windows_of(np.zeros((5, 1)), ctrl, 2, [0, 1])
    predicted = predict_in_c(compile_in_c(SLIDE, 1 / (HZ * 2)), 2, windows)
    # Two substeps at 1.5 m/s² reach v = 2aδ and x = 3aδ², then two more at that speed: 7aδ².
    a, delta = 1.5, 1 / (2 * HZ)
    np.testing.assert_allclose(predicted[0, :, 0], [3 * a * delta**2, 7 * a * delta**2])
    assert (predicted[1] == 0).all()


def test_a_diverging_simulation_is_not_started_again() -> None:
    # An explicit spring far beyond its stable step.
    text = SLIDE.replace('name="x"', 'name="x" stiffness="1e9"')
    windows = windows_of(np.full((40, 1), 0.1), np.zeros((40, 1)), 39, [0])
    predicted = predict_in_c(compile_in_c(text, 1 / HZ), 1, windows)
    assert not np.isfinite(predicted[0, -1]).any()


def test_c_gets_solver_limits_it_converges_with() -> None:
    model = compile_in_c(CUBE.mjcf, 1e-3)
    assert model.opt.iterations >= 100 and model.opt.ls_iterations >= 50
    assert model.opt.timestep == 1e-3


@pytest.mark.parametrize("problem", [CUBE, PENDULUM], ids=lambda p: p.name)
def test_a_table_has_every_horizon_and_model(
    problem: Problem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Made-up predictions: the fits are wrong by half as much as the sources."""
    model = problem.model()
    qpos = np.tile(model.qpos0, (320, 1))
    rows = {"qpos": qpos, "qvel": np.zeros((320, model.nv)), "ctrl": np.zeros((320, model.nu))}
    episodes = [Episode.regular(i, problem.control_hz, **rows) for i in range(4)]
    monkeypatch.setattr(source, "split", lambda _: "test")
    recording = source.Recording(problem, False, "sha", episodes)
    world = WorldModel(problem.scene(), problem.free)
    fitted = Fitted(problem, world, {}, {"settings": {"data": "d"}})
    flies = problem is CUBE
    amounts = {"default": 4, "sources": 2, "sources_scene": 2, "fitted": 1, "exported": 1}

    def predict(windows: Windows, ids: Any) -> dict[str, dict[int, np.ndarray]]:
        assert ids == [0, 1, 2, 3]
        horizon = windows.target.shape[1]
        drift = 1e-4 * (1 + np.asarray(windows.episode)[:, None]) * np.arange(1, horizon + 1)
        predicted = {}
        for name, amount in amounts.items():
            moved = np.array(windows.target, float)
            moved[..., 0] += amount * drift
            if flies:
                half = amount * drift
                moved[..., 3], moved[..., 4] = np.cos(half), np.sin(half)
            predicted[name] = {seed: moved for seed in (0, 3)}
        return predicted

    table = publish(
        tmp_path, recording, "test", fitted, predict, lambda _: PAIRS, STYLES, best_seed=0
    )
    assert table == json.loads((tmp_path / "table.json").read_text())
    horizons = [16, 80, None] if flies else [100, 200]
    assert [row["frames"] for row in table["rows"][:: len(amounts)]] == horizons
    channel = "position_m" if flies else "joint_rad"
    for row in table["rows"]:
        if row["model"] == "fitted":
            assert row["over"]["sources"][channel]["ratio"] == pytest.approx(0.5)
            assert row["over"]["default"][channel]["ratio"] == pytest.approx(0.25)
    own = headline(table, "sources", ["fitted"])
    np.testing.assert_allclose(own["over_sources"]["fitted"][channel], 0.5, atol=1e-3)
    text = (tmp_path / "table.md").read_text()
    assert text.count("0.500 [0.500, 0.500]") >= len(horizons)
    assert ("joints" in text) == (problem is PENDULUM)
    assert (tmp_path / "figure.png").read_bytes()[:4] == b"\x89PNG"
    few = dataclasses.replace(problem.windows, horizon=table["rows"][0]["frames"])
    assert table["rows"][0]["windows"] == len(few.cut(episodes)[0])
