"""The learning curve: its fits by size, and what a network adds to the physics of its own size."""

import dataclasses
from pathlib import Path

import pytest

from experiments.learned import learning_curve
from experiments.learned.learning_curve import Args
from experiments.papers.result import RESULTS, ROOT
from experiments.recordings.problems import PENDULUM
from experiments.recordings.source import Recording
from tests.helpers.still_episodes import still_episodes
from worldmodel.errors import InputError
from worldmodel.runtime.checkpoint import CheckpointError

KEPT = ROOT / RESULTS / "recordings" / "double_pendulum"


def test_fits_are_read_by_size_and_a_hybrid_of_another_physics_is_refused(tmp_path: Path) -> None:
    args = Args("double_pendulum", tmp_path, tmp_path, episodes=(12, 6), seeds=(0, 1))
    for name, physics, hybrid in (
        ("6_0", "physics/seed0", "hybrid/seed0"),
        ("6_1", "physics/seed1", "hybrid/seed1"),
        ("12_0", "physics/seed0", "hybrid/seed0"),
        ("12_1", "physics/seed1", "hybrid/seed1"),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "physics").symlink_to(KEPT / physics)
        (tmp_path / name / "hybrid").symlink_to(KEPT / hybrid)
    groups = learning_curve.read(args)
    assert [*groups] == ["physics 6", "hybrid 6", "physics 12", "hybrid 12"]
    assert all([*group] == [0, 1] for group in groups.values())
    (tmp_path / "6_1" / "hybrid").unlink()
    (tmp_path / "6_1" / "hybrid").symlink_to(KEPT / "hybrid")
    with pytest.raises(CheckpointError, match="did not start from any of --physics"):
        learning_curve.read(args)


def test_the_gain_is_that_over_the_physics_of_the_same_size() -> None:
    ratio = {"bootstrap": [0.1, 0.2], "t": [0.5, 0.9]}
    rows = [
        {"model": "hybrid 6", "frames": 100, "episodes": 8}
        | {"over": {"physics 6": {"joint_rad": {"ratio": 0.7} | ratio}}},
        {"model": "hybrid 6", "frames": 10, "episodes": 8, "over": {}},
        {"model": "physics 6", "frames": 100, "episodes": 8, "over": {}},
    ]
    shown = learning_curve.gained(rows, 100)
    assert shown == ["hybrid 6 / physics 6, joint_rad: 0.700 [0.500, 0.900]"]


def test_more_episodes_have_the_fewer_ones_and_no_more_than_there_are() -> None:
    episodes = [
        dataclasses.replace(episode, id=i)
        for i, episode in enumerate(still_episodes(PENDULUM, 30, 20))
    ]
    recording = Recording(PENDULUM, "", episodes)
    every = len(recording.part("train"))
    few, more = ([e.id for e in recording.train(n, 1)] for n in (3, every))
    assert len(few) == 3 and set(few) < set(more) and len(more) == every
    assert few != [e.id for e in recording.train(3, 2)]
    with pytest.raises(InputError, match=f"--episodes {every + 1}: double_pendulum has {every}"):
        recording.train(every + 1, 1)
