"""The committed results: their commands, and the numbers with the ranges that are claimed.

A range holds what another machine may give. What is computed from committed rows or checkpoints
comes out alike to many digits. A new fit does not: contact is chaotic, another processor rounds
otherwise, and an optimisation whose path branches ends in another minimum. Alpha moves with the
version that was fitted (another machine had v2 at 0.72 for 0.59 and v2-physics at 0.52 for 0.63),
so its ranges are the committed 95 % intervals, wider by 0.15 at each end. Times are compared as
ratios within a process alone.
"""

import dataclasses
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from worldmodel.errors import InputError

RESULTS = Path("experiments") / "results"


@dataclasses.dataclass(frozen=True)
class Number:
    """A number of a table, and the range that is claimed for it."""

    row: Mapping[str, Any]  # what tells its row from the others
    path: tuple[str | int, ...]  # keys to it in the row
    low: float
    high: float
    over: tuple[str | int, ...] = ()  # keys to what it is divided by

    def of(self, table: Mapping[str, Any]) -> float | None:
        """Its value in the content of a table.json.

        Raises:
          InputError: the table has no such row, or the row no such number.
        """
        for row in table["rows"]:
            if all(row.get(name) == value for name, value in self.row.items()):
                value = self._at(row, self.path)
                return value / self._at(row, self.over) if self.over else value
        raise InputError(f"the table has no row {dict(self.row)}")

    def _at(self, row: Any, path: tuple[str | int, ...]) -> Any:
        for part in path:
            try:
                row = row[part]
            except (KeyError, IndexError, TypeError) as error:
                raise InputError(f"the row {dict(self.row)} has no {path}") from error
        return row

    def __str__(self) -> str:
        row = " ".join(str(part) for part in self.row.values() if part is not None)
        name = " ".join(map(str, self.path))
        return f"{row} {name}" + (f" / {' '.join(map(str, self.over))}" if self.over else "")


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
    return Number({"version": version, "n": None}, ("alpha_avg",), low, high)


def ratio(
    model: str, reference: str, channel: str, low: float, high: float, frames: int = 16
) -> Number:
    """A ratio of mean errors at a horizon."""
    path = ("over", reference, channel, "ratio")
    return Number({"model": model, "frames": frames}, path, low, high)


def slide(seed: int, *numbers: Number) -> Result:
    """The loop on a held-out simulation of task slide."""
    command = f"experiments.slide.close_the_loop --full --hidden-seed {seed} --out {{out}}"
    return Result(f"slide/hidden{seed}", "15 minutes", (command,), numbers, ROWS)


def tosses(name: str, *numbers: Number) -> Result:
    """Synthetic tosses of a recording."""
    command = f"experiments.tosses_alpha.%s --recording {name} --out {{out}}"
    commands = (command % "versions", command % "measure")
    return Result(f"tosses_alpha/{name}", "1.5 hours", commands, numbers, ROWS)


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


def cost(name: str, runtime: str, options: str, *numbers: tuple[str, int, float, float]) -> Result:
    """What a gradient costs, as a multiple of the forward simulation: scene, batch, range."""
    command = f"experiments.gradients.cost --out {{out}} {options}"
    gradient, forward = ("gradient", "seconds"), ("forward", "seconds")
    ratios = (
        Number({"scene": scene, "batch": batch}, gradient, low, high, forward)
        for scene, batch, low, high in numbers
    )
    return Result(f"gradients/{name}", runtime, (command,), tuple(ratios))


def interval_share(row: Mapping[str, Any], held: str, of: str, low: float) -> Number:
    """How many of the 95 % intervals hold the truth."""
    return Number(row, (held,), low, 1.0, (of,))


ROWS = "experiments.alpha {kept}/rows.csv --out {out}"
BOUNCE = {"dt": 0.0005, "solref": [0.02, 0.5]}
COVERED = {"group": "fresh episodes", "figure": "alpha = 1.00", "seeds": 20, "wanted": "covers"}
ALL = (
    slide(
        21,
        alpha("v0", -0.33, 0.05),
        alpha("v1", 0.41, 1.09),
        alpha("v2", 0.4, 1.1),
        alpha("v1-hybrid", 0.21, 0.79),
        alpha("v2-physics", 0.47, 1.18),
        alpha("v*", 0.73, 1.57),
    ),
    slide(
        22,
        alpha("v0", -0.32, 0.07),
        alpha("v1", -0.14, 0.3),
        alpha("v2", 0.16, 0.86),
        alpha("v1-hybrid", 0.19, 0.79),
    ),
    slide(23, alpha("v1", 0.63, 1.63), alpha("v2", 0.13, 0.7), alpha("v1-hybrid", 0.27, 0.96)),
    Result(
        "push",
        "30 minutes",
        ("experiments.push.three_turns --out {out}",),
        tuple(
            Number({"seed": "mean", "version": version}, ("success",), 0.45, 0.8)
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
    cost(
        "cost",
        "half an hour",
        "--scenes cube elbow t_block hopper gripper "
        "--variants forward gradient unrolled one differences",
        ("cube", 64, 1.2, 2.6),
        ("elbow", 64, 1.0, 2.2),
        ("hopper", 64, 2.0, 4.5),
    ),
    cost(
        "cost_batches",
        "10 minutes",
        "--scenes hopper --batches 1 512 4096 --variants forward gradient",
        ("hopper", 512, 1.9, 4.0),
    ),
    cost(
        "cost_gpu",
        "on a GPU",
        "--scenes cube elbow gripper hopper --batches 64 1024 8192 "
        "--variants forward gradient unrolled one",
        ("hopper", 8192, 2.0, 4.7),
    ),
    Result(
        "gradients/first",
        "a minute",
        ("experiments.gradients.first --out {out}",),
        (Number({"cache": "cached"}, ("first_s",), 1.0, 15.0),),
    ),
    Result(
        "gradients/bounce",
        "3 minutes",
        ("experiments.gradients.bounce --out {out}",),
        (
            Number(BOUNCE, ("wanted",), 0.36, 0.38),
            Number(BOUNCE, ("estimates", "plain", "mean"), -4.5, -2.2),
            Number(BOUNCE, ("estimates", "touch, 0.1 m/s", "mean"), 0.2, 0.55),
        ),
    ),
    Result(
        "gradients/cube_side",
        "15 minutes",
        ("experiments.gradients.cube_side --out {out}",),
        (
            Number({"engine": "mjx", "frames": 16}, ("60 mm", "error"), 0.0, 0.05),
            Number({"engine": "mjx", "frames": 16}, ("140 mm", "error"), 0.0, 0.05),
        ),
    ),
    Result(
        "gradients/gate",
        "half an hour, quick 2 minutes",
        ("experiments.gradients.gate --out {out}",),
        (Number({"scene": "free plane–box pyramidal Euler"}, ("reverse", "float64"), 0.0, 1e-12),),
        'experiments.gradients.gate --only "free plane–box pyramidal Euler" --out {out}',
    ),
    Result(
        "identification",
        "half an hour",
        ("experiments.identification.coverage --out {out}",),
        tuple(
            interval_share({"arm": arm, "episodes": episodes}, "held", "intervals", 0.93)
            for arm in ("two_joints", "six_joints")
            for episodes in (8, 40)
        ),
    ),
    Result(
        "coverage",
        "half an hour",
        ("experiments.coverage.measure --out {out}",),
        tuple(
            interval_share(
                COVERED | {"design": f"pooled, d = {d}"}, "covered", "replications", 0.929
            )
            for d in (5, 20, 100)
        ),
    ),
)
