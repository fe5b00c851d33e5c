"""Where the gradient of a grasp helps a fit, and where it misleads.

Question: the derivative of a prediction's error in the pads' friction and the box's mass, exact and
          over a prior width, by how many frames are predicted
Command:  python -m experiments.manipulation.slip --out experiments/results/manipulation/slip
Runtime:  8 minutes on 2 idle cores; seconds with --gradients none
Expected: TODO

Sixteen grips of a trembling expert, from one that slips to one that holds, are played in the
held-out reality (its pilot seed). The task's model predicts them from their start and their
commands, and the error is the mean distance of the box, in mm, over the first so many frames.
Numbers are in prior widths. *over a width*: the central difference over ± 1 width, which is what a
fit is after. *difference*: over ± 1e-4. *gradient*: MJX's, also with every option of ``Backward``.
"""

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments import records
from experiments.manipulation.reality import PILOT_SEED, robot
from worldmodel import loop, runtime
from worldmodel.episodes.windows import History
from worldmodel.errors import InputError
from worldmodel.finetune.moved import compiled, unpacked
from worldmodel.model import Physics, WorldModel, init
from worldmodel.model.world import make_step, start
from worldmodel.physics import Backward
from worldmodel.policies.plan import Trembling
from worldmodel.reality.simulated import simulate
from worldmodel.rollout import Replay, rollout
from worldmodel.scene.replay import replayed
from worldmodel.tasks.grasp.expert import EXPERT
from worldmodel.tasks.grasp.task import BOX_X, BOX_Z, Grasp
from worldmodel.tasks.play import episodes

NUMBERS = ("friction", "mass")  # of the box: the task's free parameters
HORIZONS = (20, 30, 40, 50, 60, 80, 100, 150)  # frames
WIDE, NARROW = 1.0, 1e-4  # [prior widths]
GRIPS = np.linspace(0.011, 0.02, 16)  # [m] squeezes
TREMOR = 0.1  # of the hand, as demonstrators have it in ``two_turns``
OPTIONS = {
    "plain": Backward(),
    "contact_width": Backward(contact_width=1e-3),
    "touch_speed": Backward(touch_speed=0.1),
    "jacobian_limit": Backward(jacobian_limit=10.0),
}
TITLE = "Derivatives of a grasp's prediction"
NOTE = (
    "mm per prior width, of the mean distance of the box over so many frames. The pads touch the "
    "box after about 25 frames and lift it after 32; it slips on the way or falls, or is put down "
    "at 80 to 100."
)
COLUMNS: records.Columns = {
    "frames": "frames",
    "number": "number",
    "error [mm]": "error:.2f",
    "over a width": "wide:.3g",
    "difference": "narrow:.3g",
    **{f"gradient, {name}": f"{name}:.3g" for name in OPTIONS},
}
Row = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Args:
    """Command line."""

    out: Path
    gradients: tuple[str, ...] = tuple(OPTIONS)  # of MJX; ``none`` for differences in C alone


def recorded(task: Grasp) -> tuple[np.ndarray, np.ndarray]:
    """(episodes, frames + 1, nq) and (episodes, frames, nu): grips in the held-out reality."""
    starts, goals = loop.draw(task, jax.random.key(0), len(GRIPS))
    rest = np.tile([0.35, 0.0, 0.005], (len(GRIPS), 1))
    parameters = jnp.asarray(np.column_stack([GRIPS, rest]))
    policy = Trembling(jax.vmap(EXPERT.policy)(parameters, goals), np.full(len(GRIPS), TREMOR))
    world = simulate(task, lambda: robot(task, PILOT_SEED))
    played = episodes(task, world(policy, starts, goals, jax.random.key(0)), goals, source="real")
    return np.stack([e.qpos for e in played]), np.stack([e.ctrl[:-1] for e in played])


def distances(world: WorldModel, u: np.ndarray, qpos: np.ndarray, ctrl: np.ndarray) -> np.ndarray:
    """(episodes, frames) [mm] of the box from where it was, predicted in C MuJoCo.

    Args:
      u: (2,) the world's numbers.
    """
    scene, still = world.scene, np.zeros_like(qpos[:, 0])
    rows = replayed(compiled(world)(u), scene.substeps, qpos[:, 0], still, ctrl)
    off = (rows - qpos[:, 1:])[..., [BOX_X, BOX_Z]]
    return 1e3 * np.linalg.norm(off, axis=-1)


def gradients(
    task: Grasp, backward: Backward, qpos: np.ndarray, ctrl: np.ndarray
) -> dict[int, np.ndarray]:
    """(2,) MJX's gradient of the mean distance [mm], by the number of frames."""
    world = WorldModel(task.scene, task.free, base=Physics(backward))
    blank, rows = init(world, jax.random.key(0)), (jnp.asarray(qpos), jnp.asarray(ctrl))

    def one(u: jax.Array, weight: jax.Array, wanted: jax.Array, ctrl: jax.Array) -> jax.Array:
        moved = blank | {"physics": unpacked(world, u)}
        history = History.without_past(wanted[0], jnp.zeros(7), ctrl.shape[1])
        begin, step = start(world, moved, history), make_step(world, moved)
        states, _ = rollout(step, Replay(ctrl), begin, len(ctrl), jax.random.key(0))
        off = (states.qpos - wanted[1:])[:, jnp.array([BOX_X, BOX_Z])]
        return 1e3 * weight @ jnp.sqrt(jnp.sum(jnp.square(off), axis=1) + 1e-12)

    def mean(u: jax.Array, weight: jax.Array) -> jax.Array:
        return jnp.mean(jax.vmap(one, (None, None, 0, 0))(u, weight, *rows))

    slope = jax.jit(jax.grad(mean))
    return {
        frames: np.asarray(slope(jnp.zeros(2), (np.arange(ctrl.shape[1]) < frames) / frames))
        for frames in HORIZONS
    }


def main(args: Args) -> int:
    """Measures; prints one JSON line."""
    runtime.configure()
    wanted = [name for name in args.gradients if name != "none"]
    if unknown := set(wanted) - set(OPTIONS):
        raise InputError(f"--gradients {sorted(unknown)}: there are none, {', '.join(OPTIONS)}")
    task = Grasp()
    world, (qpos, ctrl) = WorldModel(task.scene, task.free), recorded(task)
    slopes: dict[str, dict[int, np.ndarray]] = {}
    for name in wanted:
        slopes[name] = gradients(task, OPTIONS[name], qpos, ctrl)
        runtime.log(f"{name}: {slopes[name]}")
    rows: list[Row] = []
    here = distances(world, np.zeros(2), qpos, ctrl)
    for number, direction in zip(NUMBERS, np.eye(2), strict=True):
        there = {
            width: [distances(world, s * width * direction, qpos, ctrl) for s in (1.0, -1.0)]
            for width in (WIDE, NARROW)
        }
        for frames in HORIZONS:
            row: Row = {"frames": frames, "number": number, "error": here[:, :frames].mean()}
            for kind, width in (("wide", WIDE), ("narrow", NARROW)):
                more, less = (x[:, :frames].mean() for x in there[width])
                row[kind] = (more - less) / (2.0 * width)
            for name in OPTIONS:
                row[name] = slopes[name][frames] @ direction if name in slopes else None
            rows.append(row)
    records.write(args.out, TITLE, rows, COLUMNS, note=NOTE)
    print(json.dumps({f"{r['number']} {r['frames']}": [r["wide"], r["narrow"]] for r in rows}))
    return 0


if __name__ == "__main__":
    sys.exit(runtime.command(main, __doc__))
