"""The black box: what a network without physics predicts of a recording, as physics' opponent.

Question: how far does a network get that a careful engineer trains on the same episodes, without
          any physics?
Command:  python -m experiments.learned.black_box --recording double_pendulum
          --out runs/black_box/double_pendulum/seed0 --seed 0
Runtime:  three to ten minutes on 2 cores
Expected: one JSON line; double_pendulum: a test error of the joints at 0.5 s of 3 to 5 degrees

The network is in ``experiments.learned.gru``; the settings were chosen on the arm's validation
episodes, those of the tosses (``experiments/papers/recordings.toml``) on theirs. OUT gets
metrics.jsonl, a row for each validation; result.json; and predictions.npz, which
``experiments.learned.black_box_table`` compares with physics: of the test windows at each horizon
(windows, frames, nq). Ctrl-C ends a run; the same command starts again.
"""

import dataclasses
import functools
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.learned.gru import Parameters, Stretch, init, loss, rollout, stretches
from experiments.recordings.source import read_recording
from experiments.recordings.tables import grids
from worldmodel import runtime
from worldmodel.commands.scores import BATCH
from worldmodel.episodes.errors import Channels, episode_errors, over_episodes
from worldmodel.episodes.windows import WindowGrid, Windows
from worldmodel.runtime.devices import in_batches
from worldmodel.runtime.files import write_json
from worldmodel.runtime.records import append_row, plain, write_arrays
from worldmodel.scene import Scene
from worldmodel.types import Episode


@dataclasses.dataclass(frozen=True)
class Config:
    """How the network is trained."""

    width: int = 128  # of both GRU layers
    memory: int = 32  # recorded frames up to the start, at most
    rollout: int = 80  # frames of a training window; half as many in the first half of the steps
    noise: float = 0.3  # on recorded velocities, in deviations of a frame's change
    learning_rate: float = 5e-3  # falls to zero (cosine)
    weight_decay: float = 1e-2
    average: float = 0.98  # of the weights over the steps, which validation judges: its decay
    steps: int = 600
    batch: int = 32  # windows per step
    validate_every: int = 50  # steps
    patience: int = 8  # validations in the second half without improvement before stopping


@dataclasses.dataclass(frozen=True)
class Args:
    """Command line."""

    recording: str  # elbow_toss, cube_toss, square_drop or double_pendulum
    out: Path  # folder for the predictions, the result and the metrics
    seed: int = 0
    config: Config = dataclasses.field(default_factory=Config)


@dataclasses.dataclass(frozen=True)
class Data:
    """What a model is trained and judged on."""

    scene: Scene
    channels: Channels
    train: Sequence[Episode]
    validation: Sequence[Episode]
    training_grid: Callable[[int], WindowGrid]  # of a horizon
    judged: Sequence[Windows]  # of the validation episodes


def main(args: Args, stop: Callable[[], bool]) -> int:
    """Fits, predicts; writes OUT and prints one JSON line."""
    runtime.configure(x64=False)
    recording = read_recording(args.recording)
    problem, scene = recording.problem, recording.problem.scene()
    channels, validation = problem.channels(scene), recording.part("validation")
    judged = [g.cut(validation)[0] for g in grids(problem, channels, validation) if g.horizon]
    train, grid = recording.part("train"), problem.training_grid
    data = Data(scene, channels, train, validation, grid, judged)
    rows = args.out / "metrics.jsonl"
    args.out.mkdir(parents=True, exist_ok=True)
    rows.unlink(missing_ok=True)
    record = functools.partial(append_row, rows)
    parameters, error = fit(data, args.config, args.seed, record=record, stop=stop)
    test, predictions = recording.part("test"), {}
    for grid in grids(problem, channels, test):
        windows, _ = grid.cut(test)
        frames = str(windows.target.shape[1])
        predictions[frames] = predict(scene, parameters, test, windows, args.config.memory)
    write_arrays(args.out / "predictions.npz", predictions)
    result = {
        "recording": problem.name,
        "data": recording.digest,
        "seed": args.seed,
        "validation": error,
        "config": plain(args.config),
        "provenance": runtime.provenance(),
    }
    write_json(args.out / "result.json", result)
    print(json.dumps(result | {"out": str(args.out)}))
    return 0


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
    optimiser = optax.chain(
        optax.clip_by_global_norm(1.0), optax.adamw(1.0, weight_decay=config.weight_decay)
    )
    rate = optax.cosine_decay_schedule(config.learning_rate, config.steps)

    def mean_loss(weights: Any, batch: Stretch) -> jax.Array:
        parameters = {"weights": weights, "norm": norm}
        return jnp.mean(jax.vmap(lambda s: loss(scene, parameters, s))(batch))

    @jax.jit
    def update(learned: tuple, rate: jax.Array, batch: Stretch) -> tuple[tuple, jax.Array]:
        weights, averaged, state = learned
        value, gradient = jax.value_and_grad(mean_loss)(weights, batch)
        updates, state = optimiser.update(gradient, state, weights)
        weights = optax.apply_updates(weights, jax.tree.map(lambda u: rate * u, updates))
        averaged = optax.incremental_update(weights, averaged, 1.0 - config.average)
        return (weights, averaged, state), value

    def judge(parameters: Parameters) -> np.ndarray:
        """(horizons, 3) errors on the validation windows: position, rotation, joints."""
        errors = []
        for windows in data.judged:
            qpos = predict(scene, parameters, data.validation, windows, config.memory)
            errors.append(over_episodes(episode_errors(qpos, windows, data.channels)))
        return np.stack(errors)

    nothing, best, lowest, since = judge(initial), initial, 1.0, 0
    learned, began = (weights, weights, optimiser.init(weights)), time.monotonic()
    growing = [
        stretches(scene, data.train, data.training_grid(horizon).cut(data.train)[0], config.memory)
        for horizon in (max(1, config.rollout // 2), config.rollout)
    ]
    noise = config.noise * np.asarray(norm["output"][: scene.mj_model.nv])
    for step in range(config.steps):
        late = 2 * step >= config.steps
        shown = growing[late]
        generator = np.random.default_rng([seed, step])
        rows = generator.integers(len(shown.qpos), size=config.batch)
        learned, value = update(learned, rate(step), disturbed(shown, rows, noise, generator))
        if stop():
            raise runtime.Interrupted(f"stopped at step {step + 1}; the same command starts again")
        if not np.isfinite(value):
            runtime.log(f"step {step + 1}: the loss is not finite; what was best before is kept")
            break
        if (step + 1) % config.validate_every == 0 or step + 1 == config.steps:
            parameters = {"weights": learned[1], "norm": norm}
            error = float(np.nanmean(judge(parameters) / nothing))
            row = {"step": step + 1, "rollout": shown.ctrl.shape[1], "loss": float(value)}
            record(row | {"validation": error, "seconds": time.monotonic() - began})
            since += 1
            if error < lowest:
                best, lowest, since = parameters, error, 0
            if since >= config.patience and late:
                break
    return best, lowest


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


def predict(
    scene: Scene,
    parameters: Parameters,
    episodes: Sequence[Episode],
    windows: Windows,
    memory: int,
) -> np.ndarray:
    """(windows, horizon, nq) predicted of windows of the episodes, from their past and their
    commands.

    Args:
      memory: recorded frames that it sees, the start included.
    """
    rows = stretches(scene, episodes, windows, memory)
    return in_batches(_make_run(scene), BATCH, parameters, rows).astype(float)


@functools.lru_cache(maxsize=8)
def _make_run(scene: Scene) -> Callable[[Parameters, Stretch], jax.Array]:
    @jax.jit
    def run(parameters: Parameters, rows: Stretch) -> jax.Array:
        return jax.vmap(lambda s: rollout(scene, parameters, s))(rows)[1][0]

    return run


if __name__ == "__main__":
    sys.exit(runtime.command(main, __doc__))
