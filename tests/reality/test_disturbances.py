"""Disturbances of the held-out simulation against closed forms."""

import dataclasses
import math

import numpy as np
import pytest

from tests.helpers import sled
from tests.helpers.sled import FRICTION, HZ, MASS, play, rest
from worldmodel._mujoco import mujoco
from worldmodel.errors import InputError
from worldmodel.reality import SimulatedRobot
from worldmodel.reality.disturbances import (
    Backlash,
    CurrentLimit,
    Damping,
    Delay,
    Displaced,
    DryFriction,
    Friction,
    FrictionPatches,
    Gain,
    Lag,
    Mass,
    NoSlip,
    SensorNoise,
)
from worldmodel.reality.plant import Disturbance
from worldmodel.scene import load_scene
from worldmodel.tasks.task import Task

GRAVITY, DAMPING = 9.81, 0.3
FLOOR = sled.Sled()
AIR = sled.Sled(floor=False)


def stopped(*disturbances: Disturbance, y: float = 0.0, mass: float = 1.0) -> tuple[float, float]:
    """Pushes for 0.05 s, then lets go: (speed when let go [m/s], distance from there [m])."""
    push = np.zeros((2200, 1))
    push[:50] = 10.0 * mass
    path = play(FLOOR, disturbances, push, [0.0, y, 0.0])
    x = path.qpos[:, 0]
    assert abs(x[-1] - x[-50]) < 1e-4, "still sliding"
    return float(path.speed[49]), float(x[-1] - x[50])


def patches(**changes: object) -> FrictionPatches:
    # At a wavelength of 4 places one quarter of a wave is +1, three quarters −1; with one wave
    # √2 sin is clipped there, so the factor is exactly 1 ± amplitude.
    plain = FrictionPatches("sled", ("sled",), amplitude=0.4, waves=((0.0, np.pi / 2, 0.0),))
    return dataclasses.replace(plain, **changes)


@pytest.mark.parametrize(
    ("disturbance", "y", "factor"),
    [
        (NoSlip(), 0.0, 1.0),  # sliding is not what it changes
        (Friction(1.6), 0.0, 1.6),
        (Friction(0.5, ("sled",)), 0.0, 0.5),
        (Friction(0.5, ("floor",)), 0.0, 1.0),  # the sled's has priority
        (patches(), 1.0, 1.4),
        (patches(), -1.0, 0.6),
        (patches(), 2.0, 1.0),
        (patches(factor=0.5), 1.0, 0.7),
    ],
)
def test_sled_stops_where_coulomb_says(disturbance: Disturbance, y: float, factor: float) -> None:
    speed, distance = stopped(disturbance, y=y)
    # A sliding contact of MuJoCo hops: Coulomb's law holds on average over the hops, of which
    # there are enough here for half a percent of scatter. The factors are 14 % apart.
    exact = speed**2 / (2 * FRICTION * factor * GRAVITY)
    assert distance == pytest.approx(exact, rel=0.02)


def test_friction_that_rises_with_speed_stops_sooner_as_its_integral_says() -> None:
    rise = 0.5
    speed, distance = stopped(FrictionPatches("sled", ("sled",), speed=rise))
    exact = (speed / rise - math.log1p(rise * speed) / rise**2) / (FRICTION * GRAVITY)
    assert distance == pytest.approx(exact, rel=0.02)  # as above
    assert exact < 0.8 * speed**2 / (2 * FRICTION * GRAVITY)  # the law shows


def test_patches_are_bounded_and_vary() -> None:
    waves = ((3.0, 1.0, 0.5), (-2.0, 4.0, 2.0), (1.0, -3.0, 0.0))
    rough = FrictionPatches("sled", ("sled",), (), 1.3, 0.35, waves, 0.2)
    x, y = np.meshgrid(np.linspace(0, 8, 80), np.linspace(-4, 4, 80))  # many wavelengths
    here = np.array([rough.factor_at(a, b, 0.0) for a, b in zip(x.flat, y.flat, strict=True)])
    relative = here / 1.3 - 1.0
    assert np.abs(relative).max() <= 0.35 + 1e-12
    assert relative.min() < -0.8 * 0.35 and relative.max() > 0.8 * 0.35
    fast = rough.factor_at(0.7, 0.1, 2.0) / rough.factor_at(0.7, 0.1, 0.0)
    assert fast == pytest.approx(1.4, rel=1e-12)


def test_mass_takes_force_and_leaves_free_sliding_alone() -> None:
    # Contacts of MuJoCo are laws of acceleration, the same for every mass; only the solver stops
    # at a tolerance that is relative to it.
    np.testing.assert_allclose(stopped(Mass("sled", 2.0), mass=2.0), stopped(), rtol=1e-5)
    light, doubled = (play(AIR, d, np.ones((20, 1))) for d in ([], [Mass("sled", 2.0)]))
    np.testing.assert_allclose(light.qpos[1:, 0], 2.0 * doubled.qpos[1:, 0], rtol=1e-12)


def test_damping_factor_is_that_of_an_exponential_decay() -> None:
    factor, steps = 3.0, 60
    push = np.zeros((steps + 1, 1))
    push[0] = 10.0
    damped = sled.Sled(floor=False, damping=DAMPING)
    speed = play(damped, [Damping(factor)], push).speed
    # MuJoCo's Euler takes damping implicitly: each step divides by 1 + b dt / m.
    exact = speed[0] / (1.0 + factor * DAMPING / (MASS * HZ)) ** np.arange(steps + 1)
    np.testing.assert_allclose(speed, exact, rtol=1e-9)  # velocities are differences of positions


@pytest.mark.parametrize(("delay", "steps"), [(Delay(1), 1), (Delay(seconds=0.003), 3)])
def test_delay_shifts_commands_by_whole_steps(delay: Delay, steps: int) -> None:
    ctrl = np.random.default_rng(0).normal(size=(40, 1))
    at_once, late = (play(AIR, d, ctrl).qpos for d in ([], [delay]))
    assert not late[: steps + 1].any()  # nothing has arrived
    np.testing.assert_array_equal(late[steps:], at_once[:-steps])


def force(path: sled.Path) -> np.ndarray:
    """(steps − 1,) [N] in the air, of every step but the first."""
    return MASS * HZ * np.diff(path.speed)


def test_lag_is_a_first_order_step_response() -> None:
    lag, steps = 0.01, 50
    exact = 1.0 - np.exp(-(np.arange(1, steps) + 1.0) / (HZ * lag))
    played = force(play(AIR, [Lag(lag)], np.ones((steps, 1))))
    np.testing.assert_allclose(played, exact, rtol=1e-6)  # second differences at 1 kHz


def test_an_actuator_is_limited_and_its_gain_scaled() -> None:
    ctrl = np.linspace(-3.0, 3.0, 31)[:, None]
    limited = force(play(AIR, [CurrentLimit("push", 1.5)], ctrl))
    np.testing.assert_allclose(limited, np.clip(ctrl[1:, 0], -1.5, 1.5), rtol=1e-6, atol=1e-8)
    scaled = force(play(AIR, [Gain(0.7)], ctrl))
    np.testing.assert_allclose(scaled, 0.7 * ctrl[1:, 0], rtol=1e-6, atol=1e-8)


def test_the_friction_of_a_pair_is_not_that_of_its_geoms() -> None:
    task = FLOOR
    pair = '<contact><pair geom1="floor" geom2="sled"/></contact></mujoco>'
    reality = task.mjcf.replace("</mujoco>", pair)
    for disturbance in (
        Friction(0.5),
        Friction(0.5, ("sled",)),
        FrictionPatches("sled", ("sled",), factor=0.5),
    ):
        with pytest.raises(InputError, match="touches in a <pair>"):
            SimulatedRobot(task, [disturbance], mjcf=reality).reset(rest(task))


ARM = """
<mujoco model="arm"><option gravity="0 0 0"/><worldbody><body name="link">
  <joint name="elbow" damping="1" frictionloss="{loss}"/>
  <inertial pos="{pos}" mass="1" diaginertia=".01 .01 .01"/>
  <body name="tool" pos="{tool}" euler="0 0 {turn}"><geom name="tip" size=".02" pos=".1 0 0"/>
  </body></body>
  <body name="box"><freejoint/><geom name="box" type="box" size=".1 .1 .1" mass="1"/></body>
</worldbody><actuator><position name="elbow" joint="elbow" kp="400"/></actuator></mujoco>
"""


def arm_mjcf(loss: float = 0.1, pos: str = "0 0 0", tool: str = ".1 0 0", turn: float = 0.0) -> str:
    return ARM.format(loss=loss, pos=pos, tool=tool, turn=turn)


class Arm(Task):
    horizon = 10

    def __init__(self) -> None:
        self.scene = load_scene(arm_mjcf(), control_hz=100.0, substeps=5)


def followed(robot: SimulatedRobot, ctrl: np.ndarray) -> np.ndarray:
    robot.reset(rest(Arm()))
    return np.array([robot.step(np.array([c])).joints[0] for c in ctrl])


def test_backlash_is_the_play_operator_of_the_servos_target() -> None:
    width, ctrl = 0.1, 0.3 * np.sin(np.linspace(0.0, 9.0, 300))
    target, inside = [], 0.0
    for command in ctrl:
        inside = min(max(inside, command - width / 2), command + width / 2)
        target.append(inside)
    loose = followed(SimulatedRobot(Arm(), [Backlash("elbow", width)]), ctrl)
    np.testing.assert_array_equal(loose, followed(SimulatedRobot(Arm()), np.array(target)))
    assert np.abs(loose - followed(SimulatedRobot(Arm()), ctrl)).max() > 0.4 * width


@pytest.mark.parametrize(
    ("disturbance", "recompiled"),
    [
        (DryFriction(5.0, ("elbow",)), arm_mjcf(loss=0.5)),
        (Displaced("link", com=(0.1, 0.05, 0.0)), arm_mjcf(pos=".1 .05 0")),
        (Displaced("tool", frame=(0.1, 0.0, 0.0)), arm_mjcf(tool=".2 0 0")),
        (Displaced("tool", turn=(0.0, 0.0, math.pi / 2)), arm_mjcf(turn=90.0)),
    ],
)
def test_a_changed_model_is_that_of_its_mjcf(disturbance: Disturbance, recompiled: str) -> None:
    ctrl = 0.5 * np.sin(np.linspace(0.0, 9.0, 100))
    changed = followed(SimulatedRobot(Arm(), [disturbance]), ctrl)
    np.testing.assert_allclose(
        changed, followed(SimulatedRobot(Arm(), mjcf=recompiled), ctrl), rtol=1e-9, atol=1e-12
    )
    assert np.abs(changed - followed(SimulatedRobot(Arm()), ctrl)).max() > 1e-4


SLOPE = math.radians(15.0)
BOX = f"""
<mujoco><option cone="elliptic" gravity="{9.81 * math.sin(SLOPE)} 0 {-9.81 * math.cos(SLOPE)}"/>
<worldbody><geom name="floor" type="plane" size="0 0 .1"/><body name="box" pos="0 0 .1">
  <joint name="x" type="slide" axis="1 0 0"/><joint name="y" type="slide" axis="0 1 0"/>
  <joint name="z" type="slide" axis="0 0 1"/><geom type="box" size=".1 .1 .1" friction="1"/>
</body></worldbody></mujoco>
"""


class Slope(Task):
    def __init__(self, mjcf: str) -> None:
        self.scene = load_scene(mjcf, control_hz=50.0, substeps=4)


@pytest.mark.parametrize(
    ("mjcf", "noslip"),
    [
        (BOX, NoSlip(50)),
        (BOX.replace('<joint name="y" type="slide" axis="0 1 0"/>', ""), NoSlip(50, True)),
    ],
    ids=["elliptic", "planar"],
)
def test_stiction_keeps_a_box_on_a_slope(mjcf: str, noslip: NoSlip) -> None:
    """A soft contact creeps; with noslip it does not."""

    def creep(*disturbances: Disturbance) -> float:
        robot = SimulatedRobot(Slope(mjcf), disturbances)
        robot.reset(rest(Slope(mjcf)))
        x = [robot.step(np.zeros(0)).joints[0] for _ in range(100)]
        return x[-1] - x[50]

    assert creep() > 1e-4
    assert abs(creep(noslip)) < 1e-9


def test_noise_is_white_of_the_stated_width_and_stays_out_of_the_dynamics() -> None:
    widths = {"x": 2e-3, "z": 5e-4}
    ctrl = np.sin(np.arange(4000) / 50.0)[:, None]
    clean, noisy = (play(FLOOR, d, ctrl).qpos for d in ([], [SensorNoise(widths)]))
    error = noisy - clean
    assert not error[:, 1].any()
    for i, name in ((0, "x"), (2, "z")):
        # 4001 samples: the standard error of a deviation is 1.1 %, of a correlation 0.016.
        assert error[:, i].std() == pytest.approx(widths[name], rel=0.05)
        assert abs(error[:, i].mean()) < 5 * widths[name] / math.sqrt(len(error))
        assert abs(np.corrcoef(error[1:, i], error[:-1, i])[0, 1]) < 0.07
    assert abs(np.corrcoef(error[:, 0], error[:, 2])[0, 1]) < 0.07


def test_noise_of_objects_moves_and_turns_them() -> None:
    robot = SimulatedRobot(Arm(), [SensorNoise(position=1e-3, angle=0.02)])
    robot.reset(rest(Arm()))
    seen = np.array([robot.measure().objects[0] for _ in range(4000)])
    np.testing.assert_allclose(np.linalg.norm(seen[:, 3:], axis=1), 1.0, atol=1e-12)
    assert seen[:, :3].std(axis=0) == pytest.approx([1e-3] * 3, rel=0.05)
    assert 2.0 * seen[:, 4:].std(axis=0) == pytest.approx([0.02] * 3, rel=0.05)


REFUSED = [
    (Friction(2.0, ("wall",)), r"has no geom 'wall'; it has \['tip', 'box'\]"),
    (Mass("cup", 2.0), "has no body 'cup'"),
    (Delay(seconds=0.015), r"delay of 1\.5 control steps at 100 a second is no whole number"),
    (Backlash("wrist", 0.1), "has no joint 'wrist'"),
    (SensorNoise({"wrist": 0.1}), r"'wrist' is not measured; those are \['elbow'\]"),
    (Displaced("box", frame=(0.1, 0.0, 0.0)), "'box' is free: it has no place"),
    (FrictionPatches("link", ("tip",)), "'link' has friction patches, and neither slides"),
    (FrictionPatches("box"), "patches of body 'box' name no geoms or joints"),
]


@pytest.mark.parametrize(("disturbance", "message"), REFUSED)
def test_what_cannot_be_disturbed_is_named(disturbance: Disturbance, message: str) -> None:
    with pytest.raises(InputError, match=message):
        SimulatedRobot(Arm(), [disturbance]).reset(rest(Arm()))


def test_a_centre_of_mass_that_mujoco_holds_fixed_is_refused() -> None:
    com = Displaced("box", com=(0.02, 0.0, 0.0))
    SimulatedRobot(Arm(), [com])
    with pytest.raises(InputError, match="give 'pos' of its inertial in that MJCF"):
        SimulatedRobot(Arm(), [com], mjcf=arm_mjcf())


def test_a_displaced_centre_of_mass_turns_a_free_body() -> None:
    """Where its task's scene has it: a push at the box's middle turns it about its new centre."""
    robot = SimulatedRobot(Arm(), [Displaced("box", com=(0.0, 0.05, 0.0))])
    model, data = robot._model, robot._data  # pyright: ignore[reportPrivateUsage]
    robot.reset(rest(Arm()))
    data.xfrc_applied[model.body("box").id, 5] = 0.1  # [N·m] about z
    robot.step(np.zeros(1))
    mujoco.mj_forward(model, data)
    # The frame's origin circles about the centre, which rests: its velocity is ω × (−com).
    turn, com = data.qvel[6], data.xmat[model.body("box").id].reshape(3, 3) @ [0.0, 0.05, 0.0]
    expected = turn * np.array([com[1], -com[0], 0.0])
    np.testing.assert_allclose(data.qvel[1:4], expected, atol=1e-3 * 0.05 * turn)
    assert turn > 0.1
