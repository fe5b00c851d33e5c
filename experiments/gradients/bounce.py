"""The slope of a bounce: which derivative has its size and sign.

Question: what is the slope of a ball's height after a bounce in the height from which it drops?
Command:  python -m experiments.gradients.bounce --out experiments/results/gradients/bounce
Runtime:  three minutes on 2 cores
Expected: plain −3.3 where 0.37 is wanted (0.5 ms, time constant 0.02 s, damping ratio 0.5), wrong
          at every timestep; with the time of the touch 0.36, blended with values 0.38

The reference is the slope of the simulator's own values over ±1 cm; estimates are taken at 41
heights there.
"""

import functools
import itertools
import json
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments import records
from experiments.records import Args
from worldmodel import physics, runtime
from worldmodel._mujoco import mujoco
from worldmodel.finetune.smoothed_gradient import smoothed_gradient
from worldmodel.physics import Backward
from worldmodel.physics.oracle import trajectory
from worldmodel.rollout import Replay, rollout
from worldmodel.scene import load_scene

BALL = Path(__file__).with_name("bounce.xml")
DROP, NEAR, AFTER = 0.3, 0.01, 0.4  # [m], half-width of the heights [m]; [s]
HEIGHTS = np.linspace(DROP - NEAR, DROP + NEAR, 41)
TIMESTEPS = (2e-3, 5e-4)  # [s]
FINE = 2e-5  # [s] of C MuJoCo's reference
SOLREFS = ((0.02, 0.3), (0.02, 0.5), (0.02, 1.0), (0.005, 0.3))  # [s], damping ratio
OPTIONS = {
    "plain": Backward(),
    "from distance, 1 cm": Backward(contact_width=0.01),
    "touch, 0.1 m/s": Backward(touch_speed=0.1),
}
SAMPLES = 16  # pairs of a blend


def bounce(dt: float, backward: Backward, solref: jax.Array, height: jax.Array) -> jax.Array:
    """() height [m] of a ball ``AFTER`` it is dropped on a floor.

    Args:
      dt: timestep [s].
      solref: (2,) the contact's time constant [s] and damping ratio.
      height: () of the start [m].
    """
    scene = load_scene(BALL, control_hz=1.0 / dt, substeps=1)
    model = scene.mjx_model()
    model = model.replace(geom_solref=model.geom_solref.at[:].set(solref))
    step = functools.partial(physics.control_step, scene, model, backward=backward)
    start = physics.initial_state(scene, height[None], jnp.zeros(1))
    still, keep = jnp.zeros((round(AFTER / dt), 0)), (physics.SOLUTION,)
    path = rollout(step, Replay(still), start, len(still), jax.random.key(0), keep=keep)[0]
    return path.qpos[-1, 0]


def slope_in_c(dt: float, solref: jax.Array) -> float:
    """The slope of ``bounce`` by C MuJoCo, over all heights."""
    model = mujoco.MjModel.from_xml_path(str(BALL))
    model.opt.timestep, model.geom_solref[:] = dt, solref
    still, steps = np.zeros((1, 0)), round(AFTER / dt)
    ends = [trajectory(model, h[None], np.zeros(1), still, steps)[0][-1, 0] for h in HEIGHTS]
    return float(np.polyfit(HEIGHTS, ends, 1)[0])


def estimate(values: jax.Array) -> dict[str, float]:
    """Mean and spread of the finite slopes, and how many they are."""
    good = np.asarray(values)[np.isfinite(values)]
    return {"mean": float(good.mean()), "spread": float(good.std()), "finite": len(good)}


@functools.partial(jax.jit, static_argnums=(0, 1))
def slopes(dt: float, option: str, solref: jax.Array) -> tuple[jax.Array, jax.Array]:
    """(heights,) each: ``bounce`` and its derivative in the height."""
    one = functools.partial(bounce, dt, OPTIONS[option], solref)
    return jax.vmap(jax.value_and_grad(one))(jnp.asarray(HEIGHTS))


@functools.partial(jax.jit, static_argnums=0)
def blends(dt: float, solref: jax.Array, keys: jax.Array) -> jax.Array:
    """(keys,) derivatives at ``DROP``, blended with values."""
    one = functools.partial(bounce, dt, OPTIONS["plain"], solref)
    blend = functools.partial(smoothed_gradient, one, sigma=NEAR / 2, samples=SAMPLES)
    return jax.vmap(lambda key: blend(jnp.asarray(DROP), key).gradient)(keys)


def row(dt: float, solref: jax.Array, keys: jax.Array) -> dict[str, Any]:
    """Of a timestep and a contact: of every estimate the mean and spread."""
    every = {option: slopes(dt, option, solref) for option in OPTIONS}
    estimates = {option: estimate(derivatives) for option, (_, derivatives) in every.items()}
    return {
        "dt": dt,
        "solref": np.asarray(solref).tolist(),
        "wanted": float(np.polyfit(HEIGHTS, every["plain"][0], 1)[0]),
        "fine": slope_in_c(FINE, solref),
        "estimates": estimates | {"blend": estimate(blends(dt, solref, keys))},
    }


def shown(name: str) -> Any:
    """A column: an estimate's mean and spread."""
    return lambda row: "{mean:.3g} ± {spread:.2g}".format(**row["estimates"][name])


COLUMNS: records.Columns = {
    "timestep [ms]": lambda row: f"{1e3 * row['dt']:g}",
    "solref": lambda row: "{:g}, {:g}".format(*row["solref"]),
    "wanted": "wanted:.2f",
    "fine": "fine:.2f",
    **{name: shown(name) for name in (*OPTIONS, "blend")},
}
TITLE = "The slope of a bounce"
NOTE = (
    "Slopes of the height after a bounce in the drop height. *wanted*: of the simulator's values "
    "over ± 1 cm; *fine*: of C MuJoCo's at 20 µs; ±: over 41 heights, or 41 draws of 16 pairs."
)


def main(args: Args) -> int:
    """Measures and writes; prints one JSON line."""
    runtime.configure()
    keys, rows = jax.random.split(jax.random.key(0), len(HEIGHTS)), []
    for dt, solref in itertools.product(TIMESTEPS, map(jnp.asarray, SOLREFS)):
        rows.append(row(dt, solref, keys))
        runtime.log(json.dumps(rows[-1]))
    records.write(args.out, TITLE, rows, COLUMNS, note=NOTE)
    print(json.dumps({"out": str(args.out), "rows": len(rows)}))
    return 0


if __name__ == "__main__":
    sys.exit(runtime.command(main, __doc__))
