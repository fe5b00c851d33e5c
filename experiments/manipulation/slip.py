"""Where the derivative of a grasp helps a fit, and where it misleads.

Question: the derivative of a prediction's error in the friction and the mass of the box, exact,
          over a prior width, and with the options of ``Backward``, by how many frames are predicted
Command:  python -m experiments.manipulation.slip --out experiments/results/manipulation/slip
Runtime:  ten minutes on a core, most of it compiling
Expected: zero before the touch; of friction one fortieth to a hundredth of what a width does while
          the model still holds what slips in reality, and of any size once the box is put down;
          of mass 0.7 to 1 times up to 100 frames; a contact_width of 0.1 mm raises that of
          friction four to five times, and has that of mass within a tenth, up to 80 frames

Sixteen grips of a trembling expert, from one that slips to one that holds, are played in the
held-out reality (its pilot seed). The task's model predicts them from their start and their
commands, and the error is the mean distance of the box, in mm, over the first so many
frames. Numbers are in prior widths. *over a width*: the central difference over ± 1 width, which is
what a fit is after. *exact*: over ± 1e-4, both in C MuJoCo. *MJX* is
the derivative through the contact solver, which must be the exact one; the other columns are its
with the options of ``Backward``, which change the derivative and no prediction.
"""

import dataclasses
import json
import sys

import jax
import jax.numpy as jnp
import numpy as np

from experiments import records
from experiments.manipulation.reality import PILOT_SEED, robot
from experiments.records import Args, Row
from worldmodel import loop, runtime
from worldmodel.episodes.windows import History
from worldmodel.finetune.moved import compiled, unpacked
from worldmodel.model import Physics, WorldModel, init
from worldmodel.model.simulate import simulate as simulate_model
from worldmodel.physics.backward import Backward
from worldmodel.policies.plan import Trembling
from worldmodel.reality.simulated import simulate
from worldmodel.scene.replay import replayed
from worldmodel.tasks.grasp.expert import EXPERT
from worldmodel.tasks.grasp.task import BOX_X, BOX_Z, Grasp
from worldmodel.tasks.play import episodes

NUMBERS = ("friction", "mass")  # of the box: the task's free parameters
HORIZONS = (20, 30, 40, 50, 60, 80, 100, 150)  # frames
# [m] over which a contact's onset is smoothed, [m/s] of a touch, growth of a control step
OPTIONS = {
    "mjx": Backward(),
    "onset_0.1mm": Backward(contact_width=1e-4),
    "onset_1mm": Backward(contact_width=1e-3),
    "touch": Backward(touch_speed=0.1),
    "limit": Backward(jacobian_limit=1.3),
}
WIDTHS = {"wide": 1.0, "exact": 1e-4}  # [prior widths] of the differences
GRIPS = np.linspace(0.011, 0.02, 16)  # [m] squeezes
TREMOR = 0.1  # of the hand, as demonstrators have it in ``two_turns``
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
    "exact": "exact:.3g",
    "MJX": "mjx:.3g",
    "contact_width 0.1 mm": "onset_0.1mm:.3g",
    "contact_width 1 mm": "onset_1mm:.3g",
    "touch_speed 0.1 m/s": "touch:.3g",
    "jacobian_limit 1.3": "limit:.3g",
}


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
    """(episodes, frames) [mm] of the box from where it was, as a world predicts it.

    Args:
      u: (2,) the world's numbers.
    """
    scene, still = world.scene, np.zeros_like(qpos[:, 0])
    rows = replayed(compiled(world)(u), scene.substeps, qpos[:, 0], still, ctrl)
    off = (rows - qpos[:, 1:])[..., [BOX_X, BOX_Z]]
    return 1e3 * np.linalg.norm(off, axis=-1)


def derivatives(
    world: WorldModel, backward: Backward, qpos: np.ndarray, ctrl: np.ndarray
) -> np.ndarray:
    """(numbers, episodes, frames) of ``distances``, through MJX."""
    world = dataclasses.replace(world, base=Physics(backward))
    origin, box = init(world, jax.random.key(0)), jnp.array([BOX_X, BOX_Z])

    @jax.jit
    def slopes(direction: jax.Array, qpos: jax.Array, ctrl: jax.Array) -> jax.Array:
        def one(qpos: jax.Array, ctrl: jax.Array) -> jax.Array:
            history = History.without_past(qpos[0], jnp.zeros_like(qpos[0]), ctrl.shape[1])

            def off(u: jax.Array) -> jax.Array:
                parameters = origin | {"physics": unpacked(world, u)}
                states = simulate_model(world, parameters, history, ctrl)
                return 1e3 * jnp.linalg.norm((states.qpos - qpos[1:])[:, box], axis=1)

            return jax.jvp(off, (jnp.zeros_like(direction),), (direction,))[1]

        return jax.vmap(one)(qpos, ctrl)

    with runtime.compiling(f"the derivative with {backward}"):
        return np.stack([np.asarray(slopes(d, qpos, ctrl)) for d in jnp.eye(len(NUMBERS))])


def main(args: Args) -> int:
    """Measures; prints one JSON line."""
    runtime.configure()
    task = Grasp()
    world, (qpos, ctrl) = WorldModel(task.scene, task.free), recorded(task)
    here = distances(world, np.zeros(2), qpos, ctrl)
    through = {name: derivatives(world, how, qpos, ctrl) for name, how in OPTIONS.items()}
    rows: list[Row] = []
    for k, (number, direction) in enumerate(zip(NUMBERS, np.eye(len(NUMBERS)), strict=True)):
        each = {"error": here} | {name: of_numbers[k] for name, of_numbers in through.items()}
        for kind, width in WIDTHS.items():
            ends = (distances(world, u * direction, qpos, ctrl) for u in (width, -width))
            each[kind] = np.subtract(*ends) / (2.0 * width)
        for frames in HORIZONS:
            means = {kind: values[:, :frames].mean() for kind, values in each.items()}
            rows.append({"frames": frames, "number": number} | means)
    records.write(args.out, TITLE, rows, COLUMNS, note=NOTE)
    print(json.dumps({f"{r['number']} {r['frames']}": [r["wide"], r["exact"]] for r in rows}))
    return 0


if __name__ == "__main__":
    sys.exit(runtime.command(main, __doc__))
