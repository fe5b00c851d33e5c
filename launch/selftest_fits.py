"""What ``launch.selftest`` runs: eight small fits, the first of which passes a minute."""

import dataclasses
import json
import random
import time
from collections.abc import Callable
from pathlib import Path

from worldmodel import runtime
from worldmodel.runtime.files import write_json


@dataclasses.dataclass(frozen=True)
class Fit:
    """A fit."""

    out: Path
    steps: int = 20
    pause: float = 0.2  # per step [s]
    seed: int = 0


def main(args: Fit, stop: Callable[[], bool]) -> int:
    """Finds the mean of noisy numbers by stochastic gradient descent; keeps every step."""
    args.out.mkdir(exist_ok=True)
    path = args.out / "state.json"
    state = json.loads(path.read_text()) if path.is_file() else {"step": 0, "mean": 0.0}
    runtime.log(f"begins at {state['step']}")
    while state["step"] < args.steps:
        time.sleep(args.pause)
        noisy = random.Random(f"{args.seed} {state['step']}").gauss(1.0, 0.1)
        mean = state["mean"] - 0.1 * (state["mean"] - noisy)
        state = {"step": state["step"] + 1, "mean": mean}
        write_json(path, state)
        if stop():
            raise runtime.Interrupted(f"stopped at {state['step']}")
    print(json.dumps({"mean": state["mean"]}))
    return 0


def sweep(add: Callable[..., None]) -> None:
    """One that comes to a time limit of two minutes, three long enough to be disturbed, four."""
    for seed, steps in enumerate((500, 60, 60, 60, 20, 20, 20, 20)):
        add(seed=seed, steps=steps)
