"""Do the trust tool's 95 % intervals cover the truth in 95 of 100 tables?

Question: over which noise, designs and figures do the intervals of ``worldmodel.trust`` cover as
          they claim, and do the intervals that they replace fail?
Command:  python -m experiments.coverage.measure --out experiments/results/trust
Runtime:  1572 s on 2 busy cores in the published run, 2896 s of processor time
Expected: within the claimed range every scenario covers in .929–.971; the percentile bootstrap at
          five seeds, the jackknife of seeds with one pool, and cells taken as independent do not

A scenario is a set of simulated tables of known alpha (``designs``, ``simulation``), measured by
the tool's own array functions (``estimators``). OUT gets coverage.json and its table, coverage.md;
both call a scenario an arm.
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
import tyro

from experiments.coverage.certificate import markdown, missed
from experiments.coverage.estimators import Bounds
from experiments.coverage.scenarios import Scenario, scenarios, spread
from worldmodel import runtime
from worldmodel.runtime.files import write_text


@dataclasses.dataclass(frozen=True)
class Args:
    """Command line."""

    out: Path  # folder for coverage.json and coverage.md
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
    """The row of a scenario in coverage.json."""
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


def main(args: Args) -> int:
    """Measures every scenario; prints one JSON line."""
    args.out.mkdir(parents=True, exist_ok=True)
    began, rows = time.monotonic(), []
    todo = scenarios(args.tables, args.pools)
    with ProcessPoolExecutor(args.workers, mp_context=get_context("spawn")) as workers:
        for row in workers.map(_row, [(i, args) for i in range(len(todo))]):
            rows.append(row)
            if len(rows) % 10 == 0 or len(rows) == len(todo):
                passed = time.monotonic() - began
                runtime.log(f"{len(rows)}/{len(todo)} scenarios  {passed:.0f} s")
    command = f"python -m experiments.coverage.measure --out {args.out} --tables {args.tables} "
    command += f"--pools {args.pools} --seed {args.seed} --workers {args.workers}"
    result = {
        "command": command,
        "provenance": runtime.provenance(),
        "seconds": round(time.monotonic() - began),
        "arms": rows,
    }
    write_text(args.out / "coverage.json", json.dumps(result, indent=1) + "\n")
    write_text(args.out / "coverage.md", markdown(result))
    line = {"arms": len(rows), "missed": missed(result), "seconds": result["seconds"]}
    print(json.dumps(line | {"out": str(args.out)}))
    return 0


if __name__ == "__main__":
    sys.exit(runtime.run(main, tyro.cli(Args)))
