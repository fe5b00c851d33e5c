"""Do the 95 % intervals of an identification hold the truth?

Question: over simulated arms with known parameters, how often does an interval hold?
Command:  python -m experiments.identification.coverage --out experiments/results/identification
Runtime:  half an hour on 2 cores; with --robots two_joints --repetitions 1 --episodes 8 a minute
Expected: at least 93 % of the intervals hold with 8 and with 40 episodes, on both arms

The truth is in the class of the model, and each repetition draws it anew, with its own commands and
noise: positions and velocities are seen through it, also those that a prediction starts from;
nothing else differs from the model that is fitted.
"""

import dataclasses
import json
import sys
import time
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from experiments import records
from worldmodel import runtime
from worldmodel._mujoco import mujoco
from worldmodel.episodes.windows import WindowGrid
from worldmodel.finetune.gauss_newton import Identified, IdentifyConfig, identify, intervals
from worldmodel.finetune.moved import numbers, unpacked
from worldmodel.model import WorldModel
from worldmodel.physics import parameters as physical
from worldmodel.physics.oracle import trajectory
from worldmodel.scene import FreeParameter, load_scene
from worldmodel.types import Episode

CONTROL_HZ, SUBSTEPS = 50.0, 2
FRAMES = 100  # of an episode
HELD = 10  # frames between two goals of the command
POSE_NOISE, RATE_NOISE = 5e-4, 5e-3  # [rad], [rad/s]
TWO, SIX = ("shoulder", "elbow"), ("pan", "lift", "elbow", "pitch", "roll", "jaw")
ROBOTS = {  # what is unknown of each arm
    "two_joints": tuple(
        FreeParameter(kind, joint)
        for joint in TWO
        for kind in ("damping", "frictionloss", "armature")
    ),
    "six_joints": (
        *(FreeParameter(kind, joint) for joint in SIX for kind in ("damping", "frictionloss")),
        *(FreeParameter("gain", joint, 0.2 / 0.7) for joint in SIX),  # known to 20 %
    ),
}


def record(
    world: WorldModel, u: np.ndarray, rng: np.random.Generator, episodes: int
) -> list[Episode]:
    """Episodes under the parameters ``u``, played by C MuJoCo on ramps between random commands."""
    scene = world.scene
    leaves = unpacked(world, jnp.asarray(u))
    text = physical.to_mjcf(scene, world.free, leaves)
    m = mujoco.MjModel.from_xml_string(text, scene.assets)
    low, high = m.actuator_ctrlrange.T
    out = []
    for identity in range(episodes):
        goals = rng.uniform(low, high, (FRAMES // HELD + 2, m.nu))
        ramp = np.arange(FRAMES) / HELD
        ctrl = np.stack([np.interp(ramp, np.arange(len(goals)), g) for g in goals.T], axis=1)
        start = rng.uniform(-0.5, 0.5, m.nq), np.zeros(m.nv)
        after = trajectory(m, *start, ctrl[:-1], SUBSTEPS)
        qpos, qvel = (np.vstack(part) for part in zip(start, after, strict=True))
        qpos = qpos + POSE_NOISE * rng.normal(size=qpos.shape)
        qvel = qvel + RATE_NOISE * rng.normal(size=qvel.shape)
        out.append(Episode.regular(identity, CONTROL_HZ, qpos=qpos, qvel=qvel, ctrl=ctrl))
    return out


@dataclasses.dataclass(frozen=True)
class Args:
    """Command line."""

    out: Path  # folder for table.json and table.md
    repetitions: int = 20
    episodes: tuple[int, ...] = (8, 40)
    robots: tuple[str, ...] = tuple(ROBOTS)
    grid: WindowGrid = dataclasses.field(default_factory=lambda: WindowGrid(1, 20, 12))
    fit: IdentifyConfig = dataclasses.field(default_factory=lambda: IdentifyConfig(engine="c"))


def repetition(
    world: WorldModel, episodes: int, seed: list[int], args: Args
) -> tuple[Identified, dict[str, bool], list[float]]:
    """One arm with hidden parameters, identified; of each value whether its interval holds it, and
    the interval's width over it."""
    rng = np.random.default_rng(seed)
    u = rng.uniform(-1.0, 1.0, len(numbers(world)))  # within a prior width of the fit's start
    windows, _ = args.grid.cut(record(world, u, rng, episodes))
    result = identify(world, windows, args.fit)
    truth = physical.values(world.scene, world.free, unpacked(world, jnp.asarray(u)))
    held, widths = {}, []
    for name, rows in intervals(world, result).items():
        for i, (_, low, high) in enumerate(rows):
            held[f"{name}[{i}]"] = bool(low <= truth[name][i] <= high)
            widths.append((high - low) / truth[name][i])
    return result, held, widths


def row(robot: str, world: WorldModel, episodes: int, args: Args) -> records.Row:
    """All repetitions of an arm with that many episodes."""
    began, place = time.monotonic(), [*ROBOTS].index(robot)
    seeds = [[place, episodes, r] for r in range(args.repetitions)]
    runs = [repetition(world, episodes, seed, args) for seed in seeds]
    given = [(held, widths) for result, held, widths in runs if result.converged]
    by_number = {name: sum(held[name] for held, _ in given) for name in runs[0][1]}
    return {
        "arm": robot,
        "episodes": episodes,
        "numbers": len(by_number),
        "repetitions": len(runs),
        "converged": len(given),
        "reasons": sorted({result.reason for result, *_ in runs if result.reason}),
        "left_out": sum(len(result.left_out) for result, *_ in runs),
        "intervals": len(given) * len(by_number),
        "held": sum(by_number.values()),
        "by_number": by_number,
        "width": float(np.median([widths for _, widths in given])) if given else None,
        "seconds": round(time.monotonic() - began, 1),
    }


COLUMNS: records.Columns = {
    **{name: name for name in ("arm", "numbers", "episodes")},
    "fits": "repetitions",
    "converged": "converged",
    "intervals": "intervals",
    "hold": "held",
    "share": lambda r: r["held"] / r["intervals"] if r["intervals"] else None,
    "width": "width",
    "s": "seconds",
}
TITLE = "Coverage of identified intervals"
NOTE = (
    "Share of the 95 % intervals that hold the truth; at least 0.93 is wanted. Width: of the "
    "interval over the value, median."
)


def main(args: Args) -> int:
    """Measures every arm and number of episodes; prints one JSON line."""
    runtime.configure()
    rows = []
    for robot in (r for r in ROBOTS if r in args.robots):
        mjcf = Path(__file__).with_name(f"{robot}.xml")
        scene = load_scene(mjcf, control_hz=CONTROL_HZ, substeps=SUBSTEPS)
        world = WorldModel(scene, ROBOTS[robot])  # its own values are where the fit starts
        for episodes in args.episodes:
            rows.append(row(robot, world, episodes, args))
            runtime.log(json.dumps(rows[-1]))
    records.write(args.out, TITLE, rows, COLUMNS, note=NOTE, fit=args.fit, grid=args.grid)
    print(json.dumps({"held": [r["held"] for r in rows], "out": str(args.out)}))
    return 0


if __name__ == "__main__":
    sys.exit(runtime.command(main, __doc__))
