"""How long a user waits for the first gradient.

Question: how many seconds after Python starts is the first gradient there?
Command:  python -m experiments.gradients.first --out experiments/results/gradients/first
Runtime:  one minute on 2 idle cores
Expected: 30 s with a cold cache, 4 s where the executable is on disk
"""

import json
import multiprocessing
import os
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import jax

from experiments import records
from experiments.gradients import cost
from experiments.records import Args
from worldmodel import runtime
from worldmodel.runtime.executables import cached_jit

STATES = 64
TITLE, NOTE = "The first gradient", ""
COLUMNS: records.Columns = {
    "scene": "scene",
    "states": "states",
    "cache": "cache",
    "seconds after Python starts": "first_s:.1f",
}


def computed() -> float:
    """Computes the elbow's gradient; returns when [s] it was there."""
    runtime.configure(cache=True)
    bench = cost.SCENES["elbow"]

    @cached_jit(bench.scene(), bench.free, cost)
    def gradient(point: cost.Point) -> Any:
        return cost.program(bench, "gradient")(point)

    jax.block_until_ready(gradient(cost.batch(bench, STATES)))
    return time.time()


def main(args: Args) -> int:
    """Starts two processes that share a cache; prints one JSON line."""
    rows = []
    with tempfile.TemporaryDirectory() as cache:
        os.environ["JAX_COMPILATION_CACHE_DIR"] = cache
        for state in ("cold", "cached"):
            began = time.time()
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as fresh:
                seconds = fresh.submit(computed).result() - began
            rows.append({"scene": "elbow", "states": STATES, "cache": state, "first_s": seconds})
    records.write(args.out, TITLE, rows, COLUMNS)
    print(json.dumps({row["cache"]: row["first_s"] for row in rows} | {"out": str(args.out)}))
    return 0


if __name__ == "__main__":
    sys.exit(runtime.command(main, __doc__))
