"""Columns: what contradicts itself is refused, and TOML holds them whole."""

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.recordings.problems import PROBLEMS, Problem
from tests.helpers.logs import ARM, BOX, BOX_COLUMNS, COLUMNS
from worldmodel._mujoco import mujoco
from worldmodel.episodes.columns import UNITS, Body, Columns, ColumnsError, Command, Joint
from worldmodel.episodes.columns_toml import from_toml, to_toml
from worldmodel.episodes.signals import layout

NAMES = st.text(min_size=1, max_size=8)
NUMBERS = st.floats(-1e3, 1e3).filter(bool)
JOINTS = st.builds(
    Joint,
    NAMES,
    position=NAMES,
    velocity=st.none() | NAMES,
    unit=st.sampled_from(UNITS),
    sign=st.sampled_from([1.0, -1.0]),
    offset=NUMBERS,
    delay=st.floats(-5.0, 5.0),
    range=st.none() | st.tuples(NUMBERS, NUMBERS).filter(lambda r: r[0] != r[1]),
    assumed=st.none() | NUMBERS,
    time=st.none() | NAMES,
)
BODIES = st.builds(
    Body,
    NAMES,
    position=st.lists(NAMES, max_size=3).map(tuple),
    order=st.sampled_from(["wxyz", "xyzw"]),
    assumed=st.none() | st.lists(NUMBERS, min_size=7, max_size=7).map(tuple),
)


@settings(max_examples=60, deadline=None)
@given(
    joint=JOINTS, body=BODIES, name=NAMES, column=st.none() | NAMES, hz=st.none() | st.just(25.5)
)
def test_toml_holds_columns_whole(joint, body, name, column, hz) -> None:
    try:
        columns = Columns((joint,), (Command(name, column, delay=0.02),), (body,), control_hz=hz)
    except ColumnsError:  # a column that is drawn twice
        return
    assert from_toml(to_toml(columns)) == columns


@pytest.mark.parametrize("problem", PROBLEMS.values(), ids=lambda p: p.name)
def test_the_recordings_columns_are_short_toml(problem: Problem, tmp_path: Path) -> None:
    text = to_toml(problem.columns)
    (tmp_path / "columns.toml").write_text(text)
    assert from_toml(tmp_path / "columns.toml") == from_toml(text) == problem.columns
    assert len(text.splitlines()) <= 20


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[joints.lift]\npositon = 'q'", r"joints\.lift\.positon: no such key; did you mean pos"),
        ("[joints.lift]\nposition = 3", r"joints\.lift\.position: 3 is no text"),
        ("[joints.lift]\noffset = 'a'", r"joints\.lift\.offset: 'a' is no number"),
        (
            "[joints.lift]\nunit = 'grad'",
            r"joints\.lift: .*unit is 'grad'; give one of rad, deg.* per second",
        ),
        ("[joints.lift]\nrange = [1]", r"joints\.lift: .*range is \(1\.0,\)"),
        ("[joints.lift]\nsign = 0", r"joints\.lift: .*sign is 0\.0"),
        ("[joints.lift]\nsign = 2", r"joints\.lift: .*sign is 2\.0; give 1 or -1"),
        ("[joints.lift]\nvelocity = 'v'", r"joints\.lift: .*velocity but no position"),
        ("[bodies.box]\norder = 'zyxw'", r"bodies\.box: .*order is 'zyxw'"),
        ("[bodies.box]\nposition = 1", r"bodies\.box\.position: 1 is no list"),
        ("[bodies.box]\nassumed = [true]", r"bodies\.box\.assumed: True is no number"),
        ("joints = 3\n", "joints is no table of tables"),
        ("rejects = 3\n", "rejects is no table"),
        ("hz = 3\n", "hz: no such key; it has joints"),
        ("time_unit = 'min'\n", "time_unit is 'min'"),
        ("control_hz = -1\n", "control_hz is -1.0"),
        ("time = 't'\nrate_hz = 30\n", "time is column 't' and rate_hz is 30.0; give one"),
        ("a b\n", "is no TOML"),
        ("[joints]\na = { position = 'q' }\nb = { position = 'q' }", "'q' is named twice"),
    ],
)
def test_an_error_names_the_key(text: str, message: str) -> None:
    with pytest.raises(ColumnsError, match=message):
        from_toml(text)


def test_no_file_and_a_rule_of_ones_own(tmp_path: Path) -> None:
    with pytest.raises(ColumnsError, match=r"absent\.toml cannot be read"):
        from_toml(tmp_path / "absent.toml")

    @dataclasses.dataclass(frozen=True)
    class Mine:
        def rejected(self, qpos):
            return qpos[:, 0] > 0

    with pytest.raises(ColumnsError, match="rejects is a Mine, which TOML cannot hold"):
        to_toml(Columns(rejects=Mine()))


def with_joint(**changes) -> Columns:
    joints = tuple(
        dataclasses.replace(j, **changes) if j.name == changes.get("name", "lift") else j
        for j in COLUMNS.joints
    )
    return dataclasses.replace(COLUMNS, joints=joints)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (with_joint(unit="mm"), "joint 'lift' is a hinge: its unit is rad or deg, not 'mm'"),
        (with_joint(name="jaw", unit="deg"), "joint 'jaw' is a slide: its unit is m, cm or mm"),
        (with_joint(name="wheel", unit="percent"), "joint 'wheel': per cent of what"),
        (
            dataclasses.replace(COLUMNS, joints=COLUMNS.joints[:2]),
            r"nothing measures joint 'jaw': give its column, or what is assumed, or \[joints",
        ),
        (
            dataclasses.replace(COLUMNS, joints=(*COLUMNS.joints, Joint("lifft"))),
            "the MJCF has no joint 'lifft' for these columns; did you mean lift",
        ),
        (
            dataclasses.replace(COLUMNS, commands=COLUMNS.commands[1:]),
            "no column commands actuator 'lift'",
        ),
        (
            dataclasses.replace(
                COLUMNS, commands=(Command("lift", "u[0]", unit="mm"), *COLUMNS.commands[1:])
            ),
            "actuator 'lift' is a hinge's servo: its unit is rad or deg, not 'mm'",
        ),
        (dataclasses.replace(COLUMNS, bodies=(Body("box"),)), "the MJCF has no body 'box'"),
    ],
)
def test_columns_that_the_mjcf_contradicts(columns: Columns, message: str) -> None:
    with pytest.raises(ColumnsError, match=message):
        layout(columns, ARM)


def test_a_velocity_servos_command_is_in_the_unit_of_its_joint() -> None:
    rail = mujoco.MjModel.from_xml_string("""<mujoco><worldbody><body>
      <joint name="rail" type="slide"/><geom size=".1"/></body></worldbody>
      <actuator><velocity name="rail" joint="rail" kv="5"/></actuator></mujoco>""")
    columns = Columns((Joint("rail", "q"),), (Command("rail", "u", unit="deg"),))
    with pytest.raises(ColumnsError, match="'rail' is a slide's servo: its unit is m, cm or mm"):
        layout(columns, rail)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (Body("box", ("a", "b")), "2 position and 0 quaternion columns; give 3 and 4"),
        (Body("box", velocity=("a",)), "has 1 velocity columns; give 6"),
        (Body("box", assumed=(0.0,) * 4), "assumed has 4 numbers; give 7"),
        (Body("box", assumed=(0.0,) * 7), "the assumed quaternion .* is not of norm 1"),
    ],
)
def test_bodies_that_the_mjcf_contradicts(body: Body, message: str) -> None:
    with pytest.raises(ColumnsError, match=message):
        layout(Columns(bodies=(body,)), BOX)
    with pytest.raises(ColumnsError, match="nothing measures body 'box'"):
        layout(Columns(), BOX)
    assert [s.kind for s in layout(BOX_COLUMNS, BOX)[0]] == ["position", "rotation"]


@pytest.mark.parametrize("delay", [45.0, -10.0, float("nan")])
def test_a_delay_in_milliseconds_is_refused(delay: float) -> None:
    for columns in (
        lambda: Joint("lift", "q", delay=delay),
        lambda: Command("lift", "u", delay=delay),
        lambda: Body("box", delay=delay),
    ):
        with pytest.raises(ColumnsError, match=f"delay is {delay:g}; give seconds|give a finite"):
            columns()
