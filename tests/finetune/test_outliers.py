"""Bad recordings among good ones: what is left out and named, and when nothing is identified."""

import dataclasses

import numpy as np
import pytest

from tests.helpers.planted_parameters import NOISE
from worldmodel._mujoco import mujoco
from worldmodel.episodes.windows import WindowGrid
from worldmodel.finetune.gauss_newton import Identified, IdentifyConfig, identify, intervals
from worldmodel.finetune.least_squares import IdentifyError
from worldmodel.finetune.outliers import FAR, answering, far_beyond
from worldmodel.model import WorldModel
from worldmodel.scene import FreeParameter, load_scene
from worldmodel.types import Episode

MJCF = """
<mujoco model="two">
  <option integrator="implicitfast"/>
  <worldbody>
    <body pos="0 0 1">
      <joint name="s" axis="0 1 0" damping="{d}" frictionloss="{f}" armature="0.002"/>
      <geom type="capsule" size="0.02" fromto="0 0 0 0 0 -0.3" mass="0.5"/>
      <body pos="0 0 -0.3">
        <joint name="e" axis="0 1 0" damping="{d}" frictionloss="{f}" armature="0.002"/>
        <geom type="capsule" size="0.02" fromto="0 0 0 0 0 -0.3" mass="0.4"/>
      </body>
    </body>
  </worldbody>
  <actuator><motor name="ms" joint="s"/><motor name="me" joint="e"/></actuator>
</mujoco>
"""
TRUE = {"damping": 0.03, "frictionloss": 0.05}
FREE = tuple(FreeParameter(kind, joint) for kind in TRUE for joint in "se")
GRID = WindowGrid(first=3, stride=20, horizon=20)
C = IdentifyConfig(engine="c")


def play(seed: int, frames: int = 200) -> Episode:
    """0.005 s a frame, sines on both motors, positions through noise of 1 mrad."""
    m = mujoco.MjModel.from_xml_string(MJCF.format(d=0.03, f=0.05))
    m.opt.timestep = 0.0025
    d, rng = mujoco.MjData(m), np.random.default_rng(seed)
    qpos, qvel, ctrl = np.zeros((3, frames, 2))
    size, phase = rng.uniform(0.5, 1.5, 2), rng.uniform(0.0, 6.0, 2)
    for k in range(frames):
        qpos[k], qvel[k] = d.qpos, d.qvel
        d.ctrl[:] = ctrl[k] = size * np.sin(k / 12 + phase)
        mujoco.mj_step(m, d, nstep=2)
    return Episode.regular(
        seed, 200.0, qpos=qpos + rng.normal(0, 1e-3, qpos.shape), qvel=qvel, ctrl=ctrl
    )


@pytest.fixture(scope="module")
def world() -> WorldModel:
    return WorldModel(load_scene(MJCF.format(d=0.01, f=0.1), control_hz=200.0, substeps=2), FREE)


@pytest.fixture(scope="module")
def episodes() -> list[Episode]:
    return [play(seed) for seed in range(6)]


def holds(world: WorldModel, result: Identified) -> None:
    """The truth is known to a quarter, and lies within one interval and a half of the estimate
    (starts through noise bias it a little)."""
    assert result.converged and all(n.identified for n in result.numbers)
    for name, [(value, low, high)] in intervals(world, result).items():
        true = TRUE[name.split(".")[1]]
        assert abs(np.log(value / true)) < 1.5 * np.log(high / value) < np.log(1.5), name
        assert low < value


def test_one_window_that_explodes_is_left_out_and_named(
    world: WorldModel, episodes: list[Episode], capsys: pytest.CaptureFixture[str]
) -> None:
    """A start at 1200 rad/s, as an angle that wraps makes it, among 54 windows."""
    qvel = episodes[2].qvel.copy()
    qvel[3, 1] = 1200.0
    bad = [*episodes[:2], dataclasses.replace(episodes[2], qvel=qvel), *episodes[3:]]
    windows, _ = GRID.cut(bad)
    result = identify(world, windows, C)
    assert [(o.episode, o.frame) for o in result.left_out] == [(2, 3)]
    assert "left out 1 of 54 windows: episode 2 from frame 3 (" in capsys.readouterr().err
    holds(world, result)
    damping = intervals(world, result)["s.damping"][0, 0]
    assert damping == pytest.approx(0.032, abs=5e-4)


def test_too_many_bad_windows_are_refused_by_name(
    world: WorldModel, episodes: list[Episode]
) -> None:
    qvel = episodes[2].qvel.copy()
    qvel[:, 1] += 1200.0
    bad = [*episodes[:2], dataclasses.replace(episodes[2], qvel=qvel), *episodes[3:]]
    windows, _ = GRID.cut(bad)
    with pytest.raises(IdentifyError, match=r"9 of 54 windows .* more than 10%: episode 2 from"):
        identify(world, windows, C)


@pytest.mark.parametrize("kind", ["degrees", "a scene that stands still"])
def test_nothing_is_identified_from_positions_that_no_motion_explains(
    kind: str, world: WorldModel, episodes: list[Episode]
) -> None:
    if kind == "degrees":
        changed = [
            dataclasses.replace(e, qpos=np.rad2deg(e.qpos), qvel=np.rad2deg(e.qvel))
            for e in episodes
        ]
    else:
        changed = [
            dataclasses.replace(e, qpos=np.ones_like(e.qpos), qvel=np.zeros_like(e.qvel))
            for e in episodes
        ]
    windows, _ = GRID.cut(changed)
    try:
        result = identify(world, windows, dataclasses.replace(C, iterations=15))
    except IdentifyError as refused:
        assert "windows are not finite" in str(refused)
        return
    assert result.reason and not result.converged
    assert not any(n.identified for n in result.numbers)
    for rows in intervals(world, result).values():
        assert np.isfinite(rows[:, 0]).all() and np.isnan(rows[:, 1:]).all()


def test_a_fit_out_of_iterations_identifies_nothing(
    world: WorldModel, episodes: list[Episode]
) -> None:
    windows, _ = GRID.cut(episodes)
    result = identify(world, windows, dataclasses.replace(C, iterations=1))
    assert "iterations were not enough" in result.reason
    assert not any(n.identified for n in result.numbers)
    holds(world, identify(world, windows, C))


def test_sizes_are_relative_to_the_median_window() -> None:
    """A window ten times as steep; one frame of a thousand deviations, which the loss bounds."""
    rng = np.random.default_rng(0)
    error = NOISE * rng.choice([-1.0, 1.0], size=(9, 20, 2))
    slope = np.ones((9, 20, 2, 3))
    slope[4] *= 10.0
    error[5, 3] = 1000.0 * NOISE
    counted = np.ones(error.shape, bool)
    counted[6] = False
    errors, slopes = far_beyond(error, slope, np.full(2, NOISE), counted, 3.0, 0.1)
    expected = np.ones(9)
    expected[6] = 0.0
    np.testing.assert_allclose(np.delete(errors, 5), np.delete(expected, 5))
    assert 10.0 < errors[5] < 30.0
    expected[4] = 10.0
    np.testing.assert_allclose(slopes, expected)


def test_windows_in_which_nothing_is_touched_make_no_touch_an_outlier() -> None:
    """Four of ten windows push a block, the second degree of freedom; one of those explodes."""
    rng = np.random.default_rng(0)
    error = NOISE * rng.normal(size=(10, 20, 2))
    slope = np.ones((10, 20, 2, 3))
    error[:6, :, 1], slope[:6, :, 1] = 0.0, 0.0
    slope[6:] *= 1e4
    slope[9] *= 1e3
    counted = np.ones(error.shape, bool)
    assert answering(slope, counted, 0.1)[:, 1].tolist() == [False] * 6 + [True] * 4
    slope[:6, :, 0] = 0.0  # an arm whose own numbers are held
    errors, slopes = far_beyond(error, slope, np.full(2, NOISE), counted, 3.0, 0.1)
    assert (errors < 2.0).all()
    assert np.flatnonzero(slopes > FAR).tolist() == [9]
