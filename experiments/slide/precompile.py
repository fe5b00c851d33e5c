"""The loop's executables, compiled in a second process while the first still plays reality.

Question: none; a rehearsal of the loop's stages on a few synthetic episodes.
Command:  python -m experiments.slide.precompile
Runtime:  four minutes on 2 cores from a cold cache, half a minute otherwise
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

from experiments.slide import study as slide
from experiments.slide import turn
from worldmodel import loop, runtime
from worldmodel.model import init
from worldmodel.tasks.slide import task

STAGES = ("physics simulator", "physics fit", "hybrid fit", "hybrid simulator")


class Precompilation:
    """The second process; leaving ends it."""

    def __init__(self, *, smoke: bool) -> None:
        command = [sys.executable, "-m", "experiments.slide.precompile", *(["--smoke"] * smoke)]
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
          stage: one of ``STAGES``.
          poll: called every second; may raise to leave.
        """
        pipe: IO[bytes] | None = self._process.stdout
        assert pipe is not None and stage in STAGES
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
    """Command line."""

    smoke: bool = False  # the executables of close_the_loop --smoke


def main(args: Args) -> int:
    """Compiles everything, in the order in which the loop needs it."""
    runtime.configure()
    study = slide.SMOKE if args.smoke else slide.STUDY
    world = turn.physics(study)
    hybrid = turn.hybrid(world)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        v0 = loop.first_version(out / "versions", world)
        rng = np.random.default_rng(0)
        _, episodes = turn.synthetic_demonstrations(v0, study.first, study.noise, rng)
        print(STAGES[0], flush=True)
        for model in (world, hybrid):
            try:  # stops after one step
                turn.refit(out, v0, model.name, model, episodes, study, lambda: True)
            except runtime.Interrupted:
                print(f"{model.name} fit", flush=True)
        rehearsed = loop.Version("hybrid", "v0", hybrid, init(hybrid, jax.random.key(0)), 0)
        strokes = np.stack([np.full(loop.BATCH, 1.5), np.zeros(loop.BATCH)], axis=1)
        start = np.zeros(loop.BATCH)
        loop.simulator(rehearsed)(task.initial_qpos(start, strokes), task.play(start, strokes))
        print(STAGES[3], flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(runtime.run(main, tyro.cli(Args, description=__doc__)))
