"""Drafts of columns: by names, by order, units from the ranges; and what they say of it."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.helpers.logs import ARM, BOX, arm_log, truth, tumbling
from worldmodel._mujoco import mujoco
from worldmodel.episodes.draft import draft
from worldmodel.episodes.lerobot import Dataset, Feature, write
from worldmodel.episodes.reading import read_episodes

TIME = np.arange(200) / 50.0
Q, V, U = truth(TIME)


def csv(path: Path, columns: dict[str, np.ndarray]) -> Path:
    rows = np.stack([*columns.values()], axis=1)
    lines = [",".join(columns), *(",".join(map(repr, map(float, row))) for row in rows)]
    path.write_text("\n".join(lines))
    return path


GANTRY = mujoco.MjModel.from_xml_string("""<mujoco><worldbody>
  <body name="carriage"><joint name="rail" type="slide" axis="1 0 0" range="-.4 .4"/>
    <geom size=".02"/></body>
  <body name="puck"><joint name="puck_x" type="slide" axis="1 0 0"/>
    <joint name="puck_y" type="slide" axis="0 1 0"/><geom size=".02"/></body>
</worldbody></mujoco>""")


def test_slides_without_limits_are_in_the_unit_of_the_others(tmp_path: Path) -> None:
    columns = {"time": TIME, "rail": 300 * Q[:, 0], "puck_x": 80 * Q[:, 0], "puck_y": Q[:, 1]}
    for factor, units in ((1.0, ["mm", "mm", "mm"]), (1e-3, ["", "", ""])):
        scaled = {n: v * (factor if n != "time" else 1.0) for n, v in columns.items()}
        drafted, notes = draft(csv(tmp_path / "a.csv", scaled), GANTRY)
        assert [j.unit for j in drafted.joints] == units
    far = {"time": TIME, "puck_x": 300 * Q[:, 0], "puck_y": Q[:, 1]}
    drafted, notes = draft(csv(tmp_path / "far.csv", far), GANTRY)
    assert [j.unit for j in drafted.joints] == ["", "mm", "mm"]
    assert "joint 'puck_y': 'puck_y' is taken for mm, as the other joints" in notes


@pytest.mark.parametrize(
    ("name", "rise", "unit"),
    [
        ("stamp_ms", 20.0, "ms"),
        ("Time (s)", 0.02, "s"),
        ("t [us]", 2e4, "us"),
        ("TimeStamp", 0.02, "s"),
    ],
)
def test_the_time_is_known_by_its_name_with_a_unit(
    name: str, rise: float, unit: str, tmp_path: Path
) -> None:
    path = csv(tmp_path / "a.csv", {name: np.arange(200) * rise, "t_cmd": TIME, "rail": Q[:, 0]})
    drafted, _ = draft(path, GANTRY)
    assert (drafted.time, drafted.time_unit) == (name, unit)


def test_a_slide_that_grips_may_be_in_millimetres(tmp_path: Path) -> None:
    path = csv(tmp_path / "a.csv", {"time": TIME, "jaw": 75 * np.abs(np.sin(TIME))})
    _, notes = draft(path, ARM)
    assert any("'jaw' is taken for per cent" in note and "or mm" in note for note in notes)


def test_a_csv_by_its_headers(tmp_path: Path) -> None:
    columns = {
        "timestamp": TIME * 1e3,
        "ep": np.repeat([0, 1], 100),
        "lift_pos": np.degrees(Q[:, 0]),
        "lift_vel": np.degrees(V[:, 0]),
        "wheel_pos": np.degrees(Q[:, 1] % (2 * np.pi)),
        "jaw_pos": Q[:, 2] / 0.08 * 100,
        "lift_cmd": np.degrees(U[:, 0]),
        "wheel_torque": U[:, 1],
        "jaw_cmd": U[:, 2] / 0.08 * 100,
        "battery_voltage": 0 * TIME,
    }
    path = csv(tmp_path / "a.csv", columns)
    drafted, notes = draft(path, ARM)
    assert (drafted.time, drafted.time_unit, drafted.episode) == ("timestamp", "ms", "ep")
    assert [(j.position, j.velocity, j.unit) for j in drafted.joints] == [
        ("lift_pos", "lift_vel", "deg"),
        ("wheel_pos", None, "deg"),
        ("jaw_pos", None, "percent"),
    ]
    assert [(c.column, c.unit) for c in drafted.commands] == [
        ("lift_cmd", "deg"),
        ("wheel_torque", ""),
        ("jaw_cmd", "percent"),
    ]
    text = "\n".join(notes)
    assert "'timestamp' is taken for ms" in text and "'jaw_pos' is taken for per cent" in text
    reading = read_episodes(path, drafted, ARM)
    assert [e.id for e in reading.episodes] == [0, 1] and reading.control_hz == 50.0
    np.testing.assert_allclose(reading.episodes[0].qpos[:, [0, 2]], Q[2:100, [0, 2]], atol=1e-9)
    np.testing.assert_allclose(reading.episodes[0].ctrl, U[2:100], atol=1e-9)


@pytest.mark.parametrize("names", [["lift", "wheel", "jaw"], ["joint_0", "joint_1", "joint_2"]])
def test_a_lerobot_set_by_names_or_by_order(names: list[str], tmp_path: Path) -> None:
    labels = tuple(f"{name}.pos" for name in names)
    features = {
        "observation.state": Feature("float64", (3,), labels),
        "action": Feature("float64", (3,), labels),
    }
    episode = {"observation.state": Q, "action": U}
    write(tmp_path / "set", Dataset(50, "arm", features, [episode], ["lift"], {}))
    drafted, notes = draft(tmp_path / "set", ARM)
    reading = read_episodes(tmp_path / "set", drafted, ARM)
    np.testing.assert_array_equal(reading.episodes[0].qpos, Q[2:])
    np.testing.assert_array_equal(reading.episodes[0].ctrl, U[2:])
    assert any("by their order" in note for note in notes) == (names[0] != "lift")


def test_what_matches_nothing_is_unknown_and_said(tmp_path: Path) -> None:
    path = csv(tmp_path / "a.csv", {"t": TIME, "lift": Q[:, 0]})
    drafted, notes = draft(path, ARM)
    text = "\n".join(notes)
    assert "joint 'wheel': no column matches; it is unknown" in text
    assert "actuator 'wheel_motor': no column matches; it is 0" in text
    reading = read_episodes(path, drafted, ARM)
    assert np.isnan(reading.episodes[0].qpos[:, 1:]).all()


def test_per_cent_from_minus_100_and_a_body_by_its_name(tmp_path: Path) -> None:
    pose, _ = tumbling()
    arrays: dict[str, Any] = {"object.box": pose, "rate_hz": np.array(100.0)}
    np.savez(tmp_path / "b.npz", **arrays)
    drafted, notes = draft(tmp_path / "b.npz", BOX)
    assert drafted.bodies[0].quaternion == ("object.box[3:7]",)
    assert "its quaternion as wxyz" in notes[0]
    names = dict(zip(("x", "y", "z", "qw", "qx", "qy", "qz"), pose.T, strict=True))
    table = {f"box_{name}": column for name, column in names.items()}
    pq.write_table(pa.table(table | {"time": np.arange(200) / 100.0}), tmp_path / "c.parquet")
    drafted, _ = draft(tmp_path / "c.parquet", BOX)
    assert drafted.bodies[0].position == ("box_x", "box_y", "box_z")
    assert drafted.bodies[0].quaternion == ("box_qw", "box_qx", "box_qy", "box_qz")
    slider = mujoco.MjModel.from_xml_string(
        '<mujoco><worldbody><body><joint name="s" type="slide" range="0 .2" limited="true"/>'
        '<geom size=".1"/></body></worldbody></mujoco>'
    )
    logged = 95 * np.sin(2 * TIME)
    np.savez(tmp_path / "d.npz", s=logged, time=TIME)
    drafted, notes = draft(tmp_path / "d.npz", slider)
    assert drafted.joints[0].unit == "percent" and "-100 to 100" in notes[0]
    episode = read_episodes(tmp_path / "d.npz", drafted, slider).episodes[0]
    np.testing.assert_allclose(episode.qpos[:, 0], 0.1 + 0.001 * logged[2:], atol=1e-12)


def test_no_time_is_said(tmp_path: Path) -> None:
    _, notes = draft(arm_log(tmp_path / "a.npz", time=None), ARM)
    assert any("give rate_hz, the rows per second" in note for note in notes)


BASE = """<mujoco><compiler autolimits="true"/><worldbody><body><joint name="yaw"/>
<geom size=".1"/></body></worldbody>
<actuator><velocity name="wz" joint="yaw" kv="1"{range}/></actuator></mujoco>"""


@pytest.mark.parametrize(
    ("bounds", "unit"),
    [("", "deg"), (' ctrlrange="-1 1"', "deg"), (' ctrlrange="-60 60"', "")],
    ids=["free", "only in degrees", "as it is"],
)
def test_a_velocity_servos_command_has_its_joints_unit_where_the_range_allows_it(
    bounds: str, unit: str, tmp_path: Path
) -> None:
    model = mujoco.MjModel.from_xml_string(BASE.format(range=bounds))
    turn = 100.0 * np.sin(TIME)
    columns = {"time": TIME, "yaw": turn, "action.wz": 50.0 * np.cos(TIME)}
    drafted, notes = draft(csv(tmp_path / "turn.csv", columns), model)
    assert (drafted.joints[0].unit, drafted.commands[0].unit) == ("deg", unit)
    assert any("taken for deg/s" in note for note in notes) == bool(unit)
