"""A table for ``worldmodel trust``, made without this package's models: throwing a ball.

Question: what do a simulator, a learner and a reality have to write down to measure alpha?
Command:  python docs/examples/throws.py --stage pilot --out pilot.csv
          python docs/examples/throws.py --stage grid --seeds 40 --out runs.csv
          python docs/examples/throws.py --stage pairs --out pairs.csv
Runtime:  ten seconds each at most, one CPU core
Expected: v0 (no drag) harms, v1 (drag fitted on four throws) helps, the control v* covers 1

A ball is thrown at 45° at a target 3 to 12 m away, in wind, and lands at the height it left.
Reality has drag that version 0 of the simulator lacks. The demonstrator solves for the speed in
reality or in the simulator and then errs by 5 %. The learner is least squares. Every replicate has
its own demonstrations, corrections, fit and synthetic throws.
"""

import dataclasses
import itertools
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from worldmodel import runtime, trust
from worldmodel.trust.evaluation import Pair

REAL = (12, 20, 34, 58, 98, 166)  # n of the real-only curve
N, M = (20, 34), (20, 40, 60)  # of the mixtures
DRAG = 0.02  # of reality [1/m]
CORRECTIONS = 4  # K of v1
ERROR = 0.05  # of the demonstrator's speed, relative
SLIP = 0.01  # of the deployed thrower's speed, relative
MEASURED = 0.1  # error of a measured landing [m]
CONTEXTS = 400  # of the test
GRAVITY, STEP, FLIGHT = 9.81, 0.04, 3.0  # [m/s²], [s], the longest [s]


@dataclasses.dataclass(frozen=True)
class Args:
    """Command line."""

    out: Path  # the table, CSV
    stage: Literal["pilot", "grid", "pairs"]
    seeds: int = 12  # replicates


Throws = tuple[np.ndarray, np.ndarray, np.ndarray]  # targets [m], winds [m/s], speeds [m/s]


def land(drag: float | np.ndarray, wind: np.ndarray, speed: np.ndarray) -> np.ndarray:
    """The landing points [m] of throws at 45° under drag [1/m], all of one shape."""
    x, y = np.zeros((2, *speed.shape))
    u, v = speed / np.sqrt(2), speed / np.sqrt(2)
    landed = np.zeros_like(speed)
    for _ in range(round(FLIGHT / STEP)):
        pull = drag * np.hypot(u - wind, v)
        u, v = u - STEP * pull * (u - wind), v - STEP * (pull * v + GRAVITY)
        touch = (y >= 0) & (y + STEP * v < 0)
        landed = np.where(touch, x - u * y / np.where(touch, v, 1.0), landed)
        x, y = x + STEP * u, y + STEP * v
    return landed


def contexts(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Targets [m] and winds [m/s], (count,) each."""
    return rng.uniform(3, 12, count), rng.uniform(-3, 3, count)


def demonstrate(drag: float, rng: np.random.Generator, count: int) -> Throws:
    """Throws of the demonstrator: the speed that hits under that drag, times a random error.

    It is the same in reality and simulator; otherwise alpha would measure the demonstrator.
    """
    target, wind = contexts(rng, count)
    speed = np.sqrt(GRAVITY * target)
    for _ in range(6):  # a fixed-point iteration
        speed = speed * np.sqrt(target / land(drag, wind, speed))
    return target, wind, speed * (1 + ERROR * rng.standard_normal(count))


def split(throws: Throws, sizes: Sequence[int]) -> list[Throws]:
    """The throws in consecutive sets of these sizes."""
    parts = [np.split(column, np.cumsum(sizes)[:-1]) for column in throws]
    return list(zip(*parts, strict=True))


def features(target: np.ndarray, wind: np.ndarray) -> np.ndarray:
    """Features (throws, 6) of contexts; in a vacuum the speed is linear in the first two."""
    u = np.sqrt(target)
    return np.stack([np.ones_like(u), u, wind, u * wind, u**2, wind**2], axis=1)


def learn(*sets: Throws) -> np.ndarray:
    """The recipe, a function of the pooled rows: least squares, every row with weight 1."""
    target, wind, speed = (np.concatenate(parts) for parts in zip(*sets, strict=True))
    return np.linalg.lstsq(features(target, wind), speed, rcond=None)[0]


def fitted_drag(rng: np.random.Generator) -> float:
    """The drag of version 1: the best fit to K measured real throws, on a fine grid."""
    target, wind = contexts(rng, CORRECTIONS)
    speed = np.sqrt(GRAVITY * target)  # the speed of v0
    seen = land(DRAG, wind, speed) + MEASURED * rng.standard_normal(CORRECTIONS)
    drags = np.linspace(0, 0.06, 121)[:, None]
    missed = land(drags, wind + 0 * drags, speed + 0 * drags) - seen
    return float(drags[np.argmin((missed**2).sum(axis=1)), 0])


def replicate(seed: int, *, mixtures: bool) -> list[trust.Row]:
    """All training runs of one seed, which shares nothing with another."""
    rng = np.random.default_rng([seed, mixtures])  # the pilot's seeds are not the grid's
    real = dict(zip(REAL, split(demonstrate(DRAG, rng, sum(REAL)), REAL), strict=True))
    runs = {("", n, 0, 0): learn(real[n]) for n in REAL}  # the sets are not nested
    grid = [(n, m) for n in N for m in M] if mixtures else []
    drags = {"v0": (0.0, 0), "v1": (fitted_drag(rng), CORRECTIONS), "v*": (DRAG, 0)}
    for version, (drag, k) in drags.items() if grid else ():
        ns, ms = zip(*grid, strict=True)
        shown = split(demonstrate(DRAG, rng, sum(ns)), ns)
        synthetic = split(demonstrate(drag, rng, sum(ms)), ms)
        sets = zip(grid, shown, synthetic, strict=True)
        runs |= {(version, n, m, k): learn(a, b) for (n, m), a, b in sets}
    target, wind = contexts(np.random.default_rng(0), CONTEXTS)  # held out; the same for all
    speeds = np.stack([features(target, wind) @ policy for policy in runs.values()])
    errors = abs(land(DRAG, np.broadcast_to(wind, speeds.shape), speeds) - target).mean(axis=1)
    recipe = "least squares, weight 1"
    return [
        trust.Row("throw", version, recipe, n, m, k, seed, "test", float(error), CONTEXTS)
        for (version, n, m, k), error in zip(runs, errors, strict=True)
    ]


def pairs(count: int = 30, more: int = 300) -> list[Pair]:
    """Landing errors [m] of a learnt thrower from ``count`` starts in reality and in version 1, and
    from ``more`` starts in version 1 alone."""
    rng = np.random.default_rng(1)
    drag, policy = fitted_drag(rng), learn(demonstrate(DRAG, rng, N[0]))
    target, wind = contexts(rng, count + more)
    speed = features(target, wind) @ policy
    simulated = (land(drag, wind, speed) - target).tolist()
    slipped = speed[:count] * (1 + SLIP * rng.standard_normal(count))
    real = (land(DRAG, wind[:count], slipped) - target[:count]).tolist()
    return [
        Pair(policy="thrower", real=r, simulated=s)
        for s, r in itertools.zip_longest(simulated, real)
    ]


def run(args: Args) -> int:
    """Writes the table."""
    if args.stage == "pairs":
        trust.write_csv(args.out, pairs(), Pair)
        return 0
    began = time.process_time()
    rows = [r for s in range(args.seeds) for r in replicate(s, mixtures=args.stage == "grid")]
    trust.write_csv(args.out, rows)
    runtime.log(f"{len(rows)} training runs in {time.process_time() - began:.1f} s of a core")
    return 0


def main() -> int:
    """Command line."""
    import tyro

    return runtime.run(run, tyro.cli(Args))


if __name__ == "__main__":
    sys.exit(main())
