"""What cannot be fitted is refused by name before anything is compiled: leaves, noise, windows."""

import dataclasses
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from tests.helpers.doors import MASS, door, door_windows
from worldmodel.episodes.errors import Angle, Channels
from worldmodel.finetune.adam import FitConfig, FitError, fit
from worldmodel.finetune.gauss_newton import IdentifyConfig, IdentifyError, identify
from worldmodel.model import WorldModel
from worldmodel.physics import parameters
from worldmodel.physics.parameters import ParameterError

C = IdentifyConfig(engine="c")
HINGE = Channels(joints=(Angle("hinge", 0),))
CALLBACKS: dict[str, Any] = {"metadata": {}, "record": print, "stop": lambda: False}


@pytest.fixture(scope="module")
def world() -> WorldModel:
    return WorldModel(door(), MASS)


def start_of(**leaves: Any) -> dict[str, Any]:
    physics = {name.replace("_", "."): jnp.array(x) for name, x in leaves.items()}
    return {"physics": physics, "network": {}}


@pytest.mark.parametrize(
    ("start", "message"),
    [
        (start_of(), r"door\.mass is absent and must have the shape \(1,\)"),
        (start_of(door_mass=[0.0, 0.0]), r"door\.mass is \(2,\)"),
        (start_of(door_mass=0.0), r"door\.mass is \(\)"),
        (start_of(door_mass=[np.nan]), r"door\.mass is \[ *nan\].*finite"),
        (start_of(door_mass=[np.inf]), r"door\.mass is \[ *inf\].*finite"),
    ],
)
def test_a_start_is_checked(world: WorldModel, start: Any, message: str, tmp_path: Path) -> None:
    windows = door_windows()
    with pytest.raises(ParameterError, match=message):
        identify(world, windows, C, start=start)
    with pytest.raises(ParameterError, match=message):
        fit(world, start, HINGE, windows, windows, FitConfig(), tmp_path, **CALLBACKS)
    zero = {"physics": parameters.zeros(MASS), "network": {}}
    given = CALLBACKS | {"start": start}
    with pytest.raises(ParameterError, match=message):
        fit(world, zero, HINGE, windows, windows, FitConfig(), tmp_path, **given)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("noise", [[np.nan], [0.0], [-1.0], [np.inf], [0.1, 0.1]])
def test_noise_is_positive(world: WorldModel, noise: list[float]) -> None:
    with pytest.raises(IdentifyError, match=r"noise .* must be 1 positive"):
        identify(world, door_windows(), C, noise=np.array(noise))


def test_controls_that_are_not_finite_are_not_played_as_none(world: WorldModel) -> None:
    """C MuJoCo replaces them by 0 with a warning."""
    ctrl = np.zeros((2, 3, 1))
    ctrl[1, 2] = np.inf
    broken = dataclasses.replace(door_windows(), ctrl=ctrl)
    with pytest.raises(IdentifyError, match=r"1 of 2 windows are not finite \(episodes \[1\]\)"):
        identify(world, broken, C)
    spared = identify(world, broken, dataclasses.replace(C, max_left_out=0.5, iterations=1))
    assert [o.window for o in spared.left_out] == [1]


def test_windows_of_another_scene_are_named(world: WorldModel) -> None:
    other = dataclasses.replace(door_windows(), ctrl=np.zeros((2, 3, 2)))
    with pytest.raises(IdentifyError, match="ctrl has 2 columns; scene 'door' needs 1"):
        identify(world, other, C)
    with pytest.raises(IdentifyError, match="nothing is free"):
        identify(WorldModel(world.scene), door_windows(), C)


def test_windows_of_which_nothing_is_scored_are_refused(world: WorldModel, tmp_path: Path) -> None:
    zero = {"physics": parameters.zeros(MASS), "network": {}}
    empty = door_windows().take(np.array([], int))
    for none in (empty, door_windows(horizon=0)):
        with pytest.raises(IdentifyError, match="no frame of these windows"):
            identify(world, none, IdentifyConfig())
    pairs = {"train": (empty, door_windows()), "validation": (door_windows(), empty)}
    for name, pair in pairs.items():
        with pytest.raises(FitError, match=f"no frame of the 0 {name} windows is scored"):
            fit(world, zero, HINGE, *pair, FitConfig(), tmp_path, **CALLBACKS)


def test_an_origin_that_predicts_nothing_finite_is_named(world: WorldModel, tmp_path: Path) -> None:
    far = start_of(door_mass=[1e5])
    both = door_windows(), door_windows(), FitConfig(batch=2), tmp_path
    with pytest.raises(FitError, match=r"origin .*not finite; door\.mass\[0\] is 1e\+05 prior"):
        fit(world, far, HINGE, *both, **CALLBACKS)
