"""Zeros and scales of a log, identified with the drives of the arm that it is of."""

import dataclasses
import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.helpers.logged_arm import DRIVES, FREE, HZ, Log, arm, recorded
from worldmodel.episodes.columns import Columns, ColumnsError, Command, Joint
from worldmodel.episodes.reading import read_episodes
from worldmodel.episodes.windows import Windows, cut_windows
from worldmodel.finetune.calibration import folded
from worldmodel.finetune.engines import make_engine
from worldmodel.finetune.gauss_newton import IdentifyConfig, identify, intervals
from worldmodel.finetune.moved import unpacked
from worldmodel.model import WorldModel
from worldmodel.model.calibration import calibrated
from worldmodel.scene import FreeParameter

CALIBRATIONS = (
    FreeParameter("joint_zero", "shoulder"),
    FreeParameter("command_zero", "shoulder"),
    FreeParameter("joint_scale", "elbow"),
)
ENCODERS = Log(zero=(0.07, 0.0), scale=(1.0, 1.1))
STATE_ALONE = dataclasses.replace(ENCODERS, command_zero=(-0.07, 0.0))
C = IdentifyConfig(engine="c")


def windows_of(log: Log) -> Windows:
    episodes = recorded(log)
    return cut_windows(episodes, [np.arange(1, 70, 10)] * len(episodes), 15)


@functools.cache
def fitted(log: Log, free: tuple[FreeParameter, ...]) -> dict[str, np.ndarray]:
    """Value and 95 % interval of every number."""
    world = WorldModel(arm(), free)
    return {k: v[0] for k, v in intervals(world, identify(world, windows_of(log), C)).items()}


@pytest.mark.parametrize("log", [ENCODERS, STATE_ALONE], ids=["encoders", "state alone"])
def test_zero_scale_and_drives_of_a_log_lie_within_their_intervals(log: Log) -> None:
    bounds = fitted(log, FREE + CALIBRATIONS)
    truth = {
        "shoulder.joint_zero": log.zero[0],
        "shoulder.command_zero": log.command_zero[0],
        "elbow.joint_scale": log.scale[1],
    }
    for kind, values in DRIVES.items():
        truth |= dict(zip((f"shoulder.{kind}", f"elbow.{kind}"), values, strict=True))
    assert bounds.keys() == truth.keys()
    # Twice the interval's half: nine numbers of one draw, of which some lie outside of once.
    for name, (value, low, high) in bounds.items():
        assert value - 2 * (value - low) < truth[name] < value + 2 * (high - value), name
    value, low, high = bounds["shoulder.joint_zero"]
    assert high - low < 0.02  # gravity shows it: a wide interval would hold anything
    assert bounds["shoulder.gain"][0] == pytest.approx(17.0, rel=0.02)


def test_without_the_zeros_the_gain_is_wrong() -> None:
    """A state that is off by 0.07 rad against its command looks like a soft servo."""
    value, _, high = fitted(STATE_ALONE, FREE)["shoulder.gain"]
    assert value < 10.0 and high < 17.0


def test_both_engines_agree_in_calibrations() -> None:
    world = WorldModel(arm(), (*CALIBRATIONS, FreeParameter("gain", "elbow")))
    windows = windows_of(STATE_ALONE).take(np.array([1, 9]))
    windows = dataclasses.replace(windows, ctrl=windows.ctrl[:, :4], target=windows.target[:, :4])
    windows = dataclasses.replace(windows, scored=windows.scored[:, :4])
    u, shift = np.array([0.4, -0.3, 0.5, 0.2]), np.full((2, 4), 1e-3)
    mine = make_engine(world, "mjx", 2).slopes(u, shift, windows)
    theirs = make_engine(world, "c", 2).slopes(u, shift, windows, central=True)
    np.testing.assert_allclose(mine[0], theirs[0], atol=1e-9)
    scale = np.abs(theirs[1]).max(axis=(0, 1, 2))
    assert (scale > 1e-3).all()
    # The differences' own error: 1e-3 squared, times a third derivative of order one.
    assert (np.abs(mine[1] - theirs[1]).max(axis=(0, 1, 2)) < 2e-4 * scale).all()


def test_a_scale_cannot_shrink_the_errors() -> None:
    """Errors are in the log's units: a log that the model misses is missed at any scale."""
    world = WorldModel(arm(), (FreeParameter("joint_scale", "elbow"),))
    windows = windows_of(Log()).take(np.array([2]))
    still = dataclasses.replace(windows, target=windows.target + 0.5)
    engine = make_engine(world, "c", 1)
    tiny, own = (engine.errors(np.array([u]), np.zeros((1, 0)), still) for u in (-40.0, 0.0))
    assert np.abs(tiny[..., 1]).min() > 0.2 < np.abs(own[..., 1]).min()


def test_folded_columns_read_the_robots_own_coordinates(tmp_path: Path) -> None:
    """Degrees and per cent, a sign and an offset: the log read again needs no calibration."""
    scene, (episode,) = arm(), recorded(STATE_ALONE, episodes=1)
    raw = np.column_stack(
        [
            -np.degrees(episode.qpos[:, 0]),
            (episode.qpos[:, 1] + 1.7) / 3.4 * 100.0,
            -np.degrees(episode.ctrl[:, 0]),
            (episode.ctrl[:, 1] + 1.7) / 3.4 * 100.0,
        ]
    )
    path = tmp_path / "log.csv"
    np.savetxt(path, raw, delimiter=",", header="a,b,goal_a,goal_b", comments="", fmt="%.17g")
    columns = Columns(
        joints=(Joint("shoulder", "a", unit="deg", sign=-1.0), Joint("elbow", "b", unit="percent")),
        commands=(
            Command("shoulder", "goal_a", unit="deg", sign=-1.0),
            Command("elbow", "goal_b", unit="percent", range=(-1.7, 1.7)),
        ),
        rate_hz=HZ,
    )
    world = WorldModel(scene, (*CALIBRATIONS, FreeParameter("gain", "elbow")))
    u = unpacked(world, jnp.array([0.7, -0.7, np.log(1.1) / 0.1, 0.4]))
    read, bare, parameters = folded(columns, world, {"physics": u, "network": {}})
    assert bare.free == world.free[-1:]
    assert parameters["physics"].keys() == {"elbow.gain"}
    episodes = [read_episodes(path, c, scene.mj_model).episodes[0] for c in (columns, read)]
    frames = len(episodes[0].qpos)  # the first ones have no velocity
    np.testing.assert_allclose(episodes[0].qpos, episode.qpos[-frames:], atol=1e-9)
    logged, own = (cut_windows([e], [np.array([5, 30])], 10) for e in episodes)
    truth = calibrated(scene, world.free, u, logged)
    for ours, theirs in zip(jax.tree.leaves(own), jax.tree.leaves(truth), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-9)
    again, _, same = folded(read, bare, parameters)
    assert (again, same) == (read, parameters)


def test_a_calibration_that_no_column_can_take_is_named() -> None:
    world = WorldModel(arm(), CALIBRATIONS[:1])
    parameters = {"physics": unpacked(world, jnp.ones(1)), "network": {}}
    with pytest.raises(ColumnsError, match=r"shoulder.joint_zero is fitted.*no joint shoulder"):
        folded(Columns(joints=(Joint("elbow", "a"),)), world, parameters)
