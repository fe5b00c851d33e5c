"""The loop's executables, compiled in a second process while the first still plays reality.

Question: none; a rehearsal of the loop's stages on a few synthetic episodes.
Command:  python -m experiments.slide.precompile
Runtime:  two minutes on one core from a cold cache, --full five; a few seconds otherwise
Expected: one line per stage whose executables are in the compilation cache

``close_the_loop`` starts it and, before the first use of a stage's executables, waits for its line.
The rehearsal calls what the loop calls, with the same shapes, so the executables are the same. If
it fails or is slow, the loop compiles them itself.
"""

import dataclasses
import select
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO

import jax
import numpy as np
import tyro

from experiments.slide import reality, turn
from experiments.slide import study as slide
from worldmodel import loop, runtime
from worldmodel.model import init
from worldmodel.rollout import Constant
from worldmodel.tasks.play import episodes

STAGES = ("prediction", "physics fit")
FULL_STAGES = (*STAGES, "hybrid fit", "hybrid simulator")


class Precompilation:
    """The second process; leaving ends it."""

    def __init__(self, *, full: bool, smoke: bool) -> None:
        command = [sys.executable, "-m", "experiments.slide.precompile"]
        command += ["--full"] * full + ["--smoke"] * smoke
        # In a process group of its own, so that Ctrl-C at the terminal reaches the loop alone.
        self._process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            start_new_session=True,
        )
        self._lines = b""

    def wait(self, stage: str, poll: Callable[[], None]) -> None:
        """Returns when a stage is compiled, or the process has ended without it.

        Args:
          stage: one of ``FULL_STAGES``.
          poll: called every second; may raise to leave.
        """
        pipe: IO[bytes] | None = self._process.stdout
        assert pipe is not None and stage in FULL_STAGES
        while f"{stage}\n".encode() not in self._lines:
            poll()
            if not select.select([pipe], [], [], 1.0)[0]:
                continue
            received = pipe.read(4096)
            if not received:
                return
            self._lines += received

    def __enter__(self) -> "Precompilation":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()


@dataclasses.dataclass(frozen=True)
class Args:
    """Command line: of the loop that is rehearsed."""

    full: bool = False
    smoke: bool = False


def main(args: Args) -> int:
    """Compiles everything, in the order in which the loop needs it."""
    runtime.configure()
    study = slide.FULL if args.full else slide.STUDY
    study = slide.smoke(study) if args.smoke else study
    world = turn.physics(study)
    task, hybrid = reality.slide_task(), turn.hybrid(world)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        v0 = loop.first_version(out / "versions", world)
        simulate = turn.player(v0, study)
        print(STAGES[0], flush=True)
        start, goal = turn.draw(study.first, turn.key(0))
        strokes = Constant(np.zeros((study.first, task.action_size)))
        played = simulate(strokes, start, goal, turn.key(0))
        corrections = episodes(task, played, goal, source="v0")
        for model in (world, hybrid) if args.full else (world,):
            try:  # stops after one step
                turn.refit(out, v0, model.name, model, corrections, study, lambda: True)
            except runtime.Interrupted:
                print(f"{model.name} fit", flush=True)
        if args.full:
            parameters = init(hybrid, jax.random.key(0))
            rehearsed = loop.Version("hybrid", "v0", hybrid, parameters, 0)
            turn.player(rehearsed, study)(strokes, start, goal, turn.key(0))
            print(FULL_STAGES[-1], flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(runtime.run(main, tyro.cli(Args, description=__doc__)))
