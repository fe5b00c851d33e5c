"""The derivative through contacts of a cylinder, where MJX's own is NaN."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from worldmodel import physics
from worldmodel._mujoco import mjx, mujoco
from worldmodel.physics import _mjx, oracle

DRUM = """
<mujoco>
  <option timestep="0.002"/>
  <worldbody>
    <geom type="cylinder" size=".3 .1" pos="0 0 -.1"/>
    <body pos="{pos}" euler="{euler}"><freejoint/><geom type="{kind}" size="{size}"/></body>
  </worldbody>
</mujoco>"""
QVEL = np.array([-0.3, -0.2, -0.1, 0.5, 0.2, 0.1])


def drum(kind: str, size: str, pos: str, euler: str = "0 0 0") -> mujoco.MjModel:
    text = DRUM.format(kind=kind, size=size, pos=pos, euler=euler)
    return mujoco.MjModel.from_xml_string(text)


def make_derivatives(mj_model: mujoco.MjModel) -> Callable[..., tuple]:
    """(2,) the drum's radius and half height, (3,) the other's place → velocities (6,) and
    distances (contacts,) after a step, and by reverse mode the Jacobian of each in both."""
    model, blank = mjx.put_model(mj_model), mjx.make_data(mj_model)

    def after(size: jax.Array, place: jax.Array) -> tuple[jax.Array, jax.Array]:
        moved = model.replace(geom_size=model.geom_size.at[0, :2].set(size))
        qpos = jnp.asarray(mj_model.qpos0).at[:3].set(place)
        data = physics.step(moved, blank.replace(qpos=qpos, qvel=jnp.asarray(QVEL)))
        return data.qvel, _mjx.contact(data).dist

    return jax.jit(lambda *x: (after(*x), jax.jacrev(after, argnums=(0, 1))(*x)))


def test_gradient_of_a_ball_at_a_drum_is_that_of_mujoco() -> None:
    mj_model = drum("sphere", ".1 0 0", "0 0 0")
    derivatives, size = make_derivatives(mj_model), mj_model.geom_size[0, :2].copy()

    def of_c(x: np.ndarray) -> np.ndarray:
        mj_model.geom_size[0, :2] = x[:2]
        qpos = np.concatenate([x[2:], mj_model.qpos0[3:]])
        return oracle.trajectory(mj_model, qpos, QVEL, np.zeros((1, 0)), 1)[1][0]

    # On its axis, and at its side, where MJX's contact is 4 mrad and 0.7 mm off.
    for place, bound in ((np.array([0, 0, 0.0999]), 1e-6), (np.array([0.32, 0.239, -0.11]), 4e-2)):
        (velocity, distance), (by, _) = derivatives(size, place)
        x = np.concatenate([size, place])
        assert distance < 0
        np.testing.assert_allclose(velocity, of_c(x), atol=0.2 * bound)
        truth = oracle.differences(of_c, x, 1e-6)
        assert np.abs(np.hstack(by) - truth).max() < bound * np.abs(truth).max()

    # Above it no force acts, and the distance follows.
    (_, distance), (by, gap) = derivatives(size, np.array([0, 0, 0.2]))
    np.testing.assert_allclose(distance, 0.1, atol=1e-9)
    for jacobian in by:
        np.testing.assert_allclose(jacobian, 0.0, atol=1e-12)
    np.testing.assert_allclose(gap[0], [[0.0, -1.0]], atol=1e-9)
    np.testing.assert_allclose(gap[1], [[0.0, 0.0, 1.0]], atol=1e-9)


@pytest.mark.parametrize(
    ("kind", "size", "pos", "euler"),
    [
        ("capsule", ".05 .12 0", ".03 .02 .0499", "0 90 30"),
        pytest.param("ellipsoid", ".05 .05 .05", "0 0 .0499", "0 0 0", marks=pytest.mark.slow),
        ("cylinder", ".05 .06 0", ".02 .03 .0599", "0 0 0"),
    ],
)
def test_what_lies_on_a_drum_rises_with_it(kind: str, size: str, pos: str, euler: str) -> None:
    mj_model = drum(kind, size, pos, euler)
    derivatives = make_derivatives(mj_model)
    (_, distance), (by, gap) = derivatives(mj_model.geom_size[0, :2], mj_model.qpos0[:3])
    assert all(np.isfinite(jacobian).all() for jacobian in by)
    near = distance < 1e-3
    assert near.any()
    np.testing.assert_allclose(gap[0][near], np.tile([0.0, -1.0], (near.sum(), 1)), atol=1e-6)
    np.testing.assert_allclose(gap[1][near], np.tile([0, 0, 1.0], (near.sum(), 1)), atol=1e-6)
