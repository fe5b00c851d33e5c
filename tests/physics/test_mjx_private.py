"""The private names of MJX that the contact gradient stands on: fails by name when they move."""

import inspect

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


@pytest.mark.parametrize("name", ["fwd_position", "fwd_velocity", "fwd_actuation", "solve"])
def test_public_stage_exists(name: str) -> None:
    assert callable(getattr(mjx, name))
