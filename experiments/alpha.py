"""Alpha of a table of runs, as rows.csv, table.json and table.md.

Question: how many real episodes is a synthetic one worth, by these training runs?
Command:  python -m experiments.alpha experiments/results/slide/hidden21/rows.csv --out runs/again
Runtime:  seconds
Expected: one JSON line, the mean alpha of every version; ``worldmodel trust rows.csv`` has the same
"""

import dataclasses
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from experiments.records import Row, write
from worldmodel import runtime, trust
from worldmodel.trust import CONTROL
from worldmodel.trust.report import ENDS

NOTE = (
    "α: real episodes that a synthetic one is worth, gross; net pays for the K corrections. n, m: "
    "real and synthetic episodes; all: the mean over the cells. Brackets: 95 % intervals over the "
    "replicates; ≥, ≤: one end alone is known. The control v* must cover 1 within ±0.25."
)
Cell = tuple[str, int, int]  # version, n, m


def cells_of(
    real: Iterable[int], n: Sequence[int], m: Sequence[int], versions: Iterable[str]
) -> list[Cell]:
    """Every cell of a study, the real-only sizes first; every n is one of them."""
    curve = [("", size, 0) for size in sorted({*real, *n})]
    return curve + [(version, a, b) for version in versions for a in n for b in m]


def publish(
    out: Path,
    title: str,
    rows: Sequence[trust.Row],
    *,
    pairs: Iterable[tuple[str, str]] = (),
    theory: Mapping[str, str] | None = None,
    pool: int | None = None,
    unit: tuple[str, float] = ("error", 1.0),
    **about: Any,
) -> dict[str, Any]:
    """Measures alpha and writes the result; returns the content of table.json.

    Args:
      rows: of the training runs, of one or more tasks.
      pairs: versions whose differences are kept, as (a, b) for a less b.
      theory: alpha of control versions, as text.
      pool: real episodes that the sets are drawn from.
      unit: heading of the errors, and the factor to it.
      about: further content of table.json.
    """
    tasks = [trust.to_json(result) for result in trust.measure(rows, pool=pool)]
    shown = measured(tasks)
    kept = {*pairs}
    differences = [d for task in tasks for d in task["differences"] if (d["a"], d["b"]) in kept]
    theory = theory or {}
    columns = table_columns(unit)
    if theory:
        columns["theory"] = lambda row: theory.get(row["version"])
    out.mkdir(parents=True, exist_ok=True)
    trust.write_csv(out / "rows.csv", rows)
    about = about | {"curve": tasks[0]["curve"], "differences": differences}
    return write(out, title, shown, columns, note=NOTE, **about)


def measured(tasks: Sequence[Mapping[str, Any]]) -> list[Row]:
    """Of the tasks of ``trust.to_json`` a row per version, with the mean over its cells (n and m
    None), and one per cell."""
    rows: dict[tuple, Row] = {}
    kinds = ("error", "d_eff", "alpha_avg", "alpha_net", "gain_net", "alpha_marg")
    for task in tasks:
        for name, version in sorted(task["versions"].items(), key=lambda item: item[0] == CONTROL):
            cells = version["cells"]
            # Per cell, net is K/m below gross; so is their mean, with the same interval.
            paid = float(np.mean([c["k"] / c["m"] for c in cells]))
            mean = {"version": name, "n": None, "m": None, "k": max(c["k"] for c in cells)}
            for end in ENDS:
                alpha = version[f"alpha{end}"]
                mean[f"alpha_avg{end}"] = alpha
                mean[f"alpha_net{end}"] = None if alpha is None else alpha - paid
            mean |= {"verdict": version["verdict"], "p_one_alpha": version["homogeneity_p"]}
            rows.setdefault((name, None, None), mean)
            for cell in cells:
                keys = ["version", "n", "m", "k", "verdict", *(k + e for k in kinds for e in ENDS)]
                rows.setdefault((name, cell["n"], cell["m"]), {key: cell[key] for key in keys})
    return list(rows.values())


def table_columns(unit: tuple[str, float]) -> dict[str, str | Callable[[Row], Any]]:
    """The columns of table.md."""
    name, factor = unit
    return {
        "version": "version",
        "n": lambda row: "all" if row["n"] is None else row["n"],
        "m": lambda row: "all" if row["m"] is None else row["m"],
        "K": "k",
        name: lambda row: None if row["n"] is None else f"{factor * row['error']:.3g}",
        "D_eff": lambda row: interval(row, "d_eff", 1),
        "α": lambda row: interval(row, "alpha_avg"),
        "α net": lambda row: interval(row, "alpha_net"),
        "net gain": lambda row: interval(row, "gain_net", 1),
        "verdict": "verdict",
    }


def interval(row: Row, kind: str, digits: int = 2) -> str | None:
    """A value with its interval, or the bound where one end alone is known."""
    if kind not in row:
        return None
    value, low, high = (row[kind + end] for end in ENDS)
    if value is not None:
        a, b = ("–" if x is None else f"{x:.{digits}f}" for x in (low, high))
        return f"{value:.{digits}f} [{a}, {b}]"
    if low is None and high is None:
        return None
    return f"≥ {low:.{digits}f}" if low is not None else f"≤ {high:.{digits}f}"


def summary(table: Mapping[str, Any]) -> dict[str, dict[str, float | None]]:
    """The mean alpha of every version with its interval, for a result's one line."""
    means = [row for row in table["rows"] if row["n"] is None]
    return {row["version"]: {end: row[f"alpha_avg{end}"] for end in ENDS} for row in means}


@dataclasses.dataclass(frozen=True)
class Args:
    """Command line."""

    rows: tyro.conf.Positional[Path]  # rows.csv
    out: Path  # folder of the result
    pool: int | None = None  # real episodes that the sets were drawn from


def main(args: Args) -> int:
    """Measures a table of runs again; prints the mean alpha of every version as one JSON line."""
    table = publish(args.out, "Alpha", trust.read(args.rows), pool=args.pool)
    print(json.dumps(summary(table)))
    return 0


if __name__ == "__main__":
    sys.exit(runtime.command(main, __doc__))
