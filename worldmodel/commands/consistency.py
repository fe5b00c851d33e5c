"""What does not fit together in a log and a scene: limits, signs, scales, delays, clocks.

A position servo's joint follows its command, so the two are correlated at the lag at which they
agree best; the same is measured of the MJCF's own response, which C MuJoCo plays. Of a motor, the
torque that inverse dynamics asks for is compared with the one commanded.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from worldmodel._mujoco import mujoco
from worldmodel.commands.findings import MEND, NOTE, OK, Finding
from worldmodel.scene.defaults import driven_dof, is_position_servo
from worldmodel.scene.names import element_name
from worldmodel.scene.replay import replayed
from worldmodel.types import Episode

SLACK = 0.01  # of a range: encoders and soft limits go so far beyond
FAR_OUTSIDE, OFTEN_OUTSIDE = 0.25, 0.2  # of the range; of the frames
SECONDS = 0.5  # the longest lag that is tried
FOLLOWS = 0.5  # correlation from which a joint counts as following its command
SCALES = (0.5, 2.0)  # slopes of position in command that a servo under load may have
TORQUE_SCALES = (1 / 3, 3.0)  # of the torque needed in the torque commanded
LATE = 1.0  # frames beyond the MJCF's own lag from which a delay is reported
FEW = 20  # pairs of frames below which nothing is concluded
ACCELERATION_SECONDS = 0.06  # to either side of a frame: over less, noise is most of it
_FRAMES = 2000  # of inverse dynamics at most


def consistency(
    model: mujoco.MjModel, substeps: int, episodes: Sequence[Episode], control_hz: float
) -> list[Finding]:
    """Findings on episodes in a scene.

    Args:
      model: its timestep is that of a substep.
      substeps: physics steps per frame.
      episodes: on the control grid.
      control_hz: their rate [1/s].
    """
    return [
        *_joint_limits(model, episodes),
        *_command_ranges(model, episodes),
        *_servos(model, substeps, episodes, control_hz),
        *_motors(model, episodes, control_hz),
    ]


def _column(values: np.ndarray, episode: Episode, index: int) -> np.ndarray:
    """A position of the frames in which it is measured and valid; NaN elsewhere."""
    measured = getattr(episode, "measured", None)
    kept = episode.valid if measured is None else episode.valid & measured[:, index]
    return np.where(kept, values[:, index], np.nan)


def _outside(
    subject: str, values: np.ndarray, low: float, high: float, unit: str, remedy: str
) -> list[Finding]:
    values = values[np.isfinite(values)]
    if not len(values):
        return []
    beyond = np.maximum(low - values, values - high)
    span = max(high - low, 1e-12)
    share = float(np.mean(beyond > SLACK * span))
    if share == 0:
        return []
    worst = float(beyond.max()) / span
    level = MEND if worst > FAR_OUTSIDE or share > OFTEN_OUTSIDE else NOTE
    return [
        Finding(
            level,
            subject,
            f"{100 * share:.1f} % of frames outside [{low:.4g}, {high:.4g}]{unit}, which reach "
            f"from {values.min():.4g} to {values.max():.4g}; {remedy}",
        )
    ]


def _joint_limits(model: mujoco.MjModel, episodes: Sequence[Episode]) -> list[Finding]:
    out: list[Finding] = []
    for joint in np.flatnonzero(model.jnt_limited).tolist():
        kind, at = int(model.jnt_type[joint]), int(model.jnt_qposadr[joint])
        if kind not in (mujoco.mjtJoint.mjJNT_HINGE, mujoco.mjtJoint.mjJNT_SLIDE):
            continue
        unit = " rad" if kind == mujoco.mjtJoint.mjJNT_HINGE else " m"
        values = np.concatenate([_column(e.qpos, e, at) for e in episodes])
        low, high = model.jnt_range[joint]
        subject = f"joint {element_name(model, 'joint', joint)}"
        remedy = "its unit, sign or offset in the columns, or the MJCF's range, is wrong"
        out += _outside(subject, values, float(low), float(high), unit, remedy)
    return out


def _command_ranges(model: mujoco.MjModel, episodes: Sequence[Episode]) -> list[Finding]:
    out: list[Finding] = []
    for actuator in np.flatnonzero(model.actuator_ctrllimited).tolist():
        values = np.concatenate([e.ctrl[:, actuator] for e in episodes])
        low, high = model.actuator_ctrlrange[actuator]
        subject = f"command {element_name(model, 'actuator', actuator)}"
        remedy = "MuJoCo clamps them; look at the column's unit, or widen ctrlrange"
        out += _outside(subject, values, float(low), float(high), "", remedy)
    return out


@dataclasses.dataclass(frozen=True)
class Response:
    """How a position answers its command, over all episodes."""

    correlation: float  # at the lag where it is largest
    slope: float  # of the position in the command
    offset: float  # mean position less mean command
    lag: float  # frames, between frames by a parabola through the peak
    pairs: int


def response(
    command: Sequence[np.ndarray], position: Sequence[np.ndarray], longest: int
) -> Response | None:
    """The response at the lag of the largest correlation; None where too little moves.

    Args:
      command, position: (frames,) of every episode; NaN where not measured.
      longest: lag that is tried [frames].
    """
    fits = [fit for lag in range(longest + 1) if (fit := _at_lag(command, position, lag))]
    if not fits:
        return None
    strength = np.array([abs(fit.correlation) for fit in fits])
    best = int(np.argmax(strength))
    lag = fits[best].lag
    if 0 < best < len(fits) - 1:
        before, at, after = strength[best - 1 : best + 2]
        bend = before - 2 * at + after
        lag += 0.5 * (before - after) / bend if bend < 0 else 0.0
    return dataclasses.replace(fits[best], lag=float(lag))


def _at_lag(
    command: Sequence[np.ndarray], position: Sequence[np.ndarray], lag: int
) -> Response | None:
    pairs = [
        (c[: len(c) - lag], q[lag:])
        for c, q in zip(command, position, strict=True)
        if len(c) > lag + 2
    ]
    if not pairs:
        return None
    c, q = (np.concatenate(column) for column in zip(*pairs, strict=True))
    both = np.isfinite(c) & np.isfinite(q)
    c, q = c[both], q[both]
    if len(c) < FEW or np.ptp(c) < 1e-6 or np.ptp(q) < 1e-6:
        return None
    correlation = float(np.corrcoef(c, q)[0, 1])
    slope = float(np.cov(c, q)[0, 1] / np.var(c, ddof=1))
    return Response(correlation, slope, float(q.mean() - c.mean()), float(lag), len(c))


def _servos(
    model: mujoco.MjModel, substeps: int, episodes: Sequence[Episode], control_hz: float
) -> list[Finding]:
    servos = [
        (a, int(model.jnt_qposadr[model.dof_jntid[dof]]))
        for a in range(model.nu)
        if is_position_servo(model, a) and (dof := driven_dof(model, a)) is not None
    ]
    if not servos:
        return []
    longest = max(2, round(SECONDS * control_hz))
    simulated = [_simulated(model, substeps, e) for e in episodes]
    out: list[Finding] = []
    drifts: list[tuple[float, float]] = []
    for actuator, at in servos:
        subject = f"servo {element_name(model, 'actuator', actuator)}"
        command = [e.ctrl[:, actuator] for e in episodes]
        recorded = response(command, [_column(e.qpos, e, at) for e in episodes], longest)
        own = response(command, [q[:, at] for q in simulated], longest)
        out.append(_judged(subject, recorded, own, control_hz))
        moved = _drift(command, [_column(e.qpos, e, at) for e in episodes], longest)
        if moved is not None:
            expected = _drift(command, [q[:, at] for q in simulated], longest)
            drifts.append((moved, moved - (expected or 0.0)))
    return out + _clocks(drifts, control_hz)


def _clocks(drifts: Sequence[tuple[float, float]], control_hz: float) -> list[Finding]:
    """Clocks that drift: they are common to all servos, so the median one is judged. A saturated
    servo's lag changes too, in the log or in the MJCF's own response.

    Args:
      drifts: of each servo the change of its lag [frames], as recorded, and less the MJCF's own.
    """
    if not drifts:
        return []
    recorded, less_own = sorted(drifts, key=lambda d: min(map(abs, d)))[(len(drifts) - 1) // 2]
    if min(abs(recorded), abs(less_own)) <= LATE or recorded * less_own < 0:
        return []
    text = (
        f"their lag changes by {less_own:+.1f} frames ({1e3 * less_own / control_hz:+.0f} ms) from "
        "the first to the last third of the episodes: the clocks of command and state drift"
    )
    return [Finding(MEND, "servos", text)]


def _judged(
    subject: str, recorded: Response | None, own: Response | None, control_hz: float
) -> Finding:
    if recorded is None:
        return Finding(NOTE, subject, "command or joint hardly moves: nothing says if they fit")
    r, slope = recorded.correlation, recorded.slope
    shown = f"correlation {r:+.2f}, {slope:.3g} per unit of command, lag {recorded.lag:.1f} frames"
    if r < -FOLLOWS:
        return Finding(MEND, subject, f"{shown}: falls where its command rises; turn one sign")
    if r < FOLLOWS:
        return Finding(
            NOTE, subject, f"{shown}: hardly follows; are the columns those of one joint?"
        )
    if not SCALES[0] < slope < SCALES[1]:
        known = {57.3: "degrees of one of the two", 0.01745: "degrees of one of the two"}
        known |= {1000.0: "millimetres of one of the two", 0.001: "millimetres of one of the two"}
        guess = [text for scale, text in known.items() if abs(np.log(slope / scale)) < 0.3]
        remedy = f" ({guess[0]}?)" if guess else ""
        return Finding(MEND, subject, f"{shown}: another scale{remedy}; mend unit or range")
    late = recorded.lag - own.lag if own is not None else 0.0
    if late > LATE:
        text = (
            f"{shown}, the MJCF's own {own.lag:.1f}: commands act about "  # pyright: ignore
            f"{1e3 * late / control_hz:.0f} ms later; give the command a delay"
        )
        return Finding(NOTE, subject, text)
    return Finding(OK, subject, shown)


def _simulated(model: mujoco.MjModel, substeps: int, episode: Episode) -> np.ndarray:
    """(frames, nq) the MJCF's own response to an episode's commands, from its first known pose."""
    known = np.isfinite(episode.qpos).all(1) & np.isfinite(episode.qvel).all(1)
    played = np.full(episode.qpos.shape, np.nan)
    first = int(np.argmax(known))
    if not known.any() or first > len(episode.qpos) - 2:
        return played
    ctrl = np.nan_to_num(episode.ctrl[None, first:-1])
    start = episode.qpos[first], episode.qvel[first]
    played[first] = start[0]
    played[first + 1 :] = replayed(model, substeps, start[0][None], start[1][None], ctrl)[0]
    return played


def _drift(
    command: Sequence[np.ndarray], position: Sequence[np.ndarray], longest: int
) -> float | None:
    """Lag of the last third of the episodes less that of the first [frames]; None where the thirds
    are shorter than three of the longest lags, or nothing follows clearly."""
    lags: list[float] = []
    long = [i for i, c in enumerate(command) if len(c) >= 9 * longest]
    command, position = ([x[i] for i in long] for x in (command, position))
    for third in (0, 2):
        first, second = (
            [x[len(x) * third // 3 : len(x) * (third + 1) // 3] for x in columns]
            for columns in (command, position)
        )
        answer = response(first, second, longest)
        if answer is None or answer.correlation < 0.8 or answer.pairs < 3 * longest:
            return None
        lags.append(answer.lag)
    return lags[1] - lags[0]


def _motors(model: mujoco.MjModel, episodes: Sequence[Episode], control_hz: float) -> list[Finding]:
    motors = [
        (a, dof)
        for a in range(model.nu)
        if model.actuator_biastype[a] == mujoco.mjtBias.mjBIAS_NONE
        and model.actuator_dyntype[a] == mujoco.mjtDyn.mjDYN_NONE
        and (dof := driven_dof(model, a)) is not None
    ]
    if not motors:
        return []
    rows = [_torques(model, e, control_hz) for e in episodes if len(e.qpos) > FEW]
    if not rows:
        return []
    ctrl, needed = (np.concatenate(column) for column in zip(*rows, strict=True))
    out = []
    for actuator, dof in motors:
        subject = f"motor {element_name(model, 'actuator', actuator)}"
        gain = model.actuator_gainprm[actuator, 0] * model.actuator_gear[actuator, 0]
        answer = _at_lag([gain * ctrl[:, actuator]], [needed[:, dof]], 0)
        if answer is None:
            out.append(Finding(NOTE, subject, "its command hardly moves"))
            continue
        r, slope = answer.correlation, answer.slope
        shown = f"correlation {r:+.2f} with the torque that the motion needs, slope {slope:.2g}"
        if r < -FOLLOWS:
            text = f"{shown}: pushes against the motion; turn one sign"
            out.append(Finding(MEND, subject, text))
        elif r > FOLLOWS and not TORQUE_SCALES[0] < slope < TORQUE_SCALES[1]:
            out.append(Finding(NOTE, subject, f"{shown}: another scale, gear or unit"))
        elif r < FOLLOWS:
            out.append(Finding(NOTE, subject, f"{shown}: hardly explains it"))
        else:
            out.append(Finding(OK, subject, shown))
    return out


def _torques(
    model: mujoco.MjModel, episode: Episode, control_hz: float
) -> tuple[np.ndarray, np.ndarray]:
    """Mean commands around every inner frame, and the forces that its mean acceleration needs."""
    half = max(1, round(ACCELERATION_SECONDS * control_hz))
    stride = max(1, len(episode.qpos) // _FRAMES)
    frames = np.arange(half, len(episode.qpos) - half, stride)
    data, needed = mujoco.MjData(model), np.full((len(frames), model.nv), np.nan)
    summed = np.concatenate([np.zeros((1, model.nu)), np.cumsum(episode.ctrl, axis=0)])
    for row, k in zip(needed, frames, strict=True):
        acceleration = episode.qvel[k + half] - episode.qvel[k - half]
        acceleration = acceleration * control_hz / (2 * half)
        state = np.concatenate([episode.qpos[k], episode.qvel[k], acceleration])
        if not (np.isfinite(state).all() and episode.valid[k - half : k + half + 1].all()):
            continue
        data.qpos[:], data.qvel[:], data.qacc[:] = episode.qpos[k], episode.qvel[k], acceleration
        mujoco.mj_inverse(model, data)
        row[:] = data.qfrc_inverse
    return (summed[frames + half] - summed[frames - half]) / (2 * half), needed
