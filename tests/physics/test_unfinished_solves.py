"""The derivative is that of the solve's optimum, whatever solver and iterations gave the value."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.helpers import feet
from worldmodel import physics
from worldmodel._mujoco import mjx, mujoco
from worldmodel.physics import oracle
from worldmodel.physics.backward import HARD

QVEL = np.array([0.8, -0.5, -0.3, 1.0, -1.4, 0.5])


def velocities_and_jacobian(
    mj_model: mujoco.MjModel, backward: physics.Backward = HARD
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Velocities after a step, MJX's own, and the Jacobian of the former in those before."""
    model, blank = mjx.put_model(mj_model), mjx.make_data(mj_model)

    def after(qvel: jax.Array) -> jax.Array:
        return physics.step(model, blank.replace(qvel=qvel), backward).qvel

    def measured(qvel: jax.Array) -> tuple[jax.Array, ...]:
        theirs = mjx.step(model, blank.replace(qvel=qvel)).qvel
        return after(qvel), theirs, jax.jacfwd(after)(qvel)

    return jax.jit(measured)(jnp.asarray(QVEL))


def finished(cone: str) -> tuple[np.ndarray, np.ndarray]:
    """The same of a solve that is finished, by C MuJoCo."""
    options = {"cone": cone, "solver": "Newton", "iterations": 200, "tolerance": 1e-15}
    exact = mujoco.MjModel.from_xml_string(feet.mjcf(**options))

    def after(qvel: np.ndarray) -> np.ndarray:
        return oracle.trajectory(exact, exact.qpos0, qvel, np.zeros((1, 0)), 1)[1][0]

    return after(QVEL), oracle.differences(after, QVEL, 1e-5)


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
    options = {"cone": cone, "solver": solver, "iterations": iterations, "tolerance": 1e-8}
    broken_off = mujoco.MjModel.from_xml_string(feet.mjcf(**options))
    ours, theirs, jacobian = velocities_and_jacobian(broken_off)
    exact, truth = finished(cone)
    np.testing.assert_array_equal(ours, theirs)
    assert np.abs(ours - exact).max() > 1e-3  # the values are broken off
    assert np.abs(jacobian - truth).max() < 1e-6 * np.abs(truth).max()


def test_without_finishing_the_derivative_is_wrong() -> None:
    options = {"cone": "pyramidal", "solver": "Newton", "iterations": 1, "tolerance": 1e-8}
    broken_off = mujoco.MjModel.from_xml_string(feet.mjcf(**options))
    _, _, jacobian = velocities_and_jacobian(broken_off, physics.Backward(finish=False))
    _, truth = finished("pyramidal")
    assert np.abs(jacobian - truth).max() > 0.01 * np.abs(truth).max()
