"""What a paper is: results with their commands, and numbers with the ranges that are claimed.

A range holds what another machine may give. What is computed from committed rows or checkpoints
comes out alike to many digits. A new fit does not: contact is chaotic, another processor rounds
otherwise, and an optimisation whose path branches ends in another minimum. Alpha moves with the
version that was fitted (another machine had v2 at 0.72 for 0.59 and v2-physics at 0.52 for 0.63),
so its ranges are the committed 95 % intervals, wider by 0.15 at each end. Times are compared as
ratios within a process alone.
"""

import dataclasses
import importlib
import json
import resource
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from worldmodel import runtime
from worldmodel.errors import InputError
from worldmodel.runtime.files import write_json

ROOT = Path(__file__).resolve().parents[2]
RESULTS = Path("experiments") / "results"
REMADE = "remade.json"  # of one result: the numbers now, and what they cost


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
        row = self.find(table)
        if row is None:
            raise InputError(f"the table has no row {dict(self.row)}")
        value = self._at(row, self.path)
        return value / self._at(row, self.over) if self.over else value

    def find(self, table: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Its row, if the table has it."""
        named = self.row.items()
        rows = (row for row in table["rows"] if all(row.get(key) == x for key, x in named))
        return next(rows, None)

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
    minutes: float  # on two idle cores, measured
    commands: tuple[str, ...]  # modules and arguments; {out} is a new folder, {kept} the committed
    numbers: tuple[Number, ...]
    quick: str = ""  # a command of minutes, such as from committed rows or checkpoints
    needs: str = ""  # what a plain checkout has not

    @property
    def folder(self) -> Path:
        """Where it is committed."""
        return RESULTS / self.name

    def filled(self, command: str, out: Path) -> list[str]:
        """A command's module and arguments."""
        return shlex.split(command.format(out=out, kept=self.folder))

    def rows(self, now: Mapping[str, Any], *, quick: bool) -> Iterator[dict[str, Any]]:
        """A row per number: committed, range, now. What ``quick`` does not compute has none."""
        committed = json.loads((ROOT / self.folder / "table.json").read_text())
        for number in self.numbers:
            if quick and number.find(now) is None:
                runtime.log(f"{self.name}: {number}: not computed by --quick")
                continue
            value = number.of(now)
            yield {
                "result": self.name,
                "number": str(number),
                "committed": number.of(committed),
                "low": number.low,
                "high": number.high,
                "now": value,
                "within": value is not None and number.low <= value <= number.high,
            }


@dataclasses.dataclass(frozen=True)
class Args:
    """A run of a paper's sweep: one result."""

    paper: str
    result: str
    out: Path
    quick: bool = False


@dataclasses.dataclass(frozen=True)
class Paper:
    """Results that belong together, and the sweep over them."""

    name: str  # of its module
    results: tuple[Result, ...]
    cores: int = 1  # per run; 2 where times are measured

    def planned(self, *, quick: bool) -> list[Result]:
        """The results that its sweep makes."""
        return [r for r in self.results if (r.quick if quick else not r.needs)]

    def remake(self, args: Args) -> int:
        """Runs the commands of one result, and compares its numbers; prints one JSON line. In the
        folder of a remake that was stopped they go on, as far as each of them does.

        Returns:
          0; the command's exit status where it failed.

        Raises:
          InputError: no such result, or none with a quick command.
        """
        known = {result.name: result for result in self.results}
        if args.result not in known:
            raise InputError(f"{self.name} has no result '{args.result}'; it has {[*known]}")
        result, out = known[args.result], args.out.resolve()
        commands = (result.quick,) if args.quick else result.commands
        if not all(commands):
            raise InputError(f"{result.name} has no quick command; leave --quick out")
        before = _spent()
        for command in commands:
            line = [sys.executable, "-m", *result.filled(command, out)]
            runtime.log(shlex.join(line[1:]))
            if status := subprocess.run(line, cwd=ROOT, stdout=sys.stderr).returncode:
                return status
        rows = [*result.rows(json.loads((out / "table.json").read_text()), quick=args.quick)]
        outside = sum(not row["within"] for row in rows)
        line = {"numbers": len(rows), "outside": outside, "core_s": _spent() - before}
        write_json(out / REMADE, line | {"rows": rows})
        print(json.dumps(line))
        return 0


def paper(name: str) -> Paper:
    """A paper by its name."""
    return importlib.import_module(f"experiments.papers.{name}").PAPER


def main(args: Args) -> int:
    """Remakes one result."""
    return paper(args.paper).remake(args)


def sweeps(paper: Paper) -> tuple[Callable[[Callable[..., None]], None], ...]:
    """What a paper's module launches, a run per result: all of it, and what has a quick command."""

    def sweep(add: Callable[..., None]) -> None:
        for result in paper.planned(quick=False):
            add(paper=paper.name, result=result.name)

    def quick(add: Callable[..., None]) -> None:
        for result in paper.planned(quick=True):
            add(paper=paper.name, result=result.name, quick=True)

    return sweep, quick


def _spent() -> float:
    """Seconds of a core that this process's children took."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def interval_share(row: Mapping[str, Any], held: str, of: str, low: float) -> Number:
    """How many of the 95 % intervals hold the truth."""
    return Number(row, (held,), low, 1.0, (of,))
