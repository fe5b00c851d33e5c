"""World models fitted on a few corrections, and the tosses they generate, for ``measure``.

Question: what would a lab's world model, fitted on K real tosses and nothing else, generate?
Command:  python -m experiments.tosses_alpha.versions --recording elbow_toss
          --out runs/alpha/elbow/versions
Runtime:  one to three minutes per replicate on one core
Expected: OUT/000.npz, 001.npz, …, one per replicate, each written atomically

Each replicate runs in double precision, which a fit needs (the learner runs in single precision, so
in another process):

- v0: the sources' parameters; v1: physics fitted on the first K1 corrections by Gauss-Newton;
  v2: physics fitted on all K2, and a network regressed on its remaining error;
- v1-sham: physics fitted on K1 tosses that v0 generated from the same starts.

A version knows the corrections that it is charged with alone: from them come its physics, its
network, its starts and its tracking noise (v0 has those of the first K1). A synthetic toss is
recorded as a real one: noise on the poses, velocities from them. A training window of v2 has v2's
own prediction from that recording as its future, since the network's corrections hold for that
horizon.
"""

import dataclasses
import functools
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.recordings.problems import Problem
from experiments.recordings.source import read_recording
from worldmodel import runtime
from worldmodel.episodes.errors import Channels, episode_errors
from worldmodel.episodes.windows import WindowGrid, Windows
from worldmodel.errors import InputError
from worldmodel.finetune.gauss_newton import IdentifyConfig, identify
from worldmodel.finetune.regression import RegressionConfig, regress, regression_data, standards
from worldmodel.model import Displacement, Network, Parameters, WorldModel, init
from worldmodel.model.ensemble import joined, make_predictor, make_simulator, members
from worldmodel.model.features import heights
from worldmodel.runtime.records import write_arrays
from worldmodel.runtime.settings import claim
from worldmodel.scene import Scene
from worldmodel.scene.tangent import backward_velocities, displaced, displacements
from worldmodel.types import Episode

FLIGHT = 5e-3  # [m] above the table: nothing touches
HORIZON = 16  # frames that are predicted and scored
FIRST = 8  # frame at which the learner's first window starts
BATCH = 64  # tosses, or windows, in one compiled call
PHYSICS = IdentifyConfig(iterations=6, engine="c")
NETWORK = Network(latent=24, width=64, members=2)
REGRESSION = RegressionConfig(steps=300, batch=128, validate_every=50)


@dataclasses.dataclass(frozen=True)
class Study:
    """Sizes and settings; the same for every recording and replicate."""

    replicates: int = 10
    test: int = 90  # tosses; the learner's pool is all that no other field takes
    validation: int = 24  # of the learner, the same for every cell
    first: int = 24  # K1: corrections that version 1 is fitted on
    second: int = 48  # K2, these among them: version 2
    held_out: int = 12  # of K2, the last: they stop the network's regression
    real: tuple[int, ...] = (4, 8, 16, 32, 64, 128)  # of a pool of about 300
    n: tuple[int, ...] = (8, 16)
    m: tuple[int, ...] = (8, 16, 32)
    judged: int = 256  # windows of the validation tosses that stop a training
    windows: int = 96  # that physics is fitted on, drawn from the corrections'
    stride: int = 4  # frames between the starts of training windows
    bandwidth: float = 0.25  # of the starts' density, in their standard deviations
    identify: IdentifyConfig = PHYSICS
    network: Network = NETWORK  # of version 2
    regression: RegressionConfig = REGRESSION


@dataclasses.dataclass(frozen=True)
class Args:
    """Command line."""

    recording: str  # elbow_toss or cube_toss
    out: Path  # folder versions of measure's --out
    study: Study = dataclasses.field(default_factory=Study)


class Split(NamedTuple):
    """A replicate's tosses; no toss is in two parts."""

    test: list[Episode]
    validation: list[Episode]
    corrections: list[Episode]  # K2; the first K1 are version 1's
    pool: list[Episode]  # of the learner: smaller real sets are parts of the larger ones


def split(study: Study, episodes: list[Episode], replicate: int) -> Split:
    """All tosses, split anew for a replicate; pool and test tosses steer no version."""
    order = np.random.default_rng([replicate, 1]).permutation(len(episodes))
    sizes = np.cumsum([study.test, study.validation, study.second])
    return Split(*([episodes[i] for i in rows] for rows in np.split(order, sizes)))


class Starts(NamedTuple):
    """States that tosses start from, and how long each lasts."""

    qpos: np.ndarray  # (tosses, nq)
    qvel: np.ndarray  # (tosses, nv)
    frames: np.ndarray  # (tosses,) frames, the first one included


def recorded_starts(tosses: list[Episode]) -> Starts:
    """Frame 1 of each toss; its velocity is the mean of the stored ones at frames 1 and 2, which
    are backward differences and so half a frame late."""
    return Starts(
        np.stack([e.qpos[1] for e in tosses]),
        np.stack([0.5 * (e.qvel[1] + e.qvel[2]) for e in tosses]),
        np.array([len(e.qpos) - 1 for e in tosses]),
    )


def draw_starts(
    scene: Scene, tosses: list[Episode], bandwidth: float, count: int, rng: np.random.Generator
) -> Starts:
    """Starts from a kernel density of recorded ones: one of them, moved by a normal kernel.

    The kernel's width is ``bandwidth`` standard deviations of each height, velocity and hinge
    angle, and of the turns between recorded rotations; the place on the table is kept. No start is
    deeper in the table than the lowest recorded one.
    """
    known = recorded_starts(tosses)
    rows = rng.integers(len(tosses), size=count)
    width = np.zeros(known.qvel.shape[1])
    width[2] = known.qpos[:, 2].std()
    turns = displacements(scene, np.roll(known.qpos, 1, axis=0), known.qpos)[:, 3:6]
    width[3:6] = np.std(turns) / np.sqrt(2)
    width[6:] = known.qpos[:, 7:].std(axis=0)
    moves, changes = rng.normal(size=(2, count, len(width)))
    qpos = displaced(scene, known.qpos[rows], bandwidth * width * moves)
    qvel = known.qvel[rows] + bandwidth * known.qvel.std(axis=0) * changes
    floor = min(0.0, float(jnp.min(_lowest(scene, known.qpos))))
    qpos[:, 2] += np.maximum(0.0, floor - np.asarray(_lowest(scene, qpos)))
    return Starts(qpos, qvel, known.frames[rows])


def tracking_noise(scene: Scene, tosses: list[Episode]) -> np.ndarray:
    """Deviation of a tracked pose per degree of freedom: (nv,) [m, rad].

    From third differences in free flight, where the body's motion is smooth: those of independent
    noise of variance σ² have variance 20 σ². The median over frames ignores glitches.

    Raises:
      InputError: in no toss does the body fly for four frames in a row.
    """
    differences = []
    for toss in tosses:
        moves = displacements(scene, toss.qpos[:-1], toss.qpos[1:])
        flies = np.asarray(_lowest(scene, toss.qpos)) > FLIGHT
        flies = np.lib.stride_tricks.sliding_window_view(flies, 4).all(axis=1)
        differences.append(np.diff(moves, n=2, axis=0)[flies])
    if not any(map(len, differences)):
        raise InputError(
            f"none of {len(tosses)} tosses flies for four frames in a row, {1e3 * FLIGHT:g} mm "
            "above the table, so the tracking noise cannot be measured; give more corrections, or "
            "longer flights"
        )
    return 1.4826 * np.median(np.abs(np.concatenate(differences)), axis=0) / np.sqrt(20.0)


@functools.partial(jax.jit, static_argnums=0)
def _lowest(scene: Scene, qpos: jax.Array) -> jax.Array:
    """(poses, nq) → (poses,) height [m] of the body's lowest corner above the table."""
    return jax.vmap(lambda q: jnp.min(heights(scene, q)))(qpos)


def tracked(scene: Scene, qpos: np.ndarray, noise: np.ndarray, seed: list[int]) -> np.ndarray:
    """Poses (…, nq) as a tracker reports them: each moved by independent noise of deviation (nv,)
    [m, rad]."""
    moves = noise * np.random.default_rng(seed).normal(size=(*qpos.shape[:-1], len(noise)))
    return displaced(scene, qpos, moves)


def recorded(scene: Scene, qpos: np.ndarray, frames: np.ndarray) -> list[Episode]:
    """Tracked poses (tosses, frames, nq) as episodes, each cut to its ``frames``.

    Velocities follow the recordings' rule: from the frame before; the first one is the second's.
    """
    out = []
    for i, (poses, count) in enumerate(zip(qpos, frames, strict=True)):
        qvel = backward_velocities(scene, poses[:count])
        qvel[0] = qvel[1]
        ctrl = np.zeros((count, scene.mj_model.nu))
        out.append(Episode.regular(i, scene.control_hz, qpos=poses[:count], qvel=qvel, ctrl=ctrl))
    return out


def training_windows(study: Study, tosses: list[Episode], first: int = FIRST) -> Windows:
    """Windows of ``HORIZON`` frames that start every ``study.stride`` frames from ``first`` on."""
    return WindowGrid(first, study.stride, HORIZON).cut(tosses)[0]


def scored_windows(problem: Problem, tosses: list[Episode]) -> Windows:
    """The recording's protocol windows, of ``HORIZON`` frames."""
    return dataclasses.replace(problem.windows, horizon=HORIZON).cut(tosses)[0]


def errors_of(
    world: WorldModel, parameters: Parameters, windows: Windows, channels: Channels
) -> np.ndarray:
    """(channels,) mean errors over windows."""
    predicted = make_predictor(world, BATCH)(parameters, windows)
    return episode_errors(predicted, windows, channels).mean(axis=0)


def fitted_hybrid(
    hybrid: WorldModel,
    physics: Parameters,
    study: Study,
    tosses: list[Episode],
    seed: int,
    stop: Callable[[], bool],
) -> Parameters:
    """Networks regressed on the remaining error of physics that was fitted on the same tosses."""
    origin = init(hybrid, jax.random.key(seed)) | {"physics": physics["physics"]}
    kept = len(tosses) - study.held_out
    train, held_out = (
        regression_data(hybrid, origin, training_windows(study, part, first=1))
        for part in (tosses[:kept], tosses[kept:])
    )
    origin["network"]["norm"] = jax.tree.map(jnp.asarray, standards(hybrid, train))
    each = []
    for k, member in enumerate(members(origin)):
        config = dataclasses.replace(study.regression, seed=seed + 1000 * k)
        begin = member | {"physics": physics["physics"]}
        fitted = regress(hybrid, begin, train, held_out, config, record=lambda row: None, stop=stop)
        each.append(fitted)
    return joined(origin, each)


def played(world: WorldModel, parameters: Parameters, starts: Starts) -> np.ndarray:
    """Poses of whole tosses: (tosses, frames, nq).

    Raises:
      FloatingPointError: a toss diverges.
    """
    ctrl = np.zeros((len(starts.qpos), int(starts.frames.max()) - 1, world.scene.mj_model.nu))
    states = make_simulator(world, BATCH)(parameters, starts.qpos, ctrl, starts.qvel)
    if not np.isfinite(states.qpos).all():
        raise FloatingPointError(
            "a toss of a fitted version is not finite; fit it on more tosses or windows"
        )
    return np.asarray(states.qpos)


def replicate(
    problem: Problem,
    study: Study,
    episodes: list[Episode],
    number: int,
    stop: Callable[[], bool],
) -> dict[str, np.ndarray]:
    """All versions' tosses of one replicate: arrays by name, and ``about`` as JSON text.

    Raises:
      FloatingPointError: a fitted version diverges.
      Interrupted: ``stop`` returned True.
    """
    scene = problem.scene()
    world = WorldModel(scene, problem.free)
    hybrid = dataclasses.replace(world, correction=Displacement(), network=study.network)
    parts = split(study, episodes, number)
    first, every = parts.corrections[: study.first], parts.corrections
    noise1, noise2 = tracking_noise(scene, first), tracking_noise(scene, every)
    converged: dict[str, bool] = {}

    def fitted(name: str, tosses: list[Episode], stream: int) -> Parameters:
        """Physics by Gauss-Newton, from the sources' parameters, on ``study.windows`` windows."""
        runtime.log(f"replicate {number}: {name}")
        windows = training_windows(study, tosses, first=1)
        rows = np.random.default_rng([number, stream]).permutation(len(windows))
        windows = windows.take(np.sort(rows[: study.windows]))
        result = identify(world, windows, study.identify, stop=stop)
        converged[name] = result.converged
        return result.parameters

    def starts(tosses: list[Episode]) -> Starts:
        rng = np.random.default_rng([number, 15])
        return draw_starts(scene, tosses, study.bandwidth, max(study.m), rng)

    v0, v1, v2 = init(world, jax.random.key(0)), fitted("v1", first, 11), fitted("v2", every, 12)
    v2_hybrid = fitted_hybrid(hybrid, v2, study, every, number, stop)
    same_starts = recorded_starts(first)
    v0_tosses = tracked(scene, played(world, v0, same_starts), noise1, [number, 13])
    sham = fitted("v1-sham", recorded(scene, v0_tosses, same_starts.frames), 11)
    near, wide = starts(first), starts(every)
    out: dict[str, np.ndarray] = {}
    for name, parameters, begun, noise in (
        ("v0", v0, near, noise1),
        ("v1", v1, near, noise1),
        ("v2", v2, wide, noise2),
        ("v1-sham", sham, near, noise1),
    ):
        qpos = tracked(scene, played(world, parameters, begun), noise, [number, 16])
        out |= {f"{name}.qpos": qpos, f"{name}.frames": begun.frames}
    windows = training_windows(study, recorded(scene, out["v2.qpos"], wide.frames))
    predicted = make_predictor(hybrid, BATCH)(v2_hybrid, windows)
    out["v2.predicted"] = tracked(scene, predicted, noise2, [number, 17])
    test, channels = scored_windows(problem, parts.test), problem.channels(scene)
    direct = {
        name: errors_of(model, parameters, test, channels).tolist()
        for name, model, parameters in (
            ("v0", world, v0),
            ("v1", world, v1),
            ("v2-physics", world, v2),
            ("v2", hybrid, v2_hybrid),
        )
    }
    return out | {"about": np.array(json.dumps({"direct": direct, "converged": converged}))}


def main(args: Args, stop: Callable[[], bool]) -> int:
    """Writes the replicates that are absent; returns the exit status.

    Raises:
      FloatingPointError: a fitted version diverges.
    """
    runtime.configure()
    claim(args.out, {"study": args.study, "recording": args.recording})
    recording = read_recording(args.recording)
    for number in range(args.study.replicates):
        if not (target := args.out / f"{number:03d}.npz").is_file():
            arrays = replicate(recording.problem, args.study, recording.episodes, number, stop)
            write_arrays(target, arrays, compressed=True)
    return 0


if __name__ == "__main__":
    sys.exit(runtime.command(main, __doc__))
