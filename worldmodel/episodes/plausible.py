"""What no robot does: values and rates that only another unit, order or sign explains.

Each check pools the episodes of a log, so that a glitch is not taken for a unit; the message names
the first episode and frame that show it, and the key of the columns that mends it.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from worldmodel.episodes.columns import ColumnsError
from worldmodel.episodes.resampling import Track, rotation_vectors
from worldmodel.episodes.signals import Drive, Signal

RARE = 0.01  # share of samples above which a value is no glitch
BEYOND = 0.5  # ranges: how far outside its limits a joint is never
FAR = 100.0  # [m] a body is never from the origin
AGREE, DISAGREE = 0.9, 0.7  # correlations of recorded velocities with the changes of positions
FACTOR = 2.0  # between recorded velocities and changes, at most
FEWEST = 20  # samples that such a comparison needs

Of = Sequence[tuple[str, Track]]  # per episode its file and id, and its samples
Place = tuple[str, int]  # episode and frame
Fault = tuple[Place | None, str]  # where it first shows, None: nowhere; and what it looks like


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
        _refuse(signal.label, _order(signal, tracks))
    values = [(where, track.values[:, 0]) for where, track in tracks]
    if signal.bounds is not None:
        _refuse(signal.label, _outside(signal.bounds, values, signal.kind))
    if signal.kind in ("position", "slide"):
        far = [(where, np.abs(track.values).max(axis=1) > FAR) for where, track in tracks]
        what = f'is over {FAR:.0f} m; is it in millimetres? unit = "mm"'
        _refuse(signal.label, (_first(far), what))
    if not signal.turns:
        _refuse(signal.label, _recorded(signal, tracks))
    for recorded in (False, True):
        _refuse(signal.label, _speed(signal, tracks, fastest, recorded))


def check_drive(drive: Drive, values: Sequence[tuple[str, np.ndarray]]) -> None:
    """Refuses a servo's command in a unit that the ranges forbid; as ``check_signal``."""
    if drive.bounds is not None and drive.column is not None and drive.servo:
        finite = [(where, v[np.isfinite(v)]) for where, v in values]
        _refuse(drive.label, _outside(drive.bounds, finite, ""))


def _refuse(label: str, fault: Fault) -> None:
    where, what = fault
    if where is not None:
        raise ColumnsError(f"{where[0]}, frame {where[1]}: {label} {what}")


def _first(flags: Sequence[tuple[str, np.ndarray]]) -> Place | None:
    """Episode and frame of the first flag, where more than ``RARE`` of all are set."""
    total = sum(len(flag) for _, flag in flags)
    if total == 0 or sum(int(flag.sum()) for _, flag in flags) <= RARE * total:
        return None
    return next((where, int(np.flatnonzero(flag)[0])) for where, flag in flags if flag.any())


def _outside(
    bounds: tuple[float, float], values: Sequence[tuple[str, np.ndarray]], kind: str
) -> Fault:
    """Values far outside a range, and the units that would bring them into it."""
    span = bounds[1] - bounds[0]

    def outside(v: np.ndarray) -> np.ndarray:
        return (v < bounds[0] - BEYOND * span) | (v > bounds[1] + BEYOND * span)

    at = _first([(where, outside(v)) for where, v in values])
    if at is None:
        return None, ""
    low, high = np.quantile(np.concatenate([v for _, v in values]), [0.01, 0.99])
    guesses = []
    for unit, factor in (("deg", np.pi / 180), ("mm", 1e-3)):
        if (kind in ("slide", "position")) == (unit == "mm") or kind == "":
            inside = not outside(np.array([low, high]) * factor).any()
            guesses += [f'unit = "{unit}"'] if inside else []
    guesses += ['unit = "percent"'] if low > -5 and high < 105 else []
    remedy = " or ".join(guesses) or "is it another joint's column, or an offset?"
    return at, (
        f"is far outside its range {bounds[0]:.4g} to {bounds[1]:.4g} (99 % of its values lie "
        f"in {low:.4g} to {high:.4g}); {remedy}"
    )


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


def _speed(signal: Signal, tracks: Of, fastest: tuple[float, float], recorded: bool) -> Fault:
    """Changes or recorded velocities that are faster than anything moves."""
    rates = [(w, t.rates if recorded else _changes(t, signal)) for w, t in tracks]
    speeds = [(w, np.abs(np.nan_to_num(r)).max(axis=1)) for w, r in rates if r is not None]
    limit, unit = (fastest[1], "rad/s") if signal.angular else (fastest[0], "m/s")
    at = _first([(where, speed > limit) for where, speed in speeds])
    top = max((speed.max() for _, speed in speeds), default=0.0)
    hint, fix = ("degrees", "deg") if signal.angular else ("millimetres", "mm")
    fix = "mend its velocity" if signal.turns else f'unit = "{fix}"'
    moved = "has a recorded velocity of up to" if recorded else "moves at up to"
    return at, (
        f"{moved} {top:.4g} {unit}, over {limit:.4g}; is it in {hint} "
        f"({fix}), or the time in another unit (time_unit)? If not, raise fastest"
    )


def _recorded(signal: Signal, tracks: Of) -> Fault:
    """Recorded velocities that are the changes of the positions in another unit or sign."""
    correlation, slope = _fit(*_pairs(signal, tracks))
    if abs(correlation) < DISAGREE or 1 / FACTOR < slope < FACTOR:
        return None, ""
    known = {
        np.pi / 180: "the velocity is in degrees and the position is not",
        180 / np.pi: "the position is in degrees and the velocity is not",
        1e3: "the time is in milliseconds, or the position in millimetres",
        1e-3: "the velocity is in millimetres per second, or the time in other units",
        -1.0: "one of the two has the other sign",
    }
    guess = next(
        (text for ratio, text in known.items() if abs(slope / ratio - 1) < 0.3), "see to its unit"
    )
    return (tracks[0][0], 1), (
        f"changes by {slope:.4g} times its recorded velocity '{signal.rates[0]}': {guess}; mend "
        "that, or leave the velocity out"
    )


def _order(signal: Signal, tracks: Of) -> Fault:
    """Quaternions whose changes are the recorded angular velocities in another order or frame."""
    changed, recorded = _pairs(signal, tracks)
    if not len(changed) or _fit(changed, recorded)[0] > DISAGREE:
        return None, ""
    order, shift = ("wxyz", -1) if signal.order == "xyzw" else ("xyzw", 1)
    rolled, conjugate = (
        [(where, dataclasses.replace(t, values=values(t))) for where, t in tracks]
        for values in (
            lambda t: np.roll(t.values, shift, axis=1),
            lambda t: t.values * [1, -1, -1, -1],
        )
    )
    says = "turns as the recorded angular velocity says if"
    if _fit(*_pairs(signal, rolled))[0] > AGREE:
        return (tracks[0][0], 0), f'{says} the quaternion is read as {order}: order = "{order}"'
    if _fit(*_pairs(signal, conjugate))[0] < -AGREE:
        return (tracks[0][0], 0), (
            f"{says} that is in the world's frame, where MuJoCo's is in the body's; leave the "
            "velocity out"
        )
    return None, ""


def _pairs(signal: Signal, tracks: Of) -> tuple[np.ndarray, np.ndarray]:
    """Changes of positions and recorded velocities between the same samples, (n, v) each; none
    where they are too few to compare."""
    parts = [
        (_changes(track, signal), 0.5 * (track.rates[1:] + track.rates[:-1]))
        for _, track in tracks
        if track.rates is not None
    ]
    if not parts:
        return np.zeros((0, 1)), np.zeros((0, 1))
    changed, recorded = (np.concatenate(part) for part in zip(*parts, strict=True))
    finite = np.isfinite(changed).all(axis=1) & np.isfinite(recorded).all(axis=1)
    changed, recorded = changed[finite], recorded[finite]
    if len(changed) < FEWEST:
        return changed[:0], recorded[:0]
    size = np.linalg.norm(changed, axis=1)  # without what is a glitch
    usual = size <= np.quantile(size, 0.98)
    return changed[usual], recorded[usual]


def _fit(changed: np.ndarray, recorded: np.ndarray) -> tuple[float, float]:
    """Correlation, and the factor from recorded velocities to changes."""
    product, square = float((changed * recorded).sum()), float((recorded**2).sum())
    scale = np.sqrt(square * float((changed**2).sum()))
    return (product / scale, product / square) if scale > 0 else (0.0, 1.0)
