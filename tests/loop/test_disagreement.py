"""Members disagree where their physics differs; episodes there are thinned, or asked for."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.helpers.doors import MASS, door
from tests.helpers.small_tasks import Going, Reach, Straight
from worldmodel import loop, runtime
from worldmodel.errors import InputError
from worldmodel.loop.disagreement import disagreement, most_doubtful, thinned
from worldmodel.model import Network, Velocity, WorldModel, init
from worldmodel.rollout import Constant
from worldmodel.tasks.play import repeated
from worldmodel.tasks.task import Task
from worldmodel.types import Array, Episode, Goal, Measurement, Start, Trial

KEY = jax.random.key(0)
REACH = Reach()
# A door that stands upright stays there without a torque, whatever its mass.
TORQUES = np.array([0.0, 1.0, 0.5, -1.0])[:, None]
STARTS = Start(np.zeros((4, 1)), np.zeros((4, 1)))


class Angle(Task):
    """Where a door is after a constant torque."""

    horizon = 12

    def __init__(self) -> None:
        self.scene = door()

    def command(self, measured: Measurement, action: Array, goal: Goal) -> Array:
        return action

    def action(self, measured: Measurement, ctrl: Array, goal: Goal) -> Array:
        return ctrl

    def error(self, episode: Episode) -> float:
        return float(episode.qpos[-1, 0])


ANGLE = Angle()


def version(members: int, *, mass: Array | None = None) -> loop.Version:
    """An ensemble whose networks answer nothing, with masses so many prior widths from the MJCF."""
    network = Network(latent=2, width=4, members=members)
    world = WorldModel(ANGLE.scene, MASS, correction=Velocity(), network=network)
    parameters = init(world, jax.random.key(0))
    if mass is not None:
        parameters["network"]["physics"] = dict.fromkeys(parameters["physics"], mass)
    return loop.Version("v1", None, world, parameters, 0)


def test_members_disagree_as_far_as_their_predictions_are_apart() -> None:
    apart = disagreement(
        version(3, mass=jnp.array([-1.0, 0.0, 1.0])[:, None]),
        ANGLE,
        Constant(TORQUES),
        STARTS,
        {},
        KEY,
    )
    assert apart[0] == pytest.approx(0.0, abs=1e-9) and (apart[1:] > 1e-4).all()
    assert apart[1] > 1.5 * apart[2]
    same = disagreement(version(3), ANGLE, Constant(TORQUES), STARTS, {}, KEY)
    np.testing.assert_allclose(same, 0.0, atol=1e-12)
    assert most_doubtful(apart, 2).tolist() == np.argsort(-apart)[:2].tolist()


def test_a_member_that_diverges_is_all_doubt() -> None:
    lost = version(2, mass=jnp.array([0.0, jnp.nan])[:, None])
    doubt = disagreement(lost, ANGLE, Constant(TORQUES), STARTS, {}, KEY)
    assert np.isinf(doubt).all()
    assert thinned(doubt, 0.0, KEY).size == 0


def test_one_member_cannot_disagree() -> None:
    with pytest.raises(loop.LoopError, match="v1 has one member"):
        disagreement(version(1), ANGLE, Constant(TORQUES), STARTS, {}, KEY)
    plain = dataclasses.replace(version(1).world, correction=None)
    physics = loop.Version("v0", None, plain, init(plain, KEY), 0)
    with pytest.raises(loop.LoopError, match="v0 has one member"):
        disagreement(physics, ANGLE, Constant(TORQUES), STARTS, {}, KEY)


def test_a_penalty_thins_what_is_doubtful() -> None:
    doubt = np.repeat([0.0, 1.0, 3.0, np.inf], 4000)  # the finite ones' median is 1
    keys = jax.random.split(KEY)
    share = [np.bincount(thinned(doubt, 1.0, key) // 4000, minlength=4) / 4000 for key in keys]
    np.testing.assert_allclose(share, [[1.0, np.exp(-1.0), np.exp(-3.0), 0.0]] * 2, atol=0.03)
    assert thinned(doubt, 0.0, KEY).tolist() == list(range(12000))
    assert thinned(np.zeros(3), 5.0, KEY).tolist() == [0, 1, 2]
    for wrong in (-1.0, np.nan, np.inf):
        with pytest.raises(InputError, match="penalty"):
            thinned(doubt, wrong, KEY)


def carts(folder: Path) -> loop.Version:
    """An ensemble of three carts whose gains are apart, saved as version 0."""
    network = Network(latent=2, width=4, members=3)
    world = WorldModel(REACH.scene, REACH.free, correction=Velocity(), network=network)
    parameters = init(world, KEY)
    apart = {name: jnp.array([-1.0, 0.0, 1.0])[:, None] for name in parameters["physics"]}
    parameters["network"]["physics"] = apart
    version = loop.Version("v0", None, world, parameters, 0)
    loop.save_version(folder / "versions", version, {})
    return version


def test_a_turn_asks_the_robot_where_members_disagree(tmp_path: Path) -> None:
    version, asked = carts(tmp_path), []

    def deploy(folder: Path, trials: Sequence[Trial], key: Any) -> list[Episode]:
        asked.extend(trials)
        raise runtime.Interrupted("enough")

    def train(task: Task, episodes: Any, seed: int) -> Going:
        return Going(jnp.asarray(0.9))

    parts = deploy, Straight(), train
    method = loop.Method(correction=Velocity(), network=version.world.network)
    with pytest.raises(runtime.Interrupted):
        loop.turn(tmp_path, REACH, version, *parts, method, generated=3, deployed=3, candidates=16)
    goals: Goal = jax.tree.map(lambda *x: np.stack(x), *[t.goal for t in asked])
    starts: Start = jax.tree.map(lambda *x: np.stack(x), *[t.start for t in asked])
    policy = repeated(asked[0].policy, 3)
    chosen = disagreement(version, REACH, policy, starts, goals, KEY)
    usual = loop.draw(REACH, KEY, 60)
    doubt = disagreement(version, REACH, repeated(asked[0].policy, 60), *usual, KEY)
    assert chosen.min() > np.quantile(doubt, 0.75)


def test_a_penalty_leaves_episodes_out_and_needs_an_ensemble(tmp_path: Path) -> None:
    version, drawn = carts(tmp_path), loop.draw(REACH, KEY, 40)
    every, fewer = (
        loop.demonstrate(version, REACH, Straight(), *drawn, KEY, penalty=penalty)
        for penalty in (0.0, 2.0)
    )
    by_id = {e.id: e for e in every}
    assert 0 < len(fewer) < len(every) == 40
    for episode in fewer:
        np.testing.assert_array_equal(episode.qpos, by_id[episode.id].qpos)
    with pytest.raises(InputError, match="penalty = -1"):
        loop.demonstrate(version, REACH, Straight(), *drawn, KEY, penalty=-1.0)
    with pytest.raises(loop.LoopError, match="keeps none of 40 episodes"):
        loop.demonstrate(version, REACH, Straight(), *drawn, KEY, penalty=1e9)
    plain = loop.first_version(tmp_path / "plain", WorldModel(REACH.scene, REACH.free))
    with pytest.raises(loop.LoopError, match="v0 has one member"):
        loop.demonstrate(plain, REACH, Straight(), *drawn, KEY, penalty=1.0)
