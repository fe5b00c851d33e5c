"""How long a user waits for the first gradient.

Question: how many seconds after Python starts is the first gradient there?
Command:  python -m experiments.gradients.first --out experiments/results/gradients/first
Runtime:  one minute on 2 idle cores
Expected: 30 s with a cold cache, 4 s where the executable is on disk
"""

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import jax

from experiments import records
from experiments.gradients import rollouts
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


@dataclasses.dataclass(frozen=True)
class Args:
    """Command line."""

    out: Path
    child: bool = False  # computes the gradient in this process and prints when it is there


def main(args: Args) -> int:
    """Starts two processes that share a cache; prints one JSON line."""
    if args.child:
        runtime.configure(cache=True)
        bench = rollouts.elbow()

        @cached_jit(bench, rollouts)
        def gradient(point: rollouts.Point) -> Any:
            return rollouts.program(bench, "gradient")(point)

        jax.block_until_ready(gradient(rollouts.batch(bench, STATES)))
        print(json.dumps(time.time()))
        return 0
    rows = []
    command = [sys.executable, "-m", "experiments.gradients.first", "--out", str(args.out)]
    command += ["--child"]
    with tempfile.TemporaryDirectory() as cache:
        environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": cache}
        for state in ("cold", "cached"):
            began = time.time()
            done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
            seconds = json.loads(done.stdout.splitlines()[-1]) - began
            rows.append({"scene": "elbow", "states": STATES, "cache": state, "first_s": seconds})
    records.write(args.out, TITLE, rows, COLUMNS)
    print(json.dumps({row["cache"]: row["first_s"] for row in rows} | {"out": str(args.out)}))
    return 0


if __name__ == "__main__":
    sys.exit(runtime.command(main, __doc__))
