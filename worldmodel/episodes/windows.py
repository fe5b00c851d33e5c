"""Prediction windows: ``WindowGrid`` says where they start, ``cut_windows`` cuts them.

A window starts at frame k of an episode; the H frames after it are predicted and scored, and the
start may use frames up to k and none later. Whole episodes are windows that start at frame 0. Only
what was measured is scored (``Episode.measured``), and an unknown position, NaN, starts nothing.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from worldmodel.errors import InputError
from worldmodel.types import Episode

HISTORY = 9  # frames of a model's encoder at most, the present one included

Array = Any  # NumPy on the host, jax.Array inside a compiled function


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class History:
    """The frames up to a start, latest first; row 0 is the start itself and always there."""

    qpos: Array  # (HISTORY, nq)
    qvel: Array  # (HISTORY, nv)
    ctrl: Array  # (HISTORY, nu) held from that frame on; row 0 is not known yet and zero
    known: Array  # (HISTORY,) bool
    shown: Array  # (HISTORY,) bool; whether an encoder may see it, where it is known

    @property
    def seen(self) -> Array:
        """(HISTORY,) bool; the frames that an encoder sees."""
        return self.known & self.shown

    @classmethod
    def without_past(cls, qpos: Array, qvel: Array, nu: int) -> "History":
        """A start, (nq,) and (nv,), without an earlier frame; ``nu`` controls."""
        return cls(
            qpos=jnp.broadcast_to(qpos, (HISTORY, *qpos.shape)),
            qvel=jnp.broadcast_to(qvel, (HISTORY, *qvel.shape)),
            ctrl=jnp.zeros((HISTORY, nu)),
            known=jnp.arange(HISTORY) == 0,
            shown=jnp.ones(HISTORY, bool),
        )


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Path:
    """The physics of a window, played beforehand and linearised along it (``model.linear``)."""

    qpos: Array  # (horizon + 1, nq), the start first
    qvel: Array  # (horizon + 1, nv)
    carry: Array  # (horizon, 2 nv, 2 nv) derivative of a step's end in its start, pose then rate
    response: Array  # (horizon, 2 nv, nv) the same in a generalised force [N, N·m] beside it


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Windows:
    """Stretches of episodes: where they start, the controls played, the frames that followed."""

    history: History  # (windows, HISTORY, …); row 0 is the first frame
    ctrl: Array  # (windows, horizon, nu)
    target: Array  # (windows, horizon, nq) the frames after the first; NaN where unknown
    scored: Array  # (windows, horizon) bool; False past an episode's end, or with nothing measured
    episode: Array  # (windows,) index of the episode in the list it came from
    measured: Array | None = None  # (windows, horizon, nq) bool; None: every position
    frame: Array | None = None  # (windows,) of the episode at which it starts, where known
    path: Path | None = None  # what is predicted with in place of the physics, where there is one

    def __len__(self) -> int:
        return self.target.shape[0]

    @property
    def qpos(self) -> Array:
        """(windows, nq) at the first frame."""
        return self.history.qpos[..., 0, :]

    @property
    def qvel(self) -> Array:
        """(windows, nv) at the first frame."""
        return self.history.qvel[..., 0, :]

    @property
    def past(self) -> tuple[Array, Array]:
        """(windows, HISTORY - 1, nu) commands held before the first frame, the latest first, and
        (windows, HISTORY - 1) bool whether each is known."""
        return self.history.ctrl[..., 1:, :], self.history.known[..., 1:]

    def take(self, rows: Array) -> "Windows":
        """The windows at ``rows``."""
        return jax.tree.map(lambda x: x[rows], self)

    def shortened(self, frames: int) -> "Windows":
        """The windows with at most ``frames`` scored frames; shapes stay, so nothing is compiled
        again. Raises InputError below 1."""
        _check_horizon(frames)
        near = np.arange(self.target.shape[1]) < frames
        return dataclasses.replace(self, scored=np.asarray(self.scored) & near)

    def cut(self, frames: int) -> "Windows":
        """The first frames of the windows, ``frames`` at most. Raises InputError below 1."""
        _check_horizon(frames)
        whole = self.ctrl, self.target, self.scored, self.measured
        ctrl, target, scored, measured = jax.tree.map(lambda x: x[:, :frames], whole)
        return dataclasses.replace(self, ctrl=ctrl, target=target, scored=scored, measured=measured)

    def remembering(self, frames: int | np.ndarray) -> "Windows":
        """The windows of whose history an encoder sees at most ``frames`` frames, the first one
        included; the drives have the commands of all that are known.

        Args:
          frames: from 1 (no past) to HISTORY; one number, or one per window.
        """
        shown = np.arange(HISTORY) < np.broadcast_to(frames, (len(self),))[:, None]
        shown &= np.asarray(self.history.shown)
        return dataclasses.replace(self, history=dataclasses.replace(self.history, shown=shown))


@dataclasses.dataclass(frozen=True)
class WindowGrid:
    """Where the windows of an episode start, and how many frames they predict."""

    first: int  # frame at which the first window starts
    stride: int  # frames between the starts of windows
    horizon: int | None  # H, frames to predict; None: whole episodes, from frame 0

    def __post_init__(self) -> None:
        if self.stride < 1 or self.first < 0:
            raise InputError(f"{self}: give a stride of at least 1 and a first frame from 0 on")
        if self.horizon is not None:
            _check_horizon(self.horizon)

    def starts(self, episode: Episode) -> tuple[np.ndarray, int]:
        """Frames at which an episode's windows start, and how many windows were skipped.

        For each k = first + i · stride with k + horizon inside the episode, the window starts at
        the first ``fresh`` frame in [k, k + stride) whose state is known. It is skipped where there
        is none, where a frame from its start to its end is not ``valid``, or where nothing that it
        predicts was measured.
        """
        valid, known = episode.valid, known_frames(episode)
        seen = np.ones(len(valid), bool)
        if episode.measured is not None:
            seen[:] = episode.measured.any(axis=1)
        if self.horizon is None:
            whole = len(valid) > 1 and valid.all() and known[0] and seen[1:].any()
            return (np.array([0]), 0) if whole else (np.array([], int), 1)
        starts, skipped, begins = [], 0, episode.fresh & known
        for k in range(self.first, len(valid) - self.horizon, self.stride):
            near = k + np.flatnonzero(begins[k : min(k + self.stride, len(valid) - self.horizon)])
            end = near[0] + self.horizon + 1 if len(near) else 0
            if end and valid[near[0] : end].all() and seen[near[0] + 1 : end].any():
                starts.append(int(near[0]))
            else:
                skipped += 1
        return np.array(starts, int), skipped

    def cut(self, episodes: Sequence[Episode]) -> tuple[Windows, int]:
        """The windows of all episodes, and how many were skipped.

        Raises:
          InputError: no window fits.
        """
        starts, skipped = zip(*map(self.starts, episodes), strict=True) if episodes else ((), ())
        longest = max((len(e.qpos) for e in episodes), default=1) - 1
        horizon = longest if self.horizon is None else self.horizon
        if any(skipped) and not any(map(len, starts)):
            raise InputError(
                f"all {sum(skipped)} windows of {len(episodes)} episodes hold a frame that is not "
                "valid, have no fresh one whose positions are known to start from, or nothing "
                "measured to score; mend the frames"
            )
        return cut_windows(episodes, starts, horizon), sum(skipped)


def cut_windows(episodes: Sequence[Episode], starts: Sequence[np.ndarray], horizon: int) -> Windows:
    """Cuts windows out of episodes; frames past an end repeat the last one and are not scored.
    ``measured`` is None where every position of every episode was.

    Args:
      episodes: the recordings.
      starts: per episode, the frames at which its windows start.
      horizon: frames to predict.

    Raises:
      InputError: no frame to predict, no window, or one that starts outside its episode.
    """
    _check_horizon(horizon)
    parts: list[Windows] = []
    partly = any(episode.measured is not None for episode in episodes)
    for index, (episode, frames) in enumerate(zip(episodes, starts, strict=True)):
        frames, last = np.asarray(frames, int), len(episode.qpos) - 1
        outside = frames[(frames < 0) | (frames > last)]
        if len(outside):
            raise InputError(
                f"a window starts at frame {outside[0]} of episode {episode.id}, whose frames are "
                f"0 to {last}"
            )
        following = frames[:, None] + np.arange(1, horizon + 1)
        after, scored, measured = np.minimum(following, last), following <= last, None
        if partly:
            measured = np.isfinite(episode.qpos[after])
            if episode.measured is not None:
                measured &= episode.measured[after]
            scored &= measured.any(axis=2)
        parts.append(
            Windows(
                history=_history(episode, frames),
                ctrl=episode.ctrl[np.minimum(following - 1, last)],
                target=episode.qpos[after],
                scored=scored,
                episode=np.full(len(frames), index),
                measured=measured,
                frame=frames,
            )
        )
    if not any(map(len, parts)):
        raise InputError(
            f"no window of {horizon} frames fits into these {len(episodes)} episodes, the longest "
            f"of {max((len(e.qpos) for e in episodes), default=0)} frames; choose a shorter horizon"
        )
    return jax.tree.map(lambda *arrays: np.concatenate(arrays), *parts)


def _check_horizon(frames: int) -> None:
    if frames < 1:
        raise InputError(f"windows of {frames} frames predict nothing; take at least 1")


def known_frames(episode: Episode) -> np.ndarray:
    """(frames,) bool; where no position and no velocity is unknown."""
    finite = np.isfinite(np.concatenate([episode.qpos, episode.qvel], axis=1))
    return np.asarray(finite.all(axis=1))


def _history(episode: Episode, starts: np.ndarray) -> History:
    """Frames k, k − 1, … of each start; one that is absent, unknown or not valid ends what is
    known."""
    lags = np.arange(HISTORY)
    at = starts[:, None] - lags
    rows = np.maximum(at, 0)
    usable = (episode.valid & known_frames(episode))[rows] | (lags == 0)
    known = np.logical_and.accumulate((at >= 0) & usable, axis=1)
    ctrl = np.where(lags[:, None] > 0, episode.ctrl[rows], 0.0)
    return History(episode.qpos[rows], episode.qvel[rows], ctrl, known, np.ones_like(known))
