"""The loop's executables, compiled in a second process while the first still plays reality.

Question: none; a rehearsal of the loop's stages on a few synthetic episodes.
Command:  python -m experiments.slide.precompile
Runtime:  two minutes on one core from a cold cache, --full five; a few seconds otherwise
Expected: exit status 0; everything that the loop runs in MJX is in the compilation cache

``close_the_loop`` starts it and waits for its end before it plays the first version. The rehearsal
calls what the loop calls, with the same shapes, so the executables are the same. If it fails, the
loop compiles them itself.
"""

import contextlib
import dataclasses
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np

from experiments.slide import reality, turn
from experiments.slide import study as slide
from worldmodel import loop, runtime
from worldmodel.model import init
from worldmodel.rollout import Constant
from worldmodel.tasks.play import episodes


@dataclasses.dataclass(frozen=True)
class Args:
    """Command line: of the loop that is rehearsed."""

    full: bool = False
    smoke: bool = False


@contextlib.contextmanager
def rehearsal(args: Args) -> Iterator[subprocess.Popen]:
    """The second process; leaving ends it."""
    command = [sys.executable, "-m", "experiments.slide.precompile"]
    command += ["--full"] * args.full + ["--smoke"] * args.smoke
    # In a process group of its own, so that Ctrl-C at the terminal reaches the loop alone.
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def main(args: Args) -> int:
    """Compiles everything that the loop needs."""
    runtime.configure()
    study = slide.FULL if args.full else slide.STUDY
    study = slide.smoke(study) if args.smoke else study
    world = turn.physics(study)
    task, hybrid = reality.slide_task(), turn.hybrid(world)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        v0 = loop.first_version(out / "versions", world)
        simulate = turn.player(v0, study)
        start, goal = turn.draw(study.first, turn.key(0))
        strokes = Constant(np.zeros((study.first, task.action_size)))
        played = simulate(strokes, start, goal, turn.key(0))
        corrections = episodes(task, played, goal, source="v0")
        for model in (world, hybrid) if args.full else (world,):
            with contextlib.suppress(runtime.Interrupted):  # stops after one step
                turn.refit(out, v0, model.name, model, corrections, study, lambda: True)
        if args.full:
            parameters = init(hybrid, jax.random.key(0))
            rehearsed = loop.Version("hybrid", "v0", hybrid, parameters, 0)
            turn.player(rehearsed, study)(strokes, start, goal, turn.key(0))
    return 0


if __name__ == "__main__":
    sys.exit(runtime.command(main, __doc__))
