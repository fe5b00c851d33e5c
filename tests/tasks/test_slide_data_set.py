"""Data sets of task "slide": real and synthetic ones mix, and hold what a policy is cloned from."""

import dataclasses
from pathlib import Path

import jax
import numpy as np
import pytest

from experiments.slide import study as slide
from experiments.slide import turn
from worldmodel import loop
from worldmodel.episodes import lerobot
from worldmodel.errors import InputError
from worldmodel.model import init
from worldmodel.policies.clone import CloneConfig
from worldmodel.reality import capture
from worldmodel.tasks.slide import task
from worldmodel.tasks.slide.data_set import data_set, read_examples
from worldmodel.types import Episode, Trial

RECIPE = CloneConfig(width=8, steps=20)


def trials(count: int, seed: int) -> list[Trial]:
    contexts = task.draw_contexts(count, np.random.default_rng(seed))
    return task.trials(contexts, np.stack([np.full(count, 1.5), contexts.direction], axis=1))


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> list[Episode]:
    robot = slide.robot(slide.draw_hidden(slide.PILOT_SEED))
    return capture(tmp_path_factory.mktemp("raw"), robot, task.scene(), trials(3, 0))


@pytest.fixture(scope="module")
def synthetic() -> list[Episode]:
    world = turn.physics(slide.SMOKE)
    version = loop.Version("v0", None, world, init(world, jax.random.key(0)), 0)
    return loop.generate(version, trials(2, 1), task.TOUCH)


def same_policy(a: turn.Examples, b: turn.Examples) -> bool:
    one, other = (turn.clone_policies([data], [0], RECIPE)[0] for data in (a, b))
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return all(np.array_equal(x, y) for x, y in pairs)


def test_episodes_come_back_from_a_data_set(tmp_path: Path, real: list[Episode]) -> None:
    lerobot.write(tmp_path / "set", data_set(real, {"seed": 0}, intervention=True))
    back = lerobot.read(tmp_path / "set").episodes[1]
    assert real[1].contact is not None and real[1].contact.any()  # the finger struck the puck
    for name in ("qpos", "qvel"):
        np.testing.assert_array_equal(back[f"measured.{name}"], getattr(real[1], name))
    np.testing.assert_array_equal(back["measured.contact"].reshape(-1, 1), real[1].contact)
    assert back["next.done"].sum() == 1 and back["next.done"][-1] and back["intervention"].all()
    contexts = task.Contexts(*task.examples(real)[0].T)
    miss = task.distance_to_target(contexts, real[1].qpos[-1:, task.PUCK])[1]
    assert back["next.reward"][-1] == pytest.approx(-miss, rel=1e-6)


def test_a_policy_cloned_from_a_data_set_is_that_of_the_episodes(
    tmp_path: Path, real: list[Episode]
) -> None:
    lerobot.write(tmp_path / "set", data_set(real, {}, intervention=False))
    examples, back = task.examples(real), read_examples(tmp_path / "set")
    assert same_policy(examples, back) and not same_policy(examples, tuple(x[:2] for x in back))
    unnamed = data_set(real, {}, intervention=False)
    for features in (unnamed.features, *unnamed.episodes):
        del features["stroke"]
    lerobot.write(tmp_path / "foreign", unnamed)
    with pytest.raises(lerobot.DatasetError, match="has no feature 'stroke'"):
        read_examples(tmp_path / "foreign")


def test_real_and_synthetic_data_sets_mix(
    tmp_path: Path, real: list[Episode], synthetic: list[Episode]
) -> None:
    for name, episodes in (("real", real), ("synthetic", synthetic)):
        lerobot.write(tmp_path / name, data_set(episodes, {"source": name}, intervention=False))
    a, b = lerobot.read(tmp_path / "real"), lerobot.read(tmp_path / "synthetic")
    assert a.features == b.features and not [name for name in a.features if "sim" in name]
    for name in a.features:
        assert a.episodes[0][name].shape == b.episodes[0][name].shape
        assert a.episodes[0][name].dtype == b.episodes[0][name].dtype
    assert b.episodes[0]["measured.contact"].any()  # the finger struck the puck here too
    both = dataclasses.replace(a, episodes=a.episodes + b.episodes, tasks=a.tasks + b.tasks)
    lerobot.write(tmp_path / "both", both)
    assert same_policy(read_examples(tmp_path / "both"), task.examples(real + synthetic))


def test_an_episode_without_contacts_is_refused(real: list[Episode]) -> None:
    blind = dataclasses.replace(real[0], contact=None)
    with pytest.raises(InputError, match="episode 0 has no contacts"):
        data_set([blind], {}, intervention=False)
