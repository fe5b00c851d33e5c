"""The black box: its windows, its symmetries, what it learns, and its table."""

import dataclasses
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.learned import black_box_table
from experiments.learned.black_box import Config, Data, fit, predict
from experiments.learned.gru import init, stretches
from experiments.recordings.problems import CUBE, PENDULUM
from experiments.recordings.source import Recording
from tests.helpers.command import run
from tests.helpers.doors import door
from tests.helpers.still_episodes import still_episodes
from worldmodel import runtime
from worldmodel.episodes.errors import Channels
from worldmodel.episodes.windows import WindowGrid, cut_windows
from worldmodel.errors import InputError
from worldmodel.types import Episode

DOOR = door()
GRID = WindowGrid(first=2, stride=2, horizon=6)
SMALL = Config(width=6, memory=4, rollout=6, learning_rate=0.03, average=0.8, steps=60, batch=16)


def swinging_doors(count: int) -> list[Episode]:
    """A door whose motor accelerates it and whose hinge brakes it, without physics of ours."""
    generator, episodes = np.random.default_rng(0), []
    for i in range(count):
        ctrl = np.repeat(generator.normal(size=(10, 1)), 4, axis=0)
        qpos, qvel = np.zeros((40, 1)), np.zeros((40, 1))
        for k in range(39):
            qvel[k + 1] = 0.9 * qvel[k] + ctrl[k]
            qpos[k + 1] = qpos[k] + qvel[k + 1] / DOOR.control_hz
        episodes.append(Episode.regular(i, DOOR.control_hz, qpos=qpos, qvel=qvel, ctrl=ctrl))
    return episodes


def doors(episodes: list[Episode]) -> Data:
    channels = Channels.of(DOOR)
    train, validation = episodes[:6], episodes[6:]
    judged = [GRID.cut(validation)[0]]
    return Data(DOOR, channels, train, validation, lambda h: WindowGrid(1, 1, h), judged)


def test_a_stretch_holds_the_past_oldest_first_and_weighs_what_was_measured() -> None:
    (episode,) = still_episodes(PENDULUM, 1, 12)
    qpos = episode.qpos.copy()
    qpos[8, 1] = np.nan
    ctrl = np.arange(12.0)[:, None] * [1.0, 2.0]
    episode = dataclasses.replace(episode, qpos=qpos, ctrl=ctrl, measured=np.isfinite(qpos))
    windows = cut_windows([episode], [np.array([2, 6])], 3)
    rows = stretches(PENDULUM.scene(), [episode], windows, 4)
    np.testing.assert_array_equal(rows.known, [[False, True, True, True], [True] * 4])
    np.testing.assert_array_equal(rows.qpos[..., 0], [[2, 0, 1, 2], [3, 4, 5, 6]])
    np.testing.assert_array_equal(rows.past[..., 0], [[2, 0, 1], [3, 4, 5]])
    np.testing.assert_array_equal(rows.ctrl[..., 1], [[4, 6, 8], [12, 14, 16]])
    assert np.isfinite(rows.target).all() and (rows.weight[0] == 1).all()
    np.testing.assert_array_equal(rows.weight[1], [[1, 1, 1, 1], [1, 0, 1, 1], [1, 1, 1, 1]])


def test_an_untrained_network_keeps_the_velocity() -> None:
    episodes = swinging_doors(2)
    windows, _ = GRID.cut(episodes)
    still = init(DOOR, episodes, 5, jax.random.key(0))
    time = np.arange(1, 7)[:, None] / DOOR.control_hz
    kept = windows.qpos[:, None] + windows.qvel[:, None] * time
    np.testing.assert_allclose(predict(DOOR, still, episodes, windows, 3), kept, atol=1e-6)
    # A bias of the head is one unit of the output, in each step.
    weights = jax.tree.map(jnp.array, still["weights"])
    weights["params"]["Dense_1"]["bias"] = jnp.array([1.0, 0.0])
    pushed = predict(DOOR, still | {"weights": weights}, episodes, windows, 3)
    steps = np.arange(1, 7)[:, None]
    moved = float(still["norm"]["output"][0]) / DOOR.control_hz * steps * (steps + 1) / 2
    np.testing.assert_allclose(pushed - kept, np.broadcast_to(moved, kept.shape), rtol=1e-3)


def test_place_and_heading_do_not_matter() -> None:
    scene, generator = CUBE.scene(), np.random.default_rng(0)
    turn = np.array([np.cos(0.4), 0.0, 0.0, np.sin(0.4)])  # about the vertical
    c, s = np.cos(0.8), np.sin(0.8)
    matrix = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])

    def moved(qpos: np.ndarray) -> np.ndarray:
        q, r = qpos[..., 3:].T, turn
        product = [r[0] * q[0] - r[3] * q[3], r[0] * q[1] - r[3] * q[2]]
        product += [r[0] * q[2] + r[3] * q[1], r[0] * q[3] + r[3] * q[0]]
        place = qpos[..., :3] @ matrix.T + [0.3, -0.2, 0.0]
        return np.concatenate([place, np.stack(product, axis=-1).swapaxes(0, -2)], axis=-1)

    qpos = np.tile(scene.mj_model.qpos0, (6, 1)) + 0.1 * generator.normal(size=(6, 7))
    qpos[:, 3:] /= np.linalg.norm(qpos[:, 3:], axis=1, keepdims=True)
    qvel, ctrl = generator.normal(size=(6, 6)), np.zeros((6, 0))
    here = Episode.regular(0, scene.control_hz, qpos=qpos, qvel=qvel, ctrl=ctrl)
    turned = qvel.copy()
    turned[:, :3] = qvel[:, :3] @ matrix.T
    there = dataclasses.replace(here, qpos=moved(qpos[:, None])[:, 0], qvel=turned)
    parameters = init(scene, [here], 4, jax.random.key(1))
    shape = parameters["weights"]["params"]["Dense_1"]["kernel"].shape
    parameters["weights"]["params"]["Dense_1"]["kernel"] = generator.normal(size=shape)
    one, other = (
        predict(scene, parameters, [e], cut_windows([e], [np.array([2])], 3), 3)
        for e in (here, there)
    )
    assert np.ptp(one[0, :, :3], axis=0).min() > 1e-4
    np.testing.assert_allclose(other[..., :3], moved(one)[..., :3], atol=1e-6)
    cosine = (other[..., 3:] * moved(one)[..., 3:]).sum(axis=-1)
    np.testing.assert_allclose(np.abs(cosine), 1.0, atol=1e-9)


def test_it_learns_what_a_motor_does_and_a_signal_ends_it() -> None:
    data, rows = doors(swinging_doors(8)), []
    parameters, validation = fit(data, SMALL, 0, record=rows.append, stop=lambda: False)
    assert [row["step"] for row in rows] == [50, 60] and rows[0]["rollout"] == 6
    assert validation == min(row["validation"] for row in rows) < 0.5
    windows, _ = GRID.cut(data.validation)
    qpos = predict(DOOR, parameters, data.validation, windows, SMALL.memory)
    kept = windows.qpos[:, None] + windows.qvel[:, None] * np.arange(1, 7)[:, None] / 100.0
    wrong, before = (np.abs(x - windows.target).mean() for x in (qpos, kept))
    assert wrong / before == pytest.approx(validation, rel=1e-3)
    with pytest.raises(runtime.Interrupted, match="step 1"):
        fit(data, SMALL, 0, record=rows.append, stop=lambda: True)


def test_a_table_takes_the_runs_of_its_recording(tmp_path: Path) -> None:
    recording = Recording(PENDULUM, "sha", [])
    result = {"recording": "double_pendulum", "seed": 3, "data": "sha"}
    for name, change in {"a": {}, "b": {"data": "x"}}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "result.json").write_text(json.dumps(result | change))
    assert black_box_table.read_run(tmp_path / "a", recording)["seed"] == 3
    with pytest.raises(InputError, match="another file"):
        black_box_table.read_run(tmp_path / "b", recording)
    with pytest.raises(InputError, match="does not exist"):
        black_box_table.read_run(tmp_path / "c", recording)


@pytest.mark.slow  # quick: the others here
def test_the_commands_fit_and_compare(tmp_path: Path, pendulum: str) -> None:
    command = ["experiments.learned.black_box", "--recording", "double_pendulum"]
    command += ["--config.steps", "4", "--config.width", "8", "--config.memory", "1"]
    command += ["--config.batch", "8", "--out", str(tmp_path / "run")]
    done = run(*command, WORLDMODEL_DATA=pendulum)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["seed"] == 0
    physics = "experiments/results/recordings/double_pendulum/physics"
    command = ["experiments.learned.black_box_table", "--recording", "double_pendulum"]
    command += ["--physics", f"{physics}/seed0", "--black-box", str(tmp_path / "run")]
    done = run(*command, "--out", str(tmp_path / "table"), WORLDMODEL_DATA=pendulum)
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "table" / "table.json").read_text())["rows"]
    assert [row["frames"] for row in rows[::2]] == [1, 10, 16, 50, 100, 200]
    assert set(rows[1]["over"]) == {"physics"}
