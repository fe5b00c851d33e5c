"""The real package reads what we write, and we what it writes (slow; without it, skipped)."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.helpers.lerobot_sets import DATA, FEATURES, OWN, STATISTICS, example, manipulation, same
from worldmodel.episodes import lerobot
from worldmodel.episodes.lerobot import read, write


def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The real thing, kept off the network."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    reason = "the package lerobot is not here: install it (it brings torch) to run this"
    return pytest.importorskip("lerobot.datasets.lerobot_dataset", reason=reason).LeRobotDataset


@pytest.mark.slow
def test_the_real_package_reads_what_we_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = package(tmp_path, monkeypatch)
    from lerobot.datasets.compute_stats import (  # pyright: ignore[reportMissingImports]
        compute_episode_stats,
    )

    dataset = example((4, 3, 50, 2))
    monkeypatch.setattr(lerobot, "_GROUP", 1)
    monkeypatch.setattr(lerobot, "_FILE_MB", 1e-5)  # so that each episode has a file
    write(tmp_path / "set", dataset)
    loaded = real("us/set", root=tmp_path / "set", delta_timestamps={"action": [0, 1 / 30]})
    assert (loaded.fps, loaded.num_frames, loaded.num_episodes) == (30, 59, 4)
    assert loaded.meta.robot_type == "arm" and loaded.meta.total_tasks == 2
    assert list(loaded.meta.tasks.index) == ["push the cübe", "push"]
    assert loaded.meta.tasks.index.name == "task"
    whole = {name: np.concatenate([e[name] for e in dataset.episodes]) for name in FEATURES}
    at = 0
    for number, episode in enumerate(dataset.episodes):
        place = Path(DATA).with_name(f"file-{number:03d}.parquet")
        assert loaded.meta.get_data_file_path(number) == place
        for frame in range(len(episode["action"])):
            row = loaded[at]
            assert row["task"] == dataset.tasks[number]
            assert [row[name].item() for name in OWN[1:4]] == [frame, number, at]
            assert abs(row["timestamp"].item() - frame / 30) < 1e-4
            for name in FEATURES:
                values = row[name][0] if name == "action" else row[name]
                wanted = whole[name][at]
                if wanted.dtype == np.float64:  # stored as such, handed out as torch's float32
                    wanted = wanted.astype(np.float32)
                np.testing.assert_array_equal(values.numpy(), wanted)
            at += 1
    assert set(loaded.meta.stats) == {*FEATURES, *OWN}
    features = {name: dataclasses.asdict(feature) for name, feature in FEATURES.items()}
    for name, theirs in compute_episode_stats(whole, features).items():
        assert set(loaded.meta.stats[name]) == set(theirs) == STATISTICS
        for what, value in theirs.items():
            ours = loaded.meta.stats[name][what]
            assert ours.shape == value.shape and (
                what[0] == "q" or ours.dtype.kind == value.dtype.kind
            )
            if what[0] != "q":  # theirs are of a histogram
                np.testing.assert_allclose(ours, value, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_the_real_package_reads_the_channels_of_manipulation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, dataset = package(tmp_path, monkeypatch), manipulation()
    write(tmp_path / "set", dataset)
    loaded = real("us/set", root=tmp_path / "set")
    assert (loaded.fps, loaded.num_frames, loaded.num_episodes) == (29.97, 8, 2)
    for name in dataset.features:
        whole = np.concatenate([episode[name] for episode in dataset.episodes])
        rows = np.stack([loaded[at][name].numpy() for at in range(8)])
        np.testing.assert_array_equal(rows, whole.astype(rows.dtype))
    assert [loaded[at]["task"] for at in range(8)] == [
        *("reach", "reach", "place", "place", "reach"),
        *("place", "place", "place"),
    ]


@pytest.mark.slow
def test_we_read_what_the_real_package_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = example()
    described = {name: dataclasses.asdict(feature) for name, feature in FEATURES.items()}
    recorder = package(tmp_path, monkeypatch).create(
        "us/set", 30, described, root=tmp_path / "set", robot_type="arm", use_videos=False
    )
    for episode, task in zip(dataset.episodes, dataset.tasks, strict=True):
        for frame in range(len(episode["action"])):
            row = {name: np.atleast_1d(values[frame]) for name, values in episode.items()}
            recorder.add_frame(row | {"task": task})
        recorder.save_episode()
    recorder.finalize()
    same(dataclasses.replace(dataset, provenance={}), read(tmp_path / "set"))
