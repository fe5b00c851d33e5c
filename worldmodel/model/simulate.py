"""Open-loop prediction of windows of an episode: what a model is fitted on and judged by."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from worldmodel import physics, programs
from worldmodel.dynamics import HISTORY, History, Parameters, WorldModel, pose, start, stepper
from worldmodel.episodes.protocol import errors
from worldmodel.episodes.recordings import Channels
from worldmodel.rollout import replay, rollout
from worldmodel.types import Episode, InputError, State

Array = Any  # NumPy on the host, jax.Array inside a compiled function


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Windows:
    """Stretches of episodes: where they start, the controls played, the frames that followed."""

    history: History  # (windows, HISTORY, …); row 0 is the first frame
    ctrl: Array  # (windows, horizon, nu)
    target: Array  # (windows, horizon, nq) the frames after the first
    scored: Array  # (windows, horizon) bool; False past an episode's end
    episode: Array  # (windows,) index of the episode in the list it came from

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

    def take(self, rows: np.ndarray) -> "Windows":
        """The windows at ``rows``."""
        return jax.tree.map(lambda x: x[rows], self)

    def shortened(self, frames: int) -> "Windows":
        """The windows with at most ``frames`` scored frames; shapes stay, so nothing compiles
        anew. Raises InputError below 1."""
        if frames < 1:
            raise InputError(f"windows of {frames} frames predict nothing; take at least 1")
        near = np.arange(self.target.shape[1]) < frames
        return dataclasses.replace(self, scored=np.asarray(self.scored) & near)

    def remembering(self, frames: int | np.ndarray) -> "Windows":
        """The windows with at most ``frames`` frames of history, the first one included.

        Args:
          frames: from 1 (no past) to HISTORY; one number, or one per window.
        """
        shown = np.arange(HISTORY) < np.broadcast_to(frames, (len(self),))[:, None]
        known = np.asarray(self.history.known) & shown
        return dataclasses.replace(self, history=dataclasses.replace(self.history, known=known))


def cut_windows(episodes: Sequence[Episode], starts: Sequence[np.ndarray], horizon: int) -> Windows:
    """Cuts windows out of episodes; what reaches past an end is held and not scored.

    Args:
      episodes: the recordings.
      starts: per episode, the frames at which its windows start.
      horizon: frames to predict.

    Raises:
      InputError: no frame to predict, no window, or one that starts outside its episode.
    """
    if horizon < 1:
        raise InputError(f"windows of {horizon} frames predict nothing; take at least 1")
    rows: list[tuple[np.ndarray, ...]] = []
    for index, (episode, frames) in enumerate(zip(episodes, starts, strict=True)):
        last = len(episode.qpos) - 1
        for k in frames:
            if not 0 <= k <= last:
                raise InputError(
                    f"a window starts at frame {k} of episode {episode.id}, whose frames are 0 to "
                    f"{last}"
                )
            after = np.minimum(np.arange(k + 1, k + 1 + horizon), last)
            held = np.minimum(np.arange(k, k + horizon), last)
            scored = np.arange(k + 1, k + 1 + horizon) <= last
            rows.append(
                (
                    *_history(episode, int(k)),
                    episode.ctrl[held],
                    episode.qpos[after],
                    scored,
                    np.array(index),
                )
            )
    if not rows:
        raise InputError(
            f"no window of {horizon} frames fits into these {len(episodes)} episodes; "
            "choose a shorter horizon"
        )
    columns = [np.stack(column) for column in zip(*rows, strict=True)]
    return Windows(History(*columns[:4]), *columns[4:])


def _history(episode: Episode, k: int) -> tuple[np.ndarray, ...]:
    """Frames k, k − 1, …; a frame that is missing or not valid ends what is known."""
    lags = np.arange(HISTORY)
    frames = np.maximum(k - lags, 0)
    known = np.logical_and.accumulate((k - lags >= 0) & (episode.valid[frames] | (lags == 0)))
    ctrl = np.where(lags[:, None] > 0, episode.ctrl[frames], 0.0)
    return episode.qpos[frames], episode.qvel[frames], ctrl, known


def predict(world: WorldModel, parameters: Parameters, window: Windows) -> jax.Array:
    """Predicted positions of one window, from its past and its controls alone.

    Args:
      world: static.
      parameters: differentiable.
      window: one window (no leading dimension).

    Returns:
      (horizon, nq) positions at the control rate.
    """

    return jax.vmap(lambda state: pose(world, state))(predict_states(world, parameters, window))


def predict_states(world: WorldModel, parameters: Parameters, window: Windows) -> State:
    """Predicted states of one window, (horizon, …) each; see ``predict``."""
    advance = stepper(world, parameters)

    def step(state: State, ctrl: jax.Array) -> State:
        state = advance(state, ctrl)
        # Contacts are not scored: without this their derivative would be carried along.
        return dataclasses.replace(state, contacts=jax.lax.stop_gradient(state.contacts))

    state = start(world, parameters, window.history)
    horizon = window.target.shape[0]
    states, _ = rollout(
        step, replay(window.ctrl), state, horizon, jax.random.key(0), keep=(physics.SOLUTION,)
    )
    return states


@functools.lru_cache(maxsize=8)
def make_predictor(world: WorldModel, batch: int) -> Callable[[Parameters, Windows], np.ndarray]:
    """``predict`` compiled once for batches of one size, for any number of windows.

    Returns:
      ``predictor(parameters, windows)`` → (windows, horizon, nq) predicted positions; InputError
      where there is no window or no frame to predict.
    """

    @programs.kept
    def run(parameters: Parameters, windows: Windows) -> jax.Array:
        return jax.vmap(lambda w: predict(world, parameters, w))(windows)

    def predictor(parameters: Parameters, windows: Windows) -> np.ndarray:
        if 0 in windows.target.shape[:2]:
            raise InputError(f"nothing to predict in windows of shape {windows.target.shape}")
        out = []
        for begin in range(0, len(windows), batch):
            rows = np.minimum(np.arange(begin, begin + batch), len(windows) - 1)
            out.append(np.asarray(run(parameters, jax.tree.map(jnp.asarray, windows.take(rows)))))
        return np.concatenate(out)[: len(windows)]

    return predictor


@functools.lru_cache(maxsize=8)
def make_simulator(world: WorldModel, batch: int) -> Callable[..., State]:
    """Plays commands, compiled once for batches of one size.

    Returns:
      ``simulate(parameters, qpos, ctrl, qvel)`` → states (episodes, frames + 1, …) as NumPy, the
      starting one first; qpos (episodes, nq), ctrl (episodes, frames, nu), qvel (episodes, nv),
      from rest when absent. InputError without episodes.
    """

    @programs.kept
    def run(parameters: Parameters, qpos: jax.Array, ctrl: jax.Array, qvel: jax.Array) -> State:
        advance = stepper(world, parameters)

        def one(qpos: jax.Array, ctrl: jax.Array, qvel: jax.Array) -> State:
            first = start(world, parameters, without_past(world, qpos, qvel))
            states, _ = rollout(advance, replay(ctrl), first, ctrl.shape[0], jax.random.key(0))
            return jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), first, states)

        return jax.vmap(one)(qpos, ctrl, qvel)

    def simulate(
        parameters: Parameters,
        qpos: np.ndarray,
        ctrl: np.ndarray,
        qvel: np.ndarray | None = None,
    ) -> State:
        if not len(qpos):
            raise InputError("no episode to simulate")
        qvel = np.zeros((len(qpos), world.scene.mj_model.nv)) if qvel is None else qvel
        out = []
        for begin in range(0, len(qpos), batch):
            rows = np.minimum(np.arange(begin, begin + batch), len(qpos) - 1)
            states = run(parameters, *(jnp.asarray(x[rows]) for x in (qpos, ctrl, qvel)))
            out.append(jax.tree.map(np.asarray, states))
        return jax.tree.map(lambda *x: np.concatenate(x)[: len(qpos)], *out)

    return simulate


def without_past(world: WorldModel, qpos: jax.Array, qvel: jax.Array) -> History:
    """The history of a robot that nothing is known of but its present positions and velocities."""
    m = world.scene.mj_model
    return History(
        qpos=jnp.broadcast_to(qpos, (HISTORY, m.nq)),
        qvel=jnp.broadcast_to(qvel, (HISTORY, m.nv)),
        ctrl=jnp.zeros((HISTORY, m.nu)),
        known=jnp.arange(HISTORY) == 0,
    )


def episode_errors(predicted: np.ndarray, windows: Windows, channels: Channels) -> np.ndarray:
    """Errors by the protocol: over frames, then over the windows of an episode.

    Args:
      predicted: (windows, horizon, nq).

    Returns:
      (episodes, 3) position [m], rotation [rad], joints [rad]; NaN where the scene has none.
      Episodes in the order of ``np.unique(windows.episode)``.
    """
    error = errors(predicted, np.asarray(windows.target), channels)
    scored = np.asarray(windows.scored)
    columns = []
    for name in ("position_m", "rotation_rad", "joint_rad"):
        value = error[name]
        if value is None:
            columns.append(np.full(len(windows), np.nan))
        else:
            columns.append(np.where(scored, value, 0.0).sum(1) / scored.sum(1))
    per_window = np.stack(columns, axis=1)
    episode = np.asarray(windows.episode)
    return np.stack([per_window[episode == e].mean(0) for e in np.unique(episode)])
