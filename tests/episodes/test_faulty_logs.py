"""Logs with a fault, each beside the right value: handled by a rule, and counted."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.logs import (
    BOX,
    BOX_COLUMNS,
    COLUMNS,
    TIME,
    Q,
    U,
    V,
    arm_log,
    read,
    repairs,
    truth,
    tumbling,
)
from worldmodel.episodes.reading import read_episodes
from worldmodel.errors import InputError


def test_wrapped_angles_are_unwrapped(tmp_path: Path) -> None:
    wrapped = Q.copy()
    wrapped[:, 1] = (Q[:, 1] + np.pi) % (2 * np.pi) - np.pi
    for hz in (100.0, 60.0):
        episode, reading = read(arm_log(tmp_path / "a.npz", q=wrapped), control_hz=hz)
        begin = np.ceil(0.02 * hz - 1e-9) / hz
        exact = truth(np.arange(len(episode.time)) / hz + begin)[0][:, 1]
        np.testing.assert_allclose(episode.qpos[:, 1], exact, atol=1e-3)
        assert np.abs(episode.qvel[:, 1]).max() < 7.5
        assert repairs(reading)["angle: unwrapped; q[1]"] == 3


def test_quaternions_that_change_sign_turn_back(tmp_path: Path) -> None:
    pose, twist = tumbling()
    flipped = pose.copy()
    flipped[::3, 3:] *= -1
    np.savez(tmp_path / "a.npz", pose=flipped, twist=twist)
    reading = read_episodes(tmp_path / "a.npz", BOX_COLUMNS, BOX)
    quaternions = reading.episodes[0].qpos[:, 3:]
    assert ((quaternions[1:] * quaternions[:-1]).sum(axis=1) > 0).all()
    np.testing.assert_allclose(np.abs((quaternions * pose[:, 3:]).sum(axis=1)), 1.0)
    np.testing.assert_array_equal(reading.episodes[0].qvel, twist)
    still = dataclasses.replace(
        BOX_COLUMNS, bodies=(dataclasses.replace(BOX_COLUMNS.bodies[0], velocity=()),)
    )
    estimated = read_episodes(tmp_path / "a.npz", still, BOX)
    np.testing.assert_allclose(estimated.episodes[0].qvel, twist[2:], atol=1e-6)
    assert "nothing in the log says whether its order is wxyz" in estimated.notes[0]
    flipped[7, 3:] *= 1.01
    np.savez(tmp_path / "b.npz", pose=flipped, twist=twist)
    with pytest.raises(InputError, match=r"episode 'b'.* the quaternion at frame 7 has norm 1.01"):
        read_episodes(tmp_path / "b.npz", BOX_COLUMNS, BOX)


def test_jittered_stamps_become_a_regular_clock(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    jittered = np.maximum.accumulate(TIME + generator.exponential(1.5e-3, len(TIME)))
    episode, reading = read(arm_log(tmp_path / "a.npz", time=jittered))
    assert repairs(reading)["time stamps in bursts: a regular clock; time"] > 200
    assert len(episode.qpos) >= 295
    assert np.abs(episode.qvel - V[2 : 2 + len(episode.qvel)]).max() < 0.1
    wild = np.maximum.accumulate(TIME + generator.exponential(3e-2, len(TIME)))
    with pytest.raises(InputError, match=r"episode 'b'.*no regular clock explains these stamps"):
        read(arm_log(tmp_path / "b.npz", time=wild))


def test_repeated_rows_are_dropped_and_repeated_stamps_are_not_rates(tmp_path: Path) -> None:
    twice = np.sort(np.append(np.arange(300), [50, 51, 200]))
    rows = {"time": TIME[twice], "q": Q[twice], "u": U[twice]}
    episode, reading = read(arm_log(tmp_path / "a.npz", **rows))
    np.testing.assert_array_equal(episode.qpos, Q[2:])
    assert repairs(reading) == {"rows that repeat the one before: dropped; every column": 3}
    tied = TIME.copy()
    tied[100] = tied[99]
    episode, reading = read(arm_log(tmp_path / "b.npz", time=tied))
    np.testing.assert_allclose(episode.qpos, Q[2:], atol=1e-3)
    assert np.abs(episode.qvel[:, 1]).max() < 7.5


def test_a_gap_is_never_filled(tmp_path: Path) -> None:
    kept = (TIME < 1.0) | (TIME > 1.6)
    rows = {"time": TIME[kept], "q": Q[kept], "u": U[kept]}
    episode, reading = read(arm_log(tmp_path / "a.npz", **rows))
    lost = ~kept[2:]
    lost[np.flatnonzero(lost)[0]] = False  # the last sample before is one control period old
    np.testing.assert_array_equal(~episode.valid, lost)
    assert np.isnan(episode.qpos[lost]).all()
    assert episode.measured is not None and not episode.measured[lost].any()
    np.testing.assert_allclose(episode.qpos[~lost], Q[2:][~lost], atol=1e-3)
    assert repairs(reading) == {"gap: not valid; every column": lost.sum()}


def test_what_is_no_number_is_not_measured(tmp_path: Path) -> None:
    gappy = Q.copy()
    gappy[100:102, 1] = np.nan  # short: known from what is around it, and not scored
    gappy[150:190, 0] = np.nan
    episode, reading = read(arm_log(tmp_path / "a.npz", q=gappy))
    assert episode.measured is not None and episode.valid.all()
    measured = np.ones((298, 3), bool)
    measured[98:100, 1] = measured[148:188, 0] = False
    np.testing.assert_array_equal(episode.measured, measured)
    np.testing.assert_allclose(episode.qpos[98:100, 1], Q[100:102, 1], atol=1e-3)
    assert np.isnan(episode.qpos[149:188, 0]).all()
    np.testing.assert_array_equal(episode.qpos[:, 2], Q[2:, 2])
    counts = repairs(reading)
    assert counts["no number: not measured; q[0]"] == 40
    assert counts["no number: not measured; q[1]"] == 2
    never = Q.copy()
    never[:, 2] = np.nan
    episode, _ = read(arm_log(tmp_path / "b.npz", q=never))
    assert episode.measured is not None and np.isnan(episode.qpos[:, 2]).all()
    assert not episode.measured[:, 2].any() and episode.measured[:, :2].all()


def test_a_stuck_and_a_dead_encoder_are_not_measured(tmp_path: Path) -> None:
    stuck = Q.copy()
    stuck[120:160, 1] = stuck[119, 1]
    episode, reading = read(arm_log(tmp_path / "a.npz", q=stuck))
    assert episode.measured is not None
    np.testing.assert_array_equal(~episode.measured[:, 1], (TIME[2:] > 1.195) & (TIME[2:] < 1.595))
    assert repairs(reading)["stuck encoder: not measured; q[1]"] == 40
    assert np.abs(episode.qvel[np.isfinite(episode.qvel)]).max() < 8.0
    dead = Q.copy()
    dead[:, 0] = 0.25
    episode, reading = read(arm_log(tmp_path / "b.npz", q=dead))
    assert repairs(reading)["dead while commanded: not measured; q[0]"] == 300
    assert np.isnan(episode.qpos[:, 0]).all() and np.isfinite(episode.qpos[:, 1:]).all()
    resting = Q.copy()
    resting[:, 0] = 0.25
    still = U.copy()
    still[:, 0] = 0.25
    episode, reading = read(arm_log(tmp_path / "c.npz", q=resting, u=still))
    assert episode.measured is None and repairs(reading) == {}


def test_commands_and_states_at_other_rates(tmp_path: Path) -> None:
    sparse, held = U.copy(), U.copy()
    sparse[np.arange(300) % 5 > 0] = np.nan  # a command every fifth row: held between
    held[:] = U[np.arange(300) // 5 * 5]
    episode, _ = read(arm_log(tmp_path / "a.npz", u=sparse))
    np.testing.assert_allclose(episode.ctrl, held[2:], atol=1e-9)
    assert episode.valid.all()
    own = dataclasses.replace(
        COLUMNS,
        commands=tuple(dataclasses.replace(c, time="time_u") for c in COLUMNS.commands),
    )
    slow = TIME[::5] + 0.0
    episode, _ = read(arm_log(tmp_path / "b.npz", u=U[::5], time_u=slow), own)
    np.testing.assert_allclose(episode.ctrl, held[2:], atol=1e-9)
    with pytest.raises(InputError, match=r"'u\[0\]' has 60 rows where its time 'time' has 300"):
        read(arm_log(tmp_path / "c.npz", u=U[::5], time_u=slow))
    halved = Q.copy()
    halved[1::2] = np.nan
    episode, _ = read(arm_log(tmp_path / "d.npz", q=halved))
    assert episode.measured is not None and episode.measured[::2].all()
    assert not episode.measured[1::2].any()
    np.testing.assert_allclose(episode.qpos, Q[4:300], atol=2e-3)


def test_a_lost_stretch_of_commands_is_not_valid(tmp_path: Path) -> None:
    lost = U.copy()
    lost[100:160, 1] = np.nan
    episode, reading = read(arm_log(tmp_path / "a.npz", u=lost))
    assert repairs(reading) == {"gap in the commands: not valid; every column": 57}
    np.testing.assert_array_equal(np.flatnonzero(~episode.valid) + 2, np.arange(103, 160))


def test_a_command_that_is_no_number_is_the_one_before_and_counted(tmp_path: Path) -> None:
    lost = U.copy()
    lost[100, 1] = np.nan
    episode, reading = read(arm_log(tmp_path / "a.npz", u=lost))
    assert repairs(reading) == {"no number: the command before it; u[1]": 1}
    assert episode.valid.all() and episode.ctrl[98, 1] == pytest.approx(U[99, 1])


def test_short_episodes_are_dropped_counted_and_named(tmp_path: Path) -> None:
    """Of one row, of two, of none, and of three: the third is the first with a velocity."""
    start, ids = np.array([0, 1, 150, 152, 152, 155, 159, 300]), np.arange(7)
    episode, reading = read(arm_log(tmp_path / "a.npz", start=start, id=ids))
    assert [e.id for e in reading.episodes] == [1, 5, 6]
    np.testing.assert_array_equal(episode.qpos, Q[3:150])
    (dropped,) = [r for r in reading.repairs if "two frames" in r.rule]
    assert dropped.episodes == 4
    assert f"{tmp_path / 'a.npz'}: 4 episodes" in reading.notes[-1]
    assert reading.notes[-1].endswith("are dropped: 0, 2, 3, 4")
    with pytest.raises(InputError, match="none of its 2 episodes has two frames"):
        read(
            arm_log(tmp_path / "b.npz", q=Q[:2], u=U[:2], time=TIME[:2], start=np.array([0, 1, 2]))
        )


def test_a_spike_is_not_valid_and_faster_is_allowed_where_it_is_said(tmp_path: Path) -> None:
    spiked = Q.copy()
    spiked[150, 1] += 2.0
    episode, reading = read(arm_log(tmp_path / "a.npz", q=spiked))
    assert 1 <= (~episode.valid).sum() <= 3 and not episode.valid[148]
    assert "faster than possible: not valid; q[1]" in repairs(reading)
    fast = Q * [1, 30, 1]
    columns = dataclasses.replace(COLUMNS, fastest=(20.0, 300.0))
    episode, _ = read(arm_log(tmp_path / "b.npz", q=fast), columns)
    assert episode.valid.all()


def test_a_dead_column_is_named_where_it_leaves_no_frame(tmp_path: Path) -> None:
    dead = U.copy()
    dead[:, 1] = np.nan
    with pytest.raises(InputError, match=r"two frames to read: column 'u\[1\]' holds no number"):
        read(arm_log(tmp_path / "a.npz", u=dead))


def test_a_joint_that_the_robot_lacks_is_named_before_one_without_a_column(tmp_path: Path) -> None:
    joints = (dataclasses.replace(COLUMNS.joints[0], name="lft"), *COLUMNS.joints[1:])
    with pytest.raises(InputError, match=r"no joint 'lft' for these columns; did you mean lift\?"):
        read(arm_log(tmp_path / "a.npz"), dataclasses.replace(COLUMNS, joints=joints))
