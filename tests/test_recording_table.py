"""The table's own parts: C rollouts of windows, the Markdown, the figures."""

import json
from pathlib import Path

import numpy as np
import pytest

from experiments import recording_figures
from experiments.problems import ELBOW, PROBLEMS
from experiments.recording_table import _measured, horizons, markdown, predict_in_c
from worldmodel.episodes.protocol import split
from worldmodel.episodes.recordings import load
from worldmodel.physics import parameters
from worldmodel.predict import Windows, cut_windows, episode_errors
from worldmodel.scene import load_scene


def test_c_predicts_each_window_from_its_own_start() -> None:
    scene = load_scene(
        "<mujoco><worldbody><body><freejoint/><geom size='.1'/></body></worldbody></mujoco>",
        control_hz=100.0,
        substeps=4,
    )
    qpos = np.array([[0, 0, 1.0, 1, 0, 0, 0], [0, 0, 5.0, 1, 0, 0, 0]])
    qvel = np.array([[0, 0, 1.0, 0, 0, 0], [2.0, 0, 0, 0, 0, 0]])
    windows = Windows(
        qpos, qvel, np.zeros((2, 3, 0)), np.zeros((2, 3, 7)), np.ones((2, 3), bool), np.arange(2)
    )
    out = predict_in_c(scene.mj_model, 4, windows)
    t = 0.01 * np.arange(1, 4)
    np.testing.assert_allclose(out[0, :, 2], 1 + t - 4.905 * t**2, atol=1e-3)
    np.testing.assert_allclose(out[1, :, 0], 2 * t, rtol=1e-12)


@pytest.mark.parametrize("problem", PROBLEMS.values(), ids=list(PROBLEMS))
def test_every_problem_is_well_posed(problem) -> None:
    scene = problem.scene()
    parameters.check(scene, problem.free)
    assert scene.name == problem.recording.name
    model = scene.mj_model
    sizes = (problem.recording.nq, problem.recording.nv, problem.recording.nu)
    assert (model.nq, model.nv, model.nu) == sizes
    assert next(iter(horizons(problem).values())) == problem.recording.horizon


def test_published_baseline_of_the_elbow_is_reproduced(recordings: Path) -> None:
    """4.96 mm / 6.61° / 5.41° over 441 tosses at 16 frames, here on every tenth of them."""
    episodes = load(recordings / "elbow_toss.npz", ELBOW.recording)[::10]
    starts = [np.arange(8, len(e.qpos) - 16, 8) for e in episodes]
    windows = cut_windows(episodes, starts, 16)
    hz = ELBOW.recording.control_hz
    scene = load_scene(ELBOW.mjcf, control_hz=hz, substeps=ELBOW.source_substeps)
    predicted = predict_in_c(scene.mj_model, scene.substeps, windows)
    error = episode_errors(predicted, windows, ELBOW.recording.channels).mean(0)
    # A tenth of the tosses: the mean of the rest lies within three standard errors.
    np.testing.assert_allclose(error, [4.96e-3, np.radians(6.61), np.radians(5.41)], rtol=0.25)
    assert {split(e.id) for e in episodes} <= {"train", "validation", "test"}


def table() -> dict:
    generator = np.random.default_rng(0)
    source = generator.lognormal(-5, 0.3, size=(12, 3))
    rows = {"default": 2 * source, "sources": source, "start": source}
    for k in range(2):
        rows |= {f"fitted {k}": 0.8 * source, f"exported {k}": 0.82 * source}
    part = _measured(rows, 2) | {"episodes": 12, "windows": 40, "skipped": 1}
    provenance = {"commit": "abc", "date": "d", "cpu": "c", "cores": 2, "versions": {"jax": "1"}}
    row = {"u": [[0.1, 0.2], [0.2, 0.4]], "start": [1.0, 2.0], "values": [[1.1, 2.1]] * 2}
    return {
        "recording": "elbow_toss",
        "split": "test",
        "horizons": {"16 frames": part},
        "parameters": {"link1.com": row},
        "provenance": provenance,
        "fits": [{"provenance": {"commit": "def"}}],
        "command": "python -m experiments.recording_table",
    }


def test_markdown_says_what_the_json_says() -> None:
    content = json.loads(json.dumps(table()))
    text = markdown(content)
    ratio = content["horizons"]["16 frames"]["fitted / sources"]["position_m"]
    assert ratio["ratio"] == pytest.approx(0.8)
    assert f"**{ratio['ratio']:.3f}** [{ratio['low']:.3f}, {ratio['high']:.3f}]" in text
    assert "12 episodes, 40 windows, 1 skipped" in text
    assert "commit abc" in text and "fits at commit def" in text


def test_parameter_figure_is_written(tmp_path: Path) -> None:
    recording_figures.parameter_intervals(table(), tmp_path)
    assert (tmp_path / "parameters.png").stat().st_size > 5_000
