"""What no robot does, and only another unit, order or sign explains.

Each check pools the episodes of a log, so that a glitch is not taken for a unit; the message names
the first episode and frame that show it, and the key of the columns that mends it.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from worldmodel._mujoco import mujoco
from worldmodel.episodes.columns import FACTORS, ColumnsError
from worldmodel.episodes.resampling import Track, rotation_vectors
from worldmodel.episodes.rows import Rows
from worldmodel.episodes.signals import Drive, Signal

RARE = 0.01  # share of samples above which a value is no glitch
BEYOND = 0.5  # ranges: how far outside its limits a joint is never
FAR = 100.0  # [m] a body is never from the origin
AGREE, DISAGREE = 0.9, 0.7  # correlations of recorded velocities with the changes of positions
FACTOR = 2.0  # between recorded velocities and changes, at most
FEWEST = 20  # samples that such a comparison needs
POSES = 200  # of a body, that are looked at for contacts
DEEP = 0.002  # [m] in the mean over poses that touch; less is noise of tracking
CLEARER = 4.0  # times as deep as the other order of the quaternion
RATIOS = {  # of changes to recorded velocities
    np.pi / 180: "the velocity is in degrees and the position is not",
    180 / np.pi: "the position is in degrees and the velocity is not",
    1e3: "the time is in milliseconds, or the position in millimetres",
    1e-3: "the velocity is in millimetres per second, or the time in other units",
    -1.0: "one of the two has the other sign",
}

Of = Sequence[tuple[str, Track]]  # per episode its file and id, and its samples


def check_signal(signal: Signal, tracks: Of, fastest: tuple[float, float]) -> None:
    """Refuses a signal in another unit, order or sign.

    Args:
      tracks: in SI units by the columns; angles not unwrapped.
      fastest: [m/s, rad/s] what is faster is a mistake.

    Raises:
      ColumnsError: the message says what the numbers look like.
    """
    tracks = [(where, track) for where, track in tracks if len(track.time) > 1]
    if not tracks:
        return
    if signal.turns:
        _check_turning(signal, tracks)
    elif signal.bounds is not None:
        units = {"slide": ("mm", "percent")}.get(signal.kind, ("deg", "percent"))
        values = [(where, track.values[:, 0]) for where, track in tracks]
        _check_range(signal.label, signal.bounds, values, units)
    if signal.kind in ("position", "slide"):
        far = [(where, np.abs(track.values).max(axis=1) > FAR) for where, track in tracks]
        what = f'is over {FAR:.0f} m; is it in millimetres? unit = "mm"'
        _refuse(signal.label, far, what)
    if not signal.turns:
        _check_recorded(signal, tracks)
    _check_speed(signal, "moves at up to", [(w, _changes(t, signal)) for w, t in tracks], fastest)
    recorded = [(w, t.rates) for w, t in tracks if t.rates is not None]
    _check_speed(signal, "has a recorded velocity of up to", recorded, fastest)


def check_drive(drive: Drive, values: Sequence[tuple[str, np.ndarray]]) -> None:
    """Refuses a servo's command in a unit that the ranges forbid; as ``check_signal``."""
    if drive.bounds is not None and drive.columns and drive.servo:
        finite = [(where, v[np.isfinite(v)]) for where, v in values]
        units = ("deg", "percent") if drive.hinge else ("mm", "percent")
        _check_range(drive.label, drive.bounds, finite, units)


def _refuse(label: str, flags: Sequence[tuple[str, np.ndarray]], what: str) -> None:
    """Refuses where more than ``RARE`` of all flags are set; names the first one's place."""
    total = sum(len(flag) for _, flag in flags)
    if sum(int(flag.sum()) for _, flag in flags) > RARE * total:
        where, frame = next((w, int(np.argmax(flag))) for w, flag in flags if flag.any())
        raise ColumnsError(f"{where}, frame {frame}: {label} {what}")


def _check_range(
    label: str,
    bounds: tuple[float, float],
    values: Sequence[tuple[str, np.ndarray]],
    units: Sequence[str],
) -> None:
    """Refuses values far outside a range; names the units that would bring them into it."""
    slack = BEYOND * (bounds[1] - bounds[0])

    def outside(v: np.ndarray) -> np.ndarray:
        return (v < bounds[0] - slack) | (v > bounds[1] + slack)

    pooled = np.concatenate([v for _, v in values])
    if not len(pooled):
        return
    ends = np.quantile(pooled, [0.01, 0.99])
    fitting = {unit: not outside(ends * FACTORS[unit]).any() for unit in ("deg", "mm")}
    fitting["percent"] = bool(ends[0] > -5 and ends[1] < 105)
    guesses = [f'unit = "{unit}"' for unit in units if fitting[unit]]
    remedy = " or ".join(guesses) or "is it another joint's column, or an offset?"
    what = (
        f"is far outside its range {bounds[0]:.4g} to {bounds[1]:.4g} (99 % of its values lie "
        f"in {ends[0]:.4g} to {ends[1]:.4g}); {remedy}"
    )
    _refuse(label, [(where, outside(v)) for where, v in values], what)


def _changes(track: Track, signal: Signal) -> np.ndarray:
    """(samples − 1, v) the rates from sample to sample, [1/s], NaN across gaps; wraps taken out."""
    if signal.turns:
        step = rotation_vectors(track.values[:-1], track.values[1:])
    else:
        step = np.diff(track.values, axis=0)
    if signal.kind == "hinge":
        turn = 2 * np.pi * np.sign(step)
        step = np.where(np.abs(step - turn) < np.pi / 2, step - turn, step)
    rate = step / np.diff(track.time)[:, None]
    rate[track.gap] = np.nan
    return rate


def _check_speed(
    signal: Signal,
    moved: str,
    rates: Sequence[tuple[str, np.ndarray]],
    fastest: tuple[float, float],
) -> None:
    """Refuses changes or recorded velocities that are faster than anything moves."""
    speeds = [(where, np.abs(np.nan_to_num(rate)).max(axis=1)) for where, rate in rates]
    limit, unit = (fastest[1], "rad/s") if signal.angular else (fastest[0], "m/s")
    top = max((speed.max() for _, speed in speeds), default=0.0)
    hint, fix = ("degrees", "deg") if signal.angular else ("millimetres", "mm")
    fix = "mend its velocity" if signal.turns else f'unit = "{fix}"'
    what = (
        f"{moved} {top:.4g} {unit}, over {limit:.4g}; is it in {hint} ({fix}), or the time in "
        "another unit (time_unit)? If not, raise fastest"
    )
    _refuse(signal.label, [(where, speed > limit) for where, speed in speeds], what)


def _check_recorded(signal: Signal, tracks: Of) -> None:
    """Refuses recorded velocities that are the changes of positions in another unit or sign."""
    correlation, slope = _compared(signal, tracks)
    if not abs(correlation) >= DISAGREE or 1 / FACTOR < slope < FACTOR:
        return
    guesses = (text for ratio, text in RATIOS.items() if abs(slope / ratio - 1) < 0.3)
    raise ColumnsError(
        f"{tracks[0][0]}, frame 1: {signal.label} changes by {slope:.4g} times its recorded "
        f"velocity '{signal.rates[0]}': {next(guesses, 'see to its unit')}; mend that, or leave "
        "the velocity out"
    )


def _check_turning(signal: Signal, tracks: Of) -> None:
    """Refuses quaternions whose changes are the recorded angular velocities only in another order,
    or in another frame."""
    correlation, _ = _compared(signal, tracks)
    if np.isnan(correlation) or correlation > DISAGREE:
        return
    order, shift = _other_order(signal)
    rolled, conjugate = (
        [(where, dataclasses.replace(t, values=values(t.values))) for where, t in tracks]
        for values in (lambda v: np.roll(v, shift, axis=1), lambda v: v * [1, -1, -1, -1])
    )
    says = f"{tracks[0][0]}, frame 0: {signal.label} turns as the recorded angular velocity says if"
    if _compared(signal, rolled)[0] > AGREE:
        raise ColumnsError(f'{says} the quaternion is read as {order}: order = "{order}"')
    if _compared(signal, conjugate)[0] < -AGREE:
        raise ColumnsError(
            f"{says} that is in the world's frame, where MuJoCo's is in the body's; leave the "
            "velocity out"
        )


def _other_order(rotation: Signal) -> tuple[str, int]:
    """The order that a quaternion's columns may have instead, and the roll from wxyz to it."""
    return ("wxyz", -1) if rotation.order == "xyzw" else ("xyzw", 1)


def _compared(signal: Signal, tracks: Of) -> tuple[float, float]:
    """Correlation of the changes of positions with the recorded velocities between the same
    samples, and the factor from these to those; NaN where they are too few to compare."""
    parts = [
        np.stack([_changes(track, signal), 0.5 * (track.rates[1:] + track.rates[:-1])])
        for _, track in tracks
        if track.rates is not None
    ]
    pairs = np.concatenate([np.zeros((2, 0, len(signal.v))), *parts], axis=1)
    changed, recorded = pairs[:, np.isfinite(pairs).all(axis=(0, 2))]
    if len(changed) < FEWEST:
        return np.nan, np.nan
    size = np.linalg.norm(changed, axis=1)
    usual = size <= np.quantile(size, 0.98)  # without what is a glitch
    changed, recorded = changed[usual], recorded[usual]
    product, square = float((changed * recorded).sum()), float((recorded**2).sum())
    scale = np.sqrt(square * float((changed**2).sum()))
    return (product / scale, product / square) if scale > 0 else (0.0, 1.0)


def check_order(
    path: str,
    model: mujoco.MjModel,
    position: Signal,
    rotation: Signal,
    rows: Sequence[tuple[Rows | None, Rows | None]],
) -> bool:
    """Whether the scene says that a body's quaternions are in the order that the columns give.

    Args:
      path: of the log, for messages.
      position, rotation: the signals of one free body; the others rest at the MJCF's positions.
      rows: of both, per episode.

    Raises:
      ColumnsError: the body is deep in others as its order is given, and not in the other order.
    """
    poses = [
        np.concatenate([place.values, turn.values], axis=1)
        for place, turn in rows
        if place is not None and turn is not None and len(place.values) == len(turn.values)
    ]
    if not poses:
        return False
    pooled = np.concatenate(poses)
    pooled = pooled[np.isfinite(pooled).all(axis=1)]
    pooled = pooled[np.linspace(0, len(pooled) - 1, min(POSES, len(pooled))).astype(int)]
    other, shift = _other_order(rotation)
    turned = np.concatenate([pooled[:, :3], np.roll(pooled[:, 3:], shift, axis=1)], axis=1)
    address = [*position.q, *rotation.q]
    given, rolled = _depth(model, address, pooled), _depth(model, address, turned)
    if given > max(DEEP, CLEARER * rolled):
        raise ColumnsError(
            f"{path}: {rotation.label} is {given:.2g} m deep in what it touches as it is read, and "
            f'{rolled:.2g} m if it is read as {other}: order = "{other}"'
        )
    return rolled > max(DEEP, CLEARER * given)


def _depth(model: mujoco.MjModel, address: list[int], poses: np.ndarray) -> float:
    """[m] how deep a body is in others, the mean over poses (n, 7)."""
    data = mujoco.MjData(model)
    depths = []
    for pose in poses:
        data.qpos[address] = pose
        mujoco.mj_fwdPosition(model, data)
        depths.append(max(0.0, -data.contact.dist.min()) if data.ncon else 0.0)
    return float(np.mean(depths)) if depths else 0.0
