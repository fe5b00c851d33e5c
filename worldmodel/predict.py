"""Open-loop prediction of windows of an episode: what a model is fitted on and judged by."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from worldmodel import physics
from worldmodel._mujoco import mjx
from worldmodel.episodes.protocol import errors
from worldmodel.episodes.recordings import Channels
from worldmodel.rollout import replay, rollout
from worldmodel.scene import Scene
from worldmodel.types import Episode, InputError, State

Array = Any  # NumPy on the host, jax.Array inside a compiled function


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Windows:
    """Stretches of episodes: where they start, the controls played, the frames that followed."""

    qpos: Array  # (windows, nq) at the first frame
    qvel: Array  # (windows, nv) at the first frame
    ctrl: Array  # (windows, horizon, nu)
    target: Array  # (windows, horizon, nq) the frames after the first
    scored: Array  # (windows, horizon) bool; False past an episode's end
    episode: Array  # (windows,) index of the episode in the list it came from

    def __len__(self) -> int:
        return self.qpos.shape[0]

    def take(self, rows: np.ndarray) -> "Windows":
        """The windows at ``rows``."""
        return jax.tree.map(lambda x: x[rows], self)


def cut_windows(episodes: Sequence[Episode], starts: Sequence[np.ndarray], horizon: int) -> Windows:
    """Cuts windows out of episodes; what reaches past an end is held and not scored.

    Args:
      episodes: the recordings.
      starts: per episode, the frames at which its windows start.
      horizon: frames to predict.
    """
    rows: list[tuple[np.ndarray, ...]] = []
    for index, (episode, frames) in enumerate(zip(episodes, starts, strict=True)):
        last = len(episode.qpos) - 1
        for k in frames:
            after = np.minimum(np.arange(k + 1, k + 1 + horizon), last)
            held = np.minimum(np.arange(k, k + horizon), last)
            scored = np.arange(k + 1, k + 1 + horizon) <= last
            rows.append(
                (
                    episode.qpos[k],
                    episode.qvel[k],
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
    return Windows(*(np.stack(column) for column in zip(*rows, strict=True)))


def predict(scene: Scene, model: mjx.Model, window: Windows) -> jax.Array:
    """Predicted positions of one window, from its first frame and its controls alone.

    Args:
      scene: static.
      model: its parameters applied; differentiable.
      window: one window (no leading dimension).

    Returns:
      (horizon, nq) positions at the control rate.
    """

    def step(state: State, ctrl: jax.Array) -> State:
        state = physics.control_step(scene, model, state, ctrl)
        # Contacts are not scored: without this their derivative would be carried along.
        return dataclasses.replace(state, contacts=jax.lax.stop_gradient(state.contacts))

    state = physics.initial_state(scene, window.qpos, window.qvel)
    horizon = window.target.shape[0]
    states, _ = rollout(
        step, replay(window.ctrl), state, horizon, jax.random.key(0), keep=(physics.SOLUTION,)
    )
    return states.qpos


def make_predictor(scene: Scene, batch: int) -> Callable[[mjx.Model, Windows], np.ndarray]:
    """``predict`` compiled once for batches of one size, for any number of windows.

    Returns:
      ``predictor(model, windows)`` → (windows, horizon, nq) predicted positions.
    """

    @jax.jit
    def run(model: mjx.Model, windows: Windows) -> jax.Array:
        return jax.vmap(lambda w: predict(scene, model, w))(windows)

    def predictor(model: mjx.Model, windows: Windows) -> np.ndarray:
        out = []
        for begin in range(0, len(windows), batch):
            rows = np.minimum(np.arange(begin, begin + batch), len(windows) - 1)
            out.append(np.asarray(run(model, jax.tree.map(jnp.asarray, windows.take(rows)))))
        return np.concatenate(out)[: len(windows)]

    return predictor


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
