"""Velocities and frames: from samples and earlier ones alone, held commands, nothing over gaps."""

import numpy as np

from tests.helpers.logs import truth, tumbling
from worldmodel.episodes.resampling import Track, at_frames, held, velocities


def samples(time: np.ndarray, values: np.ndarray, rates: np.ndarray, turns: bool = False) -> Track:
    return Track(time, values, rates, np.zeros(len(time), bool), turns)


def test_velocities_are_the_end_slope_of_the_past() -> None:
    generator = np.random.default_rng(0)
    time = np.cumsum(generator.uniform(0.0015, 0.0035, size=200))
    qpos = np.stack([1 + 2 * time - 30 * time**2, 5 * time**2], axis=1)
    recorded = np.full_like(qpos, 99.0)
    last = np.arange(200)
    exact = np.stack([2 - 60 * time, 10 * time], axis=1)
    slopes = velocities(samples(time, qpos, recorded), last)
    np.testing.assert_allclose(slopes[2:], exact[2:], atol=1e-8)
    np.testing.assert_array_equal(slopes[:2], recorded[:2])  # no three samples yet
    noisy = qpos + 1e-4 * generator.normal(size=qpos.shape)
    error = velocities(samples(time, noisy, recorded), last)[20:] - exact[20:]
    difference = (np.diff(noisy, axis=0) / np.diff(time)[:, None])[19:] - exact[20:]
    assert np.sqrt((error**2).mean()) < 0.6 * np.sqrt((difference**2).mean())
    qpos[101:] = 7.0
    again = velocities(samples(time, qpos, recorded), last)
    np.testing.assert_array_equal(again[:101], slopes[:101])


def test_what_stands_still_has_no_velocity_at_all() -> None:
    time = np.cumsum(np.random.default_rng(0).uniform(0.008, 0.012, size=50))
    last, joint = np.arange(2, 50), np.full((50, 1), 0.7346)
    assert not velocities(samples(time, joint, np.ones((50, 1))), last).any()
    pose = np.tile([0.5, -0.1, 0.7, 0.5], (50, 1))
    assert not velocities(samples(time, pose, np.ones((50, 3)), turns=True), last).any()


def test_a_quaternions_velocity_is_the_bodys() -> None:
    pose, twist = tumbling()
    time = np.arange(len(pose)) / 100.0
    last = np.arange(2, len(pose))
    rate = velocities(samples(time, pose[:, 3:], np.zeros((len(pose), 3)), turns=True), last)
    np.testing.assert_allclose(rate, twist[2:, 3:], atol=1e-8)


def track(time: np.ndarray, hole: np.ndarray | None = None, rates: bool = False) -> Track:
    q, v, _ = truth(time)
    hole = np.zeros(len(time), bool) if hole is None else hole
    return Track(time, q, v if rates else None, hole)


def test_nothing_is_filled_across_a_gap_and_no_slope_spans_one() -> None:
    time = np.arange(300) / 100.0
    kept = (time < 1.0) | (time > 1.6)
    grid = np.arange(300) / 100.0
    frames = at_frames(track(time[kept]), grid, 0.01)
    inside = (grid > time[kept & (time < 1)].max() + 0.0101) & ~kept
    assert inside.sum() > 55
    assert np.isnan(frames.values[inside]).all() and not frames.measured[inside].any()
    assert not frames.fresh[inside].any()
    exact, rate, _ = truth(grid)
    known = ~inside & kept
    np.testing.assert_allclose(frames.values[known], exact[known], atol=1e-12)
    after = np.flatnonzero(known & (grid > 1.3))[:3]
    assert np.isnan(frames.rates[after[:2]]).all()  # no three samples of this stretch yet
    np.testing.assert_allclose(frames.rates[after[2]], rate[after[2]], atol=0.02)


def test_recorded_velocities_are_kept_where_every_frame_is_a_sample() -> None:
    time = np.arange(300) / 100.0
    _, v, _ = truth(time)
    for hz in (100.0, 50.0):
        grid = np.arange(int(3 * hz)) / hz
        frames = at_frames(track(time, rates=True), grid, 1 / hz)
        np.testing.assert_array_equal(frames.rates, v[:: round(100 / hz)])
        assert frames.recorded.all() and frames.fresh.all()
    grid = np.arange(400) / 140.0
    frames = at_frames(track(time, rates=True), grid[grid <= time[-1]], 1 / 140.0)
    assert not frames.recorded.any()


def test_a_command_is_held_and_its_impulse_kept() -> None:
    time = np.arange(66) / 33.0
    command = np.arange(66.0)
    grid = np.arange(int(time[-1] * 200) + 1) / 200.0
    ctrl, known = held(time, command, grid, 1 / 200.0)
    assert known.all()
    until = grid[-1]
    seconds = np.minimum(np.append(time[1:], time[-1]), until) - np.minimum(time, until)
    np.testing.assert_allclose(ctrl[:-1].sum() / 200.0, (command * seconds).sum(), atol=1e-9)
    late, known = held(time + 0.1, command, time, 1 / 33.0)
    assert not known[:4].any() and known[4:].all() and np.isnan(late[:4]).all()
    same, _ = held(time, command, time, 1 / 33.0)
    np.testing.assert_array_equal(same, command)
