"""The learned half on a puck that is struck: ``held_out`` with the held-out reality of task slide.

Question: how far is fitted physics from where the puck is at the end of an episode, without and
          with the numbers of the arm's drives, and with a network on top of each?
Command:  python -m experiments.learned.held_out_slide --fits runs/held_out_slide
          --out experiments/results/learned/held_out/slide
Runtime:  four minutes of a core for each size and seed
Expected: one JSON line; neither drives nor networks bring the error below 0.7 of the physics

A recording is captured: strokes of the expert who knows the machine, with a person's error, towards
goals that are drawn. Test episodes are predicted whole from their first frame, at rest where the
sensors have it. *Reality* is the held-out machine begun at the same frames, its puck a millimetre
from where it was; *without drives* its arm has no delay and no lag. *True numbers* is that machine
with a friction that is the same everywhere and at every speed, as its factor at rest has it.
"""

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np

from experiments.learned import held_out
from experiments.slide import reality
from experiments.slide.study import HIDDEN_SEEDS
from experiments.slide.turn import draw, key
from worldmodel import runtime
from worldmodel.commands.reading import read_log
from worldmodel.episodes.windows import Windows
from worldmodel.reality import capture
from worldmodel.reality.disturbances import Delay, FrictionPatches, Lag
from worldmodel.tasks.slide.expert import Demonstrator
from worldmodel.tasks.slide.task import MJCF, PUCK, SUBSTEPS
from worldmodel.types import Trial

Args = held_out.Args
TITLE = "slide: errors of whole episodes on a held-out simulation"
NOTE = (
    "Distance between the predicted and the recorded puck in test episodes, means over seeds, with "
    "95 % intervals over the episodes; ratios are paired over them."
)
COLUMNS = held_out.columns("mm")


def record(folder: Path, count: int, seed: int) -> None:
    """Captures strokes; episodes that the folder has are not played again."""
    hidden, (start, goal) = reality.draw_hidden(HIDDEN_SEEDS[0]), draw(count, key(seed))
    strokes = Demonstrator().plan(reality.simulator(hidden), start, goal, key(seed, 1))
    trials = [
        Trial(*jax.tree.map(lambda x, i=i: x[i], (start, goal, strokes))) for i in range(count)
    ]
    capture(folder, reality.robot(hidden, seed), reality.slide_task(), trials, key(seed, 2))


def puck_errors(qpos: np.ndarray, windows: Windows) -> np.ndarray:
    """(2, windows) [mm] of predictions: at the end, and over the frames."""
    apart = 1e3 * np.linalg.norm((qpos - np.asarray(windows.target))[..., PUCK], axis=-1)
    return np.stack([apart[:, -1], apart.mean(1)])


def known(test: Path) -> held_out.Errors:
    """Those of the held-out machine itself, of it without drives, and with an even friction."""
    model = reality.slide_task().scene.mj_model
    windows = held_out.whole(read_log(test, None, model, None).reading.episodes, 0)
    start = np.asarray(windows.qpos), np.asarray(windows.ctrl)
    exact = reality.without_noise(reality.draw_hidden(HIDDEN_SEEDS[0]))
    even = tuple(
        dataclasses.replace(d, amplitude=0.0, speed=0.0) if isinstance(d, FrictionPatches) else d
        for d in exact
    )
    machines = {
        "reality": exact,
        "reality without drives": tuple(d for d in exact if not isinstance(d, (Delay, Lag))),
        "true numbers": even,
    }
    return {
        name: puck_errors(reality.play((hidden, (0,), *start))[0][:, 1:], windows)
        for name, hidden in machines.items()
    }


def _of_the_arm(*kinds: str) -> tuple[str, ...]:
    return tuple(f"{kind}:{joint}" for kind in kinds for joint in ("shoulder", "elbow"))


SLIDE = held_out.Problem(
    title=TITLE,
    note=NOTE,
    columns=COLUMNS,
    label="the puck's error at the end [mm]",
    scene=MJCF,
    frame=0,
    record=record,
    errors=puck_errors,
    known=known,
    # Windows of 1.5 s: most shorter ones have a puck at rest, to which noise gives a velocity.
    options={"substeps": SUBSTEPS, "horizon": 75, "iterations": 15, "steps": 200},
    free=("friction:puck_base", "mass:puck", *_of_the_arm("damping", "gain", "kv")),
    drives=_of_the_arm("delay", "lag"),
)


def main(args: Args, stop: Callable[[], bool]) -> int:
    """See ``held_out.run``."""
    return held_out.run(SLIDE, args, stop)


if __name__ == "__main__":
    sys.exit(runtime.command(main, __doc__))
