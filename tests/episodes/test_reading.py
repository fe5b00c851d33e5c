"""Logs with a fault, each beside the right value: handled and counted, or refused by name."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.helpers.logs import (
    ARM,
    BOX,
    BOX_COLUMNS,
    COLUMNS,
    arm_log,
    truth,
    tumbling,
)
from worldmodel.episodes.columns import Body, Columns, Command, Joint
from worldmodel.episodes.reading import Reading, read_episodes
from worldmodel.errors import InputError
from worldmodel.types import Episode

HZ = 100.0
TIME = np.arange(300) / HZ
Q, V, U = truth(TIME)


def changed(columns: Columns = COLUMNS, **joints: dict[str, Any]) -> Columns:
    """The columns with keys of some joints and of their actuators replaced."""
    servo = {"wheel_motor": "wheel"}
    return dataclasses.replace(
        columns,
        joints=tuple(dataclasses.replace(j, **joints.get(j.name, {})) for j in columns.joints),
        commands=tuple(
            dataclasses.replace(
                c, **{k: v for k, v in joints.get(servo.get(c.name, c.name), {}).items()
                      if k in ("unit", "range") and c.name != "wheel_motor"}
            )
            for c in columns.commands
        ),
    )  # fmt: skip


def read(path: Path, columns: Columns = COLUMNS, **options: Any) -> tuple[Episode, Reading]:
    reading = read_episodes(path, columns, ARM, **options)
    return reading.episodes[0], reading


def repairs(reading: Reading) -> dict[str, int]:
    """Frames by rule and column, without the velocities, which these logs never have."""
    counts = {f"{r.rule}; {r.column}": r.frames for r in reading.repairs}
    return {k: n for k, n in counts.items() if "velocity" not in k}


def test_a_clean_log_is_read_as_it_is(tmp_path: Path) -> None:
    episode, reading = read(arm_log(tmp_path / "a.npz"))
    assert reading.control_hz == 100.0 and repairs(reading) == {}
    # The first two samples have no velocity: the episode begins with the third.
    np.testing.assert_array_equal(episode.qpos, Q[2:])
    np.testing.assert_array_equal(episode.ctrl, U[2:])
    np.testing.assert_allclose(episode.qvel, V[2:], atol=3e-3)
    np.testing.assert_allclose(episode.time, TIME[:-2], atol=1e-12)
    assert episode.valid.all() and episode.fresh.all() and episode.measured is None


@pytest.mark.parametrize("hz", [50.0, 80.0, 200.0])
def test_another_rate_is_a_resampling(hz: float, tmp_path: Path) -> None:
    episode, reading = read(arm_log(tmp_path / "a.npz"), control_hz=hz)
    begin = np.ceil(0.02 * hz - 1e-9) / hz  # the first frame with three samples
    exact, rate, _ = truth(np.arange(len(episode.time)) / hz + begin)
    np.testing.assert_allclose(np.diff(episode.time), 1 / hz, atol=1e-12)
    np.testing.assert_allclose(episode.qpos, exact, atol=1e-3)
    assert reading.control_hz == hz
    fresh = episode.qvel[episode.fresh] - rate[episode.fresh]
    assert np.abs(fresh).max() < 0.08  # at the sample before, up to 10 ms


def test_units_signs_zeros_and_scales(tmp_path: Path) -> None:
    logged = Q.copy()
    logged[:, 0] = np.degrees(-(Q[:, 0] - 0.3))
    logged[:, 1] = np.degrees(Q[:, 1]) / 2
    logged[:, 2] = Q[:, 2] / 0.08 * 100
    played = U.copy()
    played[:, 0], played[:, 2] = np.degrees(U[:, 0]), U[:, 2] / 0.08 * 100
    columns = changed(
        lift={"unit": "deg", "sign": -1.0, "offset": 0.3},
        wheel={"unit": "deg", "scale": 2.0},
        jaw={"unit": "percent"},
    )
    episode, _ = read(arm_log(tmp_path / "a.npz", q=logged, u=played), columns)
    np.testing.assert_allclose(episode.qpos, Q[2:], atol=1e-12)
    np.testing.assert_allclose(episode.ctrl, U[2:], atol=1e-12)
    centred = changed(jaw={"unit": "percent", "range": (0.04, 0.08)})  # -100 to 100
    logged = Q.copy()
    logged[:, 2] = (Q[:, 2] - 0.04) / 0.04 * 100
    played = U.copy()
    played[:, 2] = (U[:, 2] - 0.04) / 0.04 * 100
    episode, _ = read(arm_log(tmp_path / "b.npz", q=logged, u=played), centred)
    np.testing.assert_allclose(episode.qpos, Q[2:], atol=1e-12)


def test_recorded_velocities_are_kept_in_the_positions_unit(tmp_path: Path) -> None:
    columns = changed(lift={"velocity": "v[0]", "unit": "deg"})
    logged, played = Q.copy(), U.copy()
    logged[:, 0], played[:, 0] = np.degrees(Q[:, 0]), np.degrees(U[:, 0])
    path = arm_log(tmp_path / "a.npz", q=logged, u=played, v=np.degrees(V) + 0.01)
    episode, reading = read(path, columns)
    np.testing.assert_allclose(episode.qvel[:, 0], V[2:, 0] + np.radians(0.01), atol=1e-12)
    assert "q[0]" not in {r.column for r in reading.repairs if "velocity" in r.rule}
    for factor, message in (
        (-1.0, "one of the two has the other sign"),
        (180 / np.pi, "the velocity is in degrees and the position is not"),
        (3.0, "see to its unit"),
    ):
        arm_log(tmp_path / "b.npz", q=Q, v=factor * V)
        with pytest.raises(InputError, match=message):
            read(tmp_path / "b.npz", changed(lift={"velocity": "v[0]"}))


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


def test_the_order_of_a_quaternion_and_the_frame_of_its_velocity(tmp_path: Path) -> None:
    pose, twist = tumbling()
    xyzw = pose[:, [0, 1, 2, 4, 5, 6, 3]]
    np.savez(tmp_path / "a.npz", pose=xyzw, twist=twist)
    with pytest.raises(InputError, match='read as xyzw: order = "xyzw"'):
        read_episodes(tmp_path / "a.npz", BOX_COLUMNS, BOX)
    right = (dataclasses.replace(BOX_COLUMNS.bodies[0], order="xyzw"),)
    mended = dataclasses.replace(BOX_COLUMNS, bodies=right)
    episode = read_episodes(tmp_path / "a.npz", mended, BOX).episodes[0]
    np.testing.assert_allclose(episode.qpos, pose, atol=1e-15)
    np.savez(tmp_path / "b.npz", pose=pose, twist=twist)
    with pytest.raises(InputError, match='read as wxyz: order = "wxyz"'):
        read_episodes(tmp_path / "b.npz", mended, BOX)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"q": np.degrees(Q)}, r"'q\[0\]' \(joint 'lift'\) is far outside .*-2 to 2.*unit = \"d"),
        ({"q": Q * [1, 1, 1000]}, r"frame \d+: column 'q\[2\]' .*joint 'jaw'.*unit = \"mm\""),
        ({"q": Q * [1, 30, 1]}, r"'q\[1\]' .*'wheel'.*moves at up to 2\d\d rad/s.*unit = \"deg\""),
        ({"u": np.degrees(U)}, r"column 'u\[0\]' \(actuator 'lift'\) is far outside"),
        ({"time": TIME * 1e3}, r"a frame every 10 s is no robot's clock.*time_unit = \"ms\""),
        ({"time": TIME * 1e-3}, r"a frame every 1e-05 s.*larger units"),
        ({"time": TIME[::-1].copy()}, r"episode 'a': column 'time': time does not increase at f"),
        ({"time": TIME * np.nan}, "the time is not finite at frame 0"),
        ({"time": TIME * 0}, "every frame has the same time"),
        ({"time": TIME[:-1]}, r"'q\[0\]' has 300 rows where its time 'time' has 299"),
    ],
)  # fmt: skip
def test_what_is_in_another_unit_is_refused(arrays: dict, message: str, tmp_path: Path) -> None:
    arm_log(tmp_path / "a.npz", **arrays)
    with pytest.raises(InputError, match=message):
        read(tmp_path / "a.npz")


def test_a_body_in_millimetres_is_refused(tmp_path: Path) -> None:
    pose, twist = tumbling()
    for factor in (1000.0, 60.0):  # over 100 m; and too fast
        size = np.array([factor] * 3 + [1.0] * 4)
        np.savez(tmp_path / "a.npz", pose=pose * size, twist=twist * size[[0, 1, 2, 3, 3, 3]])
        with pytest.raises(InputError, match=r"position of 'box'.*unit = \"mm\""):
            read_episodes(tmp_path / "a.npz", BOX_COLUMNS, BOX)


def test_the_time_in_milliseconds_is_read_where_it_is_said(tmp_path: Path) -> None:
    columns = dataclasses.replace(COLUMNS, time_unit="ms")
    episode, _ = read(arm_log(tmp_path / "a.npz", time=TIME * 1e3), columns)
    np.testing.assert_allclose(episode.time, TIME[:-2], atol=1e-9)
    nanoseconds = (TIME * 1e9).round().astype(np.int64) + 1_700_000_000_123_456_789
    columns = dataclasses.replace(COLUMNS, time_unit="ns")
    episode, _ = read(arm_log(tmp_path / "b.npz", time=nanoseconds), columns)
    np.testing.assert_array_equal(episode.qpos, Q[2:])


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


def test_what_nothing_measures_is_assumed_or_unknown(tmp_path: Path) -> None:
    columns = dataclasses.replace(
        COLUMNS,
        joints=(COLUMNS.joints[0], Joint("wheel", assumed=0.5), Joint("jaw")),
        commands=(COLUMNS.commands[0], Command("wheel_motor", offset=0.2), COLUMNS.commands[2]),
    )
    episode, reading = read(arm_log(tmp_path / "a.npz"), columns)
    assert (episode.qpos[:, 1] == 0.5).all() and (episode.qvel[:, 1] == 0.0).all()
    assert np.isnan(episode.qpos[:, 2]).all() and np.isnan(episode.qvel[:, 2]).all()
    assert episode.measured is not None
    np.testing.assert_array_equal(episode.measured.all(axis=0), [True, False, False])
    assert (episode.ctrl[:, 1] == 0.2).all()
    assert "joint 'wheel' is not measured: assumed [0.5]" in reading.notes
    assert "joint 'jaw' is not measured: unknown" in reading.notes
    pose = (0.0, 0.0, 0.5, 1.0, 0.0, 0.0, 0.0)
    placed = Columns(bodies=(Body("box", ("pose[0:3]",), assumed=pose),), rate_hz=100.0)
    np.savez(tmp_path / "b.npz", pose=tumbling()[0])
    episode = read_episodes(tmp_path / "b.npz", placed, BOX).episodes[0]
    np.testing.assert_array_equal(episode.qpos[0, 3:], pose[3:])
    assert episode.measured is not None
    np.testing.assert_array_equal(episode.measured[0], [True] * 3 + [False] * 4)


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


@pytest.mark.parametrize("frames", [2.0, 1.5])
def test_delays_shift_columns_against_the_others(frames: float, tmp_path: Path) -> None:
    late, whole = frames / HZ, int(frames)
    commands = tuple(dataclasses.replace(c, delay=late) for c in COLUMNS.commands)
    acting = dataclasses.replace(COLUMNS, commands=commands)
    states = changed(**{name: {"delay": late} for name in ("lift", "wheel", "jaw")})
    for columns in (acting, states):  # commands that act later, or states measured earlier
        episode, _ = read(arm_log(tmp_path / "a.npz"), columns)
        np.testing.assert_array_equal(episode.qpos, Q[2:])
        played = U[2 - whole : 300 - whole].copy()
        if frames != whole:  # half of the period still the command before
            before = U[np.maximum(np.arange(1 - whole, 299 - whole), 0)]
            played = 0.5 * (played + before)
        np.testing.assert_allclose(episode.ctrl[1:], played[1:], atol=1e-9)
    logged = Q.copy()
    logged[:, 1] = truth(TIME - late)[0][:, 1]  # the wheel's samples are late, the others are not
    path = arm_log(tmp_path / "b.npz", q=logged)
    episode, _ = read(path, changed(wheel={"delay": late}))
    known = np.isfinite(episode.qpos[:, 1])
    assert known.sum() > 290 and known[:-2].all()
    np.testing.assert_allclose(episode.qpos[known, 1], Q[2:][known, 1], atol=2e-3)
    np.testing.assert_array_equal(episode.qpos[:, 0], Q[2:, 0])


def test_short_episodes_are_dropped_and_counted(tmp_path: Path) -> None:
    start, ids = np.array([0, 1, 150, 152, 152, 300]), np.arange(5)
    episode, reading = read(arm_log(tmp_path / "a.npz", start=start, id=ids))
    assert [e.id for e in reading.episodes] == [1, 4]
    np.testing.assert_array_equal(episode.qpos, Q[3:150])
    (dropped,) = [r for r in reading.repairs if "one frame" in r.rule]
    assert dropped.episodes == 3
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


def test_rates_of_the_log_and_of_the_columns(tmp_path: Path) -> None:
    rated = dataclasses.replace(COLUMNS, time=None, rate_hz=100.0)
    episode, reading = read(arm_log(tmp_path / "a.npz", time=None), rated)
    np.testing.assert_array_equal(episode.qpos, Q[2:])
    assert reading.control_hz == 100.0
    arm_log(tmp_path / "b.npz", time=None, rate_hz=np.array(50.0))
    with pytest.raises(InputError, match=r"rate_hz is 50\.0, not 100\.0 as the columns say"):
        read(tmp_path / "b.npz", rated)
    _, reading = read(tmp_path / "b.npz", dataclasses.replace(COLUMNS, time=None))
    assert reading.control_hz == 50.0
    arm_log(tmp_path / "c.npz", time=None, tick=TIME)
    with pytest.raises(InputError, match="nothing says when its rows were taken; give time"):
        read(tmp_path / "c.npz", dataclasses.replace(COLUMNS, time=None))


def test_what_is_not_read_is_named(tmp_path: Path) -> None:
    path = arm_log(tmp_path / "a.npz", torque=U, note=np.array("x"))
    columns = dataclasses.replace(
        COLUMNS, joints=(COLUMNS.joints[0], COLUMNS.joints[1], Joint("jaw", assumed=0.0))
    )
    _, reading = read(path, columns)
    assert reading.ignored == {
        "q[2]": "no column asks for it",
        "torque": "no column asks for it",
        "note": "no column asks for it",
    }
