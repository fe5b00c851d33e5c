"""What a real servo does between its command and its joint, as seven numbers of its actuator.

MuJoCo's fixed gain reads the first of an actuator's ten ``gainprm`` and leaves the last seven to
"a more elaborate model" (XML reference, actuator/general). They are, in this order, ``COLUMNS``;
0 is a drive without it, and plain MuJoCo ignores all seven:

    delay           [s] from a command to its effect, at most ``DELAY_MAX``
    lag             [s] time constant of the first-order filter after it
    backlash        [rad, m] of the joint: play between the motor of a position servo and its link
    no_load_speed   [rad/s, m/s] of the actuator, at which its forcerange has fallen to 0
    coulomb         [N·m, N] dry friction of the joint
    stiction        [N·m, N] by which that is larger at rest
    stribeck_speed  [rad/s, m/s] of the joint, over which the stiction fades

The law is written once for NumPy and JAX, for any leading dimensions, so that C MuJoCo and MJX
play the same drive. Of a control step it gives the commands of all substeps (``commands``: clamp,
delay, lag), which depend on no state, where each link lies in its play (``meshed``), and in each
substep what acts on the joints (``actuated``: play, speed limit, friction). The array that a state
remembers between control steps (``blank_memory``) holds the commands last held, the latest first,
the lagged command, and in its last two rows where the link lies in its play, and how fast its joint
was. A row that is NaN is not known yet: the first command then counts as held before.
"""

import math
from typing import Any

import numpy as np

from worldmodel._mujoco import mujoco
from worldmodel.scene.actuators import driven_dof, is_position_servo, joints
from worldmodel.scene.errors import SceneError
from worldmodel.scene.names import element_name
from worldmodel.scene.namespace import namespace

Array = Any  # NumPy on the host, jax.Array inside a compiled function
Model = Any  # mujoco.MjModel or mjx.Model: their fields have the same names

FIRST = 3  # of the ``gainprm`` columns
COLUMNS = ("delay", "lag", "backlash", "no_load_speed", "coulomb", "stiction", "stribeck_speed")
DELAY_MAX = 0.2  # [s]
# Of a model that a drive commands: what it gives stands for a force, and may lie beyond ctrlrange.
CLAMP_OFF = int(mujoco.mjtDisableBit.mjDSBL_CLAMPCTRL)
HELD = 1.0  # [rad/s², m/s²] of a joint by a load; under less its link stays in its play
CROSSING = 0.02  # [s] time constant of a link that a larger load moves to the other side
SLOW = 0.1  # [rad/s, m/s] at which a joint counts as half at rest
SLOPE = 0.5  # of friction at rest, as a share of what stops a joint within one substep
_PLAY = 2  # rows of a memory, the last ones
_SETTLED = 1e3  # substeps per time constant of a command without a lag


def numbers(model: Model) -> Array:
    """(nu, 7) the drives' numbers, in the order of ``COLUMNS``; 0 of gains that are not fixed."""
    fixed = np.asarray(model.actuator_gaintype) == int(mujoco.mjtGain.mjGAIN_FIXED)
    return fixed[:, None] * model.actuator_gainprm[:, FIRST:]


def number(model: Model, name: str) -> Array:
    """(nu,) one of ``COLUMNS``."""
    return numbers(model)[:, COLUMNS.index(name)]


def has_drives(model: mujoco.MjModel) -> bool:
    """Whether any actuator has a drive."""
    return bool(numbers(model).any())


def has_play(model: mujoco.MjModel) -> bool:
    """Whether any drive has a backlash."""
    return bool(number(model, "backlash").any())


def acts_on_state(model: mujoco.MjModel) -> bool:
    """Whether what a drive does changes from substep to substep with the state."""
    return bool(numbers(model)[:, COLUMNS.index("no_load_speed") :].any())


def blank_memory(model: mujoco.MjModel, substeps: int) -> np.ndarray:
    """(rows, nu) of NaN: a start before which nothing is known; without drives it has no rows.

    Args:
      model: its timestep is that of a substep.
      substeps: physics steps per control step.
    """
    if not has_drives(model):
        return np.zeros((0, model.nu))
    late = bool(number(model, "delay").any())
    held = math.ceil(DELAY_MAX / (substeps * model.opt.timestep) - 1e-9) if late else 0
    return np.full((held + 1 + _PLAY, model.nu), np.nan)


def remembered(model: Model, memory: Array, past: Array, known: Array, substeps: int) -> Array:
    """The memory at a start whose past commands are known: they run through delay and lag.

    Args:
      memory: (…, rows, nu) of a start before them all.
      past: (…, frames, nu) held before the start, the latest first.
      known: (…, frames) bool.
    """
    if not memory.shape[-2]:
        return memory
    xp = namespace(memory)
    for k in reversed(range(past.shape[-2])):
        _, after = commands(model, memory, past[..., k, :], substeps)
        memory = xp.where(known[..., k, None, None], after, memory)
    return memory


def commands(model: Model, memory: Array, ctrl: Array, substeps: int) -> tuple[Array, Array]:
    """The commands of a control step's substeps, clamped, delayed and lagged.

    Each is the mean, over its substep, of the delayed command: exact for commands that are held,
    and differentiable in the delay. The lag is the exact filter at the substep's end.

    Args:
      model: its timestep is that of a substep.
      memory: (…, rows, nu) from before the control step.
      ctrl: (…, nu) held over it.

    Returns:
      (…, substeps, nu), and the memory after the control step.
    """
    xp = namespace(ctrl)
    limited = np.asarray(model.actuator_ctrllimited).astype(bool)
    ctrl = xp.where(limited, xp.clip(ctrl, *model.actuator_ctrlrange.T), ctrl)[..., None, :]
    memory, play = memory[..., :-_PLAY, :], memory[..., -_PLAY:, :]
    memory = xp.where(xp.isnan(memory), ctrl, memory)
    held = xp.concatenate([ctrl, memory[..., :-1, :]], axis=-2)
    dt = model.opt.timestep

    # Row r was held from control step −r on; a substep lasts from ``end`` − 1/substeps to ``end``.
    row = np.arange(held.shape[-2])[:, None]
    end = np.arange(1, substeps + 1)[:, None, None] / substeps
    end = end - number(model, "delay") / (substeps * dt)
    shared = xp.minimum(end, 1.0 - row) - xp.maximum(end - 1.0 / substeps, -1.0 * row)
    weight = substeps * xp.maximum(shared, 0.0)
    delayed = xp.einsum("sru,...ru->...su", weight, held)

    lag = number(model, "lag")
    rate = xp.where(lag > 0, dt / xp.where(lag > 0, lag, 1.0), _SETTLED)
    since = np.arange(substeps)[:, None] - np.arange(substeps)
    decay = xp.where(since[..., None] < 0, 0.0, xp.exp(-np.maximum(since, 0)[..., None] * rate))
    first = xp.exp(-np.arange(1, substeps + 1)[:, None] * rate)
    lagged = -xp.expm1(-rate) * xp.einsum("stu,...tu->...su", decay, delayed)
    lagged = lagged + first * memory[..., -1:, :]
    return lagged, xp.concatenate([held[..., :-1, :], lagged[..., -1:, :], play], axis=-2)


def acceleration(model: Model, memory: Array, qvel: Array, seconds: Array) -> Array:
    """(…, nv) [rad/s², m/s²] of the joints that have an actuator, the mean over the last control
    step of ``seconds``; 0 of the others, and where nothing is remembered.

    Args:
      memory: (…, rows, nu) of the drives.
      qvel: (…, nv).
    """
    xp = namespace(memory)
    on_joint, _, dof = joints(model)
    change = (qvel[..., dof] - memory[..., -1, :]) / seconds
    change = xp.where(on_joint & ~xp.isnan(change), change, 0.0)
    at = (on_joint[:, None] & (dof[:, None] == np.arange(model.nv))).astype(float)
    return change @ (at / np.maximum(at.sum(0), 1.0))  # several on a joint remember the same


def begun_faster(model: Model, memory: Array, rate: Array) -> Array:
    """The memory (…, rows, nu) of a state whose velocities were greater by ``rate`` (…, nv) all
    along: a change of state that no acceleration has brought about."""
    on_joint, _, dof = joints(model)
    faster = memory[..., -1:, :] + (on_joint * rate[..., dof])[..., None, :]
    return namespace(memory).concatenate([memory[..., :-1, :], faster], axis=-2)


def meshed(
    model: Model, memory: Array, qpos: Array, qvel: Array, load: Array, seconds: Array
) -> Array:
    """The memory with where each link lies in its play during a control step, from its joint's
    position less the motor's, within ± half of the backlash.

    A load pushes the link to one side of the gap, to the motor's that carries it: gravity to the
    lower one, and a motor that brakes to the one ahead. It crosses the gap with a time constant of
    ``CROSSING``. Where the load is less than gives the joint an acceleration of ``HELD`` it stays,
    as in friction. A start that remembers nothing has the motor where the servo carries the load,
    or, where it moves by more than ``SLOW``, its link where gravity pushes it.

    Args:
      memory: (…, rows, nu) of ``commands`` for this control step.
      qpos, qvel: (…, nq), (…, nv) at its start.
      load: (…, nv) [N·m, N] inverse dynamics under ``acceleration``, without armatures, contacts,
        springs and gravity compensation: what a joint passes on to its link.
      seconds: that a control step lasts.

    Returns:
      (…, rows, nu).
    """
    xp = namespace(memory)
    on_joint, position, dof = joints(model)
    gear = xp.where(on_joint, model.actuator_gear[:, 0], 1.0)
    half, load, gain = 0.5 * number(model, "backlash"), load[..., dof], model.actuator_gainprm[:, 0]
    safe = xp.where(half > 0, half, 1.0)
    motor = (memory[..., -_PLAY - 1, :] - load / xp.where(half > 0, gain * gear, 1.0)) / gear
    pushed, velocity = load * model.dof_invweight0[dof] / HELD, qvel[..., dof]
    moves = xp.square(velocity) / (xp.square(velocity) + SLOW**2)
    begun = xp.tanh((qpos[..., position] - motor) / safe)
    begun = half * (begun + moves * (-xp.tanh(pushed) - begun))
    before = memory[..., -2, :]
    before = xp.where(xp.isnan(before), begun, xp.clip(before, -half, half))
    size = xp.square(pushed)
    share = -xp.expm1(-seconds / CROSSING * size / (1.0 + size))
    play = before + share * (-half * xp.sign(load) - before)
    rows = xp.stack([play, velocity], axis=-2)
    return xp.concatenate([memory[..., :-_PLAY, :], rows], axis=-2)


def in_play(memory: Array) -> Array:
    """(…, nu) [rad, m] where the links lie in their play; 0 where nothing says it."""
    play = memory[..., -2, :]
    return namespace(memory).where(namespace(memory).isnan(play), 0.0, play)


def actuated(
    model: Model, command: Array, play: Array, qpos: Array, qvel: Array
) -> tuple[Array, Array]:
    """What acts in a substep: the actuators' ctrl, and the drives' friction on the joints.

    A servo measures its motor, which is the joint less its play. The speed limit
    holds the force within forcerange · (1 − |velocity| / no_load_speed) in the direction of motion,
    the line of a DC motor. Friction is (coulomb + stiction · exp(−(v / stribeck_speed)²)) ·
    tanh(v / ε) (Armstrong-Hélouvry, Dupont & Canudas de Wit, Automatica 1994, eq. 8); ε is the
    smallest speed at which an explicit step is stable, so that a loaded joint creeps by at most
    about ε.

    Args:
      command: (…, nu) of ``commands``.
      play: (…, nu) of ``in_play``.
      qpos, qvel: (…, nq), (…, nv) at the substep's start.

    Returns:
      (…, nu); (…, nv) generalised force [N·m, N].
    """
    xp = namespace(command)
    _, _, _, fastest, coulomb, stiction, stribeck = xp.moveaxis(numbers(model), -1, 0)
    on_joint, position, dof = joints(model)
    gear = on_joint * model.actuator_gear[:, 0]
    length, velocity = gear * qpos[..., position], gear * qvel[..., dof]

    ctrl = command + gear * play

    affine = np.asarray(model.actuator_biastype) == int(mujoco.mjtBias.mjBIAS_AFFINE)
    constant, stiffness, damping = model.actuator_biasprm[:, :3].T * affine
    bias = constant + stiffness * length + damping * velocity
    limited, gain = fastest > 0, model.actuator_gainprm[:, 0]
    speed = velocity / xp.where(limited, fastest, 1.0)
    gain = xp.where(limited, gain, 1.0)
    low, high = model.actuator_forcerange.T  # where nothing lowers them, MuJoCo's own clamp acts
    low = (low * xp.clip(1.0 + speed, 0.0, 1.0) - bias) / gain
    high = (high * xp.clip(1.0 - speed, 0.0, 1.0) - bias) / gain
    ctrl = xp.where(limited & (speed < 0) & (ctrl < low), low, ctrl)
    ctrl = xp.where(limited & (speed > 0) & (ctrl > high), high, ctrl)

    v, most = qvel[..., dof], coulomb + stiction
    fades = stiction * xp.exp(-xp.square(v / xp.where(stribeck > 0, stribeck, 1.0)))
    least = most * model.opt.timestep * model.dof_invweight0[dof] / SLOPE
    sign = xp.tanh(v / xp.where(most > 0, least, 1.0))
    friction = xp.where(most > 0, -(coulomb + fades) * sign, 0.0)
    return ctrl, friction @ (dof[:, None] == np.arange(model.nv)).astype(float)


def obstacle(model: mujoco.MjModel, actuator: int, name: str) -> str | None:
    """Why an actuator cannot have a number of ``COLUMNS``, and the remedy; None where it can."""
    if model.actuator_gaintype[actuator] != mujoco.mjtGain.mjGAIN_FIXED:
        return "a drive needs a fixed gain, as motors and position servos have"
    if name in ("delay", "lag"):
        return None
    if driven_dof(model, actuator) is None:
        return "it acts on a hinge or slide, and this actuator drives none"
    if name in ("coulomb", "stiction", "stribeck_speed"):
        return None
    if model.actuator_dyntype[actuator] != mujoco.mjtDyn.mjDYN_NONE:
        return "it needs an actuator without an activation: drop its filter, and give it a lag"
    if name == "backlash":
        servo = is_position_servo(model, actuator)
        return None if servo else "only a position servo has backlash: it measures its motor"
    if not model.actuator_forcelimited[actuator]:
        return "it lowers the largest force, and this actuator has none; give it a forcerange"
    gain = model.actuator_gainprm[actuator, 0]
    return None if gain > 0 else f"it needs a positive gain, not {gain:g}"


def refuse_drives(model: mujoco.MjModel) -> None:
    """Refuses drives that cannot be.

    Raises:
      SceneError: the message names the actuator, the number and the remedy.
    """
    given = numbers(model)
    for actuator, row in enumerate(given):
        drive = dict(zip(COLUMNS, row.tolist(), strict=True))
        reason = None
        for name, value in drive.items():
            if value < 0:
                reason = "it cannot be negative; 0 is a drive without it"
            elif name == "delay" and value > DELAY_MAX:
                reason = f"it is at most {DELAY_MAX:g} s; shift the commands by the rest"
            elif name == "stiction" and value and not drive["stribeck_speed"]:
                reason = "give the stribeck_speed over which it fades too"
            elif value:
                reason = obstacle(model, actuator, name)
            if reason is not None:
                column = FIRST + COLUMNS.index(name)
                raise SceneError(
                    f"actuator '{element_name(model, 'actuator', actuator)}': {name} {value:g} "
                    f"(gainprm[{column}]): {reason}"
                )
    if given.any() and model.opt.disableflags & CLAMP_OFF:
        raise SceneError(
            'drives clamp commands to ctrlrange, and <flag clampctrl="disable"/> does not; remove '
            "the flag, and the ctrlrange of actuators without one"
        )
