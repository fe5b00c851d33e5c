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
import functools
import itertools
import json
import multiprocessing
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments import records
from experiments.gradients.gate_cells import CLASSES, DTYPES, REFERENCES, STEPS, measure
from experiments.gradients.gate_scenes import CONES, INTEGRATORS, JOINTS, PAIRS, Row
from worldmodel import runtime
from worldmodel.errors import InputError
from worldmodel.runtime import files

MARK = "<!-- From here on the page is written by experiments.gradients.gate. -->\n\n"
REPRESENTATIVE = ("plane", "sphere")  # of which every joint, cone and integrator is measured
ALIGNED = (  # poses at or near kinks
    ("plane", "cylinder"),
    ("hfield", "sphere"),
    ("capsule", "capsule"),
    ("box", "box"),
)
ROWS = [
    *(Row("free", *pair) for pair in PAIRS),
    *(Row("free", *pair, pose="aligned") for pair in ALIGNED),
    *(Row(j, *REPRESENTATIVE, *of) for j, *of in itertools.product(JOINTS, CONES, INTEGRATORS)),
]
ROWS = [*dict.fromkeys(ROWS)]  # one of them is in both
# Errors alone are wanted: the programs run for seconds and compile for minutes.
XLA_FLAGS = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"

# Relative errors that pass, per number of steps.
LIMITS = {"float64": (1e-6, 1e-5), "float32": (1e-3, 1e-2)}
REVERSE = {"float64": 1e-9, "float32": 1e-3}  # reverse mode from forward mode, relative
VALUES = 1e-8  # relative difference of MJX's own state from C's, below which C is a reference
JUMP = 1e-3  # relative jump of slope from which differences have no derivative
UNSURE = 3.0  # jumps of slope by which a difference can be off
NOTHING = {"float64": 1e-11, "float32": 1e-6}  # a Jacobian that is no larger is zero
LENGTHS = tuple("one step" if n == 1 else f"{n} steps" for n in STEPS)
KINDS = ("wrong", "right", "kink", "dead", "refused")  # of verdicts, the worst first
Result = dict[str, Any]  # of a row, as table.json has it


@dataclasses.dataclass(frozen=True)
class Args:
    """Command line."""

    out: Path
    page: Path | None = None  # whose tables are replaced
    only: tuple[str, ...] = ()  # rows whose names contain one of these
    workers: int = 2  # processes


def measured(row: Row) -> Result:
    """The row's result, in a process of its own: XLA keeps the memory of what it compiled."""
    runtime.configure(cache=False)
    plain = (row.cone, row.integrator) == (CONES[0], INTEGRATORS[0])
    result = measure(row, reverse=plain)  # of each pair and of each joint once
    return {"scene": row.name} | dataclasses.asdict(row) | result


class Verdict(NamedTuple):
    """What the gate says of one cell."""

    kind: str  # one of ``KINDS``
    error: float | None = None  # relative, the largest over the references that count

    @property
    def text(self) -> str:
        """As the tables have it."""
        if self.kind not in ("right", "wrong"):
            return self.kind
        figure = "not finite" if self.error is None else f"{self.error:.0e}"
        return figure if self.kind == "right" else f"**{figure}**"


def verdict(row: Result, name: str, dtype: str, k: int) -> Verdict:
    """Of a row, a class, a precision, and the index of a number of steps."""
    if "refused" in row or "refused" in row["classes"][name]:
        return Verdict("refused")
    cell, away = row["classes"][name][k], row["values"][k]
    agree = away is not None and away <= VALUES
    references = [cell[r] for r in REFERENCES if r == "mjx" or agree]
    counted = [c for c in references if None not in (c["size"], c["jump"])]
    mine = cell["ours"][dtype]
    if mine is None or not counted:  # not finite, at a kink too
        return Verdict("wrong")
    if all(c["size"] <= NOTHING["float64"] for c in counted):
        return Verdict("dead" if mine <= NOTHING[dtype] else "wrong", mine)
    sure = [c for c in counted if c["jump"] <= JUMP * c["size"] + NOTHING["float64"]]
    if not sure:
        return Verdict("kink")
    limit, error = LIMITS[dtype][k], max(c[dtype] for c in sure)
    beyond = [c for c in sure if c[dtype] * c["size"] > limit * c["size"] + UNSURE * c["jump"]]
    if beyond and dtype == "float32":
        # Rounding decides on which side of a kink of the scene a state in float32 is.
        others = {verdict(row, c, "float64", k).kind for c in row["classes"]}
        return Verdict("kink") if "kink" in others else Verdict("wrong", error)
    return Verdict("wrong" if beyond else "right", error)


def worst(row: Result, dtype: str, k: int) -> str:
    """The worst verdict on a class of a row, as text."""
    verdicts = [verdict(row, name, dtype, k) for name in CLASSES]
    size = {v: -np.inf if v.error is None else -v.error for v in verdicts}
    return min(verdicts, key=lambda v: (KINDS.index(v.kind), size[v])).text


TITLE, NOTE = "The gate of the gradient", "The worst class of each scene."
COLUMNS: records.Columns = {
    "scene": "scene",
    **{
        f"{dtype}, {length}": functools.partial(worst, dtype=dtype, k=k)
        for dtype in DTYPES
        for k, length in enumerate(LENGTHS)
    },
    "refused": lambda row: row.get("refused"),
}


def counts(rows: list[Result]) -> list[Result]:
    """Per precision and number of steps: cells of each kind, of the scenes that load."""
    loaded = [row for row in rows if "refused" not in row]
    out = []
    for dtype in DTYPES:
        for k, length in enumerate(LENGTHS):
            kinds = [verdict(row, c, dtype, k).kind for row in loaded for c in CLASSES]
            cells = {kind: kinds.count(kind) for kind in KINDS}
            out.append({"cells": f"{dtype}, {length}"} | cells)
        reverse = [row["reverse"][dtype] for row in loaded if dtype in row["reverse"]]
        right = sum(error is not None and error <= REVERSE[dtype] for error in reverse)
        kinds = dict.fromkeys(KINDS, 0) | {"right": right, "wrong": len(reverse) - right}
        out.append({"cells": f"{dtype}, reverse against forward mode, scenes"} | kinds)
    return out


def markdown(result: Result) -> str:
    """What docs/physics.md has of a table.json: counts, and all verdicts in double precision."""
    cells = {name: name for name in ("cells", *KINDS)}
    text = records.header("Measured", result).replace("# ", "## ", 1)
    text += f"### Cells\n\n{records.table(counts(result['rows']), cells)}"
    for k, length in enumerate(LENGTHS):
        verdicts = {c.replace("_", " "): functools.partial(shown, name=c, k=k) for c in CLASSES}
        columns: records.Columns = {"scene": "scene", **verdicts}
        text += f"\n### Scenes, {length}, float64\n\n{records.table(result['rows'], columns)}"
    return text


def shown(row: Result, name: str, k: int) -> str:
    """A verdict in double precision, as text."""
    return verdict(row, name, "float64", k).text


def main(args: Args) -> int:
    """Measures the rows that the table lacks; prints one JSON line.

    Raises:
      InputError: no row has such a name; the page has no ``MARK``.
    """
    os.environ.setdefault("XLA_FLAGS", XLA_FLAGS)
    chosen = [r for r in ROWS if not args.only or any(o in r.name for o in args.only)]
    if not chosen:
        raise InputError(f"no row's name contains {' or '.join(args.only)}; see gate.ROWS")
    page = args.page.read_text() if args.page else MARK
    if MARK not in page:
        raise InputError(f"{args.page} lacks the line {MARK.strip()!r}; put it above the tables")
    rows, order = records.kept(args.out), [r.name for r in ROWS]
    todo = [r for r in chosen if r.name not in {row["scene"] for row in rows}]
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(args.workers, spawn, max_tasks_per_child=1) as pool:
        for count, row in enumerate(pool.map(measured, todo), 1):
            runtime.log(f"{count}/{len(todo)} {row['scene']}")
            rows.append(row)
            records.write(args.out, TITLE, rows, COLUMNS, note=NOTE)
    rows.sort(key=lambda row: order.index(row["scene"]))
    result = records.write(args.out, TITLE, rows, COLUMNS, note=NOTE)
    if args.page:
        files.write_text(args.page, page.split(MARK)[0] + MARK + markdown(result))
    wrong = {row["cells"]: row["wrong"] for row in counts(rows)}
    print(json.dumps({"wrong": wrong, "out": str(args.out)}))
    return 0


if __name__ == "__main__":
    sys.exit(runtime.command(main, __doc__))
