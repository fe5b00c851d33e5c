"""Actuators: a saturated servo under implicitfast, and muscles in single precision."""

import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from worldmodel import physics
from worldmodel._mujoco import mjx, mujoco
from worldmodel.physics import oracle

ROOT = Path(__file__).resolve().parents[2]
SERVO = """
<mujoco>
  <option timestep=".002" integrator="implicitfast"/>
  <worldbody>
    <body pos="0 0 .5">
      <joint name="j" axis="0 1 0" damping=".05"/>
      <geom type="capsule" size=".02" fromto="0 0 0 .3 0 0" density="800"/>
    </body>
  </worldbody>
  <actuator><position joint="j" kp="12" kv=".4" forcerange="-1 1"/></actuator>
</mujoco>"""
MUSCLES = """
<mujoco>
  <option timestep=".002"/>
  <worldbody>
    <site name="a" pos="-.05 0 .6"/>
    <site name="b" pos="-.05 0 .4"/>
    <body pos="0 0 .5">
      <joint axis="0 1 0" damping=".2"/>
      <geom type="capsule" size=".02" fromto="0 0 0 .3 0 0"/>
      <site name="c" pos=".1 0 .02"/>
      <site name="d" pos=".1 0 -.02"/>
    </body>
  </worldbody>
  <tendon>
    <spatial name="up"><site site="a"/><site site="c"/></spatial>
    <spatial name="down"><site site="b"/><site site="d"/></spatial>
  </tendon>
  <actuator>
    <muscle tendon="up" lengthrange=".05 .25" force="40"/>
    <muscle tendon="down" lengthrange=".05 .25" force="40" tausmooth="{smooth}"/>
  </actuator>
</mujoco>"""
STEPS, CTRL, ACT = 5, np.array([0.7, 0.2]), np.array([0.3, 0.4])


def after(model: mjx.Model, data: mjx.Data, ctrl: jax.Array, act: jax.Array) -> jax.Array:
    """The angle and the activations after ``STEPS`` steps."""

    def advance(data: mjx.Data, _: None) -> tuple[mjx.Data, None]:
        return physics.step(model, data), None

    data = jax.lax.scan(advance, data.replace(ctrl=ctrl, act=act), length=STEPS)[0]
    return jnp.concatenate([data.qpos, data.act])


def test_a_saturated_servo_damps_nothing_under_implicitfast() -> None:
    mj_model = mujoco.MjModel.from_xml_string(SERVO)
    model, data, truth = mjx.put_model(mj_model), mjx.make_data(mj_model), mujoco.MjData(mj_model)
    step, saturated, error = jax.jit(physics.step), 0, 0.0
    for k in range(200):
        ctrl = np.array([0.8 * np.sin(k / 20)])
        truth.ctrl[:] = ctrl
        mujoco.mj_step(mj_model, truth)
        data = step(model, data.replace(ctrl=jnp.asarray(ctrl)))
        saturated += abs(truth.actuator_force[0]) == 1.0
        error = max(error, np.abs(data.qpos - truth.qpos).max())
    assert 20 < saturated < 190
    assert error < 1e-9


@pytest.mark.parametrize("smooth", [0.0, pytest.param(0.3, marks=pytest.mark.slow)])
def test_muscles_are_those_of_mjx_and_their_gradient_that_of_mujoco(smooth: float) -> None:
    mj_model = mujoco.MjModel.from_xml_string(MUSCLES.format(smooth=smooth))
    model, blank = mjx.put_model(mj_model), mjx.make_data(mj_model)
    data = blank.replace(ctrl=jnp.asarray(CTRL), act=jnp.asarray(ACT))
    ours, theirs = jax.jit(lambda d: (physics.step(model, d), mjx.step(model, d)))(data)
    np.testing.assert_allclose(ours.act, theirs.act, rtol=1e-14)
    np.testing.assert_allclose(ours.qvel, theirs.qvel, rtol=1e-13)

    def of_c(x: np.ndarray) -> np.ndarray:
        d = mujoco.MjData(mj_model)
        d.ctrl[:], d.act[:] = x[:2], x[2:]
        mujoco.mj_step(mj_model, d, nstep=STEPS)
        return np.concatenate([d.qpos, d.act])

    jacobian = jax.jit(jax.jacrev(lambda *x: after(model, blank, *x), argnums=(0, 1)))
    x = np.concatenate([CTRL, ACT])
    truth = oracle.differences(of_c, x, 1e-4)
    ours = np.hstack(jacobian(jnp.asarray(CTRL), jnp.asarray(ACT)))
    assert np.abs(ours - truth).max() < 1e-6 * np.abs(truth).max()


SINGLE = """
from worldmodel import runtime
runtime.configure(x64=False)
import sys
import jax, jax.numpy as jnp, numpy as np
from tests.physics.test_actuation import ACT, CTRL, MUSCLES, after
from worldmodel._mujoco import mjx, mujoco

mj_model = mujoco.MjModel.from_xml_string(MUSCLES.format(smooth=0.0))
model, blank = mjx.put_model(mj_model), mjx.make_data(mj_model)
run = jax.jit(jax.jacrev(lambda *x: after(model, blank, *x), argnums=(0, 1)))
np.save(sys.argv[1], np.hstack(run(jnp.asarray(CTRL, jnp.float32), jnp.asarray(ACT, jnp.float32))))
"""


def test_muscles_have_a_gradient_in_single_precision(tmp_path: Path) -> None:
    path = tmp_path / "jacobian.npy"
    command = [sys.executable, "-c", SINGLE, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    single = np.load(path)
    assert single.dtype == np.float32
    mj_model = mujoco.MjModel.from_xml_string(MUSCLES.format(smooth=0.0))
    model, blank = mjx.put_model(mj_model), mjx.make_data(mj_model)
    run = jax.jit(jax.jacrev(lambda *x: after(model, blank, *x), argnums=(0, 1)))
    double = np.hstack(run(jnp.asarray(CTRL), jnp.asarray(ACT)))
    assert np.abs(single - double).max() < 1e-4 * np.abs(double).max()


def test_a_step_keeps_its_types_where_there_are_tendons() -> None:
    mj_model = mujoco.MjModel.from_xml_string(MUSCLES.format(smooth=0.0))
    model, data = mjx.put_model(mj_model), mjx.make_data(mj_model)
    after_one = jax.eval_shape(physics.step, model, data)
    for (path, new), (_, old) in zip(
        jax.tree_util.tree_leaves_with_path(after_one),
        jax.tree_util.tree_leaves_with_path(data),
        strict=True,
    ):
        assert (new.dtype, new.shape) == (old.dtype, old.shape), jax.tree_util.keystr(path)
