"""Splits, windows and errors of the protocol, against brute force and values by hand."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worldmodel.episodes.errors import errors, paired_ratio, split, whole_start, window_starts
from worldmodel.episodes.recording import ELBOW_TOSS, RECORDINGS, Channels, load


@given(st.integers(-10, 10_000))
def test_split_is_the_residue(number: int) -> None:
    expected = "test" if number % 20 in (0, 7, 14) else "train"
    expected = "validation" if number % 20 in (3, 10, 17) else expected
    assert split(number) == expected == split(str(number))


def test_text_ids_split_by_their_checksum() -> None:
    assert {split(f"run {k}") for k in range(50)} == {"train", "validation", "test"}
    assert split("sysid_03") == "validation"  # fixed for ever


@given(
    st.integers(2, 140),
    st.integers(1, 40),
    st.lists(st.integers(0, 139), max_size=5),
)
def test_windows_are_those_of_brute_force(frames: int, horizon: int, bad: list[int]) -> None:
    valid = np.ones(frames, bool)
    valid[[b for b in bad if b < frames]] = False
    starts, skipped = window_starts(ELBOW_TOSS, horizon, valid, np.ones(frames, bool))
    every = [k for k in range(8, 1000, 8) if k + horizon <= frames - 1]
    good = [k for k in every if valid[k : k + horizon + 1].all()]
    assert starts.tolist() == good
    assert skipped == len(every) - len(good)


def test_a_window_starts_at_the_next_fresh_frame() -> None:
    fresh = np.zeros(100, bool)
    fresh[[10, 30]] = True
    starts, skipped = window_starts(ELBOW_TOSS, 16, np.ones(100, bool), fresh)
    assert starts.tolist() == [10, 30]
    assert skipped == len(range(8, 84, 8)) - 2


def test_whole_episodes() -> None:
    assert whole_start(np.ones(5, bool))[0].tolist() == [0]
    assert whole_start(np.array([True, False]))[1] == 1


def test_errors_by_hand() -> None:
    channels = Channels((0, 1, 2), (3, 4, 5, 6), (), (7, 8))
    recorded = np.array([0, 0, 0, 1.0, 0, 0, 0, 0.1, 3.0])
    half = np.radians(40) / 2
    predicted = np.array([3.0, 4.0, 0, np.cos(half), 0, np.sin(half), 0, 0.4, -3.0])
    out = errors(predicted, recorded, channels)
    assert out["position_m"] == pytest.approx(5.0)
    assert out["rotation_rad"] == pytest.approx(np.radians(40))
    assert out["joint_rad"] == pytest.approx((0.3 + (2 * np.pi - 6.0)) / 2)
    flipped = predicted * np.where(np.isin(np.arange(9), (3, 4, 5, 6)), -1, 1)
    flipped[7] += 2 * np.pi
    again = errors(flipped, recorded, channels)
    for name, value in out.items():
        assert again[name] == pytest.approx(value)
    planar = errors(np.array([0, 0, 2.0]), np.array([0, 0, 0.5]), Channels((0, 1), (), (2,)))
    assert planar["rotation_rad"] == pytest.approx(1.5)
    assert planar["joint_rad"] is None


def test_paired_ratio_sees_through_shared_difficulty() -> None:
    generator = np.random.default_rng(0)
    reference = generator.lognormal(0, 1.0, size=60)
    comparison = paired_ratio(0.9 * reference * generator.lognormal(0, 0.05, size=60), reference)
    assert comparison.low < comparison.ratio < comparison.high < 1.0
    assert comparison.better
    assert not paired_ratio(reference[::-1], reference).better
    with pytest.raises(ValueError, match="same episodes"):
        paired_ratio(reference, reference[1:])


@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda r: r.name)
def test_real_splits_are_disjoint_and_cover(recordings: Path, recording) -> None:
    episodes = load(recordings / f"{recording.name}.npz", recording)
    names = [split(e.id) for e in episodes]
    assert {n: names.count(n) > 0 for n in ("train", "validation", "test")} == dict.fromkeys(
        ("train", "validation", "test"), True
    )
    assert names.count("train") > 0.55 * len(names)
