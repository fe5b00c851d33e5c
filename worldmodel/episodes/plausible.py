"""What no robot does: values and rates that only another unit, order or sign explains.

Each check pools the episodes of a log, so that a glitch is not taken for a unit; the message names
the first episode and frame that show it, and the key of the columns that mends it.
"""

from collections.abc import Sequence
from typing import NoReturn

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


def check_signal(
    path: str,
    signal: Signal,
    tracks: Sequence[tuple[int | str, Track]],
    fastest: tuple[float, float],
) -> None:
    """Refuses a signal in another unit, order or sign.

    Args:
      path: of the log, for messages.
      tracks: per episode its id and samples, in SI units by the columns; angles not unwrapped.
      fastest: [m/s, rad/s] what is faster is a mistake.

    Raises:
      ColumnsError: the message says what the numbers look like.
    """
    tracks = [(identity, track) for identity, track in tracks if len(track.time) > 1]
    if not tracks:
        return
    if signal.turns:
        _check_turn(path, signal, tracks)
    _check_place(path, signal, tracks)
    if not signal.turns:
        _check_recorded(path, signal, tracks)
    _check_rates(path, signal, tracks, fastest)


def check_drive(path: str, drive: Drive, values: Sequence[tuple[int | str, np.ndarray]]) -> None:
    """Refuses a servo's command in a unit that the ranges forbid; as ``check_signal``."""
    if drive.bounds is None or drive.column is None or not drive.servo:
        return
    outside = [(identity, _outside(v[np.isfinite(v)], drive.bounds)) for identity, v in values]
    _refuse_outside(path, drive.label, drive.bounds, outside, values, "")


def _check_place(path: str, signal: Signal, tracks: Sequence[tuple[int | str, Track]]) -> None:
    values = [(identity, track.values[:, 0]) for identity, track in tracks]
    if signal.bounds is not None:
        outside = [(identity, _outside(v, signal.bounds)) for identity, v in values]
        _refuse_outside(path, signal.label, signal.bounds, outside, values, signal.kind)
    if signal.kind in ("position", "slide"):
        far = [(identity, np.abs(track.values).max(axis=1) > FAR) for identity, track in tracks]
        at = _first(far)
        if at is not None:
            _refuse(
                path, signal.label, at, f'is over {FAR:.0f} m; is it in millimetres? unit = "mm"'
            )


def _outside(values: np.ndarray, bounds: tuple[float, float]) -> np.ndarray:
    span = bounds[1] - bounds[0]
    return (values < bounds[0] - BEYOND * span) | (values > bounds[1] + BEYOND * span)


def _refuse_outside(
    path: str,
    label: str,
    bounds: tuple[float, float],
    outside: Sequence[tuple[int | str, np.ndarray]],
    values: Sequence[tuple[int | str, np.ndarray]],
    kind: str,
) -> None:
    at = _first(outside)
    if at is None:
        return
    pooled = np.concatenate([v[np.isfinite(v)] for _, v in values])
    low, high = np.quantile(pooled, [0.01, 0.99])
    guesses = []
    for unit, factor in (("deg", np.pi / 180), ("mm", 1e-3)):
        if (kind in ("slide", "position")) == (unit == "mm") or kind == "":
            inside = _outside(np.array([low, high]) * factor, bounds)
            guesses += [f'unit = "{unit}"'] if not inside.any() else []
    guesses += ['unit = "percent"'] if low > -5 and high < 105 else []
    remedy = " or ".join(guesses) or "is it another joint's column, or an offset?"
    _refuse(
        path,
        label,
        at,
        f"is far outside its range {bounds[0]:.4g} to {bounds[1]:.4g} (99 % of its values lie "
        f"in {low:.4g} to {high:.4g}); {remedy}",
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


def _check_rates(
    path: str,
    signal: Signal,
    tracks: Sequence[tuple[int | str, Track]],
    fastest: tuple[float, float],
) -> None:
    limit, unit = (fastest[1], "rad/s") if signal.angular else (fastest[0], "m/s")
    hint = {"hinge": "degrees", "rotation": "degrees"}.get(signal.kind, "millimetres")
    fix = {"degrees": "deg", "millimetres": "mm"}[hint]
    for what in ("changes", "recorded"):
        fast = []
        for identity, track in tracks:
            rate = track.rates if what == "recorded" else _changes(track, signal)
            if rate is None:
                continue
            speed = np.abs(np.nan_to_num(rate)).max(axis=1)
            fast.append((identity, speed > limit, speed))
        at = _first([(identity, flag) for identity, flag, _ in fast])
        if at is not None:
            top = max(speed.max() for _, _, speed in fast)
            moved = "moves at up to" if what == "changes" else "has a recorded velocity of up to"
            unit_key = f'unit = "{fix}"' if signal.kind != "rotation" else "mend its velocity"
            _refuse(
                path,
                signal.label,
                at,
                f"{moved} {top:.4g} {unit}, over {limit:.4g}; is it in {hint} "
                f"({unit_key}), or the time in another unit (time_unit)? If not, raise fastest",
            )


def _check_recorded(path: str, signal: Signal, tracks: Sequence[tuple[int | str, Track]]) -> None:
    changed, recorded = _pairs(signal, tracks)
    if changed is None:
        return
    correlation, slope = _fit(changed, recorded)
    if abs(correlation) < DISAGREE or 1 / FACTOR < slope < FACTOR:
        return
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
    _refuse(
        path,
        signal.label,
        (tracks[0][0], 1),
        f"changes by {slope:.4g} times its recorded velocity '{signal.rates[0]}': {guess}; mend "
        "that, or leave the velocity out",
    )


def _pairs(
    signal: Signal, tracks: Sequence[tuple[int | str, Track]]
) -> tuple[np.ndarray | None, np.ndarray]:
    """Changes of positions and recorded velocities between the same samples, (n, v) each."""
    parts = [
        (_changes(track, signal), 0.5 * (track.rates[1:] + track.rates[:-1]))
        for _, track in tracks
        if track.rates is not None
    ]
    if not parts:
        return None, np.zeros(0)
    changed, recorded = (np.concatenate(part) for part in zip(*parts, strict=True))
    finite = np.isfinite(changed).all(axis=1) & np.isfinite(recorded).all(axis=1)
    changed, recorded = changed[finite], recorded[finite]
    if len(changed) < FEWEST:
        return None, recorded
    size = np.linalg.norm(changed, axis=1)  # without what is a glitch
    usual = size <= np.quantile(size, 0.98)
    return changed[usual], recorded[usual]


def _fit(changed: np.ndarray, recorded: np.ndarray) -> tuple[float, float]:
    """Correlation, and the factor from recorded velocities to changes."""
    product, square = float((changed * recorded).sum()), float((recorded**2).sum())
    scale = np.sqrt(square * float((changed**2).sum()))
    return (product / scale, product / square) if scale > 0 else (0.0, 1.0)


def _check_turn(path: str, signal: Signal, tracks: Sequence[tuple[int | str, Track]]) -> None:
    """Holds quaternions against recorded angular velocities: which order, which frame."""
    changed, recorded = _pairs(signal, tracks)
    if changed is None or _fit(changed, recorded)[0] > DISAGREE:
        return
    order, shift = ("wxyz", -1) if signal.order == "xyzw" else ("xyzw", 1)
    other = [
        (identity, Track(t.time, np.roll(t.values, shift, axis=1), t.rates, t.hole, True))
        for identity, t in tracks
    ]
    if _fit(*_both(signal, other))[0] > AGREE:
        _refuse(
            path,
            signal.label,
            (tracks[0][0], 0),
            "turns as the recorded angular velocity says if the quaternion is read as "
            f'{order}: order = "{order}"',
        )
    world = [
        (identity, Track(t.time, t.values * [1, -1, -1, -1], t.rates, t.hole, True))
        for identity, t in tracks
    ]
    changed, recorded = _both(signal, world)
    if _fit(-changed, recorded)[0] > AGREE:
        _refuse(
            path,
            signal.label,
            (tracks[0][0], 0),
            "turns as the recorded angular velocity says if that is in the world's frame, where "
            "MuJoCo's is in the body's; leave the velocity out",
        )


def _both(
    signal: Signal, tracks: Sequence[tuple[int | str, Track]]
) -> tuple[np.ndarray, np.ndarray]:
    changed, recorded = _pairs(signal, tracks)
    return (np.zeros((1, 3)), np.zeros((1, 3))) if changed is None else (changed, recorded)


def _first(flags: Sequence[tuple[int | str, np.ndarray]]) -> tuple[int | str, int] | None:
    """Episode and frame of the first flag, where more than ``RARE`` of all are set."""
    total = sum(len(flag) for _, flag in flags)
    if total == 0 or sum(int(flag.sum()) for _, flag in flags) <= RARE * total:
        return None
    return next((i, int(np.flatnonzero(flag)[0])) for i, flag in flags if flag.any())


def _refuse(path: str, label: str, at: tuple[int | str, int], what: str) -> NoReturn:
    raise ColumnsError(f"{path}: episode {at[0]!r}, frame {at[1]}: {label} {what}")
