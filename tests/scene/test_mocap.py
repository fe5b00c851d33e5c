"""Bodies held where the MJCF has them: what they carry and touch moves as in C MuJoCo."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.helpers import scenes
from worldmodel import physics
from worldmodel._mujoco import mujoco
from worldmodel.physics import oracle, parameters
from worldmodel.physics.parameters import ParameterError
from worldmodel.scene import FreeParameter, Scene, load_scene

# A hand that carries a load off its centre, and a tilted tray under a ball; a key of many digits.
HELD = """
<mujoco model="held">
  <option tolerance="1e-14" iterations="50" ls_iterations="30"/>
  <worldbody>
    <body name="tray" mocap="true" pos="-0.3 0.1 0.2" quat="0.97 0.1 0.2 0.05">
      <geom name="tray" type="box" size="0.1 0.1 0.02" pos="0.01 0 0.03" friction="0.5 0.01 0.001"/>
    </body>
    <body name="hand" mocap="true" pos="0.1 0.2 0.3" quat="0.9 0.2 -0.1 0.1"/>
    <body name="load" pos="0.12 0.21 0.28">
      <freejoint name="load"/>
      <geom name="load" type="box" size="0.03 0.02 0.01" mass="0.2" contype="0" conaffinity="0"/>
    </body>
    <body name="ball" pos="0 0 1">
      <freejoint name="ball"/>
      <geom name="ball" type="sphere" size="0.02" mass="0.3"/>
    </body>
  </worldbody>
  <equality>
    <weld name="grip" body1="hand" body2="load" relpose="0.01 0.02 -0.03 1 0 0 0" solref="0.02 1"/>
  </equality>
  <keyframe><key name="start" time="0.123456789123" qpos="{qpos}"/></keyframe>
</mujoco>"""
FREE = (
    FreeParameter("geom_pos", "tray"),
    FreeParameter("geom_rotation", "tray"),
    FreeParameter("com", "load"),
)


def held() -> Scene:
    """The ball is 0.3 mm inside the tray's upper face: the impedance has a kink at 0.5 mm."""
    quat, turned = np.array([0.97, 0.1, 0.2, 0.05]), np.zeros(9)
    mujoco.mju_quat2Mat(turned, quat / np.linalg.norm(quat))
    above = turned.reshape(3, 3) @ np.array([0.01, 0.0, 0.03 + 0.02 + 0.02 - 0.0003])
    ball = np.array([-0.3, 0.1, 0.2]) + above
    qpos = np.concatenate([[0.121234567891, 0.209, 0.283, 1, 0, 0, 0], ball, [1, 0, 0, 0]])
    text = HELD.format(qpos=" ".join(repr(float(x)) for x in qpos))
    return load_scene(text, control_hz=500.0, substeps=1)


def test_what_mocap_bodies_weld_and_touch_moves_as_in_mujoco() -> None:
    """One step from rest: in motion MJX's weld lacks a velocity term of C's (``test_step``)."""
    scene = held()
    start: dict[str, Any] = scene.keyframe("start")
    sizes = [len(parameters.KINDS[f.kind].width) for f in FREE]

    def leaves(u: Any) -> parameters.Parameters:
        parts = jnp.split(jnp.asarray(u), np.cumsum(sizes)[:-1].tolist())
        return {f.name: part for f, part in zip(FREE, parts, strict=True)}

    def after(u: jax.Array) -> tuple[jax.Array, jax.Array]:
        model = parameters.apply(scene, scene.mjx_model(), FREE, leaves(u))
        state = physics.initial_state(scene, **start)
        qvel = physics.control_step(scene, model, state, jnp.zeros(0)).qvel
        return qvel, qvel

    def truth(u: np.ndarray) -> np.ndarray:
        model = mujoco.MjModel.from_xml_string(parameters.to_mjcf(scene, FREE, leaves(u)))
        rest = np.zeros(model.nv)
        return oracle.trajectory(model, start["qpos"], rest, np.zeros((1, 0)), 1)[1][0]

    zero = np.zeros(sum(sizes))
    slope, value = jax.jit(jax.jacfwd(after, has_aux=True))(zero)
    np.testing.assert_allclose(value, truth(zero), atol=1e-10)
    assert np.abs(value[:3]).max() > 0.1  # the weld pulls
    assert np.abs(value[6:8]).max() > 1e-3  # the tray pushes the ball aside
    wanted = oracle.differences(truth, zero)
    np.testing.assert_allclose(slope, wanted, atol=1e-6 * np.abs(wanted).max())
    assert np.abs(wanted[6:9, :6]).max() > 1e-3  # by the tray's pose
    assert np.abs(wanted[:6, 6:]).max() > 1e-3  # by the load's centre of mass


def test_a_mass_that_never_moves_is_no_parameter() -> None:
    with pytest.raises(ParameterError, match=r"tray\.mass: this body never moves"):
        parameters.check(held(), (FreeParameter("mass", "tray"),))


def test_a_keyframe_leaves_with_all_its_digits() -> None:
    scene = held()
    again = mujoco.MjModel.from_xml_string(scene.mjcf)
    for field in ("key_time", "key_qpos", "key_qvel", "key_mpos", "key_mquat"):
        ours, written = getattr(scene.mj_model, field), getattr(again, field)
        np.testing.assert_array_equal(written, ours, err_msg=field)
    assert scene.mj_model.key_qpos[0, 0] == 0.121234567891


def test_a_mocap_body_stays_and_what_lies_on_it_slides_as_in_mujoco() -> None:
    scene = scenes.tray()
    free = (FreeParameter("mass", "ball"),)
    start = scene.keyframe("on")

    def final(x: jax.Array, qvel: jax.Array) -> jax.Array:
        model = parameters.apply(scene, scene.mjx_model(), free, {"ball.mass": x})
        state = physics.initial_state(scene, **start | {"qvel": qvel})
        for _ in range(3):
            state = physics.control_step(scene, model, state, jnp.zeros(0))
        return jnp.concatenate([state.qpos, state.qvel])

    def truth(qvel: np.ndarray) -> np.ndarray:
        model = mujoco.MjModel.from_xml_string(scene.mjcf)
        qpos, qvel = oracle.trajectory(model, start["qpos"], qvel, np.zeros((3, 0)), scene.substeps)
        return np.concatenate([qpos[-1], qvel[-1]])

    here = jnp.zeros(1), jnp.asarray(start["qvel"])
    value = jax.jit(final)(*here)
    np.testing.assert_allclose(value, truth(start["qvel"]), rtol=1e-7, atol=1e-9)
    slope = jax.jit(jax.jacfwd(final, 1))(*here)
    wanted = oracle.differences(truth, start["qvel"])
    np.testing.assert_allclose(slope, wanted, rtol=1e-5, atol=1e-6)
