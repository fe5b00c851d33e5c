"""A planted acceleration that the physics lacks: found in residuals, regressed, then fitted."""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from worldmodel import runtime
from worldmodel._mujoco import mujoco
from worldmodel.model import Network, Parameters, WorldModel, init
from worldmodel.episodes.recording import Channels
from worldmodel.finetune.adam import FitConfig, FitState, _optimiser, fit
from worldmodel.scene import FreeParameter

from worldmodel.model.simulate import Windows, cut_windows, episode_errors, make_predictor, predict_states
from worldmodel.finetune.regression import RegressionConfig, Residuals, regress, residuals
from worldmodel.scene import Scene, load_scene
from worldmodel.errors import InputError
from worldmodel.types import Episode

HZ, FRAMES = 50.0, 60
ARM = """<body><joint name="arm" axis="0 1 0" damping="0.01"/>
<geom type="capsule" fromto="0 0 0 0 0 -.3" size=".02" mass=".5" contype="0" conaffinity="0"/>
</body></worldbody><actuator><motor joint="arm"/></actuator><worldbody>"""
FREE_BODY = """<body><freejoint/><geom type="box" size=".05 .04 .03" mass=".3"/></body>"""
CHANNELS = Channels(joints=(0,))
METADATA = {"scene": "arm", "config_hash": "test"}
Acceleration = Callable[[np.ndarray], np.ndarray]  # velocities in the body's frame → (nv,)


def scene_of(bodies: str) -> Scene:
    return load_scene(
        f'<mujoco model="arm"><worldbody>{bodies}</worldbody></mujoco>',
        control_hz=HZ,
        substeps=1,
    )


def rotation_of(qpos: np.ndarray) -> np.ndarray:
    """Of a free body whose joint comes first; the identity where there is none."""
    matrix = np.eye(3).reshape(-1)
    if len(qpos) >= 7:
        mujoco.mju_quat2Mat(matrix, qpos[3:7])
    return matrix.reshape(3, 3)


def recorded(scene: Scene, acceleration: Acceleration, count: int, seed: int) -> list[Episode]:
    """C MuJoCo, and after every step the velocity that the acceleration adds in it."""
    m, rng, dt = scene.mj_model, np.random.default_rng(seed), 1.0 / HZ
    data, episodes = mujoco.MjData(m), []

    def frame(v: np.ndarray, rotation: np.ndarray) -> np.ndarray:
        return np.r_[rotation @ v[:3], v[3:]] if m.nv >= 6 else v

    for index in range(count):
        mujoco.mj_resetData(m, data)
        mujoco.mj_integratePos(m, data.qpos, rng.normal(size=m.nv), 1.0)
        data.qvel[:] = 2.0 * rng.normal(size=m.nv)
        ctrl = rng.normal() * np.sin(rng.uniform(2, 6) * np.arange(FRAMES) / HZ)[:, None]
        ctrl = ctrl[:, : m.nu]
        qpos, qvel = [], []
        for held in ctrl:
            qpos.append(data.qpos.copy())
            qvel.append(data.qvel.copy())
            rotation = rotation_of(qpos[-1])
            added = frame(dt * acceleration(frame(qvel[-1], rotation.T)), rotation)
            data.ctrl[:] = held
            mujoco.mj_step(m, data)
            mujoco.mj_integratePos(m, data.qpos, added, dt)
            data.qvel[:] += added
        time, every = np.arange(FRAMES) / HZ, np.ones(FRAMES, bool)
        episodes.append(Episode(index, time, np.stack(qpos), np.stack(qvel), ctrl, every, every))
    return episodes


def windows_of(episodes: list[Episode], horizon: int, stride: int = 1) -> Windows:
    starts = np.arange(0, FRAMES - horizon, stride)
    return cut_windows(episodes, [starts] * len(episodes), horizon)


def drag(velocity: np.ndarray) -> np.ndarray:
    """Linear and quadratic, and a push: what no parameter of the scene can express."""
    return 2.0 - 1.5 * velocity - 0.3 * velocity * np.abs(velocity)


def test_residuals_are_the_planted_acceleration_in_the_bodys_frame() -> None:
    scene = scene_of(FREE_BODY)
    world = WorldModel(scene, (), "hybrid", Network(latent=2, width=4))
    episodes = recorded(scene, drag, 2, seed=0)
    windows = windows_of(episodes, 1)
    found = residuals(world, init(world, jax.random.key(0)), windows)
    velocity = np.stack(
        [
            np.r_[rotation_of(q).T @ v[:3], v[3:]]
            for q, v in zip(windows.qpos, windows.qvel, strict=True)
        ]
    )
    # Two simulators agree on a free step to rounding, which a difference of positions over 20 ms
    # multiplies by fifty.
    moved = np.asarray(found.target)[:, 0] * HZ  # a pose's difference: world frame, then body's
    in_body = [
        np.r_[rotation_of(q).T @ v[:3], v[3:]] for q, v in zip(windows.qpos, moved, strict=True)
    ]
    np.testing.assert_allclose(in_body, drag(velocity) / HZ, atol=1e-11)
    assert found.target.shape == (2 * (FRAMES - 1), 1, 6)
    gravity = np.stack([rotation_of(q).T @ [0, 0, -9.81 / HZ] for q in windows.qpos])
    np.testing.assert_allclose(found.push[:, 0, :3], gravity, atol=1e-11)

    broken = dataclasses.replace(episodes[1], qvel=np.full_like(episodes[1].qvel, np.nan))
    with pytest.raises(InputError, match=r"not finite from recorded frames of episodes \[1\]"):
        residuals(world, init(world, jax.random.key(0)), windows_of([episodes[0], broken], 1))


regressed = functools.partial(regress, stop=lambda: False)
REGRESSION = RegressionConfig(
    steps=600, batch=128, learning_rate=1e-2, weight_decay=1e-3, validate_every=50
)


@dataclasses.dataclass(frozen=True)
class Arm:
    """An arm whose reality is known, and what regression made of its residuals."""

    world: WorldModel
    origin: Parameters
    train: list[Episode]
    validation: list[Episode]
    learnt: Residuals
    held: Residuals
    start: Parameters
    rows: list[dict[str, Any]]


@pytest.fixture(scope="module")
def arm() -> Arm:
    scene = scene_of(ARM)
    world = WorldModel(
        scene, (FreeParameter("damping", "arm"),), "hybrid", Network(latent=4, width=16, members=2)
    )
    origin = init(world, jax.random.key(0))
    train, validation = (recorded(scene, drag, n, seed=n) for n in (8, 3))
    learnt, held = (residuals(world, origin, windows_of(e, 1)) for e in (train, validation))
    rows: list[dict[str, Any]] = []
    start = regressed(world, origin, learnt, held, REGRESSION, record=rows.append)
    return Arm(world, origin, train, validation, learnt, held, start, rows)


def test_regression_explains_held_out_frames_and_is_what_a_step_adds(arm: Arm) -> None:
    deployed = jax.jit(jax.vmap(lambda p, w: predict_states(arm.world, p, w), (None, 0)))
    windows = jax.tree.map(jnp.asarray, windows_of(arm.validation, 1))
    added = np.asarray(deployed(arm.start, windows).correction[:, 0])
    wanted = np.asarray(arm.held.target)[:, 0] * HZ
    unexplained = np.square(added - wanted).sum() / np.square(wanted).sum()
    assert unexplained < 0.2
    assert not np.asarray(deployed(arm.origin, windows).correction).any()

    # What validation judged, in single precision, is what a rollout then does.
    unit = REGRESSION.huber * np.asarray(arm.start["network"]["norm"]["residual"])

    def huber(error: np.ndarray) -> float:
        return float(np.mean(np.sqrt(1.0 + np.square(error / unit)) - 1.0))

    judged = min(row["validation"] for row in arm.rows)
    ratio = huber(added - wanted) / huber(wanted)
    assert ratio == pytest.approx(judged, rel=1e-4)
    assert [row["step"] for row in arm.rows] == list(range(50, REGRESSION.steps + 1, 50))


def test_displacements_add_up_along_a_window_and_leave_the_physics_alone(arm: Arm) -> None:
    world = dataclasses.replace(arm.world, correction="displacement")
    learnt, held = (
        residuals(world, arm.origin, windows_of(e, 4)) for e in (arm.train, arm.validation)
    )
    rows: list[dict[str, Any]] = []
    start = regressed(world, arm.origin, learnt, held, REGRESSION, record=rows.append)
    windows = windows_of(arm.validation, 4)
    states = jax.jit(jax.vmap(lambda p, w: predict_states(world, p, w), (None, 0)))
    off, on = (states(p, jax.tree.map(jnp.asarray, windows)) for p in (arm.origin, start))
    assert np.array_equal(off.qpos, on.qpos)
    predicted = np.asarray(on.qpos + on.correction)  # one hinge
    error, before = (np.square(np.asarray(q) - windows.target).sum() for q in (predicted, off.qpos))
    assert error < 0.2 * before
    np.testing.assert_allclose(make_predictor(world, 8)(start, windows), predicted, atol=1e-12)
    with pytest.raises(InputError, match="windows of 1 frame, not 4"):
        regressed(arm.world, arm.origin, learnt, held, REGRESSION, record=rows.append)


def noise(like: Residuals, seed: int) -> Residuals:
    target = np.random.default_rng(seed).normal(size=like.target.shape)
    return dataclasses.replace(like, target=target)


def leaves(tree: Any) -> list[np.ndarray]:
    return [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]


def equal(a: Any, b: Any) -> bool:
    return all(
        np.array_equal(x, y, equal_nan=True) for x, y in zip(leaves(a), leaves(b), strict=True)
    )


def test_noise_teaches_nothing_and_a_seed_decides(arm: Arm) -> None:
    few = jax.tree.map(lambda x: x[:40], noise(arm.learnt, 0))
    rows: list[dict[str, Any]] = []
    config = dataclasses.replace(REGRESSION, steps=150)
    kept = regressed(arm.world, arm.origin, few, noise(arm.held, 1), config, record=rows.append)
    assert all(row["validation"] > 1.0 for row in rows)  # 40 frames learned by heart
    unit = REGRESSION.huber * np.std(few.target)
    nothing = np.mean(np.sqrt(1.0 + np.square(few.target / unit)) - 1.0)
    assert rows[-1]["loss"] < 0.75 * nothing
    assert equal(kept["network"]["weights"], arm.origin["network"]["weights"])

    def again(seed: int) -> Parameters:
        short = dataclasses.replace(REGRESSION, steps=50, seed=seed)
        return regressed(arm.world, arm.origin, arm.learnt, arm.held, short, record=lambda _: None)

    one, two, other = again(0), again(0), again(1)
    assert equal(one, two)
    assert not equal(one["network"]["weights"], other["network"]["weights"])
    assert equal(one["physics"], arm.origin["physics"])
    assert equal(one["network"]["norm"], other["network"]["norm"])  # of the frames alone
    with pytest.raises(runtime.Interrupted, match="stopped at step 1 of the regression"):
        regress(
            *(arm.world, arm.origin, arm.learnt, arm.held, REGRESSION),
            record=lambda _: None,
            stop=lambda: True,
        )


FIT = FitConfig(
    steps=4,
    batch=8,
    learning_rate=0.02,
    network_learning_rate=2e-3,
    validate_every=2,
    checkpoint_every=2,
)


def fitted(
    arm: Arm, directory: Path, config: FitConfig, stop_after: int = 99
) -> tuple[FitState, list[dict[str, Any]]]:
    rows: list[dict[str, Any]] = []
    state = fit(
        arm.world,
        arm.origin,
        CHANNELS,
        windows_of(arm.train, 4),
        windows_of(arm.validation, 4, stride=8),
        config,
        directory,
        metadata=METADATA,
        record=rows.append,
        stop=lambda: bool(rows) and rows[-1]["step"] == stop_after,
        start=arm.start,
    )
    return state, rows


@pytest.fixture(scope="module")
def straight(arm: Arm, tmp_path_factory: pytest.TempPathFactory) -> tuple[FitState, list]:
    """A fit that ran through."""
    return fitted(arm, tmp_path_factory.mktemp("fit"), FIT)


def test_a_hybrid_predicts_what_its_physics_cannot(
    arm: Arm, straight: tuple[FitState, list]
) -> None:
    state, rows = straight
    assert [row["step"] for row in rows] == [0, 1, 2, 3, 4]
    validation = [row["validation"] for row in rows if "validation" in row]
    assert float(state.best_error) == min(validation) < 0.5
    assert int(state.nonfinite) == 0

    # The same by hand: the error over that of physics alone.
    judged = windows_of(arm.validation, 4, stride=8)
    alone = dataclasses.replace(arm.world, kind="physics")
    errors = [
        np.nanmean(episode_errors(make_predictor(w, 8)(p, judged), judged, CHANNELS))
        for w, p in ((arm.world, state.best), (alone, arm.origin))
    ]
    assert errors[0] / errors[1] == pytest.approx(float(state.best_error), rel=1e-9)


def test_an_interrupted_fit_goes_on_bit_for_bit(
    arm: Arm, straight: tuple[FitState, list], tmp_path: Path
) -> None:
    with pytest.raises(runtime.Interrupted, match="stopped at step 3"):
        fitted(arm, tmp_path, FIT, stop_after=3)
    state, rows = fitted(arm, tmp_path, FIT)
    assert [row["step"] for row in rows] == [4]
    assert equal(state, straight[0])
    assert rows[-1] == straight[1][-1]


@pytest.mark.parametrize("half", ["network", "physics", "both"])
def test_a_frozen_half_stays(arm: Arm, half: str) -> None:
    optimiser = _optimiser(dataclasses.replace(FIT, train=half))
    parameters: Any = arm.start
    state = optimiser.init(parameters)
    for _ in range(2):
        gradient = jax.tree.map(jnp.ones_like, parameters)
        updates, state = optimiser.update(gradient, state, parameters)
        parameters = optax.apply_updates(parameters, updates)
    moved = {
        "network": not equal(parameters["network"]["weights"], arm.start["network"]["weights"]),
        "physics": not equal(parameters["physics"], arm.start["physics"]),
    }
    assert moved == {"network": half != "physics", "physics": half != "network"}
    assert equal(parameters["network"]["norm"], arm.start["network"]["norm"])


def test_a_fit_moves_both_halves_and_refuses_others(
    arm: Arm, straight: tuple[FitState, list], tmp_path: Path
) -> None:
    parameters = straight[0].parameters
    assert not equal(parameters["physics"], arm.start["physics"])
    for ours, theirs in zip(
        leaves(parameters["network"]["weights"]),
        leaves(arm.start["network"]["weights"]),
        strict=True,
    ):
        assert not np.array_equal(ours, theirs)
    with pytest.raises(InputError, match="train 'half' is none of physics, network, both"):
        fitted(arm, tmp_path, dataclasses.replace(FIT, train="half"))
