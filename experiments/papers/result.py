"""What a paper is: results with their commands, and numbers with the ranges that are claimed.

A paper is a TOML file of this folder. Of a result it has the minutes on two idle cores, measured;
the commands (module and arguments; ``{out}`` is a new folder, ``{kept}`` the committed one);
``quick``, a command of minutes, such as from committed rows or checkpoints; ``needs``, what a plain
checkout has not; and its numbers: what tells a row of table.json from the others (``without``: keys
that are null), the path of keys to the number, and to the one that it is divided by.

A range holds what another machine may give. What is computed from committed rows or checkpoints
comes out alike to many digits. A new fit does not: contact is chaotic, another processor rounds
otherwise, and an optimisation whose path branches ends in another minimum. Alpha moves with the
version that was fitted (another machine had v2 at 0.72 for 0.59 and v2-physics at 0.52 for 0.63),
so its ranges are the committed 95 % intervals, wider by 0.15 at each end. Times are compared as
ratios within a process alone.
"""

import dataclasses
import json
import resource
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from worldmodel import runtime
from worldmodel.errors import InputError
from worldmodel.runtime.files import write_json

ROOT = Path(__file__).resolve().parents[2]
RESULTS = Path("experiments") / "results"
REMADE = "remade.json"  # of one result: the numbers now, and what they cost
NAMES = ("gradients", "recordings", "alpha", "manipulation", "policies")
Key = str | int


@dataclasses.dataclass(frozen=True)
class Number:
    """A number of a table, and the range that is claimed for it."""

    row: Mapping[str, Any]  # what tells its row from the others
    path: tuple[Key, ...]  # keys to it in the row
    low: float
    high: float
    over: tuple[Key, ...] = ()  # keys to what it is divided by

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

    def _at(self, row: Any, path: tuple[Key, ...]) -> Any:
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
    minutes: float
    commands: tuple[str, ...]
    numbers: tuple[Number, ...]
    quick: str = ""
    needs: str = ""

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
class Paper:
    """Results that belong together."""

    name: str
    results: tuple[Result, ...]
    cores: int = 1  # per run; 2 where times are measured

    def planned(self, *, quick: bool) -> list[Result]:
        """The results that its sweep makes."""
        return [r for r in self.results if (r.quick if quick else not r.needs)]


def paper(name: str) -> Paper:
    """A paper by its name."""
    content = tomllib.loads(Path(__file__).with_name(f"{name}.toml").read_text())
    cores, results = content.pop("cores"), []
    for folder, result in content.items():
        numbers = []
        for number in result.pop("numbers"):
            row = number.pop("row") | dict.fromkeys(number.pop("without", ()))
            numbers.append(Number(row=row, **{k: _tuple(x) for k, x in number.items()}))
        result = {key: _tuple(value) for key, value in result.items()}
        results.append(Result(folder, numbers=tuple(numbers), **result))
    return Paper(name, tuple(results), cores)


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


@dataclasses.dataclass(frozen=True)
class Args:
    """A run of a paper's sweep: one result."""

    paper: str
    result: str
    out: Path
    quick: bool = False


def main(args: Args) -> int:
    """Runs the commands of one result and compares its numbers; prints one JSON line. In the folder
    of a remake that was stopped they go on, as far as each of them does.

    Returns:
      0; the command's exit status where it failed.

    Raises:
      InputError: no such result, or none with a quick command.
    """
    known = {result.name: result for result in paper(args.paper).results}
    if args.result not in known:
        raise InputError(f"{args.paper} has no result '{args.result}'; it has {[*known]}")
    result, out, before = known[args.result], args.out.resolve(), _spent()
    commands = (result.quick,) if args.quick else result.commands
    if not all(commands):
        raise InputError(f"{result.name} has no quick command; leave --quick out")
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


def _spent() -> float:
    """Seconds of a core that this process's children took."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _sweep(name: str, *, quick: bool = False) -> Callable[[Callable[..., None]], None]:
    """A run per result of a paper that is planned."""

    def sweep(add: Callable[..., None]) -> None:
        for result in paper(name).planned(quick=quick):
            add(paper=name, result=result.name, quick=quick)

    return sweep


# For ``launch``: experiments.papers.result:alpha, …
gradients, recordings, alpha, manipulation, policies = map(_sweep, NAMES)
gradients_quick, recordings_quick, alpha_quick, manipulation_quick, policies_quick = (
    _sweep(name, quick=True) for name in NAMES
)
