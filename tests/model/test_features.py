"""The network's features of a state, against C MuJoCo."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.helpers.learned_models import turned
from tests.helpers.poses import anywhere, cart_and_elbow
from worldmodel._mujoco import mujoco
from worldmodel.model.features import features, heights, rotations, to_body, to_world
from worldmodel.scene import Scene


@pytest.fixture(scope="module")
def rich() -> Scene:
    return cart_and_elbow()


def address(scene: Scene, joint: str) -> tuple[int, int]:
    m = scene.mj_model
    return int(m.joint(joint).qposadr[0]), int(m.joint(joint).dofadr[0])


def test_features_do_not_know_place_and_heading_but_height_and_tilt(rich: Scene) -> None:
    look = jax.jit(functools.partial(features, rich))
    q, v = address(rich, "elbow")
    for seed in range(3):
        qpos, qvel, ctrl = anywhere(rich, seed)
        seen = np.asarray(look(qpos, qvel, ctrl))
        moved, carried = turned(rich, "elbow", qpos, qvel, "z", 0.3 + seed)
        moved[q : q + 2] += (3.0, -5.0)
        np.testing.assert_allclose(look(moved, carried, ctrl), seen, atol=1e-12)
        lifted = qpos.copy()
        lifted[q + 2] += 0.01
        tilted = turned(rich, "elbow", qpos, qvel, "y", 0.1)
        aside = qvel.copy()
        aside[v] += 0.1
        cart = qpos.copy()
        cart[address(rich, "cart")[0]] += 0.1  # the place of anything else matters
        for other in (
            look(lifted, qvel, ctrl),
            look(*tilted, ctrl),
            look(qpos, aside, ctrl),
            look(cart, qvel, ctrl),
            look(qpos, qvel, ctrl + 0.1),
        ):
            assert np.abs(np.asarray(other) - seen).max() > 1e-3
        once_round = qpos.copy()
        once_round[address(rich, "knee")[0]] += 2 * np.pi
        np.testing.assert_allclose(look(once_round, qvel, ctrl), seen, atol=1e-12)
        flipped = qpos.copy()
        flipped[q + 3 : q + 7] *= -1
        np.testing.assert_allclose(look(flipped, qvel, ctrl), seen, atol=1e-12)


def test_velocities_go_to_the_bodys_frame_and_back(rich: Scene) -> None:
    qpos, qvel, _ = anywhere(rich, 4)
    rotation = rotations(rich, jnp.asarray(qpos))
    local = to_body(rich, rotation, jnp.asarray(qvel))
    np.testing.assert_allclose(to_world(rich, rotation, local), qvel, atol=1e-14)
    _, v = address(rich, "elbow")
    data = mujoco.MjData(rich.mj_model)
    data.qpos[:] = qpos
    mujoco.mj_kinematics(rich.mj_model, data)
    expected = qvel.copy()
    expected[v : v + 3] = data.body("elbow").xmat.reshape(3, 3).T @ qvel[v : v + 3]
    np.testing.assert_allclose(local, expected, atol=1e-14)
    assert np.abs(expected - qvel).max() > 0.1


def test_heights_are_those_of_the_corners_in_mujoco(rich: Scene) -> None:
    measure = jax.jit(functools.partial(heights, rich))
    m, data = rich.mj_model, mujoco.MjData(rich.mj_model)
    signs = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)])
    for seed in range(3):
        data.qpos[:] = anywhere(rich, seed)[0]
        mujoco.mj_kinematics(m, data)
        z = []
        for name, corners in (("upper", signs), ("lower", signs), ("toe", np.zeros((1, 3)))):
            points = corners * m.geom(name).size
            world = points @ data.geom(name).xmat.reshape(3, 3).T + data.geom(name).xpos
            z += (world[:, 2] - 0.02).tolist()  # the table's height
        np.testing.assert_allclose(np.sort(measure(data.qpos)), np.sort(z), atol=1e-12)
