"""The held-out simulation of any MJCF, and reality as a world to play in."""

import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.helpers import sled
from tests.helpers.sled import Sled, rest
from worldmodel._mujoco import mujoco
from worldmodel.errors import InputError
from worldmodel.reality import RobotError, SimulatedRobot, capture, deploy, simulate
from worldmodel.reality.disturbances import (
    Damping,
    Delay,
    FrictionPatches,
    Gain,
    Lag,
    Mass,
    SensorNoise,
)
from worldmodel.rollout import Replay
from worldmodel.runtime import Interrupted
from worldmodel.tasks import play
from worldmodel.tasks.play_c import simulate_in_c
from worldmodel.tasks.push.task import Push
from worldmodel.types import Start, Trial

ROOT = Path(__file__).resolve().parents[2]
SLED = Sled(damping=0.3)
EVERYTHING = [
    FrictionPatches(
        "sled",
        ("sled",),
        factor=1.2,
        amplitude=0.35,
        waves=((3.0, 1.0, 0.5), (-2.0, 4.0, 2.0)),
        speed=0.2,
    ),
    Mass("sled", 0.9),
    Damping(1.3),
    Delay(2),
    Lag(0.004),
    SensorNoise({"x": 1e-3, "y": 1e-3, "z": 1e-4}),
]


def test_without_disturbances_it_is_plain_mujoco_bit_for_bit() -> None:
    ctrl = 8.0 * np.sin(np.arange(60) / 9.0)[:, None]
    model = mujoco.MjModel.from_xml_string(SLED.mjcf)
    model.opt.timestep = 1.0 / sled.HZ
    data = mujoco.MjData(model)
    path = sled.play(SLED, [], ctrl, [0.1, 0.0, 0.002])
    data.qpos[:] = path.qpos[0]
    for command, measured in zip(ctrl, path.qpos[1:], strict=True):
        data.ctrl[:] = command
        mujoco.mj_step(model, data)
        np.testing.assert_array_equal(measured, data.qpos)


def test_without_disturbances_it_is_the_model_of_a_body_that_only_slides() -> None:
    task = Push()
    key = jax.random.key(0)
    start, goal = jax.vmap(task.reset)(jax.random.split(key, 2))
    forward = Replay(jnp.tile(jnp.array([0.0, 0.6]), (2, task.horizon, 1)))
    worlds = simulate(task, lambda: SimulatedRobot(task)), simulate_in_c(task, task.scene.mj_model)
    ours, theirs = (world(forward, start, goal, key).measured.joints for world in worlds)
    np.testing.assert_allclose(ours, theirs, atol=1e-12)


# x, y, z at frames of an episode with every number that task "slide" disturbs, as its simulation
# gave them when that knew one puck (commit eba8d58). Renew it when MuJoCo's contacts change.
GOLDEN = {
    0: [0.0001257302210933933, 0.0198678951367087, 6.404226504432821e-05],
    1: [0.00010490011715303971, 0.019464330626838888, 2.634950549094847e-05],
    20: [0.0013802412218953159, 0.018830198092227135, 0.00018125318297695572],
    40: [0.010103882055557064, 0.020844078680578592, 9.725601832365879e-06],
    60: [0.01785693950442316, 0.018957139859015495, 5.746812966518072e-05],
}


def test_it_plays_what_it_always_played() -> None:
    push = np.where(np.arange(60) < 30, 8.0, 0.0)[:, None]
    qpos = sled.play(SLED, EVERYTHING, push, [0.0, 0.02, 0.0]).qpos
    np.testing.assert_allclose(qpos[[*GOLDEN]], [*GOLDEN.values()], rtol=1e-9)


def test_an_episode_depends_on_its_seed_alone() -> None:
    ctrl = np.full((40, 1), 5.0)

    def played(machine: SimulatedRobot) -> np.ndarray:
        return np.stack([machine.reset(rest(SLED)).joints, *(machine.step(c).joints for c in ctrl)])

    one, two, other = (played(sled.robot(SLED, EVERYTHING, seed)) for seed in (4, 4, 5))
    np.testing.assert_array_equal(one, two)
    assert not (one == other).all() and np.abs(one - other).max() < 1e-2  # only the sensors differ
    machine = sled.robot(SLED, EVERYTHING[:-1])
    np.testing.assert_array_equal(played(machine), played(machine))  # nothing remains


def test_a_capture_that_goes_on_has_the_noise_of_one_that_was_not_stopped(tmp_path: Path) -> None:
    task, key = Sled(horizon=5), jax.random.key(0)
    trials = [sled.trial(task, 1.0)] * 3
    noisy = [SensorNoise(1e-3)]
    whole = capture(tmp_path / "whole", sled.robot(task, noisy), task, trials, key)
    asked = iter([False] * 8 + [True])
    with pytest.raises(Interrupted, match="episode 1: stopped before control step 1"):
        stop = lambda: next(asked)  # noqa: E731
        capture(tmp_path / "cut", sled.robot(task, noisy), task, trials, key, stop=stop)
    again = capture(tmp_path / "cut", sled.robot(task, noisy), task, trials, key)
    for a, b in zip(whole, again, strict=True):
        np.testing.assert_array_equal(a.qpos, b.qpos)
    assert len({e.qpos[0, 0] for e in whole}) == 3


OTHER = """
<mujoco model="reality"><worldbody>
  <geom name="floor" type="plane" size="0 0 .1" fluidshape="none"/>
  <body name="wall" pos="1 0 0"><joint name="hinge"/><geom size=".1" mass="1"/></body>
  <body name="sled" pos="0 0 0.005">
    <joint name="z" type="slide" axis="0 0 1"/><joint name="y" type="slide" axis="0 1 0"/>
    <joint name="x" type="slide" axis="1 0 0"/><geom name="sled" size="0.005" mass="1"/>
  </body></worldbody>
  <actuator><motor name="push" joint="x"/></actuator></mujoco>
"""


def test_realitys_own_mjcf_is_read_by_names() -> None:
    robot = SimulatedRobot(SLED, mjcf=OTHER)
    measured = robot.reset(rest(SLED, [0.3, 0.2, 0.1]))
    assert measured.joints.tolist() == [0.3, 0.2, 0.1]
    pushed = robot.step(np.array([5.0]))
    assert pushed.joints[0] > 0.3 and pushed.joints[1] == 0.2 and pushed.joints[2] < 0.1
    assert not pushed.touch.any()
    assert robot.reset(rest(SLED, [0.0, 0.0, -1e-6])).touch.all()


def test_another_machine_is_refused() -> None:
    swaps = [
        ('name="push"', 'name="pull"', r"has the actuators \['pull'\], .* needs \['push'\]"),
        ('"x"', '"u"', r"lacks \['x'\]"),
        ('name="floor"', 'name="table"', "has no geom 'floor'"),
        ('size=".1" mass="1"', 'size=".1" mass="-1"', "the simulated robot: broken MJCF: .*mass"),
    ]
    for old, new, message in swaps:
        mjcf = OTHER.replace(old, new).replace(
            'joint="x"', 'joint="u"' if new == 'name="u"' else 'joint="x"'
        )
        with pytest.raises(InputError, match=message):
            SimulatedRobot(SLED, mjcf=mjcf)


def test_a_start_that_moves_is_refused() -> None:
    for start in (Start(np.zeros(3), np.ones(3)), Start(np.zeros(2), np.zeros(2))):
        with pytest.raises(RobotError, match="a robot starts at rest, this one at 3 positions"):
            sled.robot(SLED).reset(start)


def test_a_simulation_that_diverges_is_named() -> None:
    for push, gain in ((1e300, 1.0), (1.0, 1e300)):
        robot = sled.robot(Sled(floor=False), [Gain(gain)])
        robot.reset(rest(Sled(floor=False)))
        with pytest.raises(RobotError, match=r"simulation diverges at 0\.001 s; its"):
            robot.step(np.array([push]))


def test_a_batch_played_in_reality_is_what_deploy_gives() -> None:
    task, key = Sled(horizon=25), jax.random.key(0)
    actions, x = jnp.linspace(0.1, 0.9, 3), jnp.array([0.0, 0.001, 1.0])
    policy = Replay(jnp.tile(actions[:, None, None], (1, task.horizon, 1)))
    starts = Start(np.zeros((3, 3)), np.zeros((3, 3)))
    quiet = EVERYTHING[:-1]
    played = simulate(task, lambda: sled.robot(task, quiet))(policy, starts, {"x": x}, key)
    episodes = play.episodes(task, played, {"x": x}, source="real")
    for i, episode in enumerate(episodes):
        trial = Trial(rest(task), {"x": x[i]}, Replay(policy.actions[i]))
        alone = deploy(sled.robot(task, quiet), task, trial, i, key)
        for name in ("qpos", "qvel", "ctrl", "contact", "action"):
            np.testing.assert_array_equal(getattr(episode, name), getattr(alone, name), name)
        assert episode.success == alone.success
    assert len({e.qpos[-1, 0] for e in episodes}) == 3


def test_reality_knows_nothing_of_the_model() -> None:
    code = "import sys, worldmodel.reality; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    )
    loaded = done.stdout.split()
    assert "worldmodel.reality.simulated" in loaded
    for name in ("physics", "model", "finetune", "policies", "loop"):
        assert not [m for m in loaded if m.startswith(f"worldmodel.{name}")]
