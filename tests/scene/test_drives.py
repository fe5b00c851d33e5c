"""The law of a drive, each part against its closed form, and drives that cannot be."""

import copy

import numpy as np
import pytest

from tests.helpers.servos import ARM, HZ, SUBSTEPS, servos
from worldmodel._mujoco import mujoco
from worldmodel.scene import SceneError, drives, load_scene
from worldmodel.scene.replay import Replayer, controlled, replayed

DT = 1.0 / (HZ * SUBSTEPS)


def servo(**numbers: float) -> mujoco.MjModel:
    """The arm whose servo has these numbers of a drive, and whose motor has none."""
    row = [numbers.pop(name, 0.0) for name in drives.COLUMNS]
    assert not numbers
    return servos("12 0 0 " + " ".join(map(repr, row)), "1").mj_model


def played(model: mujoco.MjModel, ctrl: np.ndarray) -> np.ndarray:
    """(steps, SUBSTEPS) commands of the servo, of (steps,) held ones."""
    memory, out = drives.blank_memory(model, SUBSTEPS), []
    for c in ctrl:
        each, memory = drives.commands(model, memory, np.array([c, 0.0]), SUBSTEPS)
        out.append(each[:, 0])
    return np.stack(out)


@pytest.mark.parametrize("late", [0.0, 1.0, 2.375, 10.0])
def test_a_delayed_ramp_is_the_ramp_of_an_earlier_time(late: float) -> None:
    ramp = 0.05 * np.arange(20) - 0.5
    out = played(servo(delay=late / HZ, lag=1e-9), ramp)
    steps = int(late)
    np.testing.assert_allclose(out[:steps], ramp[0], atol=1e-12)  # held before the first
    # Held commands: the mean over a control step is that of the steps that it saw.
    wanted = np.interp(np.arange(steps + 1, 20) - late, np.arange(20), ramp)
    np.testing.assert_allclose(out.mean(1)[steps + 1 :], wanted, atol=1e-12)
    if late == steps:
        shifted = np.broadcast_to(ramp[: 20 - steps, None], (20 - steps, SUBSTEPS))
        np.testing.assert_allclose(out[steps:], shifted, atol=1e-12)


def test_a_lag_answers_a_step_as_a_first_order_filter() -> None:
    out = played(servo(lag=0.03), np.array([0.0, 0.8, 0.8, 0.8]))
    time = DT * np.arange(1, 3 * SUBSTEPS + 1)
    np.testing.assert_allclose(out[0], 0.0, atol=1e-15)
    np.testing.assert_allclose(out[1:].ravel(), 0.8 * (1 - np.exp(-time / 0.03)), rtol=1e-12)


def test_commands_are_clamped_before_they_are_delayed() -> None:
    out = played(servo(delay=0.02), np.array([0.0, 3.0, -3.0, 0.0]))
    np.testing.assert_allclose(out, np.repeat([[0.0], [0.0], [1.0], [-1.0]], SUBSTEPS, 1))


def test_a_start_remembers_the_known_past_as_if_it_had_been_played() -> None:
    model = servos().mj_model
    ctrl = np.random.default_rng(0).uniform(-1, 1, (6, 2))
    blank, memory = (drives.blank_memory(model, SUBSTEPS) for _ in range(2))
    for c in ctrl[2:]:
        _, memory = drives.commands(model, memory, c, SUBSTEPS)
    known = np.array([True, True, True, True, False, False])
    started = drives.remembered(model, blank, ctrl[::-1], known, SUBSTEPS)
    np.testing.assert_allclose(started, memory, rtol=1e-14)
    without = drives.remembered(model, blank, ctrl, np.zeros(6, bool), SUBSTEPS)
    assert np.isnan(without).all()


def test_steps_one_by_one_are_those_of_a_whole_window() -> None:
    replayer = Replayer(copy.copy(servos().mj_model))
    ctrl = np.random.default_rng(1).uniform(-1, 1, (3, 6, 2))
    start = replayer.states(np.zeros((3, 2)), np.zeros((3, 2)))
    whole, last = replayer.play(start, ctrl, SUBSTEPS, replayer.memory(3, SUBSTEPS))
    states, memory, ends = start, replayer.memory(3, SUBSTEPS), []
    for step in range(6):
        rows, memory = replayer.play(states, ctrl[:, step : step + 1], SUBSTEPS, memory)
        states = rows[:, -1]
        ends.append(states)
    np.testing.assert_array_equal(np.stack(ends, 1), whole[:, SUBSTEPS - 1 :: SUBSTEPS])
    np.testing.assert_array_equal(memory, last)
    data = mujoco.MjData(replayer.model)
    for _ in controlled(replayer.model, data, ctrl[0], SUBSTEPS):
        mujoco.mj_step(replayer.model, data)
    np.testing.assert_allclose(data.qpos, whole[0, -1, replayer.qpos], atol=1e-14)


def test_a_link_lies_in_its_play_where_its_load_pushes_it() -> None:
    """To the far side within a few time constants; under a small load it stays where it was."""
    half, seconds = 0.02, drives.CROSSING
    model = servo(backlash=2 * half)
    held = drives.HELD / model.dof_invweight0[0]  # [N·m]
    load = np.stack([held * np.array([100.0, -100.0, 0.01, 1.0]), np.zeros(4)], 1)
    memory = np.zeros((4, 3, 2))  # the middle of the play
    still = np.zeros((4, 2))
    for _ in range(8):
        memory = drives.meshed(model, memory, still, still, load, seconds)
    play = drives.in_play(memory)
    np.testing.assert_allclose(play[:2, 0], [-half, half], rtol=1e-3)
    assert abs(play[2, 0]) < 1e-3 * half
    assert play[3, 0] == pytest.approx(-half * (1 - np.exp(-8 * 0.5)), rel=1e-12)
    np.testing.assert_array_equal(play[:, 1], 0.0)  # the motor has no play
    command = np.tile([0.1, 0.0], (4, 1))
    ctrl, _ = drives.actuated(model, command, play, still, still)
    np.testing.assert_allclose(ctrl, command + play)  # what the servo measures is the motor


def test_a_start_has_its_motor_where_the_servo_carries_the_load() -> None:
    half, load, q = 0.02, 0.3, 0.1
    model = servo(backlash=2 * half)
    for command, wanted in ((q + load / 12, 0.0), (q - 0.5, half), (q + 0.5, -half)):
        memory = np.array([[command, 0.0], [np.nan, np.nan], [np.nan, np.nan]])
        at = np.array([q, 0.0]), np.zeros(2)
        begun = drives.meshed(model, memory, *at, np.array([load, 0.0]), 1e-12)
        assert drives.in_play(begun)[0] == pytest.approx(wanted, abs=1e-6)
        # In motion a command ahead says nothing; gravity does.
        fast = drives.meshed(model, memory, at[0], np.array([-9.0, 0.0]), np.array([load, 0]), 0.0)
        assert drives.in_play(fast)[0] == pytest.approx(-half, rel=1e-3)


TURNTABLE = """<mujoco><compiler angle="radian"/>
<option timestep="{dt}" integrator="implicitfast"/>
<worldbody><body><joint name="motor" axis="0 0 1" damping=".5" frictionloss=".05" armature=".02"/>
{play}<geom type="capsule" size=".015" fromto="0 0 0 .2 0 0" mass=".3" contype="0"
conaffinity="0"/></body></worldbody><actuator><general name="servo" joint="motor"
gainprm="20 0 0 0 0 {backlash}" biastype="affine" biasprm="0 -20 -.1"/></actuator></mujoco>"""
GAP = """<joint name="gap" axis="0 0 1" limited="true" range="-.012 .012" armature="1e-4"
damping=".01" frictionloss=".005" solreflimit=".004 1"/>"""


def test_a_turntable_comes_to_rest_in_its_play_as_one_with_a_joint_for_it_does() -> None:
    """Of each move, where the link ends against where the motor was sent: ahead, by half of it."""
    poses = np.array([0.0, 0.9, -0.4, -1.0, 0.3])
    ends = np.cumsum(np.full(len(poses), 30)) - 1  # a second each, the last third of it at rest
    x = np.clip(np.arange(150)[:, None] / 30 - np.arange(len(poses)), 0.0, 0.66) / 0.66
    ctrl = (np.diff(poses, prepend=0.0) * x**2 * (3 - 2 * x)).sum(1)[None, :, None]
    rest, dt = [], 1.0 / (30 * 20)
    for play, backlash in ((GAP, 0.0), ("", 0.024), ("", 0.0)):
        text = TURNTABLE.format(dt=dt, play=play, backlash=backlash)
        model = mujoco.MjModel.from_xml_string(text)
        begin = np.zeros((1, model.nv))
        link = replayed(model, 20, begin, begin, ctrl).sum(2)[0]
        rest.append(link[ends[1:]] - poses[1:])
    joint, drive, rigid = np.array(rest)
    np.testing.assert_array_equal(np.sign(joint), np.sign(np.diff(poses)))
    assert np.abs(drive - joint).max() < 0.25 * 0.012
    assert np.abs(rigid - joint).min() > 0.75 * 0.012


def test_the_force_of_a_fast_drive_falls_along_a_dc_motors_line() -> None:
    model = servo(no_load_speed=5.0)
    v = np.linspace(-7, 7, 15)
    command, qpos = np.tile([1.0, 0.0], (15, 1)), np.tile([-0.5, 0.0], (15, 1))
    qvel, none = np.stack([v, np.zeros(15)], 1), np.zeros((15, 2))
    for sign in (1.0, -1.0):
        ctrl, _ = drives.actuated(model, sign * command, none, sign * qpos, sign * qvel)
        force = 12.0 * (ctrl[:, 0] - sign * qpos[:, 0]) - 0.2 * qvel[:, 0] * sign
        most = 2.0 * np.clip(1.0 - v / 5.0, 0.0, 1.0)  # it wants more at every speed
        np.testing.assert_allclose(np.minimum(sign * force, 2.0), most, atol=1e-12)


def test_friction_follows_stribecks_curve_and_is_stable_at_rest() -> None:
    model = servo(coulomb=0.2, stiction=0.1, stribeck_speed=0.5)
    v = np.array([-2.0, -0.5, 0.0, 0.5, 2.0])
    qvel = np.stack([v, np.zeros(5)], 1)
    none = np.zeros((5, 2))
    _, force = drives.actuated(model, none, none, none, qvel)
    wanted = -np.sign(v) * (0.2 + 0.1 * np.exp(-np.square(v / 0.5)))
    np.testing.assert_allclose(force[:, 0], wanted, rtol=1e-7)  # tanh is not 1
    np.testing.assert_array_equal(force[:, 1], 0.0)
    _, slow = drives.actuated(model, none[0], none[0], none[0], np.array([1e-9, 0.0]))
    stopped = -slow[0] / 1e-9 * DT * model.dof_invweight0[0]  # of the speed, in one substep
    assert stopped == pytest.approx(drives.SLOPE, rel=1e-6)


def test_a_scene_without_drives_remembers_nothing() -> None:
    model = servos("12", "1").mj_model
    assert not drives.has_drives(model)
    assert drives.blank_memory(model, SUBSTEPS).shape == (0, 2)
    rows = round(drives.DELAY_MAX * HZ) + 3
    assert drives.blank_memory(servo(delay=0.01), SUBSTEPS).shape == (rows, 2)
    assert drives.blank_memory(servo(lag=0.01), SUBSTEPS).shape == (3, 2)


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ("servo=12 0 0 -.01", r"'servo': delay -0.01 \(gainprm\[3\]\): it cannot be negative"),
        ("servo=12 0 0 .21", "'servo': delay 0.21 .*at most 0.2 s; shift the commands by the rest"),
        ("motor=1 0 0 0 0 .1", "'motor': backlash .*only a position servo has backlash"),
        ("free=1 0 0 0 0 0 5", "'free': no_load_speed 5 .*has none; give it a forcerange"),
        ("motor=1 0 0 0 0 0 0 0 .1", "'motor': stiction .*give the stribeck_speed"),
        ("tendon=1 0 0 0 0 0 0 .1", "'tendon': coulomb .*this actuator drives none"),
        ("filter=1 0 0 0 0 .1", "'filter': backlash .*drop its filter, and give it a lag"),
    ],
)
def test_a_drive_that_cannot_be_is_refused_by_name(numbers: str, message: str) -> None:
    more = """<tendon><fixed name="t"><joint joint="elbow" coef="1"/></fixed></tendon><actuator>
    <general name="free" joint="elbow" gainprm="{free}"/>
    <general name="tendon" tendon="t" gainprm="{tendon}"/>
    <general name="filter" joint="elbow" dyntype="filter" dynprm=".1" gainprm="{filter}"
     biastype="affine" biasprm="0 -1"/></actuator></mujoco>"""
    given = dict.fromkeys(("servo", "motor", "free", "tendon", "filter"), "1")
    name, _, row = numbers.partition("=")
    mjcf = ARM.replace("</mujoco>", more).format(**given | {name: row})
    with pytest.raises(SceneError, match=message):
        load_scene(mjcf, control_hz=HZ, substeps=SUBSTEPS)


def test_commands_that_are_not_clamped_have_no_drive() -> None:
    flag = '<option><flag clampctrl="disable"/></option>'
    mjcf = ARM.format(servo="12 0 0 .01", motor="1").replace("<default>", f"{flag}<default>")
    with pytest.raises(SceneError, match="drives clamp commands"):
        load_scene(mjcf, control_hz=HZ, substeps=SUBSTEPS)
