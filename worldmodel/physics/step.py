"""One physics step that is ``mjx.step`` with a gradient, and one control step of a scene."""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from worldmodel._mujoco import mjx
from worldmodel.errors import InputError
from worldmodel.physics import _mjx, actuation, contact, cylinder
from worldmodel.physics.backward import HARD, Backward, cut, growth
from worldmodel.scene import Scene, drives
from worldmodel.types import State

_SOLIMP_FIELDS = (
    "geom_solimp",
    "pair_solimp",
    "jnt_solimp",
    "dof_solimp",
    "eq_solimp",
    "tendon_solimp_lim",
    "tendon_solimp_fri",
)
_CARRIED = ("qpos", "qvel", "act", "time", "qacc_warmstart")  # of ``State``, as in ``mjx.Data``


def step(model: mjx.Model, data: mjx.Data, backward: Backward = HARD) -> mjx.Data:
    """Drop-in for ``mjx.step``: the same values, differentiable through contact.

    Works under ``jit``, ``vmap``, ``jvp`` and ``vjp``, in float32 and float64; both friction
    cones, friction loss, limits, equality constraints, condim 1, 3, 4 and 6. The derivative is
    the implicit one of the converged solve (``contact.solve``); that in the fifth solimp
    number, the power, is set to zero (past the width it is the log of a negative number).

    Euler, implicitfast and RK4. ``backward`` changes the derivative and no value.
    """
    integrator = _mjx.integrator_name(model)
    if backward.touch_speed and integrator == "RK4":
        raise ValueError("touch_speed counts touches once per step: choose Euler or implicitfast")
    after = forward(model, data, backward)
    if integrator == "RK4":
        after = _rungekutta4(model, after, backward)
    elif integrator == "EULER":
        after = mjx.euler(model, after)
    else:
        after = mjx.implicit(actuation.without_clamped_damping(model, after), after)
    return _with_types_of(data, after)


def _with_types_of(before: mjx.Data, after: mjx.Data) -> mjx.Data:
    """``after`` as a carry of ``lax.scan``: MJX widens integers under x64 where there are
    tendons."""

    def kept(new: jax.Array, old: jax.Array) -> jax.Array:
        return new.astype(old.dtype) if jnp.issubdtype(old.dtype, jnp.integer) else new

    return jax.tree.map(kept, after, before)


def _rungekutta4(model: mjx.Model, first: mjx.Data, backward: Backward) -> mjx.Data:
    """``mjx.rungekutta4`` through solves that have a derivative.

    Args:
      first: after ``forward``.
    """
    dt = model.opt.timestep

    def stage(carry: tuple, numbers: jax.Array) -> tuple[tuple, None]:
        data, qvel, (sum_qvel, sum_qacc, sum_act_dot) = carry
        part, weight = numbers
        qpos = _mjx.advance(model, first, first.act_dot, data.qacc, part * qvel).qpos
        qvel = first.qvel + part * dt * data.qacc
        act = first.act + part * dt * data.act_dot
        there = data.replace(qpos=qpos, qvel=qvel, act=act, time=first.time + part * dt)
        data = _with_types_of(data, forward(model, there, backward))
        sums = (
            sum_qvel + weight * qvel,
            sum_qacc + weight * data.qacc,
            sum_act_dot + weight * data.act_dot,
        )
        return (data, qvel, sums), None

    sums = tuple(x / 6.0 for x in (first.qvel, first.qacc, first.act_dot))
    stages = jnp.array([[0.5, 1.0 / 3.0], [0.5, 1.0 / 3.0], [1.0, 1.0 / 6.0]])
    (last, _, (qvel, qacc, act_dot)), _ = jax.lax.scan(stage, (first, first.qvel, sums), stages)
    back = last.replace(qpos=first.qpos, qvel=first.qvel, act=first.act, time=first.time)
    return _mjx.advance(model, back, act_dot, qacc, qvel)


def forward(model: mjx.Model, data: mjx.Data, backward: Backward = HARD) -> mjx.Data:
    """``mjx.forward``, differentiable through contact: a step without the integration."""
    model = _with_fixed_power(_mjx.with_solvable_options(model, data))
    data = mjx.sensor_pos(model, cylinder.fwd_position(model, data))
    data = mjx.sensor_vel(model, mjx.fwd_velocity(model, data))
    data = mjx.fwd_acceleration(model, actuation.fwd_actuation(model, data))
    if _mjx.constraint_rows(data) == 0:  # as mjx.forward does, acceleration sensors included
        return data.replace(qacc=data.qacc_smooth)
    return mjx.sensor_acc(model, contact.solve(model, data, backward))


def _with_fixed_power(model: mjx.Model) -> mjx.Model:
    def fixed(solimp: jax.Array) -> jax.Array:
        return jnp.concatenate([solimp[..., :4], jax.lax.stop_gradient(solimp[..., 4:])], -1)

    return model.replace(**{name: fixed(getattr(model, name)) for name in _SOLIMP_FIELDS})


def initial_state(
    scene: Scene,
    qpos: jax.typing.ArrayLike,
    qvel: jax.typing.ArrayLike,
    *,
    act: jax.typing.ArrayLike | None = None,
    time: jax.typing.ArrayLike = 0.0,
) -> State:
    """A state to start from: no contact yet, no warm start, no command before the first.

    Args:
      qpos: (nq,) positions.
      qvel: (nv,) velocities.
      act: (na,) activations; zeros when absent.
      time: () [s].

    Raises:
      InputError: an array of another shape.
    """
    m = scene.mj_model
    qpos, qvel = jnp.asarray(qpos, float), jnp.asarray(qvel, float)
    act = jnp.zeros(m.na) if act is None else jnp.asarray(act, float)
    for name, array, size in (("qpos", qpos, m.nq), ("qvel", qvel, m.nv), ("act", act, m.na)):
        if array.shape != (size,):
            raise InputError(
                f"{name} has the shape {array.shape}; scene '{scene.name}' needs ({size},), and a "
                "batch is the caller's vmap"
            )
    return State(
        qpos=qpos,
        qvel=qvel,
        act=act,
        time=jnp.asarray(time, float),
        qacc_warmstart=jnp.zeros_like(qvel),
        contacts=contact.no_contacts(scene),
        latent=jnp.zeros(0),
        correction=jnp.zeros(0),
        variance=jnp.zeros(0),
        drive=jnp.asarray(drives.blank_memory(m, scene.substeps)),
    )


def control_step(
    scene: Scene,
    model: mjx.Model,
    state: State,
    ctrl: jax.Array,
    *,
    force: jax.Array | None = None,
    backward: Backward = HARD,
) -> State:
    """One control step: ``scene.substeps`` physics steps under one held control, which passes
    through the drives that the scene has (``scene.drives``).

    Args:
      scene: static.
      model: the scene's model, its parameters applied (``parameters.apply``).
      state: the state before.
      ctrl: (nu,) control [in the actuators' units].
      force: (nv,) generalised force held over the step [N, N·m]; none when absent.
      backward: how the derivative departs from that of the value; with a ``jacobian_limit``
        the gradient in the incoming state is cut where the step amplifies more than that.

    Returns:
      The state after; its contacts are those of the last substep's solve.

    Raises:
      InputError: a control of another shape, or a state of another precision.
    """
    blank = _held(scene, state, ctrl, force)

    def advance(model: mjx.Model, blank: mjx.Data, state: State) -> State:
        def taken(model: mjx.Model, data: mjx.Data) -> tuple[mjx.Data, None]:
            return step(model, data, backward), None

        return _substeps(scene, model, blank, state, taken)[0]

    if math.isfinite(backward.jacobian_limit):
        fixed_model, fixed_blank, fixed_state = jax.lax.stop_gradient((model, blank, state))
        fixed = functools.partial(advance, fixed_model, fixed_blank)
        amplified = growth(fixed, fixed_state, 1.0 / scene.control_hz)
        state = cut(state, amplified <= backward.jacobian_limit)
    return advance(model, blank, state)


def solver_residuals(
    scene: Scene, model: mjx.Model, state: State, ctrl: jax.Array
) -> tuple[State, jax.Array]:
    """``control_step``, and how far each of its contact solves is from its optimum.

    Returns:
      The state after; (substeps,) the largest remaining Newton step, over the largest
      acceleration (at least 1 m/s², rad/s²): about 0 where converged. Of RK4's four solves per
      substep it is the last one's.

    Raises:
      InputError: as ``control_step``.
    """
    blank = _held(scene, state, ctrl, None)

    def taken(model: mjx.Model, data: mjx.Data) -> tuple[mjx.Data, jax.Array]:
        data = step(model, data)
        scale = jnp.maximum(jnp.max(jnp.abs(data.qacc)), 1.0)
        return data, contact.solver_residual(model, data) / scale

    return _substeps(scene, model, blank, state, taken)


def _substeps(
    scene: Scene,
    model: mjx.Model,
    blank: mjx.Data,
    state: State,
    taken: Callable[[mjx.Model, mjx.Data], tuple[mjx.Data, Any]],
) -> tuple[State, Any]:
    """The state after a control step, and what ``taken`` gave beside the data of each substep."""
    if not drives.has_drives(scene.mj_model):

        def substep(state: State, _: None) -> tuple[State, Any]:
            data, out = taken(model, _loaded(blank, state))
            return _unloaded(scene, model, state, data), out

        return jax.lax.scan(substep, state, length=scene.substeps)

    unclamped = _mjx.without_clamp(model)

    def driven(state: State, command: jax.Array) -> tuple[State, Any]:
        ctrl, friction = drives.actuated(model, command, play, state.qpos, state.qvel)
        applied = blank.replace(ctrl=ctrl, qfrc_applied=blank.qfrc_applied + friction)
        data, out = taken(unclamped, _loaded(applied, state))
        return _unloaded(scene, model, state, data), out

    each, memory = drives.commands(model, state.drive, blank.ctrl, scene.substeps)
    if drives.has_play(scene.mj_model):
        memory = _meshed(scene, model, blank, state, memory)
    play = drives.in_play(memory)
    after, out = jax.lax.scan(driven, state, each)
    return dataclasses.replace(after, drive=memory), out


def _meshed(
    scene: Scene, model: mjx.Model, blank: mjx.Data, state: State, memory: jax.Array
) -> jax.Array:
    """``drives.meshed`` at the start of a control step."""
    seconds = scene.substeps * model.opt.timestep
    qacc = drives.acceleration(model, memory, state.qvel, seconds)
    data = blank.replace(qpos=state.qpos, qvel=state.qvel, qacc=qacc)
    data = mjx.com_vel(model, mjx.com_pos(model, mjx.kinematics(model, data)))
    load = mjx.rne(model, data, flg_acc=True).qfrc_bias
    return drives.meshed(model, memory, state.qpos, state.qvel, load, seconds)


def _held(
    scene: Scene, state: State, ctrl: jax.typing.ArrayLike, force: jax.Array | None
) -> mjx.Data:
    """The data that a control step does not change; refuses arrays that it cannot take."""
    ctrl = jnp.asarray(ctrl, float)
    if ctrl.shape != (scene.mj_model.nu,):
        raise InputError(
            f"ctrl has the shape {ctrl.shape}; scene '{scene.name}' needs ({scene.mj_model.nu},), "
            "and a batch is the caller's vmap"
        )
    carried = {name: getattr(state, name) for name in _CARRIED}
    carried |= {
        "contacts.distance": state.contacts.distance,
        "contacts.force": state.contacts.force,
    }
    for name, array in carried.items():
        if jnp.result_type(array) != ctrl.dtype:
            raise InputError(
                f"state.{name} is {jnp.result_type(array)} and a step here runs in {ctrl.dtype}; "
                "make the state anew with physics.initial_state, which takes any precision"
            )
    blank = mjx.make_data(scene.mj_model).replace(ctrl=ctrl)
    return blank if force is None else blank.replace(qfrc_applied=force)


def _loaded(blank: mjx.Data, state: State) -> mjx.Data:
    return blank.replace(**{name: getattr(state, name) for name in _CARRIED})


def _unloaded(scene: Scene, model: mjx.Model, state: State, data: mjx.Data) -> State:
    carried = {name: getattr(data, name) for name in _CARRIED}
    carried["qacc_warmstart"] = jax.lax.stop_gradient(data.qacc_warmstart)
    return dataclasses.replace(state, contacts=contact.channels(scene, model, data), **carried)
