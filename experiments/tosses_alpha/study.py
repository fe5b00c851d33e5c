"""The study of alpha on real tosses: sizes, splits, starts and noise, before any model is fitted.

Frozen values beside the scripts that use them (``toss_versions`` makes the synthetic tosses,
``trust_recording`` trains and measures). Everything that a version knows comes from its own
corrections: its physics, its network, the density of starts, the tracking noise. Pool and test
tosses steer nothing.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from experiments.recordings.fit_physics import protocol_windows
from experiments.tosses_alpha.learner import Recipe
from worldmodel._mujoco import mujoco
from worldmodel.model import Network
from worldmodel.model.features import heights
from worldmodel.episodes.recording import Recording
from worldmodel.finetune.gauss_newton import IdentifyConfig
from worldmodel.model.simulate import Windows
from worldmodel.finetune.regression import RegressionConfig
from worldmodel.scene import Scene
from worldmodel.errors import InputError
from worldmodel.types import Episode

FLIGHT = 5e-3  # [m] above the table: nothing touches
HORIZON = 16  # frames that are predicted and scored
FIRST = 8  # frame at which the first window starts
MODELS = ("v0", "v1", "v2")
CONTROLS = ("v1-sham", "v1-worst", "v1-quiet", "v1-loud", "v1-leak")


@dataclasses.dataclass(frozen=True)
class Study:
    """Sizes and settings; the same for every recording and replicate."""

    replicates: int = 10
    test: int = 90  # tosses; the rest that is not named below is the learner's pool
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
    """Splits all tosses anew."""
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
    """Frame 1 of each toss, its velocity the mean of the stored ones around it (they are
    backward differences: half a frame late)."""
    return Starts(
        np.stack([e.qpos[1] for e in tosses]),
        np.stack([0.5 * (e.qvel[1] + e.qvel[2]) for e in tosses]),
        np.array([len(e.qpos) - 1 for e in tosses]),
    )


def draw_starts(
    scene: Scene,
    recording: Recording,
    tosses: list[Episode],
    bandwidth: float,
    count: int,
    rng: np.random.Generator,
) -> Starts:
    """Starts from a kernel density of recorded ones: one of them, moved by a normal kernel.

    The kernel's width is ``bandwidth`` standard deviations of each height, velocity and hinge
    angle, and of the turns between recorded rotations; where a toss stands on the table matters
    to nobody. None starts deeper in the table than the lowest recorded one.
    """
    known = recorded_starts(tosses)
    m = scene.mj_model
    rows = rng.integers(len(tosses), size=count)
    width = np.zeros(m.nv)
    width[2] = known.qpos[:, 2].std()
    turns = [_turn(a, b) for a, b in zip(known.qpos, np.roll(known.qpos, 1, axis=0), strict=True)]
    width[3:6] = np.std(turns) / np.sqrt(2)
    if recording.channels.joints:
        width[6:] = known.qpos[:, 7:].std(axis=0)
    qpos = known.qpos[rows].copy()
    for place, kernel in zip(qpos, bandwidth * width * rng.normal(size=(count, m.nv)), strict=True):
        mujoco.mj_integratePos(m, place, kernel, 1.0)
    qvel = known.qvel[rows] + bandwidth * known.qvel.std(axis=0) * rng.normal(size=(count, m.nv))
    lowest = jax.jit(jax.vmap(lambda q: jnp.min(heights(scene, q))))
    floor = min(0.0, float(jnp.min(lowest(known.qpos))))
    qpos[:, 2] += np.maximum(0.0, floor - np.asarray(lowest(qpos)))
    return Starts(qpos, qvel, known.frames[rows])


def _turn(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    out = np.empty(3)
    mujoco.mju_subQuat(out, a[3:7], b[3:7])
    return out


def tracking_noise(scene: Scene, tosses: list[Episode]) -> np.ndarray:
    """Deviation of a tracked pose per degree of freedom: (nv,) [m, rad].

    From third differences in free flight, where what the body does is smooth: those of
    independent noise of variance σ² have 20 σ². By the median, which no glitch moves.

    Raises:
      InputError: in no toss does the body fly for four frames in a row.
    """
    lowest = jax.jit(jax.vmap(lambda q: jnp.min(heights(scene, q))))
    found = []
    for toss in tosses:
        moved = np.empty((len(toss.qpos) - 1, scene.mj_model.nv))
        for out, a, b in zip(moved, toss.qpos[:-1], toss.qpos[1:], strict=True):
            mujoco.mj_differentiatePos(scene.mj_model, out, 1.0, a, b)
        flies = np.asarray(lowest(toss.qpos)) > FLIGHT
        flies = np.lib.stride_tricks.sliding_window_view(flies, 4).all(axis=1)
        found.append(np.diff(moved, n=2, axis=0)[flies])
    if not any(map(len, found)):
        raise InputError(
            f"none of {len(tosses)} tosses flies for four frames in a row, {1e3 * FLIGHT:g} mm "
            "above the table, so the tracking noise cannot be measured; give more corrections, or "
            "longer flights"
        )
    return 1.4826 * np.median(np.abs(np.concatenate(found)), axis=0) / np.sqrt(20.0)


def tracked(scene: Scene, qpos: np.ndarray, noise: np.ndarray, seed: list[int]) -> np.ndarray:
    """Poses (…, nq) as a tracker sees them: each moved by independent noise (nv,)."""
    out = qpos.reshape(-1, qpos.shape[-1]).copy()
    moves = noise * np.random.default_rng(seed).normal(size=(len(out), len(noise)))
    for place, moved in zip(out, moves, strict=True):
        mujoco.mj_integratePos(scene.mj_model, place, moved, 1.0)
    return out.reshape(qpos.shape)


def recorded(
    scene: Scene, recording: Recording, qpos: np.ndarray, frames: np.ndarray
) -> list[Episode]:
    """Tracked poses (tosses, frames, nq) as episodes, each cut to its ``frames``.

    Velocities are made as the recordings' are: from the frame before; the first one's from the
    second.
    """
    out = []
    for i, (poses, count) in enumerate(zip(qpos, frames, strict=True)):
        poses = poses[:count]
        moved = np.empty((count, recording.nv))
        for k in range(1, count):
            dt = 1.0 / recording.control_hz
            mujoco.mj_differentiatePos(scene.mj_model, moved[k], dt, poses[k - 1], poses[k])
        moved[0] = moved[1]
        out.append(
            Episode(
                id=i,
                time=np.arange(count) / recording.control_hz,
                qpos=poses,
                qvel=moved,
                ctrl=np.zeros((count, recording.nu)),
                valid=np.ones(count, bool),
                fresh=np.ones(count, bool),
            )
        )
    return out


def training_windows(
    recording: Recording, study: Study, tosses: list[Episode], first: int = FIRST
) -> Windows:
    """Every ``study.stride``-th frame from ``first`` on starts a window of ``HORIZON`` frames."""
    dense = dataclasses.replace(recording, first=first, stride=study.stride)
    return protocol_windows(tosses, dense, HORIZON)[0]


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
