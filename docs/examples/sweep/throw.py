"""Fits the drag of thrown balls by stochastic gradient descent: a small config with a sweep.

The same command goes on where it was stopped, with the numbers of an undisturbed run.
"""

import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from worldmodel import runtime
from worldmodel.errors import InputError
from worldmodel.runtime.files import write_json

DRAG = 0.3  # of reality [1/s]


@dataclasses.dataclass(frozen=True)
class Args:
    """A fit."""

    out: Path
    learning_rate: float = 0.1
    steps: int = 200
    seed: int = 0


def main(args: Args, stop: Callable[[], bool]) -> int:
    """Fits; prints one JSON line."""
    if args.learning_rate <= 0:
        raise InputError(f"learning_rate = {args.learning_rate}; give one above 0")
    args.out.mkdir(parents=True, exist_ok=True)
    path = args.out / "state.json"
    state = json.loads(path.read_text()) if path.is_file() else {"step": 0, "drag": 0.0}
    while state["step"] < args.steps:
        rng = np.random.default_rng([args.seed, state["step"]])
        time = rng.uniform(0.5, 2.0, 8)  # of flight [s]
        landed = np.exp(-DRAG * time) + 0.01 * rng.standard_normal(8)
        predicted = np.exp(-state["drag"] * time)
        gradient = np.mean(2 * (predicted - landed) * -time * predicted)
        drag = state["drag"] - args.learning_rate * float(gradient)
        state = {"step": state["step"] + 1, "drag": drag}
        if stop() or state["step"] in (args.steps, args.steps // 2):
            write_json(path, state)
        if stop():
            raise runtime.Interrupted(f"stopped at step {state['step']}")
    print(json.dumps({"drag": state["drag"], "error": abs(state["drag"] - DRAG)}))
    return 0


def sweep(add: Callable[..., None]) -> None:
    """Two learning rates, three seeds."""
    for learning_rate in (0.1, 0.3):
        for seed in range(3):
            add(learning_rate=learning_rate, seed=seed)


if __name__ == "__main__":
    sys.exit(runtime.command(main, __doc__))
