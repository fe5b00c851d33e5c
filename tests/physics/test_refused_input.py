"""Arrays, leaves and numbers that a step cannot take are refused by name; mixed types run."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.helpers import scenes
from worldmodel import physics
from worldmodel.errors import InputError
from worldmodel.physics import parameters
from worldmodel.physics.parameters import ParameterError
from worldmodel.scene import FreeParameter, load_scene

MASS = (FreeParameter("mass", "box"),)


@pytest.mark.parametrize("scale", [float("nan"), (1.0, float("inf"), 1.0), (1.0, 1.0)])
def test_scales_are_checked(scale: Any) -> None:
    with pytest.raises(ParameterError, match=r"box\.com: scale .* is not 1 or 3 "):
        parameters.check(scenes.box(), (FreeParameter("com", "box", scale),))


@pytest.mark.parametrize(
    ("leaves", "message"),
    [
        ({}, r"box\.mass is absent and must have the shape \(1,\)"),
        ({"box.mass": jnp.zeros(2)}, r"box\.mass is \(2,\)"),
        ({"box.mass": jnp.zeros(())}, r"box\.mass is \(\)"),
    ],
)
def test_leaves_are_checked(leaves: parameters.Parameters, message: str) -> None:
    scene = scenes.box()
    with pytest.raises(ParameterError, match=message):
        parameters.apply(scene, scene.mjx_model(), MASS, leaves)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_number_that_is_not_finite_is_named(bad: float) -> None:
    scene = scenes.box()
    with pytest.raises(ParameterError, match=rf"box.mass is \[ *{bad}\].*finite"):
        parameters.to_mjcf(scene, MASS, {"box.mass": jnp.array([bad])})
    with pytest.raises(ParameterError, match=r"box\.mass is \[inf\] at \[100000\.\] prior widths"):
        parameters.to_mjcf(scene, MASS, {"box.mass": jnp.array([1e5])})


def test_arrays_of_another_shape_are_named() -> None:
    scene = scenes.tray()
    with pytest.raises(InputError, match=r"qpos has the shape \(3,\).*'tray' needs \(7,\)"):
        physics.initial_state(scene, np.zeros(3), np.zeros(6))
    with pytest.raises(InputError, match=r"qvel has the shape \(4, 6\).*vmap"):
        physics.initial_state(scene, scene.mj_model.qpos0, np.zeros((4, 6)))
    state = physics.initial_state(scene, scene.mj_model.qpos0, np.zeros(6))
    with pytest.raises(InputError, match=r"ctrl has the shape \(2,\).*needs \(0,\)"):
        physics.control_step(scene, scene.mjx_model(), state, jnp.zeros(2))


def test_precisions_and_integers_may_be_mixed() -> None:
    pushed = load_scene(
        "<mujoco><worldbody><body><joint name='x' type='slide' axis='1 0 0'/>"
        "<geom size='.1'/></body></worldbody>"
        "<actuator><motor joint='x'/></actuator></mujoco>",
        control_hz=100.0,
        substeps=1,
    )

    @jax.jit
    def after(qpos: Any, qvel: Any, ctrl: Any) -> jax.Array:
        state = physics.initial_state(pushed, qpos, qvel)
        return physics.control_step(pushed, pushed.mjx_model(), state, ctrl).qpos

    whole = after(np.array([1.0]), np.array([2.0]), np.array([3.0]))
    assert whole.dtype == jnp.float64
    for kind in (np.float32, np.int32):
        mixed = after(np.array([1], kind), np.array([2.0]), np.array([3], kind))
        assert mixed.dtype == jnp.float64 and mixed == whole


def test_a_state_of_another_precision_is_named() -> None:
    scene = scenes.tray()
    model = scene.mjx_model()
    state = physics.initial_state(scene, scene.mj_model.qpos0, np.zeros(6))
    single = dataclasses.replace(state, qvel=state.qvel.astype(jnp.float32))
    with pytest.raises(InputError, match=r"state\.qvel is float32 .*float64.*initial_state"):
        physics.control_step(scene, model, single, jnp.zeros(0))
