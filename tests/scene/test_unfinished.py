"""Warnings of contacts that MJX computes inexactly: broken-off solves, descents onto cylinders."""

import warnings

import numpy as np
import pytest

from tests.helpers import feet
from worldmodel._mujoco import mujoco
from worldmodel.scene import SceneWarning, load_scene
from worldmodel.scene.unfinished import CONVERGED, Solves


def load(mjcf: str) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        load_scene(mjcf, control_hz=250.0, substeps=1)
    return [str(w.message) for w in caught if w.category is SceneWarning]


@pytest.mark.parametrize(("solver", "iterations"), [("Newton", 1), ("CG", 3)])
def test_a_solver_that_runs_out_of_iterations_is_warned_of(solver: str, iterations: int) -> None:
    (message,) = load(feet.mjcf(solver=solver, iterations=iterations, height=0.099))
    assert f"solver='{solver}' iterations='{iterations}'" in message
    assert message.endswith("raise iterations" if solver == "Newton" else "use solver='Newton'")
    assert int(message.split(": ")[1].split(" of the first 100 steps")[0]) > 2


@pytest.mark.parametrize(
    "mjcf",
    [
        feet.mjcf(solver="Newton", iterations=100, height=0.099),
        feet.mjcf(solver="Newton", iterations=1, height=5.0),  # nothing touches
    ],
)
def test_a_solver_that_suffices_is_not(mjcf: str) -> None:
    assert not load(mjcf)


def test_the_remaining_step_is_the_distance_to_the_optimum() -> None:
    broken_off, exact = (
        mujoco.MjModel.from_xml_string(feet.mjcf(solver="Newton", iterations=n, height=0.099))
        for n in (1, 100)
    )
    accelerations = []
    for model in (broken_off, exact):
        data = mujoco.MjData(model)
        data.qvel[:] = 0.8, -0.5, -0.3, 1.0, -1.4, 0.5
        remaining = Solves(model).remaining(data)
        mujoco.mj_forward(model, data)
        accelerations.append(data.qacc.copy())
        assert (remaining > CONVERGED) == (model is broken_off)
        if model is broken_off:
            first = remaining
    step = np.abs(accelerations[1] - accelerations[0]).max()
    assert first == pytest.approx(step / np.abs(accelerations[1]).max(), rel=1e-6)


def test_a_cylinder_against_a_round_geom_is_warned_of_by_name() -> None:
    body = (
        '<body name="{0}" pos="{1} 0 .3"><freejoint/>'
        '<geom name="{0}" type="{2}" size=".1 .1"/></body>'
    )
    bodies = body.format("can", 0, "cylinder") + body.format("ball", 1, "sphere")
    floor = '<geom name="floor" type="plane" size="1 1 .1"/>'
    (message,) = load(f"<mujoco><worldbody>{floor}{bodies}</worldbody></mujoco>")
    assert "geom 'ball' (body 'ball') against geom 'can' (body 'can'): MJX" in message
    alone = f"<mujoco><worldbody>{floor}{body.format('can', 0, 'cylinder')}</worldbody></mujoco>"
    assert not load(alone)
