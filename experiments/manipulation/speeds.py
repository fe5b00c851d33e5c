"""How fast is each task in C MuJoCo and in MJX, forward and with its gradient?

Question: control steps per second of a core, contact slots and seconds of compilation, by task
Command:  python -m experiments.manipulation.speeds --out experiments/results/manipulation/speeds
Runtime:  3 minutes on 2 idle cores, and slide's compilations
Expected: one core of MJX takes thousands of control steps a second of every task; a gradient costs
          5 times as much on grasp, 12 on push, 22 on swing_up

A batch holds random commands, each episode for itself, from the task's own starts. The gradient is
that of the mean final position in the free parameters, the starts and the commands. Seconds are
those of cores, so that a machine's other work does not count; on a GPU they are of the clock. The
same command goes on where it was stopped.
"""

import json
import sys
import time
import timeit
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments import records
from experiments.records import Args, Row
from worldmodel import loop, runtime
from worldmodel.episodes.windows import History
from worldmodel.errors import InputError
from worldmodel.model import WorldModel, init
from worldmodel.model.world import make_step, start
from worldmodel.physics import SOLUTION
from worldmodel.rollout import Replay, rollout
from worldmodel.scene.collisions import allocation
from worldmodel.scene.replay import replayed
from worldmodel.tasks.grasp.task import Grasp
from worldmodel.tasks.push.task import Push
from worldmodel.tasks.slide.task import SlideTask
from worldmodel.tasks.swing_up.task import SwingUp
from worldmodel.tasks.task import Task

TASKS = {"grasp": Grasp, "swing_up": SwingUp, "push": Push, "slide": SlideTask}
BATCH, STEPS = 64, 50  # episodes, and control steps of each
TITLE = "Control steps per second"
NOTE = "Of one core, or of a GPU; its name is in table.json. A gradient: × the forward's seconds."
COLUMNS: records.Columns = {
    "task": "task",
    "contact slots": "slots",
    "substeps": "substeps",
    "batch": "batch",
    "C [1/s]": "c:.0f",
    "MJX [1/s]": "forward:.0f",
    "gradient [1/s]": "gradient:.0f",
    "gradient": lambda row: f"{row['forward'] / row['gradient']:.2f} ×",
    "compile forward [s]": "compile_forward:.0f",
    "compile gradient [s]": "compile_gradient:.0f",
}


def clock() -> float:
    """[s] of the cores; of the clock where something else computes."""
    return time.process_time() if jax.default_backend() == "cpu" else time.perf_counter()


def seconds(call: Callable[[], Any]) -> float:
    """Of the quickest of three calls, after one to warm up."""
    return min(timeit.repeat(call, timer=clock, repeat=4, number=1)[1:])


def drawn(task: Task) -> Row:
    """A batch of starts and random commands around those that hold the start."""
    starts, _ = loop.draw(task, jax.random.key(0), BATCH)
    m = task.scene.mj_model
    low, high = np.where(m.actuator_ctrllimited[:, None] > 0, m.actuator_ctrlrange, [-1.0, 1.0]).T
    u = np.random.default_rng(0).uniform(0.4, 0.6, (BATCH, STEPS, m.nu))
    return {"qpos": starts.qpos, "qvel": starts.qvel, "ctrl": low + u * (high - low)}


def measured(name: str) -> Row:
    """The row of a task."""
    task = TASKS[name]()
    world = WorldModel(task.scene, task.free)
    parameters, batch = init(world, jax.random.key(0)), drawn(task)

    def final(physics: Any, x: Row) -> jax.Array:
        moved = parameters | {"physics": physics}
        history = History.without_past(x["qpos"], x["qvel"], task.scene.mj_model.nu)
        state = start(world, moved, history)
        step, policy = make_step(world, moved), Replay(x["ctrl"])
        states, _ = rollout(step, policy, state, STEPS, jax.random.key(0), keep=(SOLUTION,))
        return jnp.mean(states.qpos[-1])

    def mean(physics: Any, batch: Row) -> jax.Array:
        return jnp.mean(jax.vmap(final, (None, 0))(physics, batch))

    row: Row = {"task": name, "slots": allocation(task.scene.mj_model).slots, "batch": BATCH}
    row |= {"substeps": task.scene.substeps, "steps": STEPS}
    taken, given = BATCH * STEPS, (parameters["physics"], batch)
    for kind, program in (("forward", mean), ("gradient", jax.value_and_grad(mean, (0, 1)))):
        began = clock()
        compiled = jax.jit(program).lower(*given).compile()
        row[f"compile_{kind}"] = clock() - began
        row[kind] = taken / seconds(lambda call=compiled: jax.block_until_ready(call(*given)))
        if not all(bool(jnp.isfinite(x).all()) for x in jax.tree.leaves(compiled(*given))):
            raise InputError(f"{name}: the {kind} is not finite; look at its scene")
    model, substeps = task.scene.mj_model, task.scene.substeps
    play = lambda: replayed(model, substeps, *batch.values())  # noqa: E731
    row["c"] = taken / seconds(play)
    return row


def main(args: Args) -> int:
    """Measures task after task; prints one JSON line."""
    runtime.configure(cache=False)
    rows = records.kept(args.out)
    for name in TASKS:
        if name not in [row["task"] for row in rows]:
            rows.append(measured(name))
            records.write(args.out, TITLE, rows, COLUMNS, note=NOTE)
    print(json.dumps({row["task"]: row["forward"] for row in rows}))
    return 0


if __name__ == "__main__":
    sys.exit(runtime.command(main, __doc__))
