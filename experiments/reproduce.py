"""Runs the command of a committed result again, and compares it with the committed numbers.

Question: does a result of this repository come out on this machine, within the range it claims?
Command:  python -m experiments.reproduce --list
          python -m experiments.reproduce NAME [--quick] [--out DIR]
Runtime:  as listed; --quick computes the numbers from what is committed: rows or checkpoints
Expected: a line per number (committed, range, now) and one JSON line; exit status 1 where a number
          is out of its range, the command's own where it failed
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

from experiments.committed import ALL, Result
from worldmodel import runtime
from worldmodel.errors import InputError

ROOT = Path(__file__).resolve().parents[1]


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
        if status := subprocess.run(line, cwd=ROOT, stdout=sys.stderr).returncode:
            return status
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
        print(
            f"{number}: committed {number.of(committed):.4g}, range [{number.low:g}, "
            f"{number.high:g}], now {'unknown' if value is None else f'{value:.4g}'}: "
            f"{'ok' if within else 'out of range'}"
        )
    return outside


if __name__ == "__main__":
    sys.exit(runtime.command(main, __doc__))
