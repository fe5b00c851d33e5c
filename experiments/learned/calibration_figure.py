"""The figure of a calibration: a fan chart of one episode, and coverage against the horizon."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter
from scipy import stats

from experiments.recordings.figures import CHANNELS
from experiments.records import BLUE, GREEN, GREY, ORANGE
from worldmodel.episodes.forecasts import LEVELS, Forecasts, crps, scores

COLOURS = (GREEN, GREY, BLUE, ORANGE)  # of the levels
MOST_FRAMES = 60  # at which coverage is computed


@dataclasses.dataclass(frozen=True)
class Shown:
    """The test forecasts of one group of degrees of freedom."""

    group: str
    members: np.ndarray  # (members, windows, horizon, channels) moved since the start [m, rad]
    start: np.ndarray  # (windows,) frame of the episode
    raw: Forecasts  # without multipliers
    calibrated: Forecasts  # with them


def draw(groups: Sequence[Shown], hz: float) -> Figure:
    """A row per group: the fan of a window, and coverage against the horizon.

    The fan is of the channel with the largest error, and of the window with the median CRPS among
    those with most scored frames.
    """
    figure = Figure((9.0, 3.2 * len(groups)), layout="constrained")
    axes = figure.subplots(len(groups), 2, squeeze=False)
    for (fan, coverage), shown in zip(axes, groups, strict=True):
        raw, calibrated = shown.raw, shown.calibrated
        squared = np.where(raw.counts, np.square(raw.error), 0.0).sum(axis=(0, 1))
        channel = int(squared.argmax())
        window = _typical(calibrated.part(slice(None), [channel]))
        name, unit, factor = CHANNELS[shown.group]
        _fan(fan, shown, (window, slice(None), channel), factor, hz)
        fan.set(ylabel=f"{name}, moved by [{unit}]", xlabel="time from the start [s]")
        episode = f"episode {calibrated.episode[window]}, from frame {shown.start[window]}"
        fan.set_title(f"{episode} (number {channel + 1} of the group)", fontsize=9)
        _coverage(coverage, raw, calibrated, hz)
    axes[0, 0].legend(loc="best", fontsize=7, frameon=False)
    axes[0, 1].set_title("coverage: ensemble dashed, with multipliers solid", fontsize=9)
    axes[0, 1].legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=7, frameon=False)
    return figure


def _typical(forecasts: Forecasts) -> int:
    """The window with the median mean CRPS, among those with most scored frames."""
    counts = forecasts.counts.sum(axis=(1, 2))
    longest = np.flatnonzero(counts == counts.max())
    mean = np.nanmean(forecasts.each(crps)[longest], axis=(1, 2))
    return int(longest[np.argsort(mean)[len(mean) // 2]])


def _fan(
    axes: Axes, shown: Shown, at: tuple[int, slice, int], factor: float, horizon_hz: float
) -> None:
    """Members, the recording, and bands of 50 and 90 % with multipliers; the lines of 90 % without.

    Args:
      at: the window, its frames, and the channel.
      factor: from SI to the unit of the axis.
    """
    raw, calibrated = shown.raw, shown.calibrated
    members = factor * shown.members[:, *at]
    mean = np.nanmean(members, axis=0)
    seconds = np.arange(1, len(mean) + 1) / horizon_hz
    freedom = np.broadcast_to(calibrated.freedom, calibrated.error.shape)[at]
    for level, alpha in ((0.9, 0.2), (0.5, 0.35)):
        half = factor * calibrated.deviation[at] * stats.t.ppf(0.5 + 0.5 * level, freedom)
        band = {"color": BLUE, "alpha": alpha, "lw": 0, "label": f"{level:.0%} with multipliers"}
        axes.fill_between(seconds, mean - half, mean + half, **band)
    half = factor * raw.deviation[at] * stats.norm.ppf(0.95)
    axes.plot(seconds, mean - half, color=ORANGE, lw=1, ls="--", label="90% ensemble")
    axes.plot(seconds, mean + half, color=ORANGE, lw=1, ls="--")
    axes.plot(seconds, members.T, color=GREY, lw=0.6)
    recorded = np.where(raw.counts[at], mean + factor * raw.error[at], np.nan)
    axes.plot(seconds, recorded, color="black", lw=1.6, label="recorded")


def _coverage(axes: Axes, raw: Forecasts, calibrated: Forecasts, horizon_hz: float) -> None:
    """Share of each interval's hits at each frame, without multipliers (dashed) and with them."""
    horizon = raw.error.shape[1]
    steps = np.unique(np.geomspace(1, horizon, MOST_FRAMES).round().astype(int)) - 1
    steps = [k for k in steps if raw.counts[:, k].any()]
    for forecasts, style in ((raw, "--"), (calibrated, "-")):
        cells = [scores(forecasts.part([k], slice(None)))["coverage"] for k in steps]
        for level, colour in zip(LEVELS, COLOURS, strict=True):
            share = [cell[str(level)]["share"] for cell in cells]
            label = f"{level:.0%}" if forecasts is calibrated else None
            axes.plot((np.array(steps) + 1) / horizon_hz, share, style, color=colour, label=label)
    for level, colour in zip(LEVELS, COLOURS, strict=True):
        axes.axhline(level, color=colour, lw=0.8, ls=":")
    axes.set(xscale="log", ylim=(0, 1.02), xlabel="time from the start [s]", ylabel="coverage")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
