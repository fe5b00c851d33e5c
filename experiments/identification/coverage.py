"""Do the 95 % intervals of an identification hold the truth?

Question: over simulated arms with known parameters, how often does an interval hold?
Command:  python -m experiments.identification.coverage --out experiments/results/identification
Runtime:  ten minutes on 2 cores
Expected: at least 93 % of the intervals hold with 8 and with 40 episodes, on both arms

The truth is in the class of the model, and each repetition draws it anew, with its own commands and
noise (``simulated``). OUT gets table.json and table.md.
"""

import dataclasses
import json
import sys
import time
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import tyro

from experiments.identification.simulated import ROBOTS, Arm, hidden, record
from experiments.records import plain
from worldmodel import runtime
from worldmodel.episodes.windows import WindowGrid
from worldmodel.finetune.gauss_newton import IdentifyConfig, identify, intervals
from worldmodel.finetune.moved import unpacked
from worldmodel.model import WorldModel
from worldmodel.physics import parameters as physical
from worldmodel.runtime.files import write_json, write_text

WANTED = 0.93


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
    u = hidden(world, rng)
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
        "iterations": result.iterations,
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
        "iterations": float(np.mean([r["iterations"] for r in runs])),
        "left_out": sum(r["left_out"] for r in runs),
        "intervals": len(given) * len(names),
        "held": sum(sum(r["held"].values()) for r in given),
        "by_number": {n: sum(r["held"][n] for r in given) for n in names},
        "width": float(np.median([list(r["width"].values()) for r in given])) if given else None,
        "seconds": round(time.monotonic() - began, 1),
    }


def main(args: Args) -> int:
    """Measures every arm and number of episodes; prints one JSON line."""
    runtime.configure()
    args.out.mkdir(parents=True, exist_ok=True)
    rows = []
    for arm in (a for a in ROBOTS if a.name in args.robots):
        world = arm.world()
        for episodes in args.episodes:
            rows.append(row(arm, world, episodes, args))
            runtime.log(json.dumps(rows[-1]))
    result = {
        "command": f"python -m experiments.identification.coverage --out {args.out} "
        f"--repetitions {args.repetitions} --episodes {' '.join(map(str, args.episodes))} "
        f"--robots {' '.join(args.robots)}",
        "config": {k: v for k, v in plain(args).items() if k != "out"},
        "provenance": runtime.provenance(),
        "rows": rows,
    }
    write_json(args.out / "table.json", result)
    write_text(args.out / "table.md", markdown(result))
    shares = [r["held"] / r["intervals"] if r["intervals"] else None for r in rows]
    print(json.dumps({"shares": shares, "out": str(args.out)}))
    return 0


def markdown(result: dict[str, Any]) -> str:
    """The table.

    Args:
      result: the content of table.json.
    """
    run = result["provenance"]
    lines = [
        "# Coverage of identified intervals",
        "",
        f"`{result['command']}`",
        "",
        f"Commit {run['commit'][:12]}; {run['date']}, {run['cpu']} ({run['cores']} cores). "
        "Generated from table.json.",
        "",
        f"Share of the 95 % intervals that hold the truth; at least {WANTED} is wanted. Width: of "
        "the interval over the value, median.",
        "",
        "| arm | numbers | episodes | fits | converged | intervals | hold | share | width | s |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for r in result["rows"]:
        share = f"{r['held'] / r['intervals']:.3f}" if r["intervals"] else "none"
        width = "none" if r["width"] is None else f"{r['width']:.3f}"
        lines.append(
            f"| {r['arm']} | {r['numbers']} | {r['episodes']} | {r['repetitions']} | "
            f"{r['converged']} | {r['intervals']} | {r['held']} | {share} | {width} | "
            f"{r['seconds']} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(runtime.run(main, tyro.cli(Args, description=__doc__)))
