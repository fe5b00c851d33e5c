"""Training of the GRU of ``experiments.learned.gru``, and its predictions."""

import dataclasses
import functools
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.learned.gru import Parameters, Stretch, init, loss, rollout, stretches
from worldmodel import runtime
from worldmodel.episodes.errors import Channels, episode_errors, over_episodes
from worldmodel.episodes.windows import WindowGrid, Windows
from worldmodel.model.ensemble import Forecast, mean_pose
from worldmodel.runtime.devices import in_batches
from worldmodel.runtime.settings import check_settings
from worldmodel.scene import Scene
from worldmodel.types import Episode

BATCH = 256  # windows predicted in one compiled call


@dataclasses.dataclass(frozen=True)
class Config:
    """How the network is trained.

    Raises:
      InputError: a value that nothing can be trained with; the message names the setting.
    """

    width: int = 128  # of both GRU layers
    memory: int = 32  # recorded frames up to the start, at most
    rollout: int = 80  # frames of a training window; half as many in the first half of the steps
    decay: float = 1.0  # weight of a frame's loss relative to that of the frame before
    noise: float = 0.3  # on recorded velocities, in deviations of a frame's change
    learning_rate: float = 5e-3  # falls to zero (cosine)
    weight_decay: float = 1e-2
    average: float = 0.98  # of the weights over the steps, which validation judges: its decay
    steps: int = 600
    batch: int = 32  # windows per step
    validate_every: int = 50  # steps
    patience: int = 8  # validations in the second half without improvement before stopping

    def __post_init__(self) -> None:
        counts = ("width", "memory", "steps", "batch", "validate_every", "patience")
        check_settings(
            self,
            counts=(*counts, "rollout"),
            not_negative=("noise", "weight_decay", "average"),
            positive=("decay", "learning_rate"),
        )


@dataclasses.dataclass(frozen=True)
class Data:
    """What a model is trained and judged on."""

    scene: Scene
    channels: Channels
    train: Sequence[Episode]
    validation: Sequence[Episode]
    training_grid: Callable[[int], WindowGrid]  # of a horizon
    grids: Sequence[WindowGrid]  # of the windows that validation judges


def fit(
    data: Data,
    config: Config,
    seed: int,
    *,
    record: Callable[[dict[str, Any]], None],
    stop: Callable[[], bool],
) -> tuple[Parameters, float]:
    """Trains one network.

    Args:
      record: called with {"step", "rollout", "loss", "validation", "seconds"}.
      stop: asked after each step.

    Returns:
      The parameters that are best on validation, and their error there relative to that of a body
      that keeps its velocity, the mean over horizons and channels.

    Raises:
      Interrupted: ``stop`` returned True; nothing is saved, training takes minutes.
    """
    scene = data.scene
    initial = init(scene, data.train, config.width, jax.random.key(seed))
    weights, norm = initial["weights"], initial["norm"]
    optimiser, update = _make_update(scene, config.decay, config.weight_decay, config.average)
    rate = optax.cosine_decay_schedule(config.learning_rate, config.steps)
    judge = _make_judge(data, config.memory)
    nothing = judge(initial)
    best, lowest, since, averaged = initial, 1.0, 0, weights
    state, began = optimiser.init(weights), time.monotonic()
    shown, horizon = None, 0
    noise = config.noise * np.asarray(norm["output"][: scene.mj_model.nv])
    for step in range(config.steps):
        if horizon != (horizon := _horizon(config, step)):
            windows, _ = data.training_grid(horizon).cut(data.train)
            shown = stretches(scene, data.train, windows, config.memory)
        assert shown is not None
        generator = np.random.default_rng([seed, step])
        rows = generator.integers(len(shown.qpos), size=config.batch)
        batch = disturbed(shown, rows, noise, generator)
        learned = weights, averaged, state
        weights, averaged, state, value = update(learned, norm, rate(step), batch)
        if stop():
            raise runtime.Interrupted(f"stopped at step {step + 1}; the same command starts again")
        if not np.isfinite(value):
            runtime.log(f"step {step + 1}: the loss is not finite; what was best before is kept")
            break
        if (step + 1) % config.validate_every == 0 or step + 1 == config.steps:
            parameters = {"weights": averaged, "norm": norm}
            error = float(np.nanmean(judge(parameters) / nothing))
            record(
                {
                    "step": step + 1,
                    "rollout": horizon,
                    "loss": float(value),
                    "validation": error,
                    "seconds": time.monotonic() - began,
                }
            )
            since += 1
            if error < lowest:
                best, lowest, since = parameters, error, 0
            if since >= config.patience and horizon == config.rollout:
                break
    return best, lowest


@functools.lru_cache(maxsize=8)
def _make_update(
    scene: Scene, decay: float, weight_decay: float, average: float
) -> tuple[optax.GradientTransformation, Callable[..., tuple]]:
    """The optimiser, and one step of it, compiled once for fits that differ in the rate alone."""
    optimiser = optax.chain(
        optax.clip_by_global_norm(1.0), optax.adamw(1.0, weight_decay=weight_decay)
    )

    def mean_loss(weights: Any, norm: Any, batch: Stretch) -> jax.Array:
        parameters = {"weights": weights, "norm": norm}
        return jnp.mean(jax.vmap(lambda s: loss(scene, decay, parameters, s))(batch))

    @jax.jit
    def update(learned: tuple, norm: Any, rate: jax.Array, batch: Stretch) -> tuple:
        weights, averaged, state = learned
        value, gradient = jax.value_and_grad(mean_loss)(weights, norm, batch)
        updates, state = optimiser.update(gradient, state, weights)
        weights = optax.apply_updates(weights, jax.tree.map(lambda u: rate * u, updates))
        averaged = optax.incremental_update(weights, averaged, 1.0 - average)
        return weights, averaged, state, value

    return optimiser, update


def _horizon(config: Config, step: int) -> int:
    """Frames of the training windows at a step."""
    return max(1, config.rollout // (2 if 2 * step < config.steps else 1))


def disturbed(
    shown: Stretch, rows: np.ndarray, noise: np.ndarray, generator: np.random.Generator
) -> Stretch:
    """The stretches at ``rows``, with noise on the recorded velocities, and a random number of
    frames of their past, from none to all.

    Args:
      noise: (nv,) its standard deviation [m/s, rad/s].
    """
    batch = jax.tree.map(lambda x: x[rows], shown)
    memory = batch.known.shape[1]
    kept = np.arange(memory)[::-1] < generator.integers(1, memory + 1, size=(len(rows), 1))
    qvel = batch.qvel + noise * generator.normal(size=batch.qvel.shape)
    qvel = qvel.astype(batch.qvel.dtype)
    return dataclasses.replace(batch, qvel=qvel, known=batch.known & kept)


def _make_judge(data: Data, memory: int) -> Callable[[Parameters], np.ndarray]:
    """Errors on the validation windows: parameters → (grids, 3) position, rotation, joints."""
    windows = [grid.cut(data.validation)[0] for grid in data.grids]

    def judge(parameters: Parameters) -> np.ndarray:
        errors = []
        for w in windows:
            qpos = predict(data.scene, [parameters], data.validation, w, memory).mean
            errors.append(over_episodes(episode_errors(qpos, w, data.channels)))
        return np.stack(errors)

    return judge


def predict(
    scene: Scene,
    parameters: Sequence[Parameters],
    episodes: Sequence[Episode],
    windows: Windows,
    memory: int,
) -> Forecast:
    """What members predict of windows of the episodes, from their past and their commands.

    Args:
      parameters: one per member.
      memory: recorded frames that they see, the start included.
    """
    rows = stretches(scene, episodes, windows, memory)
    predicted = [in_batches(_make_run(scene), BATCH, p, rows) for p in parameters]
    members = np.stack([qpos for qpos, _ in predicted]).astype(float)
    units = [np.asarray(p["norm"]["speed"], float) / scene.control_hz for p in parameters]
    own = [np.exp(s) * np.square(u) for (_, s), u in zip(predicted, units, strict=True)]
    mean, apart = mean_pose(scene, members)
    deviation = np.sqrt(np.mean(own, axis=0) + np.square(apart))
    return Forecast(members, mean, deviation, np.full(deviation.shape[1:], np.inf), apart)


@functools.lru_cache(maxsize=8)
def _make_run(scene: Scene) -> Callable[[Parameters, Stretch], tuple[jax.Array, jax.Array]]:
    @jax.jit
    def run(parameters: Parameters, rows: Stretch) -> tuple[jax.Array, jax.Array]:
        _, (qpos, _, spread) = jax.vmap(lambda s: rollout(scene, parameters, s))(rows)
        return qpos, spread[..., : scene.mj_model.nv]

    return run
