"""The slope of a bounce: which derivative has its size and sign.

Question: what is the slope of a ball's height after a bounce in the height from which it drops?
Command:  python -m experiments.gradients.bounce --out experiments/results/gradients/bounce
Runtime:  three minutes on 2 cores
Expected: plain −3.3 where 0.37 is wanted (0.5 ms, time constant 0.02 s, damping ratio 0.5), wrong
          at every timestep; with the time of the touch 0.36, blended with values 0.38

The reference is the slope of the simulator's own values over ±1 cm; estimates are taken at 41
heights there. More of commit 8fa8b46b9cc1: of a cube's toss the plain derivative is good (cosines
of 0.9 to 1.0 with a regression on values), contacts from distance make it worse. Of a loss over
many bounces the plain slope is −2.6e10 where −2.7 is wanted; ``jacobian_limit=1.3`` gives −0.7.
Where a pusher starts 4 cm from its block the plain gradient is 0 and nothing moves; contacts from
distance or the blend bring the block to within a millimetre of its target.
"""

import dataclasses
import functools
import json
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments import records
from worldmodel import physics, runtime
from worldmodel._mujoco import mujoco
from worldmodel.finetune.smoothed_gradient import smoothed_gradient
from worldmodel.physics import Backward
from worldmodel.physics.oracle import trajectory
from worldmodel.rollout import Replay, rollout
from worldmodel.scene import load_scene

BALL = """
<mujoco model="bounce">
  <option timestep="{dt}"/>
  <worldbody>
    <geom name="floor" type="plane" size="0 0 .1"/>
    <body name="ball" pos="0 0 .1">
      <joint name="z" type="slide" axis="0 0 1"/>
      <geom name="ball" type="sphere" size=".1" mass="1" priority="1" condim="1"
            solimp="0.99 0.99 0.001"/>
    </body>
  </worldbody>
</mujoco>"""

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


@dataclasses.dataclass(frozen=True)
class Args:
    """Command line."""

    out: Path
    seed: int = 0


def bounce(dt: float, backward: Backward, solref: jax.Array, height: jax.Array) -> jax.Array:
    """() height [m] of a ball ``AFTER`` it is dropped on a floor.

    Args:
      dt: timestep [s].
      solref: (2,) the contact's time constant [s] and damping ratio.
      height: () of the start [m].
    """
    scene = load_scene(BALL.format(dt=dt), control_hz=1.0 / dt, substeps=1)
    model = scene.mjx_model()
    model = model.replace(geom_solref=model.geom_solref.at[:].set(solref))
    step = functools.partial(physics.control_step, scene, model, backward=backward)
    start = physics.initial_state(scene, height[None], jnp.zeros(1))
    still, keep = jnp.zeros((round(AFTER / dt), 0)), (physics.SOLUTION,)
    path = rollout(step, Replay(still), start, len(still), jax.random.key(0), keep=keep)[0]
    return path.qpos[-1, 0]


def bounce_in_c(dt: float, solref: np.ndarray, heights: np.ndarray) -> np.ndarray:
    """``bounce`` by C MuJoCo: (n,) start heights → (n,)."""
    model = mujoco.MjModel.from_xml_string(BALL.format(dt=dt))
    model.geom_solref[:] = solref
    still, steps = np.zeros((1, 0)), round(AFTER / dt)
    ends = [trajectory(model, h[None], np.zeros(1), still, steps)[0] for h in heights]
    return np.array([end[-1, 0] for end in ends])


def estimate(values: jax.Array) -> dict[str, float]:
    """Mean and spread of the finite slopes, and how many they are."""
    good = np.asarray(values)[np.isfinite(values)]
    return {"mean": float(good.mean()), "spread": float(good.std()), "finite": len(good)}


def rows(seed: int) -> list[dict[str, Any]]:
    """One row per timestep and contact: of every estimate the mean and spread."""
    keys, heights = jax.random.split(jax.random.key(seed), len(HEIGHTS)), jnp.asarray(HEIGHTS)
    out = []
    for dt in TIMESTEPS:

        def blended(solref: jax.Array, height: jax.Array, key: jax.Array, dt: float = dt) -> Any:
            last = functools.partial(bounce, dt, Backward(), solref)
            return smoothed_gradient(last, height, key, sigma=NEAR / 2, samples=SAMPLES).gradient

        slopes = {}
        for name, backward in OPTIONS.items():
            slope = jax.value_and_grad(functools.partial(bounce, dt, backward), 1)
            slopes[name] = jax.jit(jax.vmap(slope, (None, 0)))
        blend = jax.jit(jax.vmap(blended, (None, None, 0)))
        for solref in map(jnp.asarray, SOLREFS):
            by_option = {name: slope(solref, heights) for name, slope in slopes.items()}
            estimates = {name: estimate(slope) for name, (_, slope) in by_option.items()}
            estimates["blend"] = estimate(blend(solref, jnp.asarray(DROP), keys))
            values = {
                "wanted": by_option["plain"][0],
                "fine": bounce_in_c(FINE, np.asarray(solref), HEIGHTS),
            }
            lines = {name: float(np.polyfit(HEIGHTS, v, 1)[0]) for name, v in values.items()}
            row = {"dt": dt, "solref": np.asarray(solref).tolist()} | lines
            out.append(row | {"estimates": estimates})
            runtime.log(json.dumps(out[-1]))
    return out


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
    result = records.write(args.out, TITLE, rows(args.seed), COLUMNS, note=NOTE)
    print(json.dumps({"out": str(args.out), "rows": len(result["rows"])}))
    return 0


if __name__ == "__main__":
    sys.exit(runtime.command(main, __doc__))
