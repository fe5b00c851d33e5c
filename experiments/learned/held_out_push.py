"""The learned half on a T that is pushed: ``held_out`` with the held-out reality of task push.

Question: how far is fitted physics from where the T is at the end of an episode, without and with
          the delays of the drives, and with a network on top of each?
Command:  python -m experiments.learned.held_out_push --fits runs/held_out_push
          --out experiments/results/learned/held_out/push
Runtime:  four minutes of a core for each size and seed
Expected: one JSON line; neither drives nor networks bring the error below 0.7 of the physics

A recording is captured: pushes of the task's expert who knows the machine, with a person's tremor,
towards goals that are drawn. Its sensors are exact, so *reality* begun at the same frame is the
recording. *Without drives* is that machine without its delay; *true numbers* is it with one
friction everywhere, its centre of mass where the MJCF has it, and no stiction.
"""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import numpy as np

from experiments.learned import held_out
from experiments.manipulation.push_reality import FRICTION, draw_hidden, robot
from worldmodel import loop, runtime
from worldmodel.commands.reading import read_log
from worldmodel.episodes.windows import Windows
from worldmodel.policies.plan import Demonstrator, SearchConfig
from worldmodel.reality import capture
from worldmodel.reality import disturbances as hidden
from worldmodel.reality.plant import Disturbance
from worldmodel.reality.simulated import SimulatedRobot, simulate
from worldmodel.tasks.push.expert import EXPERT
from worldmodel.tasks.push.task import MJCF, POINTS, Push
from worldmodel.types import Start, Trial

Args = held_out.Args
SEED = 0  # of the held-out machine
SEARCH = SearchConfig(32, 5, 4)
TREMOR = 0.1  # of a demonstrator's hand
FREE = (
    *(f"frictionloss:{joint}" for joint in FRICTION),
    *("friction:tip", "mass:tee", "gain:finger_x", "gain:finger_y"),
)
# What the MJCF's parameters can express, and the delay that its drives can.
EXPRESSED = (hidden.DryFriction, hidden.Friction, hidden.Mass, hidden.Gain, hidden.Delay)
TITLE = "push: errors of whole episodes on a held-out simulation"
NOTE = (
    "Mean distance of the T's three ends between the predicted and the recorded pose in test "
    "episodes, means over seeds, with 95 % intervals over the episodes; ratios are paired over "
    "them."
)

COLUMNS = held_out.columns("mm")


def record(folder: Path, count: int, seed: int) -> None:
    """Captures pushes; episodes that the folder has are not played again."""
    task = Push()
    drawing, planning, playing = jax.random.split(jax.random.key(seed), 3)
    starts, goals = loop.draw(task, drawing, count)
    expert = Demonstrator(task, EXPERT, SEARCH, planned=12, tremor=TREMOR)
    pushes = expert.plan(simulate(task, lambda: robot(task, SEED)), starts, goals, planning)
    trials = [
        Trial(*jax.tree.map(lambda x, i=i: np.asarray(x)[i], (starts, goals, pushes)))
        for i in range(count)
    ]
    capture(folder, robot(task, SEED), task, trials, playing)


def errors(qpos: np.ndarray, windows: Windows) -> np.ndarray:
    """(2, windows) [mm] of predictions: at the end, and over the frames."""
    apart = np.linalg.norm(_ends(np.asarray(qpos)) - _ends(np.asarray(windows.target)), axis=-1)
    each = 1e3 * apart.mean(-1)
    return np.stack([each[:, -1], each.mean(1)])


def _ends(qpos: np.ndarray) -> np.ndarray:
    """(…, 3, 2) [m] where the T's three ends are."""
    x, y, yaw = np.moveaxis(qpos[..., 2:, None], -2, 0)
    cos, sin, (a, b) = np.cos(yaw), np.sin(yaw), POINTS.T
    return np.stack([x + cos * a - sin * b, y + sin * a + cos * b], axis=-1)


def played(hidden: Sequence[Disturbance], windows: Windows) -> np.ndarray:
    """(2, windows) errors of a machine under the recorded commands, begun at the first frames."""
    machine, out = SimulatedRobot(Push(), hidden), []
    for qpos, ctrl in zip(np.asarray(windows.qpos), np.asarray(windows.ctrl), strict=True):
        machine.reset(Start(qpos, np.zeros_like(qpos)))
        out.append([machine.step(c).joints for c in ctrl])
    return errors(np.array(out), windows)


def known(test: Path) -> held_out.Errors:
    """Those of the held-out machine itself, of it without delay, and of what a fit may move."""
    windows = held_out.whole(read_log(test, None, Push().scene.mj_model, None).reading.episodes, 0)
    all_of_it = draw_hidden(SEED)
    machines = {
        "reality": all_of_it,
        "reality without drives": [d for d in all_of_it if not isinstance(d, hidden.Delay)],
        "true numbers": [d for d in all_of_it if isinstance(d, EXPRESSED)],
    }
    return {name: played(machine, windows) for name, machine in machines.items()}


PUSH = held_out.Problem(
    title=TITLE,
    note=NOTE,
    columns=COLUMNS,
    label="the T's error at the end [mm]",
    scene=MJCF,
    frame=0,
    record=record,
    errors=errors,
    known=known,
    options={"substeps": 4, "horizon": 75, "iterations": 15},
    free=FREE,
    drives=("delay:finger_x", "delay:finger_y"),
)


def main(args: Args, stop: Callable[[], bool]) -> int:
    """See ``held_out.run``."""
    return held_out.run(PUSH, args, stop)


if __name__ == "__main__":
    sys.exit(runtime.command(main, __doc__))
