"""What the backward pass may do that the forward does not: values stay, derivatives are these."""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from worldmodel import physics
from worldmodel.physics import Backward
from worldmodel.physics.backward import growth
from worldmodel.rollout import Replay, rollout
from worldmodel.scene import Scene, load_scene
from worldmodel.types import State

STEPS = 200  # 0.4 s: a drop of 0.3 m and one bounce, not yet down again
ALL = Backward(contact_width=0.01, touch_speed=0.1, jacobian_limit=3.0)


@functools.cache
def ball(
    *,
    condim: int = 1,
    cone: str = "pyramidal",
    integrator: str = "Euler",
    solref: str = "0.02 0.5",
) -> Scene:
    """A ball that can be pushed up and down above a floor, and bounces to half its height."""
    return load_scene(
        f"""
        <mujoco model="ball">
          <option timestep="0.002" cone="{cone}" integrator="{integrator}"/>
          <worldbody>
            <geom name="floor" type="plane" size="0 0 .1"/>
            <body name="ball" pos="0 0 .1">
              <joint name="z" type="slide" axis="0 0 1"/>
              <geom name="ball" type="sphere" size=".1" mass="1" priority="1" condim="{condim}"
                    solref="{solref}" solimp="0.99 0.99 0.001"/>
            </body>
          </worldbody>
          <actuator><motor name="push" joint="z"/></actuator>
        </mujoco>
        """,
        control_hz=500.0,
        substeps=1,
    )


@functools.cache
def bounces(backward: Backward) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """41 drops from around 0.3 m: where from, (41, STEPS, 2) heights and speeds, and the slope of
    the last height in the first."""
    scene = ball()
    step = functools.partial(physics.control_step, scene, scene.mjx_model(), backward=backward)

    def path(height: jax.Array) -> jax.Array:
        start = physics.initial_state(scene, height[None], jnp.zeros(1))
        still = Replay(jnp.zeros((STEPS, 1)))
        states, _ = rollout(step, still, start, STEPS, jax.random.key(0))
        return jnp.concatenate([states.qpos, states.qvel], axis=1)

    heights = jnp.linspace(0.29, 0.31, 41)
    paths, slopes = jax.jit(jax.vmap(lambda h: jax.jvp(path, (h,), (jnp.ones_like(h),))))(heights)
    return np.asarray(heights), np.asarray(paths), np.asarray(slopes[:, -1, 0])


@functools.cache
def one_step(backward: Backward, **scene: str | int) -> Callable:
    """(height, speed, push) → the speed after one step, and its slopes in all three; compiled."""
    bouncing = ball(**scene)

    def speed(height: jax.Array, speed: jax.Array, push: jax.Array) -> jax.Array:
        start = physics.initial_state(bouncing, height[None], speed[None])
        model = bouncing.mjx_model()
        return physics.control_step(bouncing, model, start, push[None], backward=backward).qvel[0]

    run = jax.jit(jax.value_and_grad(speed, (0, 1, 2)))
    return lambda *x: jax.tree.map(float, run(*map(jnp.asarray, x)))


@pytest.mark.parametrize("backward", [ALL, Backward(touch_speed=0.1)], ids=str)
def test_values_stay_bit_for_bit(backward: Backward) -> None:
    paths = bounces(Backward())[1]
    assert (paths[:, :, 0] < 0).any(axis=1).all()  # every ball touched
    np.testing.assert_array_equal(bounces(backward)[1], paths)


def test_derivative_of_a_bounce_needs_the_time_of_the_touch() -> None:
    heights, paths, plain = bounces(Backward())
    wide = np.polyfit(heights, paths[:, -1, 0], 1)[0]  # slope over 2 cm of starts
    touch = bounces(Backward(touch_speed=0.1))[2]
    assert 0.05 < wide < 0.5
    assert plain.mean() < -5 * wide  # wrong in size and sign
    assert abs(touch.mean() - wide) < 0.5 * wide
    assert np.abs(touch - wide).mean() < 0.2 * np.abs(plain - wide).mean()


@pytest.mark.parametrize(("condim", "cone"), [(1, "pyramidal"), (3, "pyramidal"), (3, "elliptic")])
def test_touch_is_found_whatever_the_rows_of_a_contact(condim: int, cone: str) -> None:
    # At 2 m/s and 0.4 mm deep it touched 0.2 ms ago: raised by δ, it would by δ / 2 m/s later.
    plain = one_step(Backward(), condim=condim, cone=cone)
    after, _ = plain(-1e-9, -2.0, 0.0)  # a touch that has just set in
    brought = (after + 2.0) / 0.002 + 9.81
    _, (hard, *_) = plain(-4e-4, -2.0, 0.0)
    timed = one_step(Backward(touch_speed=1e-6), condim=condim, cone=cone)
    _, (slope, *_) = timed(-4e-4, -2.0, 0.0)
    np.testing.assert_allclose(slope - hard, -brought / 2.0, rtol=1e-3)


def test_contact_that_has_not_happened_has_a_slope_only_from_distance() -> None:
    plain, soft = one_step(Backward()), one_step(Backward(contact_width=0.01))
    assert plain(0.02, 0.0, 0.0)[1][0] == 0.0
    assert soft(0.02, 0.0, 0.0)[1][0] < -1e-3  # nearer the floor, faster upwards
    assert soft(0.09, 0.0, 0.0)[1][0] == 0.0  # eight widths away it is none
    deep = soft(-0.3, 0.0, 0.0)[1], plain(-0.3, 0.0, 0.0)[1]
    np.testing.assert_allclose(*deep, rtol=1e-6)


def test_jacobian_limit_cuts_the_state_and_not_the_control() -> None:
    stiff = one_step(Backward(), solref="0.004 0.2")
    limited = one_step(Backward(jacobian_limit=3.0), solref="0.004 0.2")
    assert stiff(0.5, -1.0, 1.0) == limited(0.5, -1.0, 1.0)  # in flight
    value, (height, _, push) = stiff(-0.01, -1.0, 1.0)
    assert abs(height * 0.002) > 3.0 and push
    assert limited(-0.01, -1.0, 1.0) == (value, (0.0, 0.0, push))


def test_growth_has_no_units() -> None:
    def drift(state: State) -> State:  # a Jacobian [[1, 1], [0, 1]]: root mean square √1.5
        return dataclasses.replace(state, qpos=state.qpos + 0.002 * state.qvel)

    start = physics.initial_state(ball(), np.array([0.2]), np.zeros(1))
    np.testing.assert_allclose(growth(drift, start, 0.002), np.sqrt(1.5))


@pytest.mark.parametrize(
    "given",
    [
        {"contact_width": -1.0},
        {"contact_width": np.nan},
        {"touch_speed": -0.1},
        {"touch_speed": np.inf},
        {"jacobian_limit": 0.0},
        {"jacobian_limit": np.nan},
    ],
    ids=str,
)
def test_bad_settings_are_refused_by_name(given: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(given))):
        dataclasses.replace(Backward(), **given)


def test_rk4_refuses_the_time_of_a_touch() -> None:
    scene = ball(integrator="RK4")
    start = physics.initial_state(scene, np.array([0.2]), np.zeros(1))
    with pytest.raises(ValueError, match=r"touch_speed.*Euler or implicitfast"):
        physics.control_step(
            scene, scene.mjx_model(), start, jnp.zeros(1), backward=Backward(touch_speed=0.1)
        )
