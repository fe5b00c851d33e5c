"""Logs by their columns: units, zeros, delays and clocks, each beside the right value."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.logs import (
    BOX,
    BOX_COLUMNS,
    COLUMNS,
    HZ,
    TIME,
    Q,
    U,
    V,
    arm_log,
    changed,
    read,
    repairs,
    truth,
    tumbling,
)
from worldmodel._mujoco import mujoco
from worldmodel.episodes.columns import Body, Columns, Command, Joint
from worldmodel.episodes.draft import draft
from worldmodel.episodes.reading import read_episodes
from worldmodel.errors import InputError


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


def test_a_rate_far_above_the_log_s_own_is_refused(tmp_path: Path) -> None:
    log = arm_log(tmp_path / "a.npz")
    message = r"1e\+09 frames per second .* of the log, which has 100 per second; give a lower"
    with pytest.raises(InputError, match=message):
        read(log, control_hz=1e9)
    with pytest.raises(InputError, match=message):
        read(log, dataclasses.replace(COLUMNS, control_hz=1e9))


def test_the_fastest_clock_of_a_log_limits_the_rate(tmp_path: Path) -> None:
    """Here that of the joints; the rows' own is that of the commands, one in 0.4 s."""
    joints = tuple(dataclasses.replace(joint, time="time_q") for joint in COLUMNS.joints)
    columns = dataclasses.replace(COLUMNS, joints=joints)
    log = arm_log(tmp_path / "a.npz", time_q=TIME, time=TIME[::40], u=U[::40])
    episode, reading = read(log, columns, control_hz=3 * HZ)
    assert reading.control_hz == 3 * HZ and len(episode.qpos) > 2 * HZ
    with pytest.raises(InputError, match="of the log, which has 100 per second"):
        read(log, columns, control_hz=101 * HZ)


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
        (
            {"u": np.degrees(U)},
            r"column 'u\[0\]' \(actuator 'lift'\) is far outside .*unit = \"deg\"$",
        ),
        ({"time": TIME * 1e3}, r"a frame every 10 s is no robot's clock.*time_unit = \"ms\""),
        ({"time": TIME * 1e-3}, r"a frame every 1e-05 s.*larger units"),
        ({"time": TIME[::-1].copy()}, r"episode 'a': column 'time': time does not increase at f"),
        ({"time": TIME * np.nan}, "the time is not finite at frame 0"),
        ({"time": TIME + 1e4 * (TIME > 1)}, r"time jumps by 1e\+04 s at frame 101; split"),
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


@pytest.mark.parametrize("frames", [2.0, 1.5])
def test_delays_shift_columns_against_the_others(frames: float, tmp_path: Path) -> None:
    late, whole = frames / HZ, int(frames)
    commands = tuple(dataclasses.replace(c, delay=late) for c in COLUMNS.commands)
    acting = dataclasses.replace(COLUMNS, commands=commands)
    states = changed(lift={"delay": late}, wheel={"delay": late}, jaw={"delay": late})
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


def test_a_coupled_finger_follows_and_is_not_measured(tmp_path: Path) -> None:
    fingers = mujoco.MjModel.from_xml_string("""
    <mujoco><worldbody>
      <body><joint name="one" type="slide" range="0 .04" limited="true"/><geom size=".01"/></body>
      <body><joint name="two" type="slide" range="-.04 0" limited="true"/><geom size=".01"/></body>
    </worldbody>
    <equality><joint joint1="two" joint2="one" polycoef="0.001 -1 0 0 0"/></equality></mujoco>""")
    width = 40 + 30 * np.sin(TIME)  # [mm] of both
    np.savez(tmp_path / "a.npz", width=width, time=TIME)
    for measured, scale in (("one", 0.5), ("two", -0.5)):
        columns = Columns((Joint(measured, "width", unit="mm", scale=scale),), time="time")
        reading = read_episodes(tmp_path / "a.npz", columns, fingers)
        episode = reading.episodes[0]
        own, other = (0, 1) if measured == "one" else (1, 0)
        np.testing.assert_allclose(episode.qpos[:, own], scale * 1e-3 * width[2:], atol=1e-12)
        np.testing.assert_allclose(episode.qpos.sum(axis=1), 0.001, atol=1e-12)
        np.testing.assert_allclose(episode.qvel.sum(axis=1), 0.0, atol=1e-9)
        assert episode.measured is not None
        assert episode.measured[:, own].all() and not episode.measured[:, other].any()
        assert "follows column 'width' by an equality" in reading.notes[0]
    np.savez(tmp_path / "b.npz", one=width / 2000, time=TIME)
    drafted, _ = draft(tmp_path / "b.npz", fingers)
    assert [joint.name for joint in drafted.joints] == ["one"]


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


def test_recorded_velocities_are_read_where_frames_are_samples(tmp_path: Path) -> None:
    """Elsewhere they are made anew from positions, and the column says why."""
    arm_log(tmp_path / "a.npz", v=V)
    joints = tuple(dataclasses.replace(j, velocity=f"v[{i}]") for i, j in enumerate(COLUMNS.joints))
    rated = dataclasses.replace(COLUMNS, joints=joints)
    episode, reading = read(tmp_path / "a.npz", rated)
    np.testing.assert_array_equal(episode.qvel, V)
    assert reading.repairs == ()
    _, reading = read(tmp_path / "a.npz", rated, control_hz=60.0)
    assert {(r.rule, r.column) for r in reading.repairs if "velocity:" in r.rule} == {
        ("velocity: made anew from positions, the clock is resampled", f"v[{i}]") for i in range(3)
    }


def test_a_velocity_that_some_rows_lack_says_where_it_comes_from(tmp_path: Path) -> None:
    recorded = V.copy()
    recorded[100:110, 0] = np.nan
    columns = changed(lift={"velocity": "v[0]"})
    episode, reading = read(arm_log(tmp_path / "a.npz", v=recorded), columns)
    rule = "velocity: from positions, where none is recorded"
    assert [(r.column, r.frames) for r in reading.repairs if r.rule == rule] == [("v[0]", 10)]
    kept = np.isfinite(recorded[2:, 0])
    np.testing.assert_array_equal(episode.qvel[kept, 0], V[2:][kept, 0])
    np.testing.assert_allclose(episode.qvel[~kept, 0], V[2:][~kept, 0], atol=3e-3)


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


def test_one_command_fewer_than_states_is_read(tmp_path: Path) -> None:
    columns = dataclasses.replace(COLUMNS, time=None, rate_hz=HZ)
    path = arm_log(tmp_path / "a.npz")
    whole, _ = read(path, columns)
    with np.load(path) as archive:
        arrays = {name: archive[name] for name in archive.files if name != "time"}
    np.savez(tmp_path / "b.npz", **(arrays | {"u": arrays["u"][:-1]}))
    shorter, _ = read(tmp_path / "b.npz", columns)
    kept = len(shorter.qpos)
    assert kept == len(whole.qpos)
    np.testing.assert_allclose(shorter.qpos, whole.qpos[:kept], atol=1e-12)
    np.testing.assert_allclose(shorter.ctrl[:-1], whole.ctrl[: kept - 1], atol=1e-12)
    np.savez(tmp_path / "c.npz", **(arrays | {"u": arrays["u"][:-2]}))
    with pytest.raises(InputError, match="has 298 rows where the others have 300"):
        read(tmp_path / "c.npz", columns)
