"""What the network sees of a state, and how positions move, against C MuJoCo."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from worldmodel._mujoco import mujoco
from worldmodel.model import features as seeing
from worldmodel.scene.tangent import integrate
from worldmodel.scene import Scene, load_scene


@pytest.fixture(scope="module")
def rich() -> Scene:
    """Every kind of joint that the network knows; corners in several bodies; never stepped."""
    return load_scene(
        """
        <mujoco model="rich">
          <worldbody>
            <geom name="table" type="plane" size="0 0 .1" pos="0 0 .02"/>
            <body name="cart" pos="1 0 .5">
              <joint name="cart" type="slide" axis="1 0 0"/>
              <geom type="sphere" size=".02"/>
              <body name="pole" pos="0 0 .1">
                <joint name="pole" type="hinge" axis="0 1 0"/>
                <geom type="box" size=".02 .02 .1"/>
              </body>
            </body>
            <body name="elbow" pos="0 0 .2">
              <freejoint name="elbow"/>
              <geom name="upper" type="box" size=".05 .04 .03" pos=".01 .02 .03" euler="10 20 30"/>
              <geom name="ghost" type="box" size=".3 .3 .3" contype="0" conaffinity="0"/>
              <body name="lower" pos=".1 0 0" euler="0 0 40">
                <joint name="knee" type="hinge" axis="0 1 0"/>
                <geom name="lower" type="box" size=".06 .02 .01" pos=".05 0 0"/>
                <geom name="toe" type="sphere" size=".01" pos=".1 0 0"/>
              </body>
            </body>
          </worldbody>
          <actuator><motor joint="pole"/><motor joint="knee"/></actuator>
        </mujoco>
        """,
        control_hz=100.0,
        substeps=1,
    )


def anywhere(scene: Scene, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A random qpos, qvel and ctrl."""
    m, rng = scene.mj_model, np.random.default_rng(seed)
    qpos = m.qpos0.copy()
    mujoco.mj_integratePos(m, qpos, rng.normal(size=m.nv), 1.0)
    return qpos, rng.normal(size=m.nv), rng.normal(size=m.nu)


def address(scene: Scene, joint: str) -> tuple[int, int]:
    m = scene.mj_model
    return int(m.joint(joint).qposadr[0]), int(m.joint(joint).dofadr[0])


def turned(
    scene: Scene, joint: str, qpos: np.ndarray, qvel: np.ndarray, axis: str, angle: float
) -> tuple[np.ndarray, np.ndarray]:
    """A free body, its place and its motion turned about a world axis through its own place."""
    q, v = address(scene, joint)
    vector = np.eye(3)["xyz".index(axis)]
    turn, matrix = np.zeros(4), np.zeros(9)
    mujoco.mju_axisAngle2Quat(turn, vector, angle)
    mujoco.mju_quat2Mat(matrix, turn)
    qpos, qvel = qpos.copy(), qvel.copy()
    orientation = qpos[q + 3 : q + 7].copy()
    mujoco.mju_mulQuat(qpos[q + 3 : q + 7], turn, orientation)
    qvel[v : v + 3] = matrix.reshape(3, 3) @ qvel[v : v + 3]
    return qpos, qvel


def test_features_do_not_know_place_and_heading_but_height_and_tilt(rich: Scene) -> None:
    look = jax.jit(functools.partial(seeing.features, rich))
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
    rotation = seeing.rotations(rich, jnp.asarray(qpos))
    local = seeing.to_body(rich, rotation, jnp.asarray(qvel))
    np.testing.assert_allclose(seeing.to_world(rich, rotation, local), qvel, atol=1e-14)
    _, v = address(rich, "elbow")
    data = mujoco.MjData(rich.mj_model)
    data.qpos[:] = qpos
    mujoco.mj_kinematics(rich.mj_model, data)
    expected = qvel.copy()
    expected[v : v + 3] = data.body("elbow").xmat.reshape(3, 3).T @ qvel[v : v + 3]
    np.testing.assert_allclose(local, expected, atol=1e-14)
    assert np.abs(expected - qvel).max() > 0.1


def test_heights_are_those_of_the_corners_in_mujoco(rich: Scene) -> None:
    measure = jax.jit(functools.partial(seeing.heights, rich))
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


def test_positions_are_moved_as_mujoco_moves_them(rich: Scene) -> None:
    move = functools.partial(integrate, rich)
    moved = jax.jit(move)
    slopes = jax.jit(jax.jacobian(move, argnums=1))
    m, h = rich.mj_model, 1e-6
    for seed, size in enumerate((0.0, 1e-9, 1e-4, 1e-2, 1.0, 30.0, 300.0)):
        qpos, qvel, _ = anywhere(rich, seed)
        qvel *= size

        def truth(qvel: np.ndarray, qpos: np.ndarray = qpos) -> np.ndarray:
            out = qpos.copy()
            mujoco.mj_integratePos(m, out, qvel, 0.01)
            return out

        np.testing.assert_allclose(moved(qpos, qvel, 0.01), truth(qvel), atol=1e-12)
        differences = [(truth(qvel + h * e) - truth(qvel - h * e)) / (2 * h) for e in np.eye(m.nv)]
        # Rounding of the differences: 1e-16 / h; MuJoCo moves by nothing below 1e-15.
        np.testing.assert_allclose(
            slopes(qpos, qvel, 0.01), np.stack(differences, axis=1), atol=1e-9
        )
