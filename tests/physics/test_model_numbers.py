"""Gradients in the numbers that no ``FreeParameter`` kind moves, by recompiled C MuJoCo."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.helpers import scenes
from tests.helpers.gradient_cases import assert_same
from worldmodel import physics
from worldmodel._mujoco import mjx, mujoco
from worldmodel.physics import oracle
from worldmodel.physics.derived import with_derived_constants
from worldmodel.scene import to_mjcf

pytestmark = pytest.mark.slow  # one compilation, a minute on a busy machine

# Numbers of the scene ``linkage``: the model's array and the row.
NUMBERS = (
    ("opt.gravity", ()),
    ("opt.timestep", ()),
    ("opt.impratio", ()),
    ("body_pos", 2),
    ("body_quat", 2),
    ("site_pos", 0),
    ("geom_solimp", 1),
    ("jnt_stiffness", 0),
    ("qpos_spring", 0),
    ("jnt_range", 1),
    ("jnt_solref", 1),
    ("jnt_solimp", 1),
    ("dof_solref", 1),
    ("dof_solimp", 1),
    ("tendon_range", 0),
    ("tendon_solref_lim", 0),
    ("tendon_frictionloss", 0),
    ("tendon_stiffness", 1),
    ("tendon_damping", 1),
    ("tendon_lengthspring", 1),
    ("eq_data", np.s_[0, :3]),
    ("eq_solref", 0),
    ("eq_solimp", 0),
    ("actuator_gear", np.s_[1, :1]),
    ("actuator_gainprm", np.s_[1, :1]),
    ("actuator_biasprm", np.s_[1, :3]),
    ("actuator_dynprm", np.s_[0, :1]),
)

# Contacts and limits are millimetres deep: a narrow step.
NARROW = ("qpos", "body_pos", "jnt_range")


@pytest.fixture(scope="module")
def jacobians() -> tuple[dict, dict]:
    """(ours, C's) of one control step in every one of ``NUMBERS`` and in the state."""
    scene = scenes.linkage()
    model = scene.mjx_model()

    def number(model: mjx.Model, field: str) -> jax.Array:
        return model.opt.__dict__[field[4:]] if field.startswith("opt.") else getattr(model, field)

    start = {field: np.asarray(number(model, field)[row]) for field, row in NUMBERS}
    # Every number is moved relative to its size, or from 0.
    scale = {field: np.where(x == 0.0, 1.0, np.abs(x)) for field, x in start.items()}

    @jax.jit
    def apply(x: dict) -> mjx.Model:
        moved = {}
        for field, row in NUMBERS:
            value = start[field] + scale[field] * x[field].reshape(start[field].shape)
            value = value / jnp.linalg.norm(value) if field == "body_quat" else value
            moved[field] = number(model, field).at[row].set(value)
        return with_derived_constants(scene, model.tree_replace(moved))

    def after(x: dict) -> tuple[jax.Array, jax.Array]:
        state = physics.initial_state(scene, x["qpos"], x["qvel"], act=x["act"])
        state = physics.control_step(scene, apply(x), state, x["ctrl"])
        values = jnp.concatenate([state.qpos, state.qvel, state.act])
        return values, values

    def truth(x: dict) -> np.ndarray:
        text = to_mjcf(scene.spec, jax.device_get(apply(x)))
        c_model = mujoco.MjModel.from_xml_string(text)
        data = mujoco.MjData(c_model)
        for name in ("qpos", "qvel", "act", "ctrl"):
            getattr(data, name)[:] = x[name]
        mujoco.mj_step(c_model, data, nstep=scene.substeps)
        return np.concatenate([data.qpos, data.qvel, data.act])

    at = {field: np.zeros(x.size) for field, x in start.items()}
    at |= {"qpos": scenes.LINKAGE_QPOS, "qvel": scenes.LINKAGE_QVEL}
    at |= {"act": scenes.LINKAGE_ACT, "ctrl": scenes.LINKAGE_CTRL}
    ours, value = jax.jit(jax.jacfwd(after, has_aux=True))(at)
    # MJX's solver stalls at 1e-8 m/s² in an elliptic cone, C's does not.
    np.testing.assert_allclose(value, truth(at), atol=1e-7)
    differences = {
        name: oracle.differences(
            lambda values, name=name: truth(at | {name: values}),
            here,
            3e-6 if name in NARROW else 3e-4,
        )
        for name, here in at.items()
    }
    return {name: np.asarray(x) for name, x in ours.items()}, differences


@pytest.mark.parametrize("leaf", [f for f, _ in NUMBERS] + ["qpos", "qvel", "act", "ctrl"])
def test_gradient_in_the_models_own_numbers_is_that_of_recompiled_mujoco(
    leaf: str, jacobians: tuple[dict, dict]
) -> None:
    ours, truth = (x[leaf] for x in jacobians)
    if leaf.endswith("solimp"):
        ours, truth = ours[:, :4], truth[:, :4]
    assert np.linalg.norm(truth) > 0, f"{leaf} cannot matter in this scene: the test is void"
    assert_same(ours, truth, leaf)
    dead = [not a.any() and np.abs(b).max() > 1e-9 for a, b in zip(ours.T, truth.T, strict=True)]
    assert not any(dead), f"{leaf}: {np.flatnonzero(dead)}"


@pytest.mark.parametrize("leaf", ["geom_solimp", "jnt_solimp", "eq_solimp"])
def test_the_power_of_solimp_has_a_gradient_of_zero(
    leaf: str, jacobians: tuple[dict, dict]
) -> None:
    ours, truth = (x[leaf] for x in jacobians)
    assert not ours[:, 4].any()
    assert truth[:, 4].any()
