"""The gate of the gradient: every joint, contact pair, cone, integrator and kind of parameter.

Question: where is the derivative of ``physics.step`` that of ``mjx.step`` and of C MuJoCo?
Command:  python -m experiments.gradients.gate --out experiments/results/gradients/gate
Runtime:  half an hour on 2 cores; with --full, the whole product, a day
Expected: one JSON line; no wrong cell

Measured are all pairs of shapes under a free joint, and all joints, friction cones and integrators
with one of the pairs; with --full, their whole product. OUT gets table.json after every row, and
PAGE (docs/physics.md) at the end. Rows of the same commit and versions are kept: the same command
resumes after an interruption, which lets the running rows finish.
"""

import dataclasses
import itertools
import json
import multiprocessing
import os
import signal
import sys
import time
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import tyro

from experiments.gradients.gate_cells import measure
from experiments.gradients.gate_report import markdown, summary
from experiments.gradients.gate_scenes import CONES, INTEGRATORS, JOINTS, PAIRS, Row
from worldmodel import runtime
from worldmodel.errors import InputError
from worldmodel.runtime import files

# Pairs of which every joint, cone and integrator is measured.
REPRESENTATIVE = (("plane", "sphere"),)
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
    page: Path = Path("docs/physics.md")
    full: bool = False
    only: tuple[str, ...] = ()  # rows whose names contain one of these
    workers: int = 2  # processes


def rows(full: bool = False) -> list[Row]:
    """The rows of a run, in order."""
    every = itertools.product(JOINTS, PAIRS, CONES, INTEGRATORS)
    product = [Row(joint, *pair, cone, integrator) for joint, pair, cone, integrator in every]
    base = [Row("free", *pair) for pair in PAIRS]
    base += [Row("free", *pair, pose="aligned") for pair in ALIGNED]
    chosen = [r for r in product if full or (r.fixed, r.moving) in REPRESENTATIVE]
    return list(dict.fromkeys([*base, *chosen]))


def has_reverse(row: Row) -> bool:
    """Whether reverse mode is measured too: of each pair and of each joint once."""
    first = row.joint == "free" or (row.fixed, row.moving) == REPRESENTATIVE[0]
    return first and (row.cone, row.integrator) == (CONES[0], INTEGRATORS[0])


def _start() -> None:
    for number in (signal.SIGINT, signal.SIGTERM):  # of a whole process group
        signal.signal(number, signal.SIG_IGN)  # the parent lets a running row finish
    runtime.configure(cache=False)


def _measured(row: Row) -> dict[str, Any]:
    """The row's result, from a process of its own: XLA keeps the memory of what it compiled."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, spawn, initializer=_start) as process:
        return process.submit(measure, row, reverse=has_reverse(row)).result()


def main(args: Args) -> int:
    """Measures the rows that the table lacks, then renders the page."""
    os.environ.setdefault("XLA_FLAGS", XLA_FLAGS)
    chosen = [r for r in rows(args.full) if not args.only or any(o in r.name for o in args.only)]
    if not chosen:
        raise InputError(f"no row's name contains {' or '.join(args.only)}; see gate.rows()")
    args.out.mkdir(parents=True, exist_ok=True)
    path = args.out / "table.json"
    provenance = runtime.provenance()
    command = f"python -m experiments.gradients.gate --out {args.out}" + " --full" * args.full
    command += f" --only {' '.join(args.only)}" * bool(args.only)
    table = {"command": command, "provenance": provenance, "rows": _kept(path, provenance)}
    done: dict[str, Any] = table["rows"]
    todo = [r for r in chosen if r.name not in done]
    began = time.monotonic()
    with (
        runtime.Interrupt() as interrupt,
        ThreadPoolExecutor(args.workers) as pool,  # a thread waits for one process at a time
    ):
        waiting = {pool.submit(_measured, r): r for r in todo}
        try:
            while waiting:
                finished, _ = wait(waiting, timeout=1.0, return_when=FIRST_COMPLETED)
                for future in finished:
                    row = waiting.pop(future)
                    if future.cancelled():
                        continue
                    done[row.name] = dataclasses.asdict(row) | future.result()
                    files.write_json(path, table)
                    count = len(todo) - len(waiting)
                    remaining = (time.monotonic() - began) / count * len(waiting) / 60
                    runtime.log(f"{count}/{len(todo)} {row.name}; {remaining:.0f} min remain")
                if interrupt.requested:
                    for future in waiting:
                        future.cancel()
        finally:  # a row's error, or a second Ctrl-C: those that wait do not run
            pool.shutdown(wait=False, cancel_futures=True)
    if interrupt.requested:
        return interrupt.exit_status
    order = [r.name for r in rows(full=True)] + [r.name for r in rows()]
    table["rows"] = {name: done[name] for name in sorted(done, key=order.index)}
    files.write_json(path, table)
    args.page.parent.mkdir(parents=True, exist_ok=True)
    files.write_text(args.page, markdown(table))
    print(json.dumps(summary(table) | {"out": str(args.out), "page": str(args.page)}))
    return 0


def _kept(path: Path, provenance: dict[str, Any]) -> dict[str, Any]:
    """The rows of a table of the same commit, versions and processor; none of changed code."""
    if not path.is_file() or provenance["commit"].endswith("-dirty"):
        return {}
    table = json.loads(path.read_text())
    same = all(table["provenance"][k] == provenance[k] for k in ("commit", "versions", "cpu"))
    return table["rows"] if same else {}


if __name__ == "__main__":
    sys.exit(runtime.run(main, tyro.cli(Args, description=__doc__)))
