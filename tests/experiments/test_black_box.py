"""The black box: its windows, its symmetries, what it learns, and what its table refuses."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.learned import black_box, black_box_table, training
from experiments.learned.gru import init, stretches
from experiments.learned.training import Config, Data, fit, predict
from experiments.recordings import source
from experiments.recordings.problems import CUBE, PENDULUM
from experiments.records import write_arrays
from tests.helpers.command import run
from tests.helpers.doors import door
from tests.helpers.still_episodes import still_episodes
from worldmodel import runtime
from worldmodel.episodes.errors import Channels
from worldmodel.episodes.windows import WindowGrid, cut_windows
from worldmodel.errors import InputError
from worldmodel.model.ensemble import Forecast
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
    return Data(DOOR, channels, episodes[:6], episodes[6:], lambda h: WindowGrid(1, 1, h), [GRID])


def ignored(_: Any) -> None: ...


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


def test_an_untrained_network_keeps_the_velocity_and_members_add_their_spread() -> None:
    episodes = swinging_doors(2)
    windows, _ = GRID.cut(episodes)
    still = init(DOOR, episodes, 5, jax.random.key(0))
    one = predict(DOOR, [still], episodes, windows, 3)
    time = np.arange(1, 7)[:, None] / DOOR.control_hz
    kept = windows.qpos[:, None] + windows.qvel[:, None] * time
    np.testing.assert_allclose(one.mean, kept, atol=1e-6)
    # The predicted variance is one unit of speed; two members part by ±1 unit of the output.
    unit = float(still["norm"]["speed"][0]) / DOOR.control_hz
    np.testing.assert_allclose(one.deviation, unit, rtol=2e-4)

    def pushed(sign: float) -> dict[str, Any]:
        weights = jax.tree.map(jnp.array, still["weights"])
        weights["params"]["Dense_1"]["bias"] = jnp.array([sign, 0.0])
        return still | {"weights": weights}

    two = predict(DOOR, [pushed(1.0), pushed(-1.0)], episodes, windows, 3)
    np.testing.assert_allclose(two.mean, kept, atol=1e-6)
    steps = np.arange(1, 7)[:, None]
    apart = float(still["norm"]["output"][0]) / DOOR.control_hz * steps * (steps + 1) / 2
    expected = np.broadcast_to(np.hypot(unit, np.sqrt(2.0) * apart), two.deviation.shape)
    np.testing.assert_allclose(two.deviation, expected, rtol=1e-3)
    np.testing.assert_allclose((two.members[0] - two.members[1])[0], 2.0 * apart, rtol=1e-3)


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
        predict(scene, [parameters], [e], cut_windows([e], [np.array([2])], 3), 3).mean
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
    qpos = predict(DOOR, [parameters], data.validation, windows, SMALL.memory).mean
    kept = windows.qpos[:, None] + windows.qvel[:, None] * np.arange(1, 7)[:, None] / 100.0
    wrong, before = (np.abs(x - windows.target).mean() for x in (qpos, kept))
    assert wrong / before == pytest.approx(validation, rel=1e-3)
    with pytest.raises(runtime.Interrupted, match="step 1"):
        fit(data, SMALL, 0, record=ignored, stop=lambda: True)


def test_trials_keep_what_improves_and_a_run_takes_the_choice_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = iter([0.5, 0.6, 0.4, *[0.45] * 5])
    tried: list[Config] = []

    def score(data: Any, config: Config, seed: int, **_: Any) -> tuple[dict, float]:
        tried.append(config)
        return {}, next(scores)

    monkeypatch.setattr(black_box, "fit", score)
    config, trials = black_box.tune(doors([]), Config(), 10, ignored, lambda: False)
    assert len(trials) == 8 and {c.steps for c in tried} == {10}
    assert config == dataclasses.replace(Config(), **black_box.CHANGES[1])
    assert tried[3] == dataclasses.replace(config, steps=10, **black_box.CHANGES[2])
    with pytest.raises(InputError, match="does not exist"):
        black_box.tuned(tmp_path)
    result = {"config": dataclasses.asdict(config), "trials": trials}
    (tmp_path / "result.json").write_text(json.dumps(result))
    assert black_box.tuned(tmp_path) == (config, trials)


def test_predictions_are_read_for_the_windows_that_they_are_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "split", lambda _: "test")
    monkeypatch.setattr(black_box, "PARTS", ("test",))
    recording = source.Recording(PENDULUM, False, "sha", still_episodes(PENDULUM, 2, 260))
    scene = PENDULUM.scene()
    data = Data(scene, PENDULUM.channels(scene), [], [], PENDULUM.training_grid, [])

    def drifted(scene: Any, members: Any, episodes: Any, windows: Any, memory: int) -> Forecast:
        shape, qpos = (*windows.target.shape[:2], scene.mj_model.nv), windows.target + 0.1
        members, deviation = np.stack([qpos - 0.05, qpos + 0.05]), np.full(shape, 0.2)
        return Forecast(members, qpos, deviation, np.full(shape[1:], np.inf), deviation)

    monkeypatch.setattr(black_box, "predict", drifted)
    arrays, forecasts, errors = black_box.evaluate(recording, data, [], 4)
    assert {h: e["joint_rad"] for h, e in errors["test"].items()} == pytest.approx(
        {"100": 0.1, "200": 0.1}
    )
    assert forecasts["groups"].tolist() == ["joint_rad", "joint_rad"]
    assert forecasts["test.error"].shape[1] == 200
    np.testing.assert_allclose(forecasts["test.error"], -0.1)
    moved = np.arange(1, 201)[:, None] * [1.0, 0.0] + 0.05
    np.testing.assert_allclose(forecasts["test.members"][0, 1], moved)
    write_arrays(tmp_path / "predictions.npz", arrays)
    ids = [e.id for e in recording.episodes]
    windows, _ = PENDULUM.windows.cut(recording.episodes)
    read = black_box_table.read_predictions(tmp_path, "test", windows, ids)
    np.testing.assert_array_equal(read, windows.target + 0.1)
    for other in (windows.take(np.arange(2)), windows.take(np.arange(len(windows))[::-1])):
        with pytest.raises(InputError, match="no predictions of the test windows of 100 frames"):
            black_box_table.read_predictions(tmp_path, "test", other, ids)

    result = {"recording": "double_pendulum", "seed": 3, "simulated": False, "data": "sha"}
    for name, change in {"a": {}, "b": {}, "c": {"simulated": True}, "d": {"data": "x"}}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "result.json").write_text(json.dumps(result | change))
    assert black_box_table.read_runs([tmp_path / "a"], recording) == {3: tmp_path / "a"}
    for folders, text in (("ab", "seed 3"), ("c", "another file"), ("d", "another file")):
        with pytest.raises(InputError, match=text):
            black_box_table.read_runs([tmp_path / f for f in folders], recording)
    with pytest.raises(InputError, match="does not exist"):
        black_box_table.read_runs([tmp_path / "e"], recording)


@pytest.mark.slow  # quick: the others here
def test_the_command_tries_fits_and_leaves_forecasts(tmp_path: Path) -> None:
    command = ["experiments.learned.black_box", "--recording", "double_pendulum", "--members", "2"]
    command += ["--trial-steps", "2", "--config.steps", "4", "--config.width", "8"]
    command += ["--config.memory", "1", "--config.batch", "8", "--out"]
    done = run(*command, str(tmp_path / "a"))
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["simulated"] and len(result["trials"]) == 8 and len(result["validation"]) == 2
    assert json.loads((tmp_path / "a" / "result.json").read_text())["errors"] == result["errors"]
    with np.load(tmp_path / "a" / "forecasts.npz") as forecasts:
        assert (forecasts["test.deviation"] > 0).all() and len(forecasts["test.members"]) == 2
    with np.load(tmp_path / "a" / "predictions.npz") as stored:
        assert stored["test_100_qpos"].shape[1:] == (100, 2)
    other = run(*command, str(tmp_path / "b"), "--tuned", str(tmp_path / "c"))
    assert other.returncode == 2 and "result.json does not exist" in other.stderr


def test_impossible_settings_are_refused_by_name() -> None:
    for name, value in {"width": 0, "rollout": 0, "noise": -1.0, "decay": 0.0}.items():
        with pytest.raises(InputError, match=f"{name} = "):
            dataclasses.replace(training.Config(), **{name: value})
