"""The step on scenes of other projects: values, gradients, sizes and times, a row for each.

Question: is the step of a scene that a stranger brings the one of ``mjx.step``, and its gradient
          right?
Command:  python -m experiments.gradients.public --scenes FOLDER
          --out experiments/results/gradients/public
Runtime:  about two minutes a scene on 2 cores, most of it compiling; without --scenes ten for this
          project's own
Expected: values equal ``mjx.step``'s to rounding on every scene that loads; gradients within 1e-6
          of central differences of ``mjx.step`` wherever those have a slope, with the solver as
          shipped and converged; what cannot run is refused by name

FOLDER holds clones of the projects as owner/name (``public_scenes`` lists them); scenes that are
not there are rows that say how to get them. Each scene is measured in a process of its own
(``public_row``), so that a crash or too much time is a row with its reason. OUT is written after
every scene; the same command at the same commit goes on where it was stopped.
"""

import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from experiments import records
from experiments.gradients.public_scenes import FOLDER, QUICK, SCENES, PublicScene
from worldmodel import runtime
from worldmodel.errors import InputError

LEAVES = ("qvel", "ctrl", "mass", "friction")
GRADIENTS = {
    "shipped": "gradient as shipped",
    "one": "converged",
    "short": "converged, 8 steps",
}
WANTED = 1e-6  # relative error of a gradient
UNSURE = 10.0  # times the differences' own error, which no error below can be told from
Row = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Args:
    """Command line."""

    out: Path
    scenes: Path | None = None  # folder of the clones, as owner/name; else this project's own
    only: tuple[str, ...] = ()  # parts of the names of the scenes that are measured; all
    limit_s: float = 900.0  # of one scene
    seed: int = 0


def measured(public: PublicScene, folder: Path, args: Args) -> Row:
    """The row of one scene, from a process of its own."""
    command = [sys.executable, "-m", "experiments.gradients.public_row", "--scene", public.name]
    command += ["--scenes", str(folder), "--seed", str(args.seed)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=args.limit_s)
    except subprocess.TimeoutExpired:
        return {"outcome": "stopped", "reason": f"no end within {args.limit_s:g} s"}
    if done.returncode == 0:
        return json.loads(done.stdout.splitlines()[-1])
    killed = f"killed by signal {-done.returncode}"
    lines = done.stderr.strip().splitlines()
    reason = lines[-1] if lines and done.returncode > 0 else killed
    return {"outcome": "stopped", "reason": reason}


def decided(cell: Row) -> bool:
    """Whether the differences are good enough to tell the error from what is wanted."""
    return "error" in cell and (
        cell["reference"] <= WANTED or cell["error"] > UNSURE * cell["reference"]
    )


def worst(kind: str) -> Callable[[Row], str | None]:
    """A column: the largest error of the leaves, and which leaves have none."""

    def column(row: Row) -> str | None:
        if "gradient" not in row:
            return None
        cells = row["gradient"][kind]
        errors = [cell["error"] for cell in cells.values() if decided(cell)]
        notes = {leaf: cell.get("note", "unsure") for leaf, cell in cells.items()}
        shown = [f"{max(errors):.0e}"] if errors else []
        for leaf, note in notes.items():
            if not decided(cells[leaf]) and note not in ("none", "dead"):
                shown.append(f"{leaf} {note}")
        return ", ".join(shown) or "dead"

    return column


def _number(*keys: str | int, scale: float = 1.0, spec: str = ".0e") -> Callable[[Row], str | None]:
    """A column: a number within the row, where the scene was measured."""

    def column(row: Row) -> str | None:
        value: Any = row
        for key in keys:
            if isinstance(value, dict) and key not in value:
                return None
            value = value[key]
        if value is None:
            return "not finite"
        return value if isinstance(value, str) else format(scale * value, spec)

    return column


COLUMNS: records.Columns = {
    "scene": "scene",
    "outcome": "outcome",
    **{name: _number(name, spec=".0f") for name in ("nv", "slots", "rows", "contacts")},
    "solver": _number("solver"),
    "mjx.step, 1": _number("values", "mjx", 0),
    "mjx.step, 32": _number("values", "mjx", 1),
    "C, 1": _number("values", "c", 0),
    "C, 32": _number("values", "c", 1),
    **{heading: worst(kind) for kind, heading in GRADIENTS.items()},
    "compile mjx.step [s]": _number("compile_s", "mjx", spec=".0f"),
    "compile gradient [s]": _number("compile_s", "gradient", spec=".0f"),
    "C [µs/step]": _number("step_s", "c", scale=1e6, spec=".0f"),
    "mjx.step [µs/step]": _number("step_s", "mjx", scale=1e6, spec=".0f"),
    "gradient [µs/step]": _number("step_s", "gradient", scale=1e6, spec=".0f"),
    "reason": _number("reason"),
}
TITLE = "The step on scenes of other projects"
NOTE = (
    "Values: largest difference of `physics.step` from `mjx.step` and C MuJoCo, in qpos and qvel, "
    "after 1 and 32 steps. Gradients: largest relative error in velocities, control, mass and "
    "friction, against central differences of `mjx.step` with a converged solver; *kink*: the "
    "differences have no slope; *unsure*: they are not exact enough to tell. Where a cylinder "
    "touches something round, MJX's contact point is where its descent stops, and the gradient "
    "that of the point at which it would end."
)


def main(args: Args) -> int:
    """Measures the scenes that have no row; prints one JSON line at the end.

    Raises:
      InputError: no such folder; none of those names.
    """
    folder, listed = args.scenes or FOLDER, QUICK if args.scenes is None else SCENES
    if not folder.is_dir():
        raise InputError(f"no folder {folder}; clone the projects into it, as owner/name")
    scenes = [s for s in listed if not args.only or any(part in s.name for part in args.only)]
    if not scenes:
        raise InputError(f"no scene's name contains {' or '.join(args.only)}")
    rows = {row["scene"]: row for row in records.kept(args.out)}
    for public in scenes:
        if public.name in rows and rows[public.name]["outcome"] != "absent":
            continue
        if clone := public.absent(folder):
            row = {"outcome": "absent", "reason": clone}
        else:
            row = measured(public, folder, args)
            row["reason"] = row.get("reason", "").replace(str(folder), "FOLDER")
        rows[public.name] = {"scene": public.name, **row}
        runtime.log(f"{len(rows)}/{len(scenes)} {public.name}: {row['outcome']} {row['reason']}")
        records.write(args.out, TITLE, rows.values(), COLUMNS, note=NOTE)
    outcomes = [row["outcome"] for row in rows.values()]
    print(json.dumps({o: outcomes.count(o) for o in set(outcomes)} | {"out": str(args.out)}))
    return 0


if __name__ == "__main__":
    sys.exit(runtime.command(main, __doc__))
