"""Do the 95 % intervals of an identification hold the truth?

Question: over simulated arms with known parameters, how often does an interval hold?
Command:  python -m experiments.identification.coverage --out experiments/results/identification
Runtime:  half an hour on 2 cores; with --robots two_joints --repetitions 1 --episodes 8 a minute
Expected: at least 93 % of the intervals hold with 8 and with 40 episodes, on both arms

The truth is in the class of the model, and each repetition draws it anew, with its own commands and
noise: positions and velocities are seen through it, also those that a prediction starts from;
nothing else differs from the model that is fitted. OUT gets table.json and table.md.
"""

import dataclasses
import json
import sys
import time
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from experiments import records
from worldmodel import runtime
from worldmodel._mujoco import mujoco
from worldmodel.episodes.windows import WindowGrid
from worldmodel.finetune.gauss_newton import IdentifyConfig, identify, intervals
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


@dataclasses.dataclass(frozen=True)
class Arm:
    """An arm, what is unknown of it, and what its commands are drawn from."""

    name: str
    joints: tuple[str, ...]
    kinds: tuple[str, ...]  # of each joint
    drives: tuple[str, ...]  # of each actuator, which are named as their joints

    def world(self) -> WorldModel:
        """The model that is fitted; its own values are where the fit starts."""
        mjcf = Path(__file__).with_name(f"{self.name}.xml")
        scene = load_scene(mjcf, control_hz=CONTROL_HZ, substeps=SUBSTEPS)
        free = [FreeParameter(kind, joint) for joint in self.joints for kind in self.kinds]
        # Drives whose gain is known to 20 %.
        free += [FreeParameter(k, j, 0.2 / 0.7) for j in self.joints for k in self.drives]
        return WorldModel(scene, tuple(free))


ROBOTS = (
    Arm("two_joints", ("shoulder", "elbow"), ("damping", "frictionloss", "armature"), ()),
    Arm(
        "six_joints",
        ("pan", "lift", "elbow", "pitch", "roll", "jaw"),
        ("damping", "frictionloss"),
        ("gain",),
    ),
)


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
    robots: tuple[str, ...] = tuple(a.name for a in ROBOTS)
    grid: WindowGrid = dataclasses.field(default_factory=lambda: WindowGrid(1, 20, 12))
    fit: IdentifyConfig = dataclasses.field(default_factory=lambda: IdentifyConfig(engine="c"))


def repetition(world: WorldModel, episodes: int, seed: list[int], args: Args) -> dict[str, Any]:
    """One arm with hidden parameters, identified; which intervals hold, value by value."""
    rng = np.random.default_rng(seed)
    u = rng.uniform(-1.0, 1.0, len(numbers(world)))  # within a prior width of the fit's start
    windows, _ = args.grid.cut(record(world, u, rng, episodes))
    result = identify(world, windows, args.fit)
    physics = unpacked(world, jnp.asarray(u))
    truth = physical.values(world.scene, world.free, physics)
    held, width = {}, {}
    for name, rows in intervals(world, result).items():
        for i, (_, low, high) in enumerate(rows):
            held[f"{name}[{i}]"] = bool(low <= truth[name][i] <= high)
            width[f"{name}[{i}]"] = (high - low) / truth[name][i]
    return {
        "converged": result.converged,
        "reason": result.reason,
        "left_out": len(result.left_out),
        "held": held,
        "width": width,
    }


def row(arm: Arm, world: WorldModel, episodes: int, args: Args) -> dict[str, Any]:
    """All repetitions of an arm with that many episodes."""
    began = time.monotonic()
    seeds = [[ROBOTS.index(arm), episodes, r] for r in range(args.repetitions)]
    runs = [repetition(world, episodes, seed, args) for seed in seeds]
    given = [r for r in runs if r["converged"]]
    names = list(runs[0]["held"])
    return {
        "arm": arm.name,
        "episodes": episodes,
        "numbers": len(names),
        "repetitions": len(runs),
        "converged": len(given),
        "reasons": sorted({r["reason"] for r in runs if r["reason"]}),
        "left_out": sum(r["left_out"] for r in runs),
        "intervals": len(given) * len(names),
        "held": sum(sum(r["held"].values()) for r in given),
        "by_number": {n: sum(r["held"][n] for r in given) for n in names},
        "width": float(np.median([list(r["width"].values()) for r in given])) if given else None,
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
    for arm in (a for a in ROBOTS if a.name in args.robots):
        world = arm.world()
        for episodes in args.episodes:
            rows.append(row(arm, world, episodes, args))
            runtime.log(json.dumps(rows[-1]))
    records.write(args.out, TITLE, rows, COLUMNS, note=NOTE, fit=args.fit, grid=args.grid)
    print(json.dumps({"held": [r["held"] for r in rows], "out": str(args.out)}))
    return 0


if __name__ == "__main__":
    sys.exit(runtime.command(main, __doc__))
