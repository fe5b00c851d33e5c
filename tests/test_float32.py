"""Single precision, in a process of its own: JAX's precision is global."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CODE = """
from worldmodel import runtime
runtime.configure(x64=False)
import jax, jax.numpy as jnp, numpy as np
from tests import scenes
from worldmodel import physics
from worldmodel._mujoco import mjx

scene = scenes.box(cone="pyramidal")
# Single precision cannot converge to 1e-14.
model = scene.mjx_model().tree_replace({"opt.tolerance": jnp.float32(1e-8)})
data = mjx.make_data(scene.mj_model).replace(
    qpos=jnp.asarray(scenes.BOX_QPOS, jnp.float32), qvel=jnp.asarray(scenes.BOX_QVEL, jnp.float32)
)

def both(friction):
    m = model.replace(geom_friction=model.geom_friction.at[1, 0].set(friction))
    ours, theirs = physics.step(m, data), mjx.step(model, data)
    return ours.qvel, (ours.qpos, theirs.qpos, ours.qvel, theirs.qvel)

tangent, (a, b, c, d) = jax.jit(jax.jacfwd(both, has_aux=True))(jnp.float32(0.4))
for x in (tangent, a, c):
    assert x.dtype == jnp.float32
np.testing.assert_allclose(a, b, atol=1e-6)
np.testing.assert_allclose(c, d, atol=1e-6)
np.save({path!r}, np.asarray(tangent))
"""


def test_float32_is_mjx_step_and_its_gradient_that_of_float64(tmp_path: Path) -> None:
    path = str(tmp_path / "tangent.npy")
    done = subprocess.run(
        [sys.executable, "-c", CODE.replace("{path!r}", repr(path))],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr

    import jax
    import jax.numpy as jnp
    import numpy as np

    from tests import scenes
    from worldmodel import physics
    from worldmodel._mujoco import mjx

    scene = scenes.box(cone="pyramidal")
    model = scene.mjx_model()
    data = mjx.make_data(scene.mj_model).replace(
        qpos=jnp.asarray(scenes.BOX_QPOS), qvel=jnp.asarray(scenes.BOX_QVEL)
    )

    def velocity(friction: jax.Array) -> jax.Array:
        moved = model.replace(geom_friction=model.geom_friction.at[1, 0].set(friction))
        return physics.step(moved, data).qvel

    truth = np.asarray(jax.jit(jax.jacfwd(velocity))(0.4))
    error = np.linalg.norm(np.load(path) - truth) / np.linalg.norm(truth)
    assert error < 1e-3  # single precision of a stiff contact
