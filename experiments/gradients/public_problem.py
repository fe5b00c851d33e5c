"""What is measured on a public scene: a state in which it touches, its steps and a gradient."""

import copy
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from worldmodel import physics
from worldmodel._mujoco import mjx, mujoco
from worldmodel.errors import InputError
from worldmodel.scene import Scene

SHORT, LONG = 8, 32  # steps of the longer gradient; of the longer comparison, and what is timed
SETTLE_S, PUSH_S = 0.5, 0.02  # under the keyframe's control, under a random one
TRIES, TRY_S, MOVED = 200, 0.1, 0.5  # poses; [m, rad] from the keyframe, of joints without a range
SPREAD = 0.01  # [m/s, rad/s] of the random velocities that are added
CONTROL = 0.1  # of the control's half range
CARRIED = ("qpos", "qvel", "act", "qacc_warmstart")  # what a step changes
HELD = ("mocap_pos", "mocap_quat")  # what it does not, apart from the control
Point = dict[str, Any]  # what is differentiated: qvel, ctrl, mass, friction


def start(model: mujoco.MjModel, seed: int) -> mujoco.MjData:
    """The first keyframe, or the MJCF's own pose, left to settle in C MuJoCo, then disturbed by a
    random control and random velocities. Where nothing touches then, random poses take its place
    until something does.

    Raises:
      InputError: C MuJoCo diverges.
    """
    random = np.random.default_rng(seed)
    data = first = _disturbed(model, SETTLE_S, 0.0, random)
    if not _sound(first):
        raise InputError("the scene diverges in C MuJoCo before anything is measured")
    for _ in range(TRIES):
        if data.ncon and _sound(data):
            return data
        data = _disturbed(model, TRY_S, 1.0, random)
    return first


def _disturbed(
    model: mujoco.MjModel, seconds: float, share: float, random: np.random.Generator
) -> mujoco.MjData:
    """The keyframe, moved and left to settle, under a random control and with random velocities.

    Args:
      share: of the way to a random position that every hinge and slide joint is moved: within its
        range, or at most ``MOVED`` away.
    """
    data = mujoco.MjData(model)
    if model.nkey:
        mujoco.mj_resetDataKeyframe(model, data, 0)
    scalar = model.jnt_type >= int(mujoco.mjtJoint.mjJNT_SLIDE)  # and hinges
    at = model.jnt_qposadr[scalar]
    low, high = model.jnt_range[scalar].T
    limited, place = model.jnt_limited[scalar] == 1, random.uniform(size=len(at))
    away = data.qpos[at] + MOVED * (2 * place - 1)
    aim = np.where(limited, low + place * (high - low), away)
    data.qpos[at] += share * (aim - data.qpos[at])
    mujoco.mj_step(model, data, nstep=_steps(model, seconds))
    noise = random.uniform(-1.0, 1.0, model.nu)
    data.ctrl[:] = data.ctrl + CONTROL * control_unit(model) * noise
    mujoco.mj_step(model, data, nstep=_steps(model, PUSH_S))
    data.qvel += SPREAD * random.normal(size=model.nv)
    return data


def _sound(data: mujoco.MjData) -> bool:
    return not any(w.number for w in data.warning) and bool(np.isfinite(data.qpos).all())


def _steps(model: mujoco.MjModel, seconds: float) -> int:
    return max(1, round(seconds / model.opt.timestep))


def control_unit(model: mujoco.MjModel) -> np.ndarray:
    """(nu,) half the range of a control; 1 where it has none."""
    low, high = model.actuator_ctrlrange.T
    return np.where(model.actuator_ctrllimited == 1, 0.5 * (high - low), 1.0)


def converged(model: mujoco.MjModel) -> mujoco.MjModel:
    """The same model with a solver that goes on until it has converged."""
    model = copy.copy(model)
    model.opt.solver = mujoco.mjtSolver.mjSOL_NEWTON
    model.opt.iterations = max(int(model.opt.iterations), 100)
    model.opt.ls_iterations = max(int(model.opt.ls_iterations), 50)
    model.opt.tolerance = model.opt.ls_tolerance = 1e-12
    return model


def trajectory_of_c(model: mujoco.MjModel, at: mujoco.MjData, steps: int) -> np.ndarray:
    """(steps, nq + nv) by C MuJoCo."""
    data = copy.copy(at)
    path = np.empty((steps, model.nq + model.nv))
    for k in range(steps):
        mujoco.mj_step(model, data)
        path[k] = np.concatenate([data.qpos, data.qvel])
    return path


class Problem:
    """A scene at a start, as functions of a model's arrays and of a ``Point``.

    The point is zero where the scene is as shipped: velocities and controls are added (controls in
    halves of their range), the mass of the heaviest body and the friction of every contact are
    multiplied by the exponential.
    """

    def __init__(self, scene: Scene, at: mujoco.MjData) -> None:
        self.model, self.at = scene.mj_model, at
        moving = self.model.body_weldid != 0
        self.heaviest = int(np.argmax(np.where(moving, self.model.body_mass, -1.0)))
        zeros = {"qvel": jnp.zeros(self.model.nv), "ctrl": jnp.zeros(self.model.nu)}
        self.zero: Point = zeros | {"mass": jnp.zeros(1), "friction": jnp.zeros(1)}

    def _moved(self, model: mjx.Model, x: Point) -> tuple[mjx.Model, mjx.Data, dict]:
        """The model, the data that stays, and the state that a step changes."""
        mass = model.body_mass.at[self.heaviest].multiply(jnp.exp(x["mass"][0]))
        factor = jnp.exp(x["friction"][0])
        geoms = model.geom_friction.at[:, 0].multiply(factor)
        pairs = model.pair_friction.at[:, :2].multiply(factor)
        model = model.replace(body_mass=mass, geom_friction=geoms, pair_friction=pairs)
        ctrl = self.at.ctrl + control_unit(self.model) * x["ctrl"]
        held = {name: jnp.asarray(getattr(self.at, name)) for name in HELD}
        blank = mjx.make_data(self.model).replace(ctrl=ctrl, **held)
        state = {name: jnp.asarray(getattr(self.at, name)) for name in CARRIED}
        return model, blank, state | {"qvel": self.at.qvel + x["qvel"]}

    @staticmethod
    def _advance(step: Callable, model: mjx.Model, blank: mjx.Data, state: dict) -> dict:
        data = step(model, blank.replace(**state))
        new = {name: getattr(data, name) for name in state}
        return new | {"qacc_warmstart": jax.lax.stop_gradient(data.qacc_warmstart)}

    def path(self, step: Callable, model: mjx.Model, x: Point, steps: jax.Array) -> jax.Array:
        """(LONG, nq + nv) states after each step; zeros after the last of ``steps``."""
        model, blank, state = self._moved(model, x)
        states = jnp.zeros((LONG, self.model.nq + self.model.nv))

        def body(k: jax.Array, carry: tuple) -> tuple:
            state, states = carry
            state = self._advance(step, model, blank, state)
            return state, states.at[k].set(jnp.concatenate([state["qpos"], state["qvel"]]))

        return jax.lax.fori_loop(0, steps, body, (state, states))[1]

    def loss(self, x: Point, model: mjx.Model, weights: jax.Array) -> jax.Array:
        """() a mix of the states after each of ``LONG`` steps, through ``physics.step``.

        Args:
          weights: (LONG, nq + nv) of the states.
        """
        model, blank, state = self._moved(model, x)
        keep = jax.checkpoint_policies.save_only_these_names(physics.SOLUTION)

        @functools.partial(jax.checkpoint, policy=keep)
        def body(state: dict, weight: jax.Array) -> tuple[dict, jax.Array]:
            state = self._advance(physics.step, model, blank, state)
            return state, weight @ jnp.concatenate([state["qpos"], state["qvel"]])

        return jax.lax.scan(body, state, weights)[1].sum()
