"""Do the trust tool's 95 % intervals cover the truth in 95 of 100 tables?

Question: over which noise, designs and figures do the intervals of ``worldmodel.trust`` cover as
          they claim?
Command:  python -m experiments.coverage.measure --out experiments/results/coverage
Runtime:  1572 s on 2 busy cores; with --tables 100 --pools 20 two minutes
Expected: within the claimed range every scenario covers in .929–.971; the jackknife of seeds with
          one pool does not

A scenario is a set of simulated tables of known alpha (``designs``), measured by
the tool's own array functions (``estimators``).
"""

import dataclasses
import json
import sys
import time
import zlib
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from experiments import records
from experiments.coverage.estimators import Bounds
from experiments.coverage.scenarios import (
    COVERS,
    FAILS,
    LAW_RANGE,
    RANGE,
    Scenario,
    scenarios,
    spread,
)
from worldmodel import runtime

BAND = (0.929, 0.971)  # of a share of 95 % in 400 replications, with probability 0.95


@dataclasses.dataclass(frozen=True)
class Args:
    """Command line."""

    out: Path
    tables: int = 4000  # replications of a scenario
    pools: int = 1000  # replications of a scenario whose seeds share a pool
    seed: int = 0
    workers: int = 2  # processes


def cover(bounds: Bounds) -> dict[str, Any]:
    """Counts of tables: all, with a value, covered, and with the truth below or above the interval.

    An interval with an open end claims its known end; one that is open on both sides always covers.
    """
    value = np.isfinite(bounds.value)
    below, above = bounds.truth < bounds.low, bounds.truth > bounds.high
    inside = ~(below | above)
    return {
        "replications": len(value),
        "valued": int(value.sum()),
        "covered_valued": int(inside[value].sum()),
        "covered": int(inside.sum()),
        "truth_below": int(below.sum()),
        "truth_above": int(above.sum()),
    }


def measured(scenario: Scenario, seed: int) -> dict[str, Any]:
    """The row of a scenario."""
    # The name is the seed, so that no scenario changes another.
    rng = np.random.default_rng([seed, zlib.crc32(scenario.name.encode())])
    began = time.monotonic()
    counts = cover(scenario.bounds(scenario.draw(rng, scenario.tables)))
    fields = ("group", "design", "figure", "seeds", "cv", "slope", "wanted")
    row = {name: getattr(scenario, name) for name in fields}
    row["spread"] = spread(scenario.seeds, scenario.cv, scenario.slope)
    return row | counts | {"seconds": round(time.monotonic() - began, 2)}


def _row(of: tuple[int, Args]) -> dict[str, Any]:
    """``measured`` in a worker process."""
    index, args = of
    return measured(scenarios(args.tables, args.pools)[index], args.seed)


def shares(row: dict[str, Any]) -> list[float]:
    """The shares of tables covered: of those with a value, if any has one, and of all."""
    of_all = row["covered"] / row["replications"]
    return [row["covered_valued"] / row["valued"], of_all] if row["valued"] else [of_all]


def verdict(row: dict[str, Any]) -> str:
    """Whether both shares of a scenario lie within the band, or on which side of it."""
    if min(shares(row)) < BAND[0]:
        return "too short"
    return "covers" if max(shares(row)) <= BAND[1] else "too wide"


def missed(row: dict[str, Any]) -> bool:
    """Whether the scenario lacks the wanted verdict."""
    wanted = {COVERS: "covers", FAILS: "too short"}
    return verdict(row) != wanted.get(row["wanted"], verdict(row))


COLUMNS: records.Columns = {
    "group": "group",
    "design": "design",
    "S": "seeds",
    "cv": "cv:.2f",
    "slope": "slope:g",
    "±": "spread:.2f",
    "figure": "figure",
    "no value": lambda row: f"{1 - row['valued'] / row['replications']:.3f}",
    "covers, given a value": lambda row: f"{shares(row)[0]:.3f}" if row["valued"] else None,
    "of all": lambda row: f"{shares(row)[-1]:.3f}",
    "wanted": "wanted",
    "measured": lambda row: "MISSED: " * missed(row) + verdict(row),
}
TITLE = "Coverage of the trust tool's 95 % intervals"
NOTE = (
    f"A scenario *covers* if the interval holds the truth in {BAND[0]}–{BAND[1]} of its tables, "
    "both of those with a value and of all (an open end claims its known end, a table without a "
    "value nothing else); one that *must fail* falls below. Claimed is the range in which one mean "
    f"error leaves log D_eff to ± {RANGE} or less (t(S − 1) · cv / (slope · √S), the column ±), to "
    f"± {LAW_RANGE} for what is fitted to several cells; *outside* it nothing is claimed."
)


def main(args: Args) -> int:
    """Measures every scenario; prints one JSON line."""
    rows, todo = [], scenarios(args.tables, args.pools)
    with ProcessPoolExecutor(args.workers, mp_context=get_context("spawn")) as workers:
        for row in workers.map(_row, [(i, args) for i in range(len(todo))]):
            rows.append(row)
            runtime.log(f"{len(rows)}/{len(todo)} scenarios")
    records.write(args.out, TITLE, rows, COLUMNS, note=NOTE)
    print(json.dumps({"scenarios": len(rows), "missed": sum(map(missed, rows))}))
    return 0


if __name__ == "__main__":
    sys.exit(runtime.command(main, __doc__))
