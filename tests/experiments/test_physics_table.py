"""The table of a recording: rollouts in C, and the files that are written from predictions."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from experiments.recordings import source
from experiments.recordings.fitted import Fitted
from experiments.recordings.physics_table import PAIRS, compile_in_c
from experiments.recordings.problems import CUBE, PENDULUM, Problem
from experiments.recordings.tables import headline, publish
from worldmodel.episodes.windows import Windows
from worldmodel.model import WorldModel
from worldmodel.types import Episode


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
    recording = source.Recording(problem, "sha", episodes)
    world = WorldModel(problem.scene(), problem.free)
    fitted = Fitted(tmp_path, problem, world, {}, {"settings": {"data": "d"}})
    flies = problem is CUBE
    amounts = {"default": 4, "sources": 2, "sources_scene": 2, "fitted": 1, "exported": 1}

    def predict(windows: Windows) -> dict[str, dict[int, np.ndarray]]:
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
        tmp_path,
        recording,
        fitted,
        predict,
        PAIRS,
        shorter=(1, 50),
        remark=lambda rows: f"{len(rows)} rows are here.",
        best_seed=0,
    )
    assert table == json.loads((tmp_path / "table.json").read_text())
    horizons = [1, 16, 50, 80, None] if flies else [1, 50, 100, 200]
    assert [row["frames"] for row in table["rows"][:: len(amounts)]] == horizons
    channel = "position_m" if flies else "joint_rad"
    for row in table["rows"]:
        if row["model"] == "fitted":
            assert row["over"]["sources"][channel]["ratio"] == pytest.approx(0.5)
            assert row["over"]["default"][channel]["ratio"] == pytest.approx(0.25)
        if flies and row["model"] == "sources" and row["frames"]:  # 2e-4 · (1 + episode) · frame
            assert row[channel] == pytest.approx(5e-4 * (row["frames"] + 1) / 2)
    own = headline(table, "sources", ["fitted"])
    np.testing.assert_allclose(own["over_sources"]["fitted"][channel], 0.5, atol=1e-3)
    text = (tmp_path / "table.md").read_text()
    assert text.count("0.500 [0.500, 0.500]") >= len(horizons)
    assert ("joints" in text) == (problem is PENDULUM)
    assert f"{len(table['rows'])} rows are here." in text
    few = dataclasses.replace(problem.windows, horizon=horizons[2 - flies])
    assert table["rows"][0]["windows"] == len(few.cut(episodes)[0])
