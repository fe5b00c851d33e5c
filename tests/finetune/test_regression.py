"""A planted acceleration that the physics lacks: in the regression's data, then regressed."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.helpers import planted_arm
from tests.helpers.planted_arm import (
    FRAMES,
    FREE_BODY,
    HZ,
    REGRESSION,
    Arm,
    drag,
    equal,
    recorded,
    regressed,
    rotation_of,
    scene_of,
    windows_of,
)
from worldmodel import runtime
from worldmodel.errors import InputError
from worldmodel.finetune.regression import RegressionData, regress, regression_data, standards
from worldmodel.model import Displacement, Network, Parameters, Velocity, WorldModel, init
from worldmodel.model.ensemble import make_predictor
from worldmodel.model.simulate import predict_states


@pytest.fixture(scope="module")
def arm() -> Arm:
    return planted_arm.arm()


def test_regression_data_are_the_planted_acceleration_in_the_bodys_frame() -> None:
    scene = scene_of(FREE_BODY)
    world = WorldModel(scene, correction=Velocity(), network=Network(latent=2, width=4))
    episodes = recorded(scene, drag, 2, seed=0)
    windows = windows_of(episodes, 1)
    data = regression_data(world, init(world, jax.random.key(0)), windows)
    velocity = np.stack(
        [
            np.r_[rotation_of(q).T @ v[:3], v[3:]]
            for q, v in zip(windows.qpos, windows.qvel, strict=True)
        ]
    )
    # Two simulators agree on a free step to rounding, which a difference of positions over 20 ms
    # multiplies by fifty.
    moved = np.asarray(data.target)[:, 0] * HZ  # a pose's difference: world frame, then body's
    in_body = [
        np.r_[rotation_of(q).T @ v[:3], v[3:]] for q, v in zip(windows.qpos, moved, strict=True)
    ]
    np.testing.assert_allclose(in_body, drag(velocity) / HZ, atol=1e-11)
    assert data.target.shape == (2 * (FRAMES - 1), 1, 6)
    gravity = np.stack([rotation_of(q).T @ [0, 0, -9.81 / HZ] for q in windows.qpos])
    np.testing.assert_allclose(data.push[:, 0, :3], gravity, atol=1e-11)

    broken = dataclasses.replace(episodes[1], qvel=np.full_like(episodes[1].qvel, np.nan))
    with pytest.raises(InputError, match=r"not finite from recorded frames of episodes \[1\]"):
        regression_data(world, init(world, jax.random.key(0)), windows_of([episodes[0], broken], 1))


def test_regression_explains_held_out_frames_and_is_what_a_step_adds(arm: Arm) -> None:
    deployed = jax.jit(jax.vmap(lambda p, w: predict_states(arm.world, p, w), (None, 0)))
    windows = jax.tree.map(jnp.asarray, windows_of(arm.validation, 1))
    added = np.asarray(deployed(arm.start, windows).correction[:, 0])
    wanted = np.asarray(arm.validation_data.target)[:, 0] * HZ
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
    world = dataclasses.replace(arm.world, correction=Displacement())
    train_data, validation_data = (
        regression_data(world, arm.origin, windows_of(e, 4)) for e in (arm.train, arm.validation)
    )
    rows: list[dict[str, Any]] = []
    start = regressed(
        world, arm.origin, train_data, validation_data, REGRESSION, record=rows.append
    )
    windows = windows_of(arm.validation, 4)
    states = jax.jit(jax.vmap(lambda p, w: predict_states(world, p, w), (None, 0)))
    off, on = (states(p, jax.tree.map(jnp.asarray, windows)) for p in (arm.origin, start))
    assert np.array_equal(off.qpos, on.qpos)
    predicted = np.asarray(on.qpos + on.correction)  # one hinge
    error, before = (np.square(np.asarray(q) - windows.target).sum() for q in (predicted, off.qpos))
    assert error < 0.2 * before
    np.testing.assert_allclose(make_predictor(world, 8)(start, windows), predicted, atol=1e-12)
    with pytest.raises(InputError, match="windows of 1 frame, not 4"):
        regressed(
            arm.world, arm.origin, train_data, validation_data, REGRESSION, record=rows.append
        )


def noise(like: RegressionData, seed: int) -> RegressionData:
    target = np.random.default_rng(seed).normal(size=like.target.shape)
    return dataclasses.replace(like, target=target)


def test_noise_teaches_nothing_and_a_seed_decides(arm: Arm) -> None:
    few = jax.tree.map(lambda x: x[:40], noise(arm.train_data, 0))
    rows: list[dict[str, Any]] = []
    config = dataclasses.replace(REGRESSION, steps=150)
    network = arm.origin["network"] | {"norm": standards(arm.world, few)}
    origin = arm.origin | {"network": network}
    kept = regressed(
        arm.world, origin, few, noise(arm.validation_data, 1), config, record=rows.append
    )
    assert all(row["validation"] > 1.0 for row in rows)  # it has overfitted 40 frames
    unit = REGRESSION.huber * np.std(few.target)
    nothing = np.mean(np.sqrt(1.0 + np.square(few.target / unit)) - 1.0)
    assert rows[-1]["loss"] < 0.75 * nothing  # the likelihood included, which is below 1/2
    assert equal(kept["network"]["weights"], arm.origin["network"]["weights"])

    def again(seed: int) -> Parameters:
        short = dataclasses.replace(REGRESSION, steps=50, seed=seed)
        return regressed(
            arm.world, arm.origin, arm.train_data, arm.validation_data, short, record=lambda _: None
        )

    one, two, other = again(0), again(0), again(1)
    assert equal(one, two)
    assert not equal(one["network"]["weights"], other["network"]["weights"])
    assert equal(one["physics"], arm.origin["physics"])
    assert equal(one["network"]["norm"], other["network"]["norm"])  # of the frames alone
    with pytest.raises(runtime.Interrupted, match="stopped at step 1 of the regression"):
        regress(
            *(arm.world, arm.origin, arm.train_data, arm.validation_data, REGRESSION),
            record=lambda _: None,
            stop=lambda: True,
        )
