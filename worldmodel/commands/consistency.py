"""What does not fit together in a log and a scene: limits, signs, scales, delays, clocks.

A servo's joint follows its command, by its position or by its velocity, so the two are correlated
at the lag at which they agree best; the same is measured of the MJCF's own response, which C MuJoCo
plays. Of a motor, the torque that inverse dynamics asks for is compared with the one commanded.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from worldmodel._mujoco import mujoco
from worldmodel.commands.findings import MEND, NOTE, OK, Finding
from worldmodel.episodes.windows import known_frames
from worldmodel.scene.actuators import driven_dof, is_position_servo, is_velocity_servo
from worldmodel.scene.names import element_name
from worldmodel.scene.replay import replayed
from worldmodel.types import Episode

ONE_NUMBER = (int(mujoco.mjtJoint.mjJNT_HINGE), int(mujoco.mjtJoint.mjJNT_SLIDE))
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
        *_still(model, episodes),
        *_ranges(model, episodes),
        *_servos(model, substeps, episodes, control_hz),
        *_motors(model, episodes, control_hz),
    ]


def _position(episode: Episode, index: int) -> np.ndarray:
    """(frames,) a position where it is measured and valid; NaN elsewhere."""
    measured = episode.measured
    kept = episode.valid if measured is None else episode.valid & measured[:, index]
    return np.where(kept, episode.qpos[:, index], np.nan)


def _still(model: mujoco.MjModel, episodes: Sequence[Episode]) -> list[Finding]:
    """Hinges and slides of which the data say nothing."""
    out: list[Finding] = []
    for joint in range(model.njnt):
        if int(model.jnt_type[joint]) not in ONE_NUMBER:
            continue
        at = int(model.jnt_qposadr[joint])
        values = np.concatenate([_position(e, at) for e in episodes])
        values = values[np.isfinite(values)]
        if not len(values):
            text = "no frame measures it; look at its column"
        elif np.ptp(values) == 0:
            text = f"{values[0]:.4g} in every frame: nothing moved it, or its sensor is dead"
        else:
            continue
        out.append(Finding(NOTE, f"joint {element_name(model, 'joint', joint)}", text))
    return out


def _ranges(model: mujoco.MjModel, episodes: Sequence[Episode]) -> list[Finding]:
    """Positions outside joint limits, and commands outside control ranges."""
    out: list[Finding] = []
    for joint in np.flatnonzero(model.jnt_limited).tolist():
        if int(model.jnt_type[joint]) in ONE_NUMBER:
            at = int(model.jnt_qposadr[joint])
            values = np.concatenate([_position(e, at) for e in episodes])
            remedy = "its unit, sign or offset in the columns, or the MJCF's range, is wrong"
            name = f"joint {element_name(model, 'joint', joint)}"
            out += _outside(name, values, model.jnt_range[joint], remedy)
    for actuator in np.flatnonzero(model.actuator_ctrllimited).tolist():
        values = np.concatenate([e.ctrl[:, actuator] for e in episodes])
        remedy = "MuJoCo clamps them; look at the column's unit, or widen ctrlrange"
        name = f"command {element_name(model, 'actuator', actuator)}"
        out += _outside(name, values, model.actuator_ctrlrange[actuator], remedy)
    return out


def _outside(subject: str, values: np.ndarray, limits: np.ndarray, remedy: str) -> list[Finding]:
    values, (low, high) = values[np.isfinite(values)], limits.tolist()
    beyond = np.maximum(low - values, values - high) / max(high - low, 1e-12)
    share = float(np.mean(beyond > SLACK)) if len(values) else 0.0
    if share == 0:
        return []
    wrong = beyond.max() > FAR_OUTSIDE or share > OFTEN_OUTSIDE
    text = (
        f"{100 * share:.1f} % of frames outside [{low:.4g}, {high:.4g}], which reach from "
        f"{values.min():.4g} to {values.max():.4g}; {remedy}"
    )
    return [Finding(MEND if wrong else NOTE, subject, text)]


@dataclasses.dataclass(frozen=True)
class Response:
    """How a position answers its command, over all episodes."""

    correlation: float  # at the lag where it is largest
    slope: float  # of the position in the command
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
    both = zip(command, position, strict=True)
    pairs = [np.stack([c[: len(c) - lag], q[lag:]]) for c, q in both if len(c) > lag + 2]
    c, q = np.concatenate([np.zeros((2, 0)), *pairs], axis=1)
    finite = np.isfinite(c) & np.isfinite(q)
    c, q = c[finite], q[finite]
    if len(c) < FEW or np.ptp(c) < 1e-6 or np.ptp(q) < 1e-6:
        return None
    correlation = float(np.corrcoef(c, q)[0, 1])
    return Response(correlation, correlation * float(q.std() / c.std()), float(lag), len(c))


def _servos(
    model: mujoco.MjModel, substeps: int, episodes: Sequence[Episode], control_hz: float
) -> list[Finding]:
    servos = [
        (a, dof)
        for a in range(model.nu)
        if (dof := driven_dof(model, a)) is not None
        and (is_position_servo(model, a) or _commanded_velocity(model, a, episodes))
    ]
    longest = max(2, round(SECONDS * control_hz))
    simulated = [_simulated(model, substeps, e) for e in episodes] if servos else []
    out: list[Finding] = []
    drifts: list[tuple[float, float]] = []  # in frames: as recorded, and less the MJCF's own
    for actuator, dof in servos:
        subject = f"servo {element_name(model, 'actuator', actuator)}"
        at = int(model.jnt_qposadr[model.dof_jntid[dof]])
        command = [e.ctrl[:, actuator] for e in episodes]
        recorded, own = [_position(e, at) for e in episodes], [q[:, at] for q in simulated]
        if is_velocity_servo(model, actuator):
            gear = model.actuator_gear[actuator, 0]
            recorded, own = (
                [gear * _rate(q, control_hz) for q in positions] for positions in (recorded, own)
            )
        answer, expected = (response(command, q, longest) for q in (recorded, own))
        out.append(_judged(subject, answer, expected, control_hz))
        moved = _drift(command, recorded, longest)
        if moved is not None:
            drifts.append((moved, moved - (_drift(command, own, longest) or 0.0)))
    # A clock that drifts is common to all servos, so the median one is judged; a saturated servo's
    # lag changes too, in the log or in the MJCF's own response.
    drifts.sort(key=lambda d: min(map(abs, d)))
    for recorded, less_own in drifts[(len(drifts) - 1) // 2 :][:1]:
        if min(abs(recorded), abs(less_own)) > LATE and recorded * less_own > 0:
            text = (
                f"their lag changes by {less_own:+.1f} frames "
                f"({1e3 * less_own / control_hz:+.0f} ms) from the first to the last third of the "
                "episodes: the clocks of command and state drift"
            )
            out.append(Finding(MEND, "servos", text))
    return out


def _commanded_velocity(model: mujoco.MjModel, actuator: int, episodes: Sequence[Episode]) -> bool:
    """Whether a velocity servo is commanded; one at a constant command is a damper."""
    ctrl = np.concatenate([e.ctrl[:, actuator] for e in episodes])
    return is_velocity_servo(model, actuator) and float(np.ptp(ctrl[np.isfinite(ctrl)])) > 1e-6


def _rate(position: np.ndarray, control_hz: float) -> np.ndarray:
    """(frames,) mean velocity around every frame, over as long as an acceleration needs."""
    half = max(1, round(ACCELERATION_SECONDS * control_hz))
    rate = np.full(len(position), np.nan)
    if len(position) > 2 * half:
        rate[half:-half] = (position[2 * half :] - position[: -2 * half]) * control_hz / (2 * half)
    return rate


def _judged(
    subject: str, recorded: Response | None, own: Response | None, control_hz: float
) -> Finding:
    if recorded is None:
        return Finding(NOTE, subject, "command or joint hardly moves, or is not measured")
    r, slope = recorded.correlation, recorded.slope
    shown = f"correlation {r:+.2f}, {slope:.3g} per unit of command, lag {recorded.lag:.1f} frames"
    if r < -FOLLOWS:
        return Finding(MEND, subject, f"{shown}: falls where its command rises; turn one sign")
    if r < FOLLOWS:
        text = f"{shown}: hardly follows; are the columns those of one joint?"
        return Finding(NOTE, subject, text)
    if not SCALES[0] < slope < SCALES[1]:
        units = {"degrees": 180 / np.pi, "millimetres": 1e3}
        near = [u for u, f in units.items() if abs(abs(np.log(slope)) - np.log(f)) < 0.3]
        guess = f" ({near[0]} of one of the two?)" if near else ""
        return Finding(MEND, subject, f"{shown}: another scale{guess}; mend unit or range")
    if own is not None and recorded.lag - own.lag > LATE:
        text = (
            f"{shown}, the MJCF's own {own.lag:.1f}: commands act about "
            f"{1e3 * (recorded.lag - own.lag) / control_hz:.0f} ms later, or gains are lower than "
            "the MJCF's; give the command a delay if you know it, or fit both with --drives"
        )
        return Finding(NOTE, subject, text)
    return Finding(OK, subject, shown)


def _simulated(model: mujoco.MjModel, substeps: int, episode: Episode) -> np.ndarray:
    """(frames, nq) the MJCF's own response to an episode's commands, from its first known pose."""
    known = known_frames(episode)
    played = np.full(episode.qpos.shape, np.nan)
    first = int(np.argmax(known))
    if known.any() and first < len(episode.qpos) - 1:
        ctrl = np.nan_to_num(episode.ctrl[None, first:-1])
        qpos, qvel = episode.qpos[[first]], episode.qvel[[first]]
        played[first] = qpos[0]
        played[first + 1 :] = replayed(model, substeps, qpos, qvel, ctrl)[0]
    return played


def _drift(
    command: Sequence[np.ndarray], position: Sequence[np.ndarray], longest: int
) -> float | None:
    """Lag of the last third of the episodes less that of the first [frames]; None where the thirds
    are shorter than three of the longest lags, or nothing follows clearly."""
    long = [i for i, c in enumerate(command) if len(c) >= 9 * longest]
    lags: list[float] = []
    for third in (0, 2):
        first, second = (
            [x[i][len(x[i]) * third // 3 : len(x[i]) * (third + 1) // 3] for i in long]
            for x in (command, position)
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
    rows = [_torques(model, e, control_hz) for e in episodes if motors and len(e.qpos) > FEW]
    if not rows:
        return []
    ctrl, needed = (np.concatenate(column) for column in zip(*rows, strict=True))
    out = []
    for actuator, dof in motors:
        gain = model.actuator_gainprm[actuator, 0] * model.actuator_gear[actuator, 0]
        answer = _at_lag([gain * ctrl[:, actuator]], [needed[:, dof]], 0)
        level, text = NOTE, "its command hardly moves"
        if answer is not None:
            r, slope = answer.correlation, answer.slope
            text = f"correlation {r:+.2f} with the torque that the motion needs, slope {slope:.2g}"
            if r < -FOLLOWS:
                level, text = MEND, f"{text}: pushes against the motion; turn one sign"
            elif r < FOLLOWS:
                text = f"{text}: hardly explains it"
            elif TORQUE_SCALES[0] < slope < TORQUE_SCALES[1]:
                level = OK
            else:
                text = f"{text}: another scale, gear or unit"
        out.append(Finding(level, f"motor {element_name(model, 'actuator', actuator)}", text))
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
