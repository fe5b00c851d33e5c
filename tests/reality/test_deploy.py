"""A policy deployed on a robot: what comes back, and what a robot or a policy may not do."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.slide import study as slide
from tests.helpers import sled
from worldmodel import physics
from worldmodel.errors import InputError
from worldmodel.model import WorldModel, init, make_step
from worldmodel.reality import HiddenPhysics, RobotError, deploy
from worldmodel.rollout import replay, rollout
from worldmodel.scene import load_scene
from worldmodel.tasks.slide import task
from worldmodel.types import Measurement

CART = load_scene(
    """<mujoco model="cart"><worldbody><body>
    <joint name="x" type="slide" axis="1 0 0"/><joint name="y" type="slide" axis="0 1 0"/>
    <geom size=".1"/></body></worldbody><actuator><motor joint="x"/></actuator></mujoco>""",
    control_hz=10.0,
    substeps=1,
)


def test_the_same_policy_plays_in_a_model_and_on_a_robot() -> None:
    """Where both have the same physics, one policy and one key give the same trajectory."""

    def policy(observation: Any, t: Any, key: Any) -> jax.Array:
        noise = 0.1 * jax.random.normal(key, (1,))
        return 1.0 - 40.0 * jnp.asarray(observation.qpos)[:1] + 0.01 * t + noise

    scene, steps, key = sled.scene(floor=False), 60, jax.random.key(3)
    start = np.array([0.02, -0.01])
    machine = sled.robot(HiddenPhysics(), floor=False)
    episode = deploy(machine, policy, scene, start, steps, "robot", key=key)

    world = WorldModel(scene)
    step = make_step(world, init(world, jax.random.key(0)))
    state = physics.initial_state(scene, jnp.asarray(start), jnp.zeros(2))
    states, actions = rollout(step, policy, state, steps, key)
    np.testing.assert_allclose(episode.ctrl[:-1], actions, rtol=1e-9)
    np.testing.assert_allclose(episode.qpos[1:], states.qpos, rtol=1e-9, atol=1e-15)
    assert np.ptp(episode.ctrl) > 0.1


def test_a_free_bodys_velocities_are_in_the_space_of_qvel() -> None:
    """An even movement of a scene with nq = 8 and nv = 7."""
    hz, velocity, turn = 50.0, np.array([0.3, -0.2, 0.1]), np.array([0.4, -1.0, 2.0])
    scene = load_scene(
        """<mujoco model="tray"><worldbody>
        <body name="mug"><freejoint/><geom size=".1"/></body>
        <body><joint name="x" type="slide" axis="1 0 0"/><geom size=".1"/></body>
        </worldbody><actuator><motor joint="x"/></actuator></mujoco>""",
        control_hz=hz,
        substeps=1,
    )

    class Turning:
        control_hz, frame = hz, -1

        def reset(self, qpos: np.ndarray) -> Measurement:
            return self.step(qpos)

        def step(self, ctrl: np.ndarray) -> Measurement:
            self.frame += 1
            time, angle = self.frame / hz, np.linalg.norm(turn)
            quat = [np.cos(angle * time / 2), *(np.sin(angle * time / 2) * turn / angle)]
            qpos = np.concatenate([velocity * time, quat, [0.5 * time]])
            return Measurement(qpos, np.zeros(0, bool))

    episode = deploy(Turning(), replay(np.zeros((20, 1))), scene, np.zeros(8), 20, 0)
    assert episode.qpos.shape == (21, 8) and episode.qvel.shape == (21, 7)
    assert not episode.qvel[0].any()
    expected = np.tile([*velocity, *turn, 0.5], (20, 1))
    np.testing.assert_allclose(episode.qvel[1:], expected, rtol=1e-9)


def test_a_robot_of_another_rate_is_refused() -> None:
    with pytest.raises(InputError, match=r"takes 10\.0 commands per second, scene 'sled' 1000"):
        deploy(Scripted(99, None), replay(np.zeros((3, 1))), sled.scene(), np.zeros(3), 3, 0)


def test_a_deployed_stroke_comes_back_as_an_episode() -> None:
    robot = slide.robot(dataclasses.replace(slide.draw_hidden(slide.PILOT_SEED), noise=()))
    start, stroke = np.array([0.05]), np.array([[1.5, 0.3]])
    ctrl, qpos = task.play(start, stroke)[0], task.initial_qpos(start, stroke)[0]
    episode = deploy(robot, replay(ctrl), task.scene(), qpos, task.FRAMES, "stroke")
    frames, contact = task.FRAMES + 1, episode.contact
    assert episode.qpos.shape == episode.qvel.shape == (frames, 6)
    assert episode.ctrl.shape == (frames, 2)
    assert contact is not None
    assert contact.shape == (frames, len(task.TOUCH)) and contact.dtype == bool
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
    """A robot that reports the number of the frame, and fails at one of them."""

    control_hz = 10.0

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
    def policy(observation: Measurement, t: int, key: None) -> np.ndarray:
        assert observation.qpos[0] == t and key is None  # the last measurement
        return np.array([10.0 + t])

    with pytest.raises(RobotError, match=f"episode 7: .*{message}") as caught:
        deploy(Scripted(4, failure), policy, CART, np.zeros(2), 9, 7)
    kept = caught.value.episode
    assert kept is not None
    assert kept.qpos[:, 0].tolist() == [0, 1, 2, 3]
    assert kept.qvel[:, 1].tolist() == [0, 20, 20, 20]
    assert kept.ctrl[:, 0].tolist() == [10, 11, 12, 13]
    assert kept.contact is not None and kept.contact[:, 0].tolist() == [False] * 3 + [True]
    assert len(kept.time) == len(kept.valid) == len(kept.fresh) == 4

    with pytest.raises(RobotError, match="frame 0") as caught:
        deploy(Scripted(0, failure), policy, CART, np.zeros(2), 9, 7)
    assert caught.value.episode is None


@pytest.mark.parametrize("bad", [np.array([np.nan]), np.array([np.inf]), np.zeros(2), 0.5])
def test_a_policy_that_commands_nonsense_is_refused_before_it_is_played(bad: object) -> None:
    robot = Scripted(99, None)

    def policy(observation: Measurement, t: int, key: None) -> np.ndarray:
        return np.asarray(bad) if t == 3 else np.zeros(1)

    with pytest.raises(ValueError, match=r"episode a: the policy commands .* at step 3.*takes 1"):
        deploy(robot, policy, CART, np.zeros(2), 9, "a")
    assert robot.frame == 3  # three commands were played
