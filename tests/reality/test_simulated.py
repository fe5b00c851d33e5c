"""The held-out simulation against closed forms."""

import dataclasses
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from experiments.slide import study as slide
from tests.helpers.sled import FRICTION, HZ, MASS, play
from worldmodel._mujoco import mujoco
from worldmodel.reality import HiddenPhysics, SimulatedRobot, deploy
from worldmodel.rollout import replay
from worldmodel.tasks.slide import task
from worldmodel.types import Episode

ROOT = Path(__file__).resolve().parents[2]
GRAVITY, DAMPING = 9.81, 0.3
PLAIN = HiddenPhysics()


def strike(robot: SimulatedRobot) -> Episode:
    """One stroke of task "slide"."""
    start, stroke = np.array([0.05]), np.array([[1.5, 0.3]])
    ctrl, qpos = task.play(start, stroke)[0], task.initial_qpos(start, stroke)[0]
    return deploy(robot, replay(ctrl), task.scene(), qpos, task.FRAMES, "stroke")


def same(a: Episode, b: Episode) -> bool:
    names = ("time", "qpos", "qvel", "ctrl", "valid", "fresh", "contact")
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in names)


def stopped(hidden: HiddenPhysics, y: float = 0.0, mass: float = 1.0) -> tuple[float, float]:
    """Pushes for 0.05 s, then lets go: (speed when let go [m/s], distance from there [m])."""
    push = np.zeros((2200, 1))
    push[:50] = 10.0 * mass
    episode = play(hidden, push, np.array([0.0, y, 0.0]))
    x = episode.qpos[:, 0]
    assert abs(x[-1] - x[-50]) < 1e-4, "still sliding"
    return float(episode.qvel[50, 0]), float(x[-1] - x[50])


def test_without_hidden_physics_it_is_plain_mujoco_bit_for_bit() -> None:
    episode = strike(slide.robot(PLAIN))
    model = mujoco.MjModel.from_xml_path(str(task.MJCF))
    model.opt.timestep = 1.0 / (task.CONTROL_HZ * task.SUBSTEPS)
    data = mujoco.MjData(model)
    data.qpos[:] = episode.qpos[0]
    mujoco.mj_forward(model, data)
    for ctrl, measured in zip(episode.ctrl, episode.qpos[1:], strict=False):
        data.ctrl[:] = ctrl
        mujoco.mj_step(model, data, task.SUBSTEPS)
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
    light, doubled = (play(h, np.ones((20, 1)), floor=False) for h in (PLAIN, air))
    np.testing.assert_allclose(light.qpos[1:, 0], 2.0 * doubled.qpos[1:, 0], rtol=1e-12)


def test_damping_factor_is_that_of_an_exponential_decay() -> None:
    factor, steps = 3.0, 60
    push = np.zeros((steps + 1, 1))
    push[0] = 10.0
    hidden = HiddenPhysics(damping=factor)
    speed = play(hidden, push, floor=False, damping=DAMPING).qvel[1:, 0]
    # MuJoCo's Euler takes damping implicitly: each step divides by 1 + b dt / m.
    exact = speed[0] / (1.0 + factor * DAMPING / (MASS * HZ)) ** np.arange(steps + 1)
    np.testing.assert_allclose(speed, exact, rtol=1e-9)  # velocities are differences of positions


def test_delay_shifts_commands_by_whole_steps() -> None:
    ctrl = np.random.default_rng(0).normal(size=(40, 1))
    at_once = play(PLAIN, ctrl, floor=False)
    for delay in (1, 3):
        late = play(HiddenPhysics(delay=delay), ctrl, floor=False)
        assert not late.qpos[: delay + 1].any()  # nothing has arrived
        np.testing.assert_array_equal(late.qpos[delay:], at_once.qpos[:-delay])
        np.testing.assert_array_equal(late.ctrl, at_once.ctrl)  # what was commanded, not played


def test_lag_is_a_first_order_step_response() -> None:
    lag, steps = 0.01, 50
    episode = play(HiddenPhysics(lag=lag), np.ones((steps, 1)), floor=False)
    force = MASS * HZ * np.diff(episode.qvel[:, 0])
    exact = 1.0 - np.exp(-(np.arange(steps) + 1.0) / (HZ * lag))
    np.testing.assert_allclose(force, exact, rtol=1e-6)  # second differences at 1 kHz


def test_actuators_hold_the_joints_they_start_from() -> None:
    hidden = HiddenPhysics(lag=0.02, delay=2)
    start, stroke = np.array([0.1]), np.array([[1.0, -0.2]])
    qpos = task.initial_qpos(start, stroke)[0]
    episode = deploy(
        slide.robot(hidden), replay(np.tile(qpos[:2], (10, 1))), task.scene(), qpos, 10, "held"
    )
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
    clean, noisy = (play(HiddenPhysics(noise=n), ctrl).qpos for n in ((), widths))
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
    one, two, other = (strike(slide.robot(hidden, seed)) for seed in (4, 4, 5))
    assert same(one, two)
    assert not same(one, other)
    assert np.abs(one.qpos - other.qpos).max() < 10 * max(hidden.noise)  # only the sensors differ
    machine = slide.robot(dataclasses.replace(hidden, noise=()))
    first, again = strike(machine), strike(machine)
    assert same(first, again)  # nothing remains of the episode before


def test_reality_knows_nothing_of_the_model() -> None:
    code = "import sys, worldmodel.reality; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    )
    loaded = done.stdout.split()
    assert "worldmodel.reality.simulated" in loaded
    for name in ("physics", "model", "finetune", "tasks", "policies", "loop"):
        assert not [m for m in loaded if m.startswith(f"worldmodel.{name}")]
