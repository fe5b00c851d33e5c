"""Remakes a paper: launches the runs of its sweep, and compares their numbers with its ranges.

Question: do the results of this repository come out on this machine, within the ranges they claim?
Command:  python -m experiments.papers
          python -m experiments.papers NAME [--quick] [--only RESULT] [--out DIR]
          python -m experiments.papers NAME --slurm PARTITION --minutes 240
Runtime:  as listed by the first; --quick at most 15 minutes on 2 idle cores: it computes numbers
          from committed rows and checkpoints, and small ones anew
Expected: OUT/table.md, a row per number (committed, range, now), and one JSON line; exit status 1
          where a number is out of its range or has no value, both named

The same command goes on where it was stopped; on Slurm it compares once the jobs are done. --only
makes one result in this process, in a new folder. OUT/ID/out has each result's table and
figure.
"""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import tyro

from experiments import records
from experiments.papers import result as one
from experiments.papers.result import NAMES, REMADE, ROOT, Paper, paper
from worldmodel import runtime
from worldmodel.errors import InputError

COLUMNS: records.Columns = {
    "result": "result",
    "number": "number",
    "committed": "committed",
    "range": lambda row: f"[{row['low']:g}, {row['high']:g}]",
    "now": "now",
    "": lambda row: "" if row["within"] else "**out of range**",
}


@dataclasses.dataclass(frozen=True)
class Args:
    """Command line."""

    name: tyro.conf.Positional[str] = ""  # of a paper; all are listed without one
    quick: bool = False  # what is computed in minutes
    only: str | None = None  # a result
    out: Path | None = None  # below runs/papers by default
    slurm: str | None = None  # a partition; on this machine when absent
    minutes: int = 240  # limit of a job on Slurm


def main(args: Args) -> int:
    """Lists, or launches and compares; returns the exit status."""
    if not args.name:
        for name in NAMES:
            show(paper(name))
        return 0
    if args.name not in NAMES:
        raise InputError(f"no paper '{args.name}'; there are {', '.join(NAMES)}")
    asked = paper(args.name)
    kind = args.only or ("quick" if args.quick else "sweep")
    out = args.out or Path("runs") / "papers" / args.name / kind
    if args.only is not None:
        if out.is_dir() and any(out.iterdir()):
            raise InputError(f"{out} holds files; give a new --out")
        if code := one.main(one.Args(args.name, args.only, out, args.quick)):
            return code
        rows = json.loads((out / REMADE).read_text())["rows"]
    else:
        if (code := launch(args, asked, out)) > 1:  # 1: a run failed, and the others ended
            return code
        rows = collect(asked, out)
    for row in rows:
        verdict = "ok" if row["within"] else "out of range"
        now = "unknown" if row["now"] is None else f"{row['now']:.4g}"
        print(
            f"{row['result']}: {row['number']}: committed {row['committed']:.4g}, range "
            f"[{row['low']:g}, {row['high']:g}], now {now}: {verdict}"
        )
    wanted = [args.only] if args.only else [r.name for r in asked.planned(quick=args.quick)]
    absent = [name for name in wanted if name not in {row["result"] for row in rows}]
    if absent and args.slurm is not None:
        runtime.log(f"{len(absent)} results have no numbers; the same command compares those done")
    outside = [f"{r['result']}: {r['number']}" for r in rows if not r["within"]]
    print(json.dumps({"numbers": len(rows), "outside": outside, "without": absent}))
    return int(bool(outside or absent))


def show(paper: Paper) -> None:
    """Prints its results, what they cost and what they need."""
    minutes = sum(r.minutes for r in paper.planned(quick=False))
    print(
        f"{paper.name}: {minutes / 60:.1f} hours on two cores, {minutes / 30:.1f} core-hours; "
        "GPU-hours: none measured"
    )
    for r in paper.results:
        more = ("; has --quick" if r.quick else "") + (f"; needs {r.needs}" if r.needs else "")
        print(f"  {r.name} ({r.minutes:g} minutes{more})")
        print("".join(f"      python -m {command}\n" for command in r.commands), end="")


def launch(args: Args, paper: Paper, out: Path) -> int:
    """Launches the sweep; returns the launch's exit status."""
    for r in paper.results:
        if r not in paper.planned(quick=args.quick):
            why = f"needs {r.needs}" if r.needs and not args.quick else "has no quick command"
            runtime.log(f"{r.name} is left out: it {why}")
    where = ["launch.local"]
    if args.slurm is not None:
        where = ["launch.slurm", "--partition", args.slurm, "--minutes", str(args.minutes)]
    sweep = f"experiments.papers.result:{paper.name}" + "_quick" * args.quick
    line = [*where, "--cores", str(paper.cores), sweep, "--out", str(out.resolve())]
    return subprocess.run([sys.executable, "-m", *line], cwd=ROOT, stdout=sys.stderr).returncode


def collect(paper: Paper, out: Path) -> list[dict[str, Any]]:
    """What the runs that are done compared, as OUT/table.json and table.md; the rows."""
    runs = [json.loads(path.read_text()) for path in out.glob(f"*/out/{REMADE}")]
    order = [result.name for result in paper.results]
    rows = [row for run in runs for row in run["rows"]]
    rows.sort(key=lambda row: order.index(row["result"]))
    hours = sum(run["core_s"] for run in runs) / 3600
    note = f"{hours:.3f} core-hours. No GPU-hours were measured."
    records.write(out, f"Paper: {paper.name}", rows, COLUMNS, note=note, core_hours=hours)
    return rows


if __name__ == "__main__":
    sys.exit(runtime.command(main, __doc__))
