"""The gate of the gradient: every joint, contact pair, cone, integrator and kind of parameter.

Question: where is the derivative of ``physics.step`` that of ``mjx.step`` and of C MuJoCo?
Command:  python -m experiments.gradients.gate --out experiments/results/gradients/gate
          --page docs/physics.md
Runtime:  half an hour on 2 cores; with --only "free plane–sphere pyramidal Euler" two minutes
Expected: no wrong cell but those that PAGE names: cylinders against round shapes, single precision

Measured are all pairs of shapes under a free joint, and all joints, friction cones and integrators
with one of the pairs. OUT is written after every row; the same command at the same commit goes on
where it was stopped. The tables replace what follows ``MARK`` in PAGE.
"""

import dataclasses
import itertools
import json
import multiprocessing
import os
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from experiments import records
from experiments.gradients.gate_cells import measure
from experiments.gradients.gate_scenes import CONES, INTEGRATORS, JOINTS, PAIRS, REPRESENTATIVE, Row
from experiments.gradients.gate_tables import COLUMNS, KINDS, NOTE, TITLE, counts, markdown
from worldmodel import runtime
from worldmodel.errors import InputError
from worldmodel.runtime import files

MARK = "<!-- From here on the page is written by experiments.gradients.gate. -->\n\n"
# Poses at or near kinks.
ALIGNED = (
    ("plane", "cylinder"),
    ("hfield", "sphere"),
    ("capsule", "capsule"),
    ("box", "box"),
)
# Errors alone are wanted: the programs run for seconds and compile for minutes.
XLA_FLAGS = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"


@dataclasses.dataclass(frozen=True)
class Args:
    """Command line."""

    out: Path
    page: Path | None = None  # whose tables are replaced
    only: tuple[str, ...] = ()  # rows whose names contain one of these
    workers: int = 2  # processes


def rows() -> list[Row]:
    """The rows of a run, in order."""
    base = [Row("free", *pair) for pair in PAIRS]
    base += [Row("free", *pair, pose="aligned") for pair in ALIGNED]
    every = itertools.product(JOINTS, CONES, INTEGRATORS)
    base += [Row(joint, *REPRESENTATIVE, cone, integrator) for joint, cone, integrator in every]
    return list(dict.fromkeys(base))


def measured(row: Row) -> dict[str, Any]:
    """The row's result, in a process of its own: XLA keeps the memory of what it compiled."""
    runtime.configure(cache=False)
    plain = (row.cone, row.integrator) == (CONES[0], INTEGRATORS[0])
    result = measure(row, reverse=plain)  # of each pair and of each joint once
    return {"scene": row.name} | dataclasses.asdict(row) | result


def main(args: Args) -> int:
    """Measures the rows that the table lacks; prints one JSON line.

    Raises:
      InputError: no row has such a name; the page has no ``MARK``.
    """
    os.environ.setdefault("XLA_FLAGS", XLA_FLAGS)
    chosen = [r for r in rows() if not args.only or any(o in r.name for o in args.only)]
    if not chosen:
        raise InputError(f"no row's name contains {' or '.join(args.only)}; see gate.rows()")
    page = args.page.read_text() if args.page else MARK
    if MARK not in page:
        raise InputError(f"{args.page} lacks the line {MARK.strip()!r}; put it above the tables")
    done = {row["scene"]: row for row in records.kept(args.out)}
    todo = [r for r in chosen if r.name not in done]

    def write() -> dict[str, Any]:
        ordered = [done[r.name] for r in rows() if r.name in done]
        return records.write(args.out, TITLE, ordered, COLUMNS, note=NOTE)

    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(args.workers, spawn, max_tasks_per_child=1) as pool:
        running = [pool.submit(measured, row) for row in todo]
        for count, finished in enumerate(as_completed(running), 1):
            row = finished.result()
            done[row["scene"]] = row
            runtime.log(f"{count}/{len(todo)} {row['scene']}")
            write()
    result = write()
    if args.page:
        files.write_text(args.page, page.split(MARK)[0] + MARK + markdown(result))
    wrong = {row["cells"]: row[KINDS[0]] for row in counts(result["rows"])}
    print(json.dumps({"wrong": wrong, "out": str(args.out)}))
    return 0


if __name__ == "__main__":
    sys.exit(runtime.command(main, __doc__))
