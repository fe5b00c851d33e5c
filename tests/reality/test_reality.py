"""The held-out simulation against closed forms, and a robot that fails in mid-episode."""

import dataclasses
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from experiments.slide.study import study as slide
from worldmodel._mujoco import mujoco
from worldmodel.tasks.slide import task
from worldmodel.reality import (
    HiddenPhysics,
    Measurement,
    Robot,
    RobotError,
    SimulatedRobot,
    run_policy,
)
from worldmodel.scene import ASSETS
from worldmodel.types import Episode

ROOT = Path(__file__).resolve().parent.parent
GRAVITY, FRICTION, MASS, DAMPING = 9.81, 0.1, 0.5, 0.3
HZ = 1000.0
PLAIN = HiddenPhysics()
FLOOR = '<joint name="z" type="slide" axis="0 0 1"/>'


def sled(hidden: HiddenPhysics, *, floor: bool = True, damping: float = 0.0) -> SimulatedRobot:
    """A mass that a motor pushes along x, over a floor or in the air."""
    return SimulatedRobot(
        f"""
        <mujoco model="sled">
          <option cone="elliptic" tolerance="1e-12" iterations="50"/>
          <worldbody>
            <geom name="floor" type="plane" size="0 0 .1"/>
            <body name="sled" pos="0 0 0.005">
              <joint name="x" type="slide" axis="1 0 0" damping="{damping}"/>
              <joint name="y" type="slide" axis="0 1 0"/>
              {FLOOR if floor else ""}
              <geom name="sled" size="0.005" mass="{MASS}" friction="{FRICTION} 0 0" priority="1"
                    contype="{int(floor)}" conaffinity="{int(floor)}"/>
            </body>
          </worldbody>
          <actuator><motor name="push" joint="x"/></actuator>
        </mujoco>
        """,
        hidden,
        body="sled",
        geom="sled",
        control_hz=HZ,
        substeps=1,
        touch=(("sled", "floor"),),
        seed=0,
    )


def play(robot: Robot, ctrl: np.ndarray, qpos: np.ndarray | None = None) -> Episode:
    start = np.zeros(robot.nq) if qpos is None else qpos
    return run_policy(robot, lambda t, _: ctrl[t], start, len(ctrl), "test")[0]


def strike(robot: Robot, noise_seed: int = 0) -> tuple[Episode, np.ndarray]:
    """One stroke of the task."""
    start, stroke = np.array([0.05]), np.array([[1.5, 0.3]])
    ctrl = task.play(start, stroke)[0]
    return run_policy(
        robot, lambda t, _: ctrl[t], task.initial_qpos(start, stroke)[0], task.FRAMES, "stroke"
    )


def same(a: Episode, b: Episode) -> bool:
    return all(
        np.array_equal(getattr(a, f.name), getattr(b, f.name)) for f in dataclasses.fields(a)
    )


def stopped(hidden: HiddenPhysics, y: float = 0.0, mass: float = 1.0) -> tuple[float, float]:
    """Pushes for 0.05 s, then lets go: (speed when let go [m/s], distance from there [m])."""
    push = np.zeros((2200, 1))
    push[:50] = 10.0 * mass
    episode = play(sled(hidden), push, np.array([0.0, y, 0.0]))
    x = episode.qpos[:, 0]
    assert abs(x[-1] - x[-50]) < 1e-4, "still sliding"
    return float(episode.qvel[50, 0]), float(x[-1] - x[50])


def test_without_hidden_physics_it_is_plain_mujoco_bit_for_bit() -> None:
    episode, _ = strike(slide.robot(PLAIN))
    model = mujoco.MjModel.from_xml_path(str(ASSETS / "slide.xml"))
    model.opt.timestep = 1.0 / (task.CONTROL_HZ * slide.SUBSTEPS)
    data = mujoco.MjData(model)
    data.qpos[:] = episode.qpos[0]
    mujoco.mj_forward(model, data)
    for ctrl, measured in zip(episode.ctrl, episode.qpos[1:], strict=False):
        data.ctrl[:] = ctrl
        mujoco.mj_step(model, data, slide.SUBSTEPS)
        np.testing.assert_array_equal(measured, data.qpos)
    assert np.linalg.norm(np.diff(episode.qpos[[0, -1], task.PUCK], axis=0)) > 0.3  # it was hit


# At a wavelength of 4 places one quarter of a wave is +1, three quarters −1; with one wave
# √2 sin is clipped there, so the factor is exactly 1 ± patches.
PATCHED = HiddenPhysics(patches=0.4, waves=((0.0, np.pi / 2, 0.0),))


@pytest.mark.parametrize(
    ("hidden", "y", "factor"),
    [
        (PLAIN, 0.0, 1.0),
        (HiddenPhysics(friction=1.6), 0.0, 1.6),
        (HiddenPhysics(friction=0.5), 0.0, 0.5),
        (PATCHED, 1.0, 1.4),
        (PATCHED, -1.0, 0.6),
        (PATCHED, 2.0, 1.0),
        (dataclasses.replace(PATCHED, friction=0.5), 1.0, 0.7),
    ],
)
def test_sled_stops_where_coulomb_says(hidden: HiddenPhysics, y: float, factor: float) -> None:
    speed, distance = stopped(hidden, y)
    # A sliding contact of MuJoCo hops: Coulomb's law holds on average over the hops, of which
    # there are enough here for half a percent of scatter. The factors are 14 % apart.
    exact = speed**2 / (2 * FRICTION * factor * GRAVITY)
    assert distance == pytest.approx(exact, rel=0.02)


def test_friction_that_rises_with_speed_stops_sooner_as_its_integral_says() -> None:
    rise = 0.5
    speed, distance = stopped(HiddenPhysics(speed=rise))
    exact = (speed / rise - math.log1p(rise * speed) / rise**2) / (FRICTION * GRAVITY)
    assert distance == pytest.approx(exact, rel=0.02)  # as above
    assert exact < 0.8 * speed**2 / (2 * FRICTION * GRAVITY)  # the law shows


def test_mass_takes_force_and_leaves_free_sliding_alone() -> None:
    speed, distance = stopped(PLAIN)
    heavy = stopped(HiddenPhysics(mass=2.0), mass=2.0)
    # Contacts of MuJoCo are laws of acceleration, the same for every mass; only the solver stops
    # at a tolerance that is relative to it.
    np.testing.assert_allclose(heavy, (speed, distance), rtol=1e-5)
    air = dataclasses.replace(PLAIN, mass=2.0)
    light, doubled = (play(sled(h, floor=False), np.ones((20, 1))) for h in (PLAIN, air))
    np.testing.assert_allclose(light.qpos[1:, 0], 2.0 * doubled.qpos[1:, 0], rtol=1e-12)


def test_damping_factor_is_that_of_an_exponential_decay() -> None:
    factor, steps = 3.0, 60
    push = np.zeros((steps + 1, 1))
    push[0] = 10.0
    hidden = HiddenPhysics(damping=factor)
    speed = play(sled(hidden, floor=False, damping=DAMPING), push).qvel[1:, 0]
    # MuJoCo's Euler takes damping implicitly: each step divides by 1 + b dt / m.
    exact = speed[0] / (1.0 + factor * DAMPING / (MASS * HZ)) ** np.arange(steps + 1)
    np.testing.assert_allclose(speed, exact, rtol=1e-9)  # velocities are differences of positions


def test_delay_shifts_commands_by_whole_steps() -> None:
    ctrl = np.random.default_rng(0).normal(size=(40, 1))
    at_once = play(sled(PLAIN, floor=False), ctrl)
    for delay in (1, 3):
        late = play(sled(HiddenPhysics(delay=delay), floor=False), ctrl)
        assert not late.qpos[: delay + 1].any()  # nothing has arrived
        np.testing.assert_array_equal(late.qpos[delay:], at_once.qpos[:-delay])
        np.testing.assert_array_equal(late.ctrl, at_once.ctrl)  # what was commanded, not played


def test_lag_is_a_first_order_step_response() -> None:
    lag, steps = 0.01, 50
    episode = play(sled(HiddenPhysics(lag=lag), floor=False), np.ones((steps, 1)))
    force = MASS * HZ * np.diff(episode.qvel[:, 0])
    exact = 1.0 - np.exp(-(np.arange(steps) + 1.0) / (HZ * lag))
    np.testing.assert_allclose(force, exact, rtol=1e-6)  # second differences at 1 kHz


def test_actuators_hold_the_joints_they_start_from() -> None:
    hidden = HiddenPhysics(lag=0.02, delay=2)
    start, stroke = np.array([0.1]), np.array([[1.0, -0.2]])
    qpos = task.initial_qpos(start, stroke)[0]
    episode = play(slide.robot(hidden), np.tile(qpos[:2], (10, 1)), qpos)
    # Held by position servos at their targets, in a plane where gravity does no work.
    np.testing.assert_allclose(episode.qpos[:, :2], np.tile(qpos[:2], (11, 1)), atol=1e-9)


def test_patches_are_bounded_and_vary() -> None:
    hidden = dataclasses.replace(slide.draw_hidden(slide.PILOT_SEED), friction=1.3, speed=0.2)
    x, y = np.meshgrid(np.linspace(0, 8, 80), np.linspace(-4, 4, 80))  # many wavelengths
    here = np.array([hidden.friction_at(a, b, 0.0) for a, b in zip(x.flat, y.flat, strict=True)])
    relative = here / 1.3 - 1.0
    assert np.abs(relative).max() <= hidden.patches + 1e-12
    assert relative.min() < -0.8 * hidden.patches and relative.max() > 0.8 * hidden.patches
    fast = hidden.friction_at(0.7, 0.1, 2.0) / hidden.friction_at(0.7, 0.1, 0.0)
    assert fast == pytest.approx(1.4, rel=1e-12)


def test_noise_is_white_of_the_stated_width_and_stays_out_of_the_dynamics() -> None:
    widths = (2e-3, 0.0, 5e-4)
    ctrl = np.sin(np.arange(4000) / 50.0)[:, None]
    clean, noisy = (play(sled(HiddenPhysics(noise=n)), ctrl).qpos for n in ((), widths))
    error = noisy - clean
    assert not error[:, 1].any()
    for i in (0, 2):
        # 4001 samples: the standard error of a deviation is 1.1 %, of a correlation 0.016.
        assert error[:, i].std() == pytest.approx(widths[i], rel=0.05)
        assert abs(error[:, i].mean()) < 5 * widths[i] / math.sqrt(len(error))
        assert abs(np.corrcoef(error[1:, i], error[:-1, i])[0, 1]) < 0.07
    assert abs(np.corrcoef(error[:, 0], error[:, 2])[0, 1]) < 0.07


def test_an_episode_depends_on_its_seed_alone() -> None:
    hidden = slide.draw_hidden(slide.PILOT_SEED)
    one, two, other = (strike(slide.robot(hidden, seed))[0] for seed in (4, 4, 5))
    assert same(one, two)
    assert not same(one, other)
    assert np.abs(one.qpos - other.qpos).max() < 10 * max(hidden.noise)  # only the sensors differ
    machine = slide.robot(dataclasses.replace(hidden, noise=()))
    first, again = strike(machine)[0], strike(machine)[0]
    assert same(first, again)  # nothing is left over from the episode before


def test_a_deployed_stroke_comes_back_as_an_episode() -> None:
    robot = slide.robot(dataclasses.replace(slide.draw_hidden(slide.PILOT_SEED), noise=()))
    episode, contact = strike(robot)
    frames = task.FRAMES + 1
    assert episode.qpos.shape == episode.qvel.shape == (frames, robot.nq)
    assert episode.ctrl.shape == (frames, robot.nu)
    assert contact.shape == (frames, len(slide.TOUCH)) and contact.dtype == bool
    assert episode.valid.all() and episode.fresh.all() and episode.id == "stroke"
    np.testing.assert_allclose(episode.time, np.arange(frames) / task.CONTROL_HZ)
    assert not episode.qvel[0].any()
    np.testing.assert_allclose(
        episode.qvel[1:], np.diff(episode.qpos, axis=0) * task.CONTROL_HZ, rtol=1e-12
    )
    np.testing.assert_array_equal(episode.ctrl[-1], episode.ctrl[-2])
    # The flag rises with the puck's first movement and falls before it rests.
    moving = np.flatnonzero(np.linalg.norm(episode.qvel[:, task.PUCK], axis=1) > 0.05)
    touched = np.flatnonzero(contact[:, 0])
    assert abs(int(touched[0]) - int(moving[0])) <= 1
    assert touched[-1] < moving[-1]


class Scripted:
    """A robot that counts, and at one frame does what it is told instead."""

    control_hz, nq, nu = 10.0, 2, 1

    def __init__(self, at: int, failure: object) -> None:
        self.frame, self.at, self.failure = -1, at, failure

    def reset(self, qpos: np.ndarray) -> Measurement:
        self.frame = -1
        return self._answer()

    def step(self, ctrl: np.ndarray) -> Measurement:
        return self._answer()

    def _answer(self) -> Measurement:
        self.frame += 1
        if self.frame == self.at:
            if isinstance(self.failure, Exception):
                raise self.failure
            return Measurement(np.asarray(self.failure), np.zeros(1, bool))
        return Measurement(np.array([self.frame, 2.0 * self.frame]), np.array([self.frame > 2]))


FAILURES = [
    (np.array([np.nan, 0.0]), r"at frame 4 .*not 2 finite positions; check its sensors, then run"),
    (np.array([0.0, np.inf]), r"at frame 4 .*not 2 finite positions; check its sensors, then run"),
    (np.zeros(3), r"at frame 4 .*not 2 finite positions; check its sensors, then run"),
    (TimeoutError("no answer in 1 s"), r"at frame 4 \(no answer in 1 s\); check it, then run"),
    (ConnectionResetError("unplugged"), r"at frame 4 \(unplugged\); check it, then run"),
]


@pytest.mark.parametrize(("failure", "message"), FAILURES)
def test_a_robot_that_fails_is_named_and_what_was_captured_is_kept(
    failure: object, message: str
) -> None:
    def policy(t: int, seen: Measurement) -> np.ndarray:
        assert seen.qpos[0] == t  # the last measurement
        return np.array([10.0 + t])

    with pytest.raises(RobotError, match=f"episode 7: .*{message}") as caught:
        run_policy(Scripted(4, failure), policy, np.zeros(2), 9, 7)
    kept = caught.value.episode
    assert kept is not None
    assert kept.qpos[:, 0].tolist() == [0, 1, 2, 3]
    assert kept.qvel[:, 1].tolist() == [0, 20, 20, 20]
    assert kept.ctrl[:, 0].tolist() == [10, 11, 12, 13]
    assert len(kept.time) == len(kept.valid) == len(kept.fresh) == 4

    with pytest.raises(RobotError, match="frame 0") as caught:
        run_policy(Scripted(0, failure), policy, np.zeros(2), 9, 7)
    assert caught.value.episode is None


@pytest.mark.parametrize("bad", [np.array([np.nan]), np.array([np.inf]), np.zeros(2), 0.5])
def test_a_policy_that_commands_nonsense_is_refused_before_it_is_played(bad: object) -> None:
    robot = Scripted(99, None)

    def policy(t: int, _: Measurement) -> np.ndarray:
        return np.asarray(bad) if t == 3 else np.zeros(1)

    with pytest.raises(ValueError, match=r"episode a: the policy commands .* at step 3.*takes 1"):
        run_policy(robot, policy, np.zeros(2), 9, "a")
    assert robot.frame == 3  # three commands were played


def test_reality_knows_nothing_of_the_model() -> None:
    code = "import sys, worldmodel.reality; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    )
    loaded = done.stdout.split()
    assert "worldmodel.reality.simulated" in loaded
    for name in ("physics", "dynamics", "finetune", "predict", "residuals", "policies"):
        assert not [m for m in loaded if m.startswith(f"worldmodel.{name}")]
