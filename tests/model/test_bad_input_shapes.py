"""Leaves, windows and noise of the wrong shape or size: named before anything is fitted."""

import dataclasses
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from worldmodel.model import HISTORY, History, WorldModel
from worldmodel.episodes.recording import Channels
from worldmodel.finetune.adam import FitConfig, FitError, fit
from worldmodel.finetune.gauss_newton import IdentifyConfig, IdentifyError, identify
from worldmodel.physics import parameters
from worldmodel.scene import FreeParameter
from worldmodel.physics.parameters import ParameterError
from worldmodel.model.simulate import Windows, cut_windows, make_predictor, make_simulator
from worldmodel.scene import Scene, SceneError, load_scene
from worldmodel.errors import InputError
from worldmodel.types import Episode

C = IdentifyConfig(engine="c")
MASS = (FreeParameter("mass", "door"),)


def door(option: str = "") -> Scene:
    return load_scene(
        f"""<mujoco model="door"><option>{option}</option><worldbody><body name="door">
        <joint name="hinge" axis="0 1 0"/><geom size=".1" pos="0 0 .3"/></body></worldbody>
        <actuator><motor joint="hinge"/></actuator></mujoco>""",
        control_hz=100.0,
        substeps=1,
    )


@pytest.fixture(scope="module")
def world() -> WorldModel:
    return WorldModel(door(), MASS)


def windows(count: int = 2, horizon: int = 3) -> Windows:
    known = np.tile(np.arange(HISTORY) == 0, (count, 1))
    past, still = np.full((count, HISTORY, 1), 0.3), np.zeros((count, HISTORY, 1))
    target = np.full((count, horizon, 1), 0.31)
    scored = np.ones((count, horizon), bool)
    ctrl = np.zeros((count, horizon, 1))
    return Windows(History(past, still, still, known), ctrl, target, scored, np.arange(count))


def physics(**leaves: Any) -> dict[str, Any]:
    return {"physics": {name.replace("_", "."): jnp.array(x) for name, x in leaves.items()}}


@pytest.mark.parametrize(
    ("start", "message"),
    [
        (physics(), r"door\.mass is absent and must have the shape \(1,\)"),
        (physics(door_mass=[0.0, 0.0]), r"door\.mass is \(2,\)"),
        (physics(door_mass=0.0), r"door\.mass is \(\)"),
    ],
)
def test_leaves_are_checked(world: WorldModel, start: Any, message: str, tmp_path: Path) -> None:
    model = world.scene.mjx_model()
    with pytest.raises(ParameterError, match=message):
        parameters.apply(world.scene, model, MASS, start["physics"])
    with pytest.raises(ParameterError, match=message):
        identify(world, windows(), C, start=start)
    given: dict[str, Any] = {"metadata": {}, "record": print, "stop": lambda: False}
    both = windows(), windows(), FitConfig(), tmp_path
    with pytest.raises(ParameterError, match=message):
        fit(world, start | {"network": {}}, Channels(joints=(0,)), *both, **given)


@pytest.mark.parametrize("scale", [float("nan"), (1.0, float("inf"), 1.0), (1.0, 1.0)])
def test_scales_are_checked(scale: Any) -> None:
    with pytest.raises(ParameterError, match=r"door\.com: scale .* is not 1 or 3 "):
        parameters.check(door(), (FreeParameter("com", "door", scale),))


@pytest.mark.parametrize("noise", [[np.nan], [0.0], [-1.0], [np.inf], [0.1, 0.1]])
def test_noise_is_positive(world: WorldModel, noise: list[float]) -> None:
    with pytest.raises(IdentifyError, match=r"noise .* must be 1 positive"):
        identify(world, windows(), C, noise=np.array(noise))


def test_controls_that_are_not_finite_are_not_played_as_none(world: WorldModel) -> None:
    """C MuJoCo replaces them by 0 with a warning."""
    ctrl = np.zeros((2, 3, 1))
    ctrl[1, 2] = np.inf
    broken = dataclasses.replace(windows(), ctrl=ctrl)
    with pytest.raises(IdentifyError, match=r"1 of 2 windows are not finite \(episodes \[1\]\)"):
        identify(world, broken, C)
    spared = identify(world, broken, dataclasses.replace(C, max_nonfinite=0.5, iterations=1))
    assert spared.left_out.tolist() == [1]


def test_windows_of_another_scene_are_named(world: WorldModel) -> None:
    other = dataclasses.replace(windows(), ctrl=np.zeros((2, 3, 2)))
    with pytest.raises(IdentifyError, match="ctrl has 2 columns; scene 'door' needs 1"):
        identify(world, other, C)
    with pytest.raises(IdentifyError, match="nothing is free"):
        identify(WorldModel(world.scene), windows(), C)


def test_nothing_to_predict_is_said(world: WorldModel, tmp_path: Path) -> None:
    zero = {"physics": parameters.zeros(MASS), "network": {}}
    empty = windows().take(np.array([], int))
    for none in (empty, windows(horizon=0)):
        with pytest.raises(InputError, match="nothing to predict in windows of shape"):
            make_predictor(world, 2)(zero, none)
    with pytest.raises(InputError, match="no episode to simulate"):
        make_simulator(world, 2)(zero, np.zeros((0, 1)), np.zeros((0, 3, 1)))
    given: dict[str, Any] = {"metadata": {}, "record": print, "stop": lambda: False}
    for name, pair in {"train": (empty, windows()), "validation": (windows(), empty)}.items():
        with pytest.raises(FitError, match=f"no frame of the 0 {name} windows is scored"):
            fit(world, zero, Channels(joints=(0,)), *pair, FitConfig(), tmp_path, **given)


def test_a_departure_that_predicts_nothing_finite_is_named(
    world: WorldModel, tmp_path: Path
) -> None:
    far = physics(door_mass=[1e5]) | {"network": {}}
    given: dict[str, Any] = {"metadata": {}, "record": print, "stop": lambda: False}
    both = windows(), windows(), FitConfig(batch=2), tmp_path
    with pytest.raises(FitError, match=r"departure .*not finite; door\.mass\[0\] is 1e\+05 prior"):
        fit(world, far, Channels(joints=(0,)), *both, **given)


@pytest.mark.parametrize("frame", [-1, 5])
def test_a_window_starts_inside_its_episode(frame: int) -> None:
    rows, flags = np.zeros((5, 1)), np.ones(5, bool)
    episode = Episode("a", np.arange(5) / 100, rows, rows, rows, flags, flags)
    with pytest.raises(InputError, match=f"frame {frame} of episode a, whose frames are 0 to 4"):
        cut_windows([episode], [np.array([frame])], 2)


def test_constraints_that_are_switched_off_are_named() -> None:
    with pytest.raises(SceneError, match=r"constraint='disable'.*contact, limit"):
        door("<flag constraint='disable'/>")
