"""The split: by the id alone, disjoint, and of all the real recordings."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.recordings.problems import PROBLEMS, Problem
from worldmodel.episodes.split import split, split_episodes
from worldmodel.errors import InputError


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
    assert split_episodes(e.id for e in episodes) == {e.id: split(e.id) for e in episodes}


IDS = st.one_of(
    st.sets(st.integers(0, 10_000), min_size=3, max_size=60),
    st.sets(st.integers(0, 200).map(lambda i: 20 * i), min_size=3, max_size=60),  # all of 'test'
    st.integers(3, 60).map(lambda count: set(range(count))),
    st.sets(st.text(min_size=1, max_size=5), min_size=3, max_size=60),
)


@given(IDS, st.randoms())
def test_every_set_from_three_episodes_on_has_all_parts(ids: set, random) -> None:
    parts = split_episodes(ids)
    count = {p: list(parts.values()).count(p) for p in ("train", "validation", "test")}
    assert sum(count.values()) == len(parts) == len(ids)
    for part in ("validation", "test"):
        assert max(1, 0.075 * len(ids)) <= count[part] <= max(1, 0.3 * len(ids))
    assert count["train"] >= 1
    shuffled = sorted(ids, key=str)
    random.shuffle(shuffled)
    assert split_episodes(shuffled) == parts  # by the ids alone, whatever their order


def test_small_sets_by_hand() -> None:
    tosses = [1, 2, 4, 5, 6, 8]  # no residue of validation or test
    parts = split_episodes(tosses)
    assert sorted(parts.values()) == ["test", *["train"] * 4, "validation"]
    both = {i: parts[i] for i in tosses if parts[i] != "train"}
    assert both == {2: "validation", 6: "test"}  # fixed for ever
    assert split_episodes([*tosses, 3, 7])[3] == "validation"
    assert split_episodes([*tosses, 3, 7])[7] == "test"
    assert sorted(split_episodes([0, 1]).values()) == ["train", "validation"]
    for few in ([], [5]):
        with pytest.raises(InputError, match=f"{len(few)} episode.*a third to test it; record"):
            split_episodes(few)
    with pytest.raises(InputError, match=r"ids \['3'\] occur twice"):
        split_episodes([3, 4, "3"])


def test_an_episode_keeps_its_part_when_others_are_added() -> None:
    first, more = split_episodes(range(20)), split_episodes(range(400))
    assert all(more[i] == part for i, part in first.items())
