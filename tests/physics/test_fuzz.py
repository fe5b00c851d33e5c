"""Random small scenes: the step is MJX's, and its derivative that of its own differences."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from worldmodel import physics
from worldmodel._mujoco import mjx, mujoco
from worldmodel.physics import oracle, parameters
from worldmodel.physics.contact import solver_residual
from worldmodel.scene import FreeParameter, Scene, load_scene

QUIET = settings(
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


@st.composite
def mjcfs(draw: st.DrawFn) -> str:
    """A tree of one to three bodies over a table, in any joints, shapes and options."""

    def number(low: float, high: float) -> float:
        return round(draw(st.floats(low, high)), 3)

    cone = draw(st.sampled_from(["elliptic", "pyramidal"]))
    integrator = draw(st.sampled_from(["Euler", "implicitfast", "RK4"]))
    opened, closed, motors = "", "", ""
    for i in range(draw(st.integers(1, 3))):
        joint = draw(st.sampled_from(["free", "hinge", "slide", "ball"] if not i else ["hinge"]))
        axis = draw(st.sampled_from(["1 0 0", "0 1 0", "0 0.6 0.8"]))
        height = number(0.03, 0.06) if not i else -0.02
        opened += f'<body name="b{i}" pos="{0.08 * bool(i)} 0 {height}">'
        if joint == "free":
            opened += f'<freejoint name="j{i}"/>'
        else:
            loss = draw(st.sampled_from([0.0, 0.01]))
            opened += (
                f'<joint name="j{i}" type="{joint}" axis="{axis}" damping="{number(0.001, 0.1)}" '
                f'armature="{number(0.0, 0.01)}" frictionloss="{loss}"/>'
            )
            if joint != "ball":
                motors += f'<motor name="m{i}" joint="j{i}" gear="{number(0.5, 2)}"/>'
        shape = draw(st.sampled_from(["sphere", "capsule", "box"]))
        condim = draw(st.sampled_from([3, 4, 6]))
        opened += (
            f'<geom name="g{i}" type="{shape}" size="0.03 0.04 0.02" mass="{number(0.05, 1)}" '
            f'pos="0.01 0 0" euler="{number(0, 90)} {number(0, 90)} 0" condim="{condim}" '
            f'friction="{number(0.1, 1)} 0.01 0.002" contype="1" conaffinity="0"/>'
        )
        closed += "</body>"
    return f"""<mujoco model="fuzz"><option cone="{cone}" integrator="{integrator}"
      tolerance="1e-14" iterations="50" ls_iterations="30"/>
      <worldbody><geom name="table" type="plane" size="0 0 .1" contype="0" conaffinity="1"/>
      {opened}{closed}</worldbody><actuator>{motors}</actuator></mujoco>"""


def check(mjcf: str, seed: int) -> None:
    scene = load_scene(mjcf, control_hz=500.0, substeps=1)
    m, model = scene.mj_model, scene.mjx_model()
    free = (
        FreeParameter("mass", "b0"),
        FreeParameter("com", "b0"),
        FreeParameter("friction", "g0"),
        FreeParameter("solref", "g0"),
    )
    random = np.random.default_rng(seed)
    at = {
        "parameters": {
            k: jnp.asarray(0.2 * random.normal(size=u.shape))
            for k, u in parameters.zeros(free).items()
        },
        "qpos": jnp.asarray(_turned(scene, 0.3 * random.normal(size=m.nv))),
        "qvel": jnp.asarray(random.normal(size=m.nv)),
        "ctrl": jnp.asarray(random.normal(size=m.nu)),
    }
    direction = jax.tree.map(lambda x: jnp.asarray(random.normal(size=x.shape)), at)
    direction["qpos"] *= 0.01

    def start(x: dict[str, Any]) -> tuple[mjx.Model, mjx.Data]:
        data = mjx.make_data(m).replace(qpos=x["qpos"], qvel=x["qvel"], ctrl=x["ctrl"])
        return parameters.apply(scene, model, free, x["parameters"]), data

    def stepped(step: Any, x: dict[str, Any]) -> jax.Array:
        data = step(*start(x))
        return jnp.concatenate([data.qpos, data.qvel])

    def theirs(x: dict[str, Any]) -> tuple[jax.Array, jax.Array]:
        moved, data = start(x)
        residual = solver_residual(moved, mjx.forward(moved, data))
        return stepped(mjx.step, x), residual * moved.opt.timestep

    ours = functools.partial(stepped, physics.step)
    value, slope = jax.jit(lambda x: jax.jvp(ours, (x,), (direction,)))(at)
    wanted, remaining = jax.jit(theirs)(at)
    # Where MJX's solver stalls, in an elliptic cone, each compiled program ends elsewhere.
    apart = np.abs(np.asarray(value) - wanted).max()
    assert apart < 1e-11 * np.linalg.norm(wanted) + 10.0 * float(remaining)
    along = jax.jit(lambda h: ours(jax.tree.map(lambda x, d: x + h * d, at, direction)))

    def differences(epsilon: float) -> np.ndarray:
        return oracle.differences(lambda h: np.asarray(along(h[0])), np.zeros(1), epsilon)[:, 0]

    wide, narrow = differences(3e-5), differences(1e-5)
    size = np.linalg.norm(wide)
    noise = np.linalg.norm(wide - narrow)
    assume(noise < 1e-6 * size)  # else a kink, or an unconverged solve, within the difference
    assert np.linalg.norm(np.asarray(slope) - wide) < 1e-5 * size


def _turned(scene: Scene, by: np.ndarray) -> np.ndarray:
    qpos = np.array(scene.mj_model.qpos0)
    mujoco.mj_integratePos(scene.mj_model, qpos, by, 1.0)
    return qpos


@settings(QUIET, max_examples=2)
@given(mjcfs(), st.integers(0, 1000))
def test_random_scenes(mjcf: str, seed: int) -> None:
    check(mjcf, seed)


@pytest.mark.slow
@settings(QUIET, max_examples=60)
@given(mjcfs(), st.integers(0, 1000))
def test_many_random_scenes(mjcf: str, seed: int) -> None:
    check(mjcf, seed)
