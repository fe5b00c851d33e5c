"""The table of a recording: C rollouts, ratios with intervals, text and figures."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.recordings import physics_figures
from experiments.recordings.film import pyplot
from experiments.recordings.physics_statistics import (
    compare,
    error_curves,
    film,
    headline,
    horizon_table,
    markdown,
    ratio_t_interval,
)
from experiments.recordings.physics_table import Args, command, compile_in_c, predict_in_c
from experiments.recordings.problems import CUBE, PENDULUM, Problem
from worldmodel.episodes.errors import GROUPS, Angle, Channels
from worldmodel.episodes.windows import Windows, cut_windows
from worldmodel.errors import InputError
from worldmodel.physics.parameters import KINDS
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


def test_a_diverging_simulation_is_refused_not_started_again() -> None:
    # An explicit spring far beyond its stable step.
    text = SLIDE.replace('name="x"', 'name="x" stiffness="1e9"')
    qpos = np.full((40, 1), 0.1)
    windows = windows_of(qpos, np.zeros((40, 1)), 39, [0])
    with pytest.raises(InputError, match="diverged in C MuJoCo"):
        predict_in_c(compile_in_c(text, 1 / HZ), 1, windows)


def test_c_gets_solver_limits_it_converges_with() -> None:
    model = compile_in_c(CUBE.mjcf, 1e-3)
    assert model.opt.iterations >= 100 and model.opt.ls_iterations >= 50
    assert model.opt.timestep == 1e-3


def test_a_constant_ratio_has_an_interval_of_no_width() -> None:
    reference = np.array([1.0, 2.0, 5.0])
    ratio = compare(np.stack([0.7 * reference, 0.9 * reference]), reference)
    np.testing.assert_allclose([ratio["ratio"], *ratio["bootstrap"], *ratio["t"]], 0.8)
    np.testing.assert_allclose(ratio["seeds"], [0.7, 0.9])


def test_the_t_interval_of_a_ratio_covers() -> None:
    """8 episodes, 2 000 repetitions: the share that covers lies within 95 ± 2 %."""
    generator = np.random.default_rng(0)
    reference = generator.normal(1.0, 0.1, size=(8, 2000))
    error = 0.8 * reference + generator.normal(0.0, 0.05, size=(8, 2000))
    _, low, high = ratio_t_interval(error, reference)
    assert abs(np.mean((low < 0.8) & (high > 0.8)) - 0.95) < 0.02


def synthetic(problem: Problem, tmp: Path) -> dict[str, Any]:
    """A table of made-up predictions: 4 episodes, 2 seeds, the fits half as wrong."""
    channels = problem.channels(problem.scene())
    generator = np.random.default_rng(1)
    horizon, frames = 12, 30
    model = problem.model()
    flies = model.nq != model.nv
    base = np.zeros(model.nq)
    if flies:
        base[[2, 3]] = 0.1, 1.0
    episodes = [
        Episode.regular(
            i,
            problem.control_hz,
            qpos=np.tile(base, (frames, 1)),
            qvel=np.zeros((frames, model.nv)),
            ctrl=np.zeros((frames, model.nu)),
        )
        for i in range(4)
    ]
    windows = cut_windows(episodes, [np.array([0, 8])] * 4, horizon)
    drift = 1e-3 * np.arange(1, horizon + 1)[:, None] * generator.uniform(1, 2, (8, 1, 1))
    target = np.asarray(windows.target)
    amounts = {"default": 4, "sources": 2, "sources_scene": 2, "fitted0": 1, "fitted3": 1}
    predicted = {m: target.copy() for m in amounts}
    for model, amount in amounts.items():
        predicted[model][..., 0] += amount * drift[..., 0]
        if flies:
            half = 0.5 * amount * drift[..., 0]
            predicted[model][..., 3], predicted[model][..., 4] = np.cos(half), np.sin(half)
    seeds = [0, 3]
    part = horizon_table(predicted, windows, channels, seeds)
    part |= {"frames": horizon, "seconds": horizon / problem.control_hz, "skipped": 1}
    body = "cube" if flies else "link1"
    return {
        "recording": problem.name,
        "split": "test",
        "control_hz": problem.control_hz,
        "command": command(Args(problem.name, (Path("a"), Path("b")), tmp)),
        "data_sha256": "0" * 64,
        "substeps": {"sources": 4, "fitted": 2},
        "fits": [{"seed": s, "validation": 0.5} for s in seeds],
        "provenance": {
            "commit": "abc",
            "date": "2000-01-01",
            "cpu": "a cpu",
            "cores": 2,
            "versions": {"jax": "1"},
        },
        "parameters": [
            {"element": body, "kind": kind, "index": i, "u": [0.5, 1.0], "source": 1.0}
            | {"values": [1.1, 1.2]}
            for kind in KINDS
            for i in range(len(KINDS[kind].width))
        ],
        "horizons": [part],
        "curves": error_curves(predicted, windows, channels, seeds),
        "film": film(predicted, windows, episodes, channels, 0, problem.control_hz),
    }


@pytest.mark.parametrize("problem", [CUBE, PENDULUM], ids=lambda p: p.name)
def test_text_and_figures_come_from_the_table_alone(problem: Any, tmp_path: Path) -> None:
    table = json.loads(json.dumps(synthetic(problem, tmp_path)))
    text = markdown(table)
    assert "4 episodes, 8 windows, 1 skipped" in text
    channels = sum(group in table["curves"] for group in GROUPS)
    assert text.count("**0.500** [0.500, 0.500]") == 2 * channels  # both rows of the sources
    assert text.count("**0.250** [0.250, 0.250]") == channels
    assert ("joints" in text) == (problem is PENDULUM)
    paths = physics_figures.draw(table, problem.mjcf, tmp_path)
    assert {p.name for p in paths} == {"parameters.png", "film_strip.png", "error_vs_horizon.png"}
    for path in paths:
        assert path.read_bytes()[:4] == b"\x89PNG"
        assert 5_000 < path.stat().st_size < 400_000
    figure = physics_figures.curves_figure(table)
    assert len(figure.axes) == 2 * channels
    pyplot.close(figure)


def test_the_headline_has_ratio_and_interval(tmp_path: Path) -> None:
    line = headline(synthetic(PENDULUM, tmp_path), tmp_path)
    assert line["interval"] == "t"
    np.testing.assert_allclose(line["over_sources"]["joint_rad"], 0.5, atol=1e-4)


def test_the_film_takes_the_lower_median_window() -> None:
    channels = Channels(joints=(Angle("hinge", 0),))
    windows = windows_of(np.zeros((9, 1)), np.zeros((9, 0)), 4, [0, 1, 2, 3])
    error = np.array([4.0, 1.0, 2.0, 3.0])[:, None, None] * 0.01
    predicted = {"fitted5": np.tile(error, (1, 4, 1)), "sources": np.full((4, 4, 1), 0.05)}
    rows = np.zeros((9, 1))
    episodes = [Episode.regular("e", HZ, qpos=rows, qvel=rows, ctrl=rows)]
    shown = film(predicted, windows, episodes, channels, 5, HZ)
    assert shown["episode"] == "e"
    np.testing.assert_allclose(shown["error"]["joint_rad"], 0.02)
    np.testing.assert_allclose(np.array(shown["fitted"])[[0, -1], 0], [0.0, 0.02])


def test_the_command_names_no_folder_of_this_machine(monkeypatch: Any, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    outside = tmp_path.parent / "elsewhere" / "runs" / "seed0"
    text = command(Args("cube_toss", (outside, Path("runs/seed1")), tmp_path / "out"))
    assert text.endswith("--recording cube_toss --fits runs/seed0 runs/seed1 --out out")
