"""The study of alpha on real tosses: its sizes, splits, starts and noise.

``versions`` makes the synthetic tosses, ``measure`` trains and measures. A version knows its own
corrections alone: from them come its physics, its network, its density of starts and its tracking
noise. Pool and test tosses steer nothing.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from experiments.recordings.problems import Problem
from experiments.tosses_alpha.learner import Recipe
from worldmodel.episodes.windows import WindowGrid, Windows
from worldmodel.errors import InputError
from worldmodel.finetune.gauss_newton import IdentifyConfig
from worldmodel.finetune.regression import RegressionConfig
from worldmodel.model import Network
from worldmodel.model.features import heights
from worldmodel.scene import Scene
from worldmodel.scene.tangent import backward_velocities, displaced, displacements
from worldmodel.types import Episode

FLIGHT = 5e-3  # [m] above the table: nothing touches
HORIZON = 16  # frames that are predicted and scored
FIRST = 8  # frame at which the first window starts
MODELS = ("v0", "v1", "v2")
SHAM = "v1-sham"  # physics refit on tosses that version 0 generated


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
    identify: IdentifyConfig = dataclasses.field(
        default_factory=lambda: IdentifyConfig(iterations=6, engine="c")
    )
    network: Network = dataclasses.field(  # of version 2
        default_factory=lambda: Network(latent=24, width=64, members=2)
    )
    regression: RegressionConfig = dataclasses.field(
        default_factory=lambda: RegressionConfig(steps=300, batch=128, validate_every=50)
    )
    recipe: Recipe = dataclasses.field(default_factory=Recipe)


@dataclasses.dataclass(frozen=True)
class Split:
    """A replicate's tosses; no toss is in two parts."""

    test: list[Episode]
    validation: list[Episode]
    corrections: list[Episode]  # K2; the first K1 are version 1's
    pool: list[Episode]  # of the learner: smaller real sets are parts of the larger ones


def split(study: Study, episodes: list[Episode], replicate: int) -> Split:
    """All tosses, split anew for a replicate."""
    order = np.random.default_rng([replicate, 1]).permutation(len(episodes))
    sizes = np.cumsum([study.test, study.validation, study.second])
    parts = ([episodes[i] for i in rows] for rows in np.split(order, sizes))
    return Split(*parts)


@dataclasses.dataclass(frozen=True)
class Starts:
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

    Args:
      scene: a free body, and hinges.
      count: starts to draw.
    """
    known = recorded_starts(tosses)
    nv = scene.mj_model.nv
    rows = rng.integers(len(tosses), size=count)
    width = np.zeros(nv)
    width[2] = known.qpos[:, 2].std()
    turns = displacements(scene, np.roll(known.qpos, 1, axis=0), known.qpos)[:, 3:6]
    width[3:6] = np.std(turns) / np.sqrt(2)
    width[6:] = known.qpos[:, 7:].std(axis=0)
    qpos = displaced(scene, known.qpos[rows], bandwidth * width * rng.normal(size=(count, nv)))
    qvel = known.qvel[rows] + bandwidth * known.qvel.std(axis=0) * rng.normal(size=(count, nv))
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
        poses = poses[:count]
        qvel = backward_velocities(scene, poses)
        qvel[0] = qvel[1]
        ctrl = np.zeros((count, scene.mj_model.nu))
        out.append(Episode.regular(i, scene.control_hz, qpos=poses, qvel=qvel, ctrl=ctrl))
    return out


def training_windows(study: Study, tosses: list[Episode], first: int = FIRST) -> Windows:
    """Windows of ``HORIZON`` frames that start every ``study.stride`` frames from ``first`` on."""
    return WindowGrid(first, study.stride, HORIZON).cut(tosses)[0]


def scored_windows(problem: Problem, tosses: list[Episode]) -> Windows:
    """The recording's protocol windows, of ``HORIZON`` frames."""
    return dataclasses.replace(problem.windows, horizon=HORIZON).cut(tosses)[0]


FULL = Study()
SMOKE = dataclasses.replace(
    FULL,
    replicates=2,
    test=6,
    validation=4,
    first=4,
    second=6,
    held_out=2,
    real=(2, 4, 8),
    n=(4,),
    m=(4,),
    windows=8,
    identify=dataclasses.replace(FULL.identify, iterations=1),
    network=Network(latent=4, width=8),
    regression=dataclasses.replace(FULL.regression, steps=4, validate_every=2),
    recipe=dataclasses.replace(
        FULL.recipe, network=Network(latent=4, width=8), steps=8, validate_every=4
    ),
)
STUDIES = {"full": FULL, "smoke": SMOKE}
