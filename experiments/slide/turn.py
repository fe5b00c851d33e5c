"""What every turn of the loop does with reality and the world model; shared by its experiments.

Nothing here knows of cells or of alpha: a policy is cloned, deployed and captured, and a version
is finetuned on what came back, each taken from its folder where an earlier run finished it.
"""

import dataclasses
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.slide.study import study as slide
from experiments.recordings.fit_physics import append_row
from worldmodel.reality import capture
from worldmodel import loop, runtime
from worldmodel.tasks.slide import clone
from worldmodel.tasks.slide import task
from worldmodel.tasks.slide.expert import Noise, Table, demonstrate
from worldmodel.reality import Robot


@dataclasses.dataclass(frozen=True)
class Operator:
    """The person at the real robot: the demonstrator program with reality's own table."""

    table: Table
    noise: Noise

    def demonstrate(self, contexts: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """(episodes, 3) contexts → (episodes, 2) strokes."""
        return demonstrate(self.table, task.Contexts(*contexts.T), self.noise, rng)


class Clock:
    """Seconds per stage, and a line when one begins."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.seconds: dict[str, float] = json.loads(path.read_text()) if path.is_file() else {}
        self._began = time.monotonic()

    def start(self, stage: str) -> None:
        """Says that a stage begins."""
        runtime.log(f"── {stage} ({time.monotonic() - self._began:.0f} s so far)")
        self._stage, self._at = stage, time.monotonic()

    def done(self) -> None:
        """Adds the stage's time; a resumed stage counts all its parts."""
        spent = self.seconds.get(self._stage, 0.0) + time.monotonic() - self._at
        self.seconds[self._stage] = round(spent, 2)
        capture.write_whole(self._path, json.dumps(self.seconds).encode())


def claim(out: Path, settings: dict[str, Any]) -> None:
    """One folder, one study: refuses a folder that another one's results lie in.

    Raises:
      LoopError: ``out`` was begun with other settings.
    """
    out.mkdir(parents=True, exist_ok=True)
    path, wanted = out / "study.json", json.dumps(settings, indent=1)
    if path.is_file() and path.read_text() != wanted:
        raise loop.LoopError(f"{path} is of another study; give another --out")
    capture.write_whole(path, wanted.encode())


def examples(captured: Sequence[capture.Captured]) -> tuple[np.ndarray, np.ndarray]:
    """What a policy learns from: contexts (episodes, 3) and strokes (episodes, 2)."""
    return np.stack([c.context for c in captured]), np.stack([c.stroke for c in captured])


def deploy(
    out: Path,
    name: str,
    made_up: Sequence[capture.Captured],
    asked: task.Contexts,
    machine: Robot,
    study: slide.Study,
    stop: Callable[[], bool],
    *,
    seed: int = 0,
) -> list[capture.Captured]:
    """Clones a version's policy from its synthetic episodes, and captures it on the robot.

    Args:
      asked: one context per correction.
      seed: of the policy's first weights.
    """
    weights = clone.clone([examples(made_up[: study.deployed])], [seed], study.recipe)[0]
    clone.save(out / "policies" / name, weights, study.recipe, {"version": name})
    played = clone.act(weights, asked, study.recipe)
    return capture.capture(out / "corrections" / name, machine, asked, played, stop=stop)


def refit(
    out: Path,
    parent: loop.Version,
    name: str,
    kind: str,
    captured: Sequence[capture.Captured],
    study: slide.Study,
    stop: Callable[[], bool],
    *,
    seed: int = 0,
) -> loop.Version:
    """The next version, finetuned as the study says; one row per step goes to metrics.jsonl.

    Args:
      captured: all corrections that it has cost, ancestors' included.
      seed: of the network's first weights and of the order of the windows.
    """
    config = {"physics": study.physics, "hybrid": study.hybrid}[kind]
    return loop.finetune(
        out / "versions",
        parent,
        name,
        kind,
        captured,
        dataclasses.replace(config, seed=seed),
        held_out=len(captured) // study.held_out,
        spent=len(captured),
        record=lambda row: append_row(out / "metrics.jsonl", {"version": name} | row),
        stop=stop,
    )
