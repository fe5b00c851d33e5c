"""The private names of MJX that the contact gradient stands on: fails by name when they move."""

import inspect
import re

import pytest
from mujoco.mjx._src import collision_driver, forward, solver, types

from worldmodel._mujoco import mjx


@pytest.mark.parametrize("field", ["efc_force", "Ma", "qfrc_constraint", "qacc", "Jaref"])
def test_solver_context_has(field: str) -> None:
    assert field in solver.Context.__dataclass_fields__


@pytest.mark.parametrize(
    ("owner", "name", "arguments"),
    [
        (solver.Context, "create", ["m", "d", "grad"]),
        (solver, "_update_gradient", ["m", "d", "ctx"]),
        (collision_driver, "geom_pairs", ["m"]),
        (forward, "_advance", ["m", "d", "act_dot", "qacc", "qvel"]),
    ],
)
def test_private_function_takes(owner: object, name: str, arguments: list[str]) -> None:
    assert list(inspect.signature(getattr(owner, name)).parameters) == arguments


@pytest.mark.parametrize(
    "field", ["contact", "efc_J", "efc_force", "ten_J", "actuator_moment", "ncon"]
)
def test_data_has(field: str) -> None:
    assert field in types.DataJAX.__dataclass_fields__


STAGES = "fwd_position fwd_velocity fwd_actuation fwd_acceleration sensor_pos sensor_vel "
STAGES += "sensor_acc make_constraint solve euler implicit kinematics com_pos crb tendon "
STAGES += "tendon_armature transmission full_m forward step"


@pytest.mark.parametrize("name", STAGES.split())
def test_public_stage_takes_a_model_and_its_data(name: str) -> None:
    assert list(inspect.signature(getattr(mjx, name)).parameters) == ["m", "d"]


def test_the_stages_of_forward_are_those_that_ours_calls_in_this_order() -> None:
    """``physics.forward`` calls them one by one: a stage that MJX adds shows here."""
    source = inspect.getsource(forward.forward)
    called = re.findall(r"d = (?:named_scope\()?(?:\w+\.)?(\w+)\)?\(m, d\)", source)
    before = ["fwd_position", "sensor_pos", "fwd_velocity", "sensor_vel", "fwd_actuation"]
    assert called == [*before, "fwd_acceleration", "solve", "sensor_acc"]
