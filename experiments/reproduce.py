"""Runs the command of a committed result again, and compares it with the committed numbers.

Question: does a result of this repository come out on this machine, within the range it claims?
Command:  python -m experiments.reproduce --list
          python -m experiments.reproduce NAME [--quick] [--out DIR]
Runtime:  as listed; --quick computes the numbers from what is committed: rows or checkpoints
Expected: a line per number (committed, range, now) and one JSON line; exit status 1 where a number
          is out of its range

A range holds what another machine may give. What is computed from committed rows or checkpoints
comes out alike to many digits. A new fit does not: contact is chaotic, another processor rounds
otherwise, and an optimisation whose path branches ends in another minimum. Alpha moves with the
version that was fitted (another machine had v2 at 0.72 for 0.59 and v2-physics at 0.52 for 0.63),
so its ranges are the committed 95 % intervals, wider by 0.15 at each end. Times are not compared.
"""

import dataclasses
import json
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tyro

from worldmodel import runtime
from worldmodel.errors import InputError

ROOT = Path(__file__).resolve().parents[1]
RESULTS = Path("experiments") / "results"


@dataclasses.dataclass(frozen=True)
class Number:
    """A number of a table, and the range that is claimed for it."""

    row: Mapping[str, Any]  # what tells its row from the others
    key: str  # in the row; parts of nested ones are separated by dots
    low: float
    high: float

    def of(self, table: Mapping[str, Any]) -> float | None:
        """Its value in the content of a table.json.

        Raises:
          InputError: the table has no such row or number.
        """
        for row in table["rows"]:
            if all(row.get(name) == value for name, value in self.row.items()):
                for part in self.key.split("."):
                    if not isinstance(row, dict) or part not in row:
                        raise InputError(f"the row {self.row} has no {self.key}")
                    row = row[part]
                return row
        raise InputError(f"the table has no row {self.row}")


@dataclasses.dataclass(frozen=True)
class Result:
    """A committed result."""

    name: str  # of its folder in experiments/results
    runtime: str
    commands: tuple[str, ...]  # modules and arguments; {out} is a new folder, {kept} the committed
    numbers: tuple[Number, ...]
    quick: str = ""  # the command that computes the numbers from what is committed

    @property
    def folder(self) -> Path:
        """Where it is committed."""
        return RESULTS / self.name

    def filled(self, command: str, out: Path) -> list[str]:
        """A command's module and arguments."""
        return shlex.split(command.format(out=out, kept=self.folder))


def alpha(version: str, low: float, high: float) -> Number:
    """The mean alpha of a version."""
    return Number({"version": version, "n": None}, "alpha_avg", low, high)


def ratio(
    model: str, reference: str, channel: str, low: float, high: float, frames: int = 16
) -> Number:
    """A ratio of mean errors at a horizon."""
    key = f"over.{reference}.{channel}.ratio"
    return Number({"model": model, "frames": frames}, key, low, high)


@dataclasses.dataclass(frozen=True)
class Args:
    """Command line."""

    name: tyro.conf.Positional[str] = ""  # of a result
    list: bool = False  # every result, how long it takes, and its commands
    quick: bool = False  # compute the numbers from what is committed
    out: Path | None = None  # a new folder; below runs/reproduce by default


def main(args: Args) -> int:
    """Lists, or runs and compares; returns the exit status."""
    if args.list:
        for result in ALL:
            quick = "; has --quick" if result.quick else ""
            print(f"{result.name} ({result.runtime}{quick})")
            print("".join(f"    python -m {command}\n" for command in result.commands), end="")
        return 0
    known = {result.name: result for result in ALL}
    if args.name not in known:
        raise InputError(f"no result '{args.name}'; known: {', '.join(known)}")
    result = known[args.name]
    out = args.out or Path("runs") / "reproduce" / f"{args.name}{'/quick' * args.quick}"
    if out.is_dir() and any(out.iterdir()):
        raise InputError(f"{out} holds files; give a new --out")
    commands = (result.quick,) if args.quick else result.commands
    if not all(commands):
        raise InputError(f"{args.name} has no quick command; leave --quick out")
    for command in commands:
        line = [sys.executable, "-m", *result.filled(command, out.resolve())]
        runtime.log(shlex.join(line[1:]))
        subprocess.run(line, cwd=ROOT, stdout=sys.stderr, check=True)
    committed = json.loads((ROOT / result.folder / "table.json").read_text())
    outside = compare(result, committed, json.loads((out / "table.json").read_text()))
    print(json.dumps({"name": result.name, "numbers": len(result.numbers), "outside": outside}))
    return int(outside > 0)


def compare(result: Result, committed: Mapping[str, Any], now: Mapping[str, Any]) -> int:
    """Prints a line per number; returns how many are out of their ranges."""
    outside = 0
    for number in result.numbers:
        value = number.of(now)
        within = value is not None and number.low <= value <= number.high
        outside += not within
        row = " ".join(str(part) for part in number.row.values() if part is not None)
        print(
            f"{row} {number.key}: committed {number.of(committed):.4g}, range [{number.low:g}, "
            f"{number.high:g}], now {'unknown' if value is None else f'{value:.4g}'}: "
            f"{'ok' if within else 'out of range'}"
        )
    return outside


def slide(seed: int, *numbers: Number) -> Result:
    """The loop on a held-out simulation of task slide."""
    command = f"experiments.slide.close_the_loop --full --hidden-seed {seed} --out {{out}}"
    return Result(f"slide/hidden{seed}", "15 minutes", (command,), numbers, ROWS)


def tosses(name: str, *numbers: Number) -> Result:
    """Synthetic tosses of a recording."""
    command = f"experiments.tosses_alpha.measure --recording {name} --out {{out}}"
    return Result(f"tosses_alpha/{name}", "1.5 hours", (command,), numbers, ROWS)


def physics(name: str, kept: tuple[int, int], *numbers: Number) -> Result:
    """Fitted physics of a recording; ``kept`` are the seeds that are committed below the best."""
    fit = f"experiments.recordings.fit_physics --recording {name} --seed %d --out {{out}}/%d"
    table = f"experiments.recordings.physics_table --recording {name} --out {{out}} --fits "
    fits = (fit % (seed, seed) for seed in range(3))
    return Result(
        f"recordings/{name}/physics",
        "half an hour, quick 5 minutes",
        (*fits, table + "{out}/0 {out}/1 {out}/2"),
        numbers,
        table + " ".join(["{kept}", *(f"{{kept}}/seed{seed}" for seed in kept)]),
    )


def hybrid(name: str, folders: tuple[str, str, str], *numbers: Number) -> Result:
    """A network on fitted physics; ``folders`` are those of the physics of seeds 0, 1 and 2."""
    base = f"{RESULTS}/recordings/{name}/physics/"
    fit = f"experiments.recordings.fit_hybrid --recording {name} --physics {base}%s/checkpoint "
    fit += "--fit.seed %d --regression.seed %d --out {out}/%d"
    table = f"experiments.recordings.hybrid_table --recording {name} --out {{out}} --physics "
    table += " ".join(base + folder for folder in folders) + " --hybrid {out}/0 {out}/1 {out}/2"
    fits = (fit % (folder, seed, seed, seed) for seed, folder in enumerate(folders))
    return Result(f"recordings/{name}/hybrid", "an hour", (*fits, table), numbers)


def identified(name: str, *numbers: tuple[str, float, float]) -> Result:
    """What a recording says of each physical number."""
    command = f"experiments.recordings.identify --recording {name} --out {{out}}"
    values = (Number({"number": label}, "value", low, high) for label, low, high in numbers)
    return Result(f"recordings/{name}/identified", "10 minutes", (command,), tuple(values))


def sysid(name: str, low: float, high: float) -> Result:
    """Four ways to the same least squares: where their costs end."""
    command = f"experiments.recordings.compare_identification --recording {name} --windows 128"
    command += " --iterations 10 --out {out}"
    methods = ("engine c", "engine mjx", "mujoco.sysid, mujoco", "mujoco.sysid, scipy")
    costs = (Number({"method": method}, "cost", low, high) for method in methods)
    return Result(f"recordings/{name}/sysid", "10 minutes", (command,), tuple(costs))


ROWS = "experiments.alpha {kept}/rows.csv --out {out}"
ALL = (
    slide(
        21,
        alpha("v0", -0.35, 0.01),
        alpha("v1", 0.49, 1.32),
        alpha("v2", 0.3, 0.93),
        alpha("v1-hybrid", -0.07, 0.39),
        alpha("v2-physics", 0.33, 0.99),
        alpha("v*", 0.57, 1.36),
    ),
    slide(22, alpha("v1", 0.13, 0.82), alpha("v2", 0.23, 1.02), alpha("v*", 0.76, 1.68)),
    slide(23, alpha("v0", -0.33, 0.01)),
    Result(
        "slide/replicates",
        "1.2 hours",
        ("experiments.slide.replicates --out {out}",),
        (
            alpha("v0", -0.39, -0.01),
            alpha("v1", 0.36, 0.9),
            alpha("v1-sham", -0.4, -0.01),
            alpha("v2", 0.32, 1.43),
            alpha("thin33", 0.17, 0.63),
            alpha("thin67", 0.49, 1.07),
        ),
        ROWS,
    ),
    Result(
        "push",
        "30 minutes",
        ("experiments.push.three_turns --out {out}",),
        tuple(
            Number({"seed": "mean", "version": version}, "success", 0.45, 0.8)
            for version in ("v0", "v1", "v2", "v3", "reality")
        ),
    ),
    tosses(
        "elbow_toss",
        alpha("v0", 0.53, 1.28),
        alpha("v1", 0.55, 1.14),
        alpha("v2", 0.62, 1.33),
        alpha("v*", 0.84, 1.23),
    ),
    tosses(
        "cube_toss",
        alpha("v0", 0.41, 1.06),
        alpha("v1", 0.45, 1.07),
        alpha("v2", 0.63, 1.46),
        alpha("v*", 0.85, 1.51),
    ),
    physics(
        "elbow_toss",
        (0, 2),
        ratio("fitted", "sources", "position_m", 0.77, 0.84),
        ratio("fitted", "sources", "rotation_rad", 0.72, 0.8),
        ratio("fitted", "sources", "joint_rad", 0.73, 0.84),
    ),
    physics(
        "cube_toss",
        (0, 1),
        ratio("fitted", "sources", "position_m", 0.58, 0.69),
        ratio("fitted", "sources", "rotation_rad", 0.59, 0.75),
    ),
    physics(
        "square_drop",
        (0, 2),
        ratio("fitted", "sources", "position_m", 0.58, 0.69),
        ratio("fitted", "sources", "rotation_rad", 0.6, 0.71),
    ),
    physics(
        "double_pendulum", (0, 1), ratio("fitted", "sources", "joint_rad", 0.05, 0.43, frames=100)
    ),
    hybrid(
        "elbow_toss",
        ("seed0", ".", "seed2"),
        ratio("hybrid", "physics", "position_m", 0.87, 0.96),
        ratio("hybrid", "physics", "rotation_rad", 0.86, 0.95),
        ratio("dealt", "physics", "position_m", 1.0, 1.3),
    ),
    hybrid(
        "cube_toss",
        ("seed0", "seed1", "."),
        ratio("hybrid", "physics", "position_m", 0.68, 0.79),
        ratio("hybrid", "physics", "rotation_rad", 0.84, 0.92),
        ratio("dealt", "physics", "position_m", 1.0, 1.4),
    ),
    identified("elbow_toss", ("link2.mass[0]", 0.41, 0.5), ("link2.com[0]", 0.028, 0.035)),
    identified(
        "square_drop", ("square.friction[0]", 0.148, 0.202), ("square.geom_size[0]", 0.0299, 0.0308)
    ),
    identified("double_pendulum", ("shoulder.frictionloss[0]", 0.079, 1.86)),
    identified("cube_toss", ("cube.friction[0]", 0.15, 0.22), ("cube.geom_size[0]", 0.05, 0.055)),
    sysid("elbow_toss", 53_000, 65_000),
    sysid("double_pendulum", 42_000, 47_000),
)

if __name__ == "__main__":
    sys.exit(runtime.run(main, tyro.cli(Args, description=__doc__)))
