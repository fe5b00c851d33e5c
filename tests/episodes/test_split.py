"""The split: by the id alone, disjoint, and of all the real recordings."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.recordings.problems import PROBLEMS, Problem
from worldmodel.episodes.split import split


@given(st.integers(-10, 10_000))
def test_split_is_the_residue(number: int) -> None:
    expected = "test" if number % 20 in (0, 7, 14) else "train"
    expected = "validation" if number % 20 in (3, 10, 17) else expected
    assert split(number) == expected == split(str(number))


def test_text_ids_split_by_their_checksum() -> None:
    assert {split(f"run {k}") for k in range(50)} == {"train", "validation", "test"}
    assert split("sysid_03") == "validation"  # fixed for ever


@pytest.mark.parametrize("problem", PROBLEMS.values(), ids=lambda p: p.name)
def test_real_splits_are_disjoint_and_cover(recordings: Path, problem: Problem) -> None:
    episodes = problem.episodes(recordings / f"{problem.name}.npz")
    names = [split(e.id) for e in episodes]
    assert {n: names.count(n) > 0 for n in ("train", "validation", "test")} == dict.fromkeys(
        ("train", "validation", "test"), True
    )
    assert names.count("train") > 0.55 * len(names)
