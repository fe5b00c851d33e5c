"""Channels of manipulation in a LeRobot set: what was not seen, who acted, when, and for what."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.lerobot_sets import CHANNELS, manipulation, same
from worldmodel.episodes.lerobot import read, write


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "set", manipulation())
    return tmp_path / "set"


def test_every_channel_is_a_feature(folder: Path) -> None:
    back = read(folder)
    same(manipulation(), back)
    assert list(back.features) == list(CHANNELS) and back.damaged == ()


def test_what_was_not_seen_counts_in_no_statistics(folder: Path) -> None:
    stats = json.loads((folder / "meta/stats.json").read_text())["observation.object.cube"]
    poses = np.concatenate([e["observation.object.cube"] for e in manipulation().episodes])
    seen = poses[np.isfinite(poses).all(axis=1)]
    assert len(seen) == len(poses) - 2
    np.testing.assert_allclose(stats["mean"], seen.mean(axis=0))
    np.testing.assert_allclose(stats["q90"], np.quantile(seen, 0.9, axis=0))
    np.testing.assert_array_equal(stats["max"], seen.max(axis=0))


def test_time_and_tasks_of_each_frame_are_kept(folder: Path, tmp_path: Path) -> None:
    dataset = read(folder)
    write(tmp_path / "again", dataset)
    for back in (dataset, read(tmp_path / "again")):
        assert (back.fps, back.tasks) == (29.97, [("reach", "place"), "place"])
        first, second = back.episodes
        recorded = np.array([0.0, 0.031, 0.07, 0.098, 0.134], np.float32)
        np.testing.assert_array_equal(first["timestamp"], recorded.astype(float))
        np.testing.assert_array_equal(first["task_index"], [0, 0, 1, 1, 0])
        np.testing.assert_array_equal(second["timestamp"], np.arange(3) / 29.97)
        np.testing.assert_array_equal(second["task_index"], [0, 0, 0])
