"""The derivative is that of the solve's optimum, whatever solver and iterations gave the value."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from worldmodel import physics
from worldmodel._mujoco import mjx, mujoco
from worldmodel.physics import oracle

FEET = """
<mujoco>
  <option timestep="0.004" cone="{cone}" solver="{solver}" iterations="{iterations}"
          ls_iterations="5" tolerance="{tolerance}"/>
  <worldbody>
    <geom type="plane" size="5 5 .1" friction=".2"/>
    <body pos="0 0 .0995">
      <freejoint/>
      <geom size=".05" pos=".1 .1 -.0495" friction=".2" priority="1"/>
      <geom size=".05" pos="-.1 .1 -.05"/>
      <geom size=".05" pos="-.1 -.1 -.05"/>
      <geom size=".05" pos=".1 -.1 -.05" mass=".9"/>
    </body>
  </worldbody>
</mujoco>"""
QVEL = np.array([0.8, -0.5, -0.3, 1.0, -1.4, 0.5])


@pytest.mark.parametrize(
    ("cone", "solver", "iterations"),
    [
        ("pyramidal", "CG", 2),
        ("pyramidal", "Newton", 1),
        ("elliptic", "CG", 5),
        ("elliptic", "Newton", 2),
    ],
)
def test_derivative_of_a_broken_off_solve_is_that_of_its_optimum(
    cone: str, solver: str, iterations: int
) -> None:
    options = {"cone": cone, "solver": solver, "iterations": iterations, "tolerance": "1e-8"}
    broken_off = mujoco.MjModel.from_xml_string(FEET.format(**options))
    options = {"cone": cone, "solver": "Newton", "iterations": 200, "tolerance": "1e-15"}
    exact = mujoco.MjModel.from_xml_string(FEET.format(**options))
    model, blank = mjx.put_model(broken_off), mjx.make_data(broken_off)

    def after(step, qvel: jax.Array) -> jax.Array:
        return step(model, blank.replace(qvel=qvel)).qvel

    @jax.jit
    def measured(qvel: jax.Array) -> tuple[jax.Array, ...]:
        ours, theirs = after(physics.step, qvel), after(mjx.step, qvel)
        return ours, theirs, jax.jacfwd(lambda v: after(physics.step, v))(qvel)

    def of_c(qvel: np.ndarray) -> np.ndarray:
        return oracle.trajectory(exact, exact.qpos0, qvel, np.zeros((1, 0)), 1)[1][0]

    ours, theirs, jacobian = measured(jnp.asarray(QVEL))
    np.testing.assert_array_equal(ours, theirs)
    assert np.abs(ours - of_c(QVEL)).max() > 1e-3  # the values are broken off
    truth = oracle.differences(of_c, QVEL, 1e-5)
    assert np.abs(jacobian - truth).max() < 1e-6 * np.abs(truth).max()
