"""Where windows start, which frames they hold, and which part of the past is known."""

import dataclasses
from typing import Any

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worldmodel.episodes.windows import HISTORY, WindowGrid, cut_windows
from worldmodel.errors import InputError
from worldmodel.types import Episode


def blank(valid: np.ndarray, fresh: np.ndarray | None = None) -> Episode:
    """An episode of which only the flags matter."""
    rows = np.zeros((len(valid), 1))
    episode = Episode.regular("a", 100.0, qpos=rows, qvel=rows, ctrl=rows, valid=valid)
    return episode if fresh is None else dataclasses.replace(episode, fresh=fresh)


@given(
    st.integers(2, 140),
    st.integers(1, 40),
    st.lists(st.integers(0, 139), max_size=5),
)
def test_windows_are_those_of_brute_force(frames: int, horizon: int, bad: list[int]) -> None:
    valid = np.ones(frames, bool)
    valid[[b for b in bad if b < frames]] = False
    starts, skipped = WindowGrid(8, 8, horizon).starts(blank(valid))
    every = [k for k in range(8, 1000, 8) if k + horizon <= frames - 1]
    good = [k for k in every if valid[k : k + horizon + 1].all()]
    assert starts.tolist() == good
    assert skipped == len(every) - len(good)


def test_a_window_starts_at_the_next_fresh_frame() -> None:
    fresh = np.zeros(100, bool)
    fresh[[10, 30]] = True
    starts, skipped = WindowGrid(8, 8, 16).starts(blank(np.ones(100, bool), fresh))
    assert starts.tolist() == [10, 30]
    assert skipped == len(range(8, 84, 8)) - 2


def test_whole_episodes() -> None:
    whole = WindowGrid(0, 1, None)
    assert whole.starts(blank(np.ones(5, bool)))[0].tolist() == [0]
    assert whole.starts(blank(np.array([True, False])))[1] == 1
    windows, skipped = whole.cut([blank(np.ones(n, bool)) for n in (5, 3)])
    assert windows.scored.tolist() == [[True] * 4, [True] * 2 + [False] * 2]
    assert skipped == 0


def test_a_grid_cuts_all_episodes_and_counts_what_it_skips() -> None:
    valid = np.ones(40, bool)
    valid[20] = False
    windows, skipped = WindowGrid(0, 10, 5).cut([blank(np.ones(40, bool)), blank(valid)])
    assert windows.episode.tolist() == [0, 0, 0, 0, 1, 1, 1]
    assert (len(windows), skipped) == (7, 1)
    with pytest.raises(InputError, match="no window of 50 frames fits into these 1 episodes"):
        WindowGrid(0, 10, 50).cut([blank(np.ones(40, bool))])
    with pytest.raises(InputError, match="these 0 episodes"):
        WindowGrid(0, 10, 5).cut([])


def recorded(seed: int = 0) -> Episode:
    rng, frames = np.random.default_rng(seed), 30
    return Episode(
        "a",
        np.arange(frames) / 100,
        rng.normal(size=(frames, 2)),
        rng.normal(size=(frames, 2)),
        rng.normal(size=(frames, 1)),
        np.ones(frames, bool),
        np.ones(frames, bool),
    )


def test_histories_run_backwards_and_know_what_they_may() -> None:
    episode = recorded()
    valid = episode.valid.copy()
    valid[[14, 11]] = False  # 11 is no matter: what is known ended at 14 already
    episode = dataclasses.replace(episode, valid=valid)
    starts = np.array([0, 3, 17, 10, 28])
    windows = cut_windows([episode], [starts], horizon=4)
    history = windows.history
    known = [1, 4, 3, HISTORY, HISTORY]
    assert np.asarray(history.known).sum(axis=1).tolist() == known
    for row, (k, count) in enumerate(zip(starts, known, strict=True)):
        frames = k - np.arange(count)
        assert history.known[row, :count].all()
        np.testing.assert_array_equal(history.qpos[row, :count], episode.qpos[frames])
        np.testing.assert_array_equal(history.qvel[row, :count], episode.qvel[frames])
        np.testing.assert_array_equal(history.ctrl[row, 1:count], episode.ctrl[frames[1:]])
    assert not np.asarray(history.ctrl)[:, 0].any()  # the command to come is not of the past
    np.testing.assert_array_equal(windows.qpos, episode.qpos[starts])
    np.testing.assert_array_equal(windows.qvel, episode.qvel[starts])
    np.testing.assert_array_equal(windows.target[0], episode.qpos[1:5])
    np.testing.assert_array_equal(windows.ctrl[0], episode.ctrl[:4])
    assert windows.scored.sum(axis=1).tolist() == [4, 4, 4, 4, 1]

    later = {
        name: np.where(np.arange(30)[:, None] > 17, 99.0, getattr(episode, name))
        for name in ("qpos", "qvel", "ctrl")
    }
    other = cut_windows([dataclasses.replace(episode, **later)], [starts[:4]], horizon=4)
    for a, b in zip(jax.tree.leaves(history), jax.tree.leaves(other.history), strict=True):
        np.testing.assert_array_equal(a[:4], b)


def test_windows_forget_on_demand() -> None:
    windows = cut_windows([recorded()], [np.array([0, 3, 20])], horizon=2)

    def counts(frames: Any) -> list[int]:
        shown = windows.remembering(frames)
        np.testing.assert_array_equal(shown.history.qpos, windows.history.qpos)
        np.testing.assert_array_equal(shown.history.known, windows.history.known)
        known = np.asarray(shown.history.seen)
        assert (np.diff(known.astype(int), axis=1) <= 0).all()  # the latest are kept
        return known.sum(axis=1).tolist()

    assert counts(HISTORY) == [1, 4, HISTORY]
    assert counts(1) == [1, 1, 1]
    assert counts(np.array([5, 2, 6])) == [1, 2, 6]
    both = windows.remembering(2).remembering(6).history.seen
    assert both.sum(axis=1).tolist() == [1, 2, 2]
    assert len(windows.take(np.array([2, 2]))) == 2


def test_windows_are_shortened_without_a_new_shape() -> None:
    windows = cut_windows([recorded()], [np.array([0, 20])], horizon=4)
    short = windows.shortened(3)
    assert short.target.shape == windows.target.shape
    assert short.scored.tolist() == [[True, True, True, False]] * 2
    assert short.shortened(4).scored.tolist() == short.scored.tolist()
    with pytest.raises(InputError, match="0 frames"):
        windows.shortened(0)


@pytest.mark.parametrize("frame", [-1, 5])
def test_a_window_starts_inside_its_episode(frame: int) -> None:
    rows, flags = np.zeros((5, 1)), np.ones(5, bool)
    episode = Episode("a", np.arange(5) / 100, rows, rows, rows, flags, flags)
    with pytest.raises(InputError, match=f"frame {frame} of episode a, whose frames are 0 to 4"):
        cut_windows([episode], [np.array([frame])], 2)


def test_windows_of_no_length_are_refused() -> None:
    with pytest.raises(InputError, match="0 frames predict nothing"):
        cut_windows([], [], horizon=0)
    with pytest.raises(InputError, match="0 frames predict nothing"):
        WindowGrid(0, 1, 0)


def test_a_grid_that_goes_nowhere_and_episodes_without_a_valid_window_are_refused() -> None:
    for first, stride in ((0, 0), (0, -1), (-1, 1)):
        with pytest.raises(InputError, match="stride of at least 1"):
            WindowGrid(first, stride, 4)
    invalid = [blank(np.zeros(20, bool))]
    for horizon, count in ((4, 4), (None, 1)):
        with pytest.raises(InputError, match=f"all {count} windows of 1 episodes"):
            WindowGrid(0, 4, horizon).cut(invalid)
    assert WindowGrid(0, 1, None).starts(blank(np.ones(1, bool))) == (pytest.approx([]), 1)


def partly_measured() -> Episode:
    """Of two positions the second is assumed from frame 10 on and unknown from 20 to 24; in frames
    12 to 14 nothing is measured."""
    episode, measured = recorded(), np.ones((30, 2), bool)
    measured[10:, 1] = False
    measured[12:15] = False
    qpos = episode.qpos.copy()
    qpos[20:25, 1] = np.nan
    return dataclasses.replace(episode, qpos=qpos, measured=measured)


def test_no_window_starts_at_an_unknown_position_or_without_anything_to_score() -> None:
    episode = partly_measured()
    assert WindowGrid(0, 1, 1).starts(episode)[0].tolist() == [
        k for k in range(29) if k not in (11, 12, 13, 20, 21, 22, 23, 24)
    ]
    starts, skipped = WindowGrid(19, 4, 2).starts(episode)
    assert (starts.tolist(), skipped) == ([19, 25, 27], 0)  # 23 and 24 are unknown, 25 is near
    starts, skipped = WindowGrid(20, 5, 2).starts(episode)
    assert (starts.tolist(), skipped) == ([25], 1)
    unknown_rate = dataclasses.replace(recorded(), qvel=np.full((30, 2), np.nan))
    with pytest.raises(InputError, match="all 28 windows of 1 episodes"):
        WindowGrid(0, 1, 2).cut([unknown_rate])
    whole = WindowGrid(0, 1, None)
    assert whole.starts(episode)[1] == 0
    first = episode.qpos.copy()
    first[0, 0] = np.nan
    assert whole.starts(dataclasses.replace(episode, qpos=first))[1] == 1


def test_windows_keep_what_was_measured_and_histories_end_where_it_is_unknown() -> None:
    episode = partly_measured()
    windows = cut_windows([episode, recorded(1)], [np.array([8, 27]), np.array([8])], 6)
    assert windows.measured is not None and windows.measured.shape == (3, 6, 2)
    np.testing.assert_array_equal(windows.measured[0, :, 0], [True] * 3 + [False] * 3)
    np.testing.assert_array_equal(windows.measured[0, :, 1], [True] + [False] * 5)
    assert windows.measured[2].all()
    assert windows.scored.tolist()[0] == [True] * 3 + [False] * 3  # nothing measured, not scored
    assert windows.scored.tolist()[1] == [True] * 2 + [False] * 4  # past the end
    assert np.asarray(windows.history.known).sum(axis=1).tolist() == [HISTORY, 3, HISTORY]
    assert cut_windows([recorded()], [np.array([8])], 6).measured is None
    inconsistent = dataclasses.replace(episode, measured=np.ones((30, 2), bool))
    (row,) = np.asarray(cut_windows([inconsistent], [np.array([19])], 6).measured)
    assert row[:, 1].tolist() == [False] * 5 + [True]  # NaN is never measured
