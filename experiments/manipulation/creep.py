"""How fast does a box creep out of a grip that should hold it?

Question: creep of a held box [µm/s] by cone, impratio, the contact's time constant, timestep and
          iterations: in C MuJoCo with and without noslip, and in MJX
Command:  python -m experiments.manipulation.creep --out experiments/results/manipulation/creep
Runtime:  4 minutes on 2 busy cores
Expected: 155 µm/s with the task's options; proportional to the time constant and to 1 / impratio,
          whatever the timestep and the iterations; pyramidal 1.7 times as fast; MJX as C; with
          noslip below 1

The gripper of task "grasp" holds its box in the air by a squeeze of 20 mm: 4 N a pad, 3.3 times
what Coulomb's law needs, so that a rigid box would not move. Creep is the slope of the box's height
above the hand, from 0.5 s to 2.5 s. MJX has no noslip (mujoco#3328). OUT gets table.json, table.md
and figure.png.
"""

import copy
import itertools
import json
import sys
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from experiments import records
from experiments.records import Args, Row
from worldmodel import runtime
from worldmodel._mujoco import mjx, mujoco
from worldmodel.physics.oracle import trajectory
from worldmodel.tasks.grasp.task import BOX, BOX_Z, HALF, HAND_Z, Grasp

SQUEEZE, HEIGHT = 0.02, 0.1  # [m] of the command, and of the pads above the table
# The box between the pads, in the air.
HELD = (0.0, HEIGHT, BOX / 2, BOX / 2, 0.0, HEIGHT - HALF, 0.0)
COMMAND = (0.0, HEIGHT, (BOX - SQUEEZE) / 2, (BOX - SQUEEZE) / 2)
SETTLED, END = 0.5, 2.5  # [s]
CHUNK = 50  # physics steps of MJX in one compiled call
NOSLIP = 20  # iterations
ENGINES = ("c", "noslip", "mjx")
CONES = {"elliptic": mujoco.mjtCone.mjCONE_ELLIPTIC, "pyramidal": mujoco.mjtCone.mjCONE_PYRAMIDAL}
# A contact is no stiffer than twice the timestep.
SOLREFS = ({"constant_ms": 10.0, "timestep_ms": 5.0}, {"constant_ms": 4.0, "timestep_ms": 2.0})
TITLE = "Creep of a held box"
NOTE = (
    "µm/s, downwards. The pads press with 4 N each; at 0.8 of friction they could hold 3.3 times "
    f"the box. noslip: {NOSLIP} iterations of it, in C. The task's own options are the first row."
)
COLUMNS: records.Columns = {
    "cone": "cone",
    "impratio": "impratio",
    "time constant [ms]": "constant_ms",
    "timestep [ms]": "timestep_ms",
    "iterations": "iterations",
    "C": "c",
    "C with noslip": "noslip",
    "MJX": "mjx",
}


def settings() -> Iterator[Row]:
    """The options that are compared, the task's own first."""
    own = {"cone": "elliptic", "impratio": 10.0, "constant_ms": 10.0}
    own |= {"timestep_ms": 5.0, "iterations": 30}
    yield from (own, own | {"iterations": 5}, own | {"timestep_ms": 1.0})
    for cone, impratio, solref in itertools.product(CONES, (1.0, 10.0, 100.0), SOLREFS):
        row = own | {"cone": cone, "impratio": impratio} | solref
        if row != own:
            yield row


def model_with(row: Row) -> mujoco.MjModel:
    """The task's model with other options."""
    model = copy.copy(Grasp().scene.mj_model)
    model.opt.cone, model.opt.impratio = CONES[row["cone"]], row["impratio"]
    model.opt.timestep, model.opt.iterations = 1e-3 * row["timestep_ms"], row["iterations"]
    model.geom_solref[model.geom("box").id, 0] = 1e-3 * row["constant_ms"]
    return model


def creep(heights: np.ndarray, timestep: float) -> float:
    """[µm/s] at which the box goes down: of its height above the hand after every step."""
    first = round(SETTLED / timestep)
    time = timestep * np.arange(len(heights))
    return float(-1e6 * np.polyfit(time[first:], heights[first:], 1)[0])


def in_c(model: mujoco.MjModel) -> np.ndarray:
    """Heights of the box above the hand in C MuJoCo, after every step."""
    ctrl = np.tile(COMMAND, (round(END / model.opt.timestep), 1))
    qpos, _ = trajectory(model, np.array(HELD), np.zeros(model.nv), ctrl, 1)
    return qpos[:, BOX_Z] - qpos[:, HAND_Z]


@jax.jit
def _chunk(model: mjx.Model, data: mjx.Data) -> tuple[mjx.Data, jax.Array]:
    def step(data: mjx.Data, _: None) -> tuple[mjx.Data, jax.Array]:
        data = mjx.step(model, data)
        return data, data.qpos[BOX_Z] - data.qpos[HAND_Z]

    return jax.lax.scan(step, data, length=CHUNK)


def in_mjx(model: mujoco.MjModel) -> np.ndarray:
    """Heights of the box above the hand in MJX, after every step."""
    there, out = mjx.put_model(model), []
    data = mjx.make_data(there).replace(qpos=jnp.array(HELD), ctrl=jnp.array(COMMAND))
    for _ in range(round(END / model.opt.timestep) // CHUNK):
        data, heights = _chunk(there, data)
        out.append(np.asarray(heights))
    return np.concatenate(out)


def measured(row: Row, engine: str) -> float:
    """The creep of a setting in an engine."""
    model = model_with(row)
    if engine == "noslip":
        model.opt.noslip_iterations = NOSLIP
    heights = in_mjx(model) if engine == "mjx" else in_c(model)
    return creep(heights, model.opt.timestep)


def figure(rows: list[Row]) -> Figure:
    """Creep over impratio, by cone and time constant."""
    picture = Figure((7.0, 3.2), layout="constrained")
    axes = picture.subplots(1, 2, sharey=True)
    for axis, cone in zip(axes, CONES, strict=True):
        for colour, solref in zip(("C0", "C1"), SOLREFS, strict=True):
            wanted = solref | {"cone": cone, "iterations": 30}
            own = sorted((r for r in rows if r | wanted == r), key=lambda r: r["impratio"])
            x = [r["impratio"] for r in own]
            for engine, style in (("c", "-o"), ("noslip", ":^"), ("mjx", "x")):
                y = [abs(r[engine]) for r in own]
                label = f"{engine}, {solref['constant_ms']:g} ms"
                axis.loglog(x, y, style, color=colour, mfc="none", label=label)
        axis.set(title=cone, xlabel="impratio")
        axis.set_xticks([1, 10, 100], ["1", "10", "100"])
    axes[0].set_ylabel("creep [µm/s]")
    axes[1].legend(fontsize=7)
    return picture


def main(args: Args) -> int:
    """Measures; prints one JSON line."""
    runtime.configure()
    rows = []
    for row in settings():
        rows.append(row | {engine: measured(row, engine) for engine in ENGINES})
        runtime.log(str(rows[-1]))
    records.write(args.out, TITLE, rows, COLUMNS, note=NOTE)
    records.write_figure(args.out / "figure.png", figure(rows))
    print(json.dumps(rows[0]))
    return 0


if __name__ == "__main__":
    sys.exit(runtime.command(main, __doc__))
