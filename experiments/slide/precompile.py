"""The loop's programs, compiled in a second process while the first still plays reality.

Question: none; a rehearsal of the loop's stages on a few simulated episodes.
Command:  python -m experiments.slide.precompile
Runtime:  four minutes on 2 cores from a cold cache, half a minute otherwise
Expected: one line per program, which now lies in the compilation cache

``close_the_loop`` starts it and, before the first use of a program, waits for its line. The
rehearsal calls what the loop calls, with the same shapes, so the programs are the same; should
it fail or be slow, the loop compiles for itself.
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

from experiments.slide.study import study as slide
from worldmodel import loop, runtime
from worldmodel.model import WorldModel, init
from worldmodel.tasks.slide import task

PROGRAMS = ("physics simulator", "physics fit", "hybrid fit", "hybrid simulator")


class Ahead:
    """The second process; leaving ends it."""

    def __init__(self, *, smoke: bool) -> None:
        command = [sys.executable, "-m", "experiments.slide.precompile", *(["--smoke"] * smoke)]
        # A session of its own: a Ctrl-C at the terminal is the loop's to answer.
        self._process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            start_new_session=True,
        )
        self._said = b""

    def wait(self, program: str, asked: Callable[[], None]) -> None:
        """Returns when the program is compiled, or will not be.

        Args:
          program: one of ``PROGRAMS``.
          asked: called every second; may raise to leave.
        """
        pipe: IO[bytes] | None = self._process.stdout
        assert pipe is not None and program in PROGRAMS
        while f"{program}\n".encode() not in self._said:
            asked()
            if not select.select([pipe], [], [], 1.0)[0]:
                continue
            heard = pipe.read(4096)
            if not heard:
                return
            self._said += heard

    def __enter__(self) -> "Ahead":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()


@dataclasses.dataclass(frozen=True)
class Args:
    """Command line."""

    smoke: bool = False  # the programs of close_the_loop --smoke


def main(args: Args) -> int:
    """Compiles everything, in the order in which the loop needs it."""
    runtime.configure()
    study = slide.SMOKE if args.smoke else slide.STUDY
    world = WorldModel(slide.scene(), slide.FREE, network=study.network)
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        v0 = loop.first_version(directory, world)
        _, episodes = loop.generate(v0, study.first, study.noise, rng)
        print(PROGRAMS[0], flush=True)
        for kind, config in (("physics", study.physics), ("hybrid", study.hybrid)):
            try:
                loop.finetune(
                    directory,
                    v0,
                    kind,
                    kind,
                    episodes,
                    config,
                    held_out=study.first // study.held_out,
                    spent=study.first,
                    record=lambda row: None,
                    stop=lambda: True,  # after one step
                )
            except runtime.Interrupted:
                print(f"{kind} fit", flush=True)
        hybrid = dataclasses.replace(world, kind="hybrid")
        rehearsed = loop.Version("hybrid", "v0", hybrid, init(hybrid, jax.random.key(0)), 0)
        strokes = np.stack([np.full(loop.BATCH, 1.5), np.zeros(loop.BATCH)], axis=1)
        start = np.zeros(loop.BATCH)
        loop.simulator(rehearsed)(task.initial_qpos(start, strokes), task.play(start, strokes))
        print(PROGRAMS[3], flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(runtime.run(main, tyro.cli(Args, description=__doc__)))
