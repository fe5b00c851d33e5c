"""The study of alpha on tosses: splits, starts, noise, controls."""

import dataclasses

import numpy as np
import pytest

from experiments.recordings.problems import CUBE
from experiments.tosses_alpha.learner import Recipe
from experiments.tosses_alpha.measure import cells, windows_of
from experiments.tosses_alpha.versions import (
    Study,
    draw_starts,
    recorded_starts,
    split,
    tracking_noise,
    training_windows,
)
from tests.helpers.flights import SCENE, flights
from worldmodel.errors import InputError
from worldmodel.types import Episode

STUDY = Study()


@pytest.fixture(scope="module")
def tosses() -> list[Episode]:
    return flights(12, np.zeros(6))


def test_no_toss_is_in_two_parts_and_every_replicate_splits_anew(tosses: list[Episode]) -> None:
    many = [dataclasses.replace(tosses[0], id=i) for i in range(441)]
    seen = []
    for number in range(2):
        parts = split(STUDY, many, number)
        ids = [[e.id for e in part] for part in parts]
        assert [len(part) for part in ids[:3]] == [STUDY.test, STUDY.validation, STUDY.second]
        assert sorted(i for part in ids for i in part) == list(range(441))
        seen.append(ids)
    assert seen[0] != seen[1]
    # v* draws tosses that are in no real set, and there are enough.
    assert max(STUDY.real) + max(STUDY.m) <= len(seen[0][3])


def test_velocities_are_those_since_the_frame_before(tosses: list[Episode]) -> None:
    toss, rate = tosses[0], CUBE.control_hz
    np.testing.assert_allclose(toss.qvel[1:, :3], np.diff(toss.qpos[:, :3], axis=0) * rate)
    # It spins at a constant rate in its own frame; the first frame has the second's velocity.
    np.testing.assert_allclose(toss.qvel[:, 3:], toss.qvel[:1, 3:].repeat(40, 0), atol=1e-9)


def test_noise_is_measured_in_flight() -> None:
    noise = np.array([1e-4, 2e-4, 1e-4, 2e-3, 1e-3, 1e-3])
    np.testing.assert_allclose(tracking_noise(SCENE, flights(12, noise)), noise, rtol=0.15)
    assert (tracking_noise(SCENE, flights(2, 0.0 * noise)) < 1e-5).all()


def test_without_flight_noise_is_refused() -> None:
    lying = [
        dataclasses.replace(t, qpos=t.qpos - [0, 0, 50, 0, 0, 0, 0])
        for t in flights(2, np.zeros(6))
    ]
    with pytest.raises(InputError, match=r"none of 2 tosses flies .* give more corrections"):
        tracking_noise(SCENE, lying)


def test_starts_are_recorded_ones_moved_by_the_kernel(tosses: list[Episode]) -> None:
    known = recorded_starts(tosses)
    # Frame 1, and the velocity there: gravity acts half a frame before and after.
    np.testing.assert_allclose(known.qpos, [e.qpos[1] for e in tosses])
    rng = np.random.default_rng
    still = draw_starts(SCENE, tosses, 0.0, 5, rng(0))
    assert all((np.abs(known.qpos - q).max(1) < 1e-12).any() for q in still.qpos)
    moved = draw_starts(SCENE, tosses, 0.25, 400, rng(0))
    spread = (moved.qvel - known.qvel[rng(0).integers(len(tosses), size=400)]).std(0)
    np.testing.assert_allclose(spread, 0.25 * known.qvel.std(0), rtol=0.15)


def test_what_each_version_adds(tosses: list[Episode]) -> None:
    study = dataclasses.replace(STUDY, real=(1, 2), n=(2,), m=(4,))
    each = len(training_windows(study, tosses[:1]))

    def parts(version: str, **generated: np.ndarray) -> list[int]:
        return [*map(len, windows_of(CUBE, study, tosses, generated, (version, 2, 4)))]

    assert parts("") == [2 * each]
    counted = {"v*": 4, "thin25": 1, "thin75": 3}
    assert {v: parts(v) for v in counted} == {v: [2 * each, k * each] for v, k in counted.items()}
    qpos, frames = np.stack([e.qpos for e in tosses]), np.array([40, 30, 40, 40, *[40] * 8])
    short = dataclasses.replace(tosses[0], valid=np.arange(40) < 30)
    cut = 3 * each + len(training_windows(study, [short]))
    assert parts("v1", **{"v1.qpos": qpos, "v1.frames": frames}) == [2 * each, cut]
    # Of v2 the futures are its own predictions.
    predicted = np.asarray(training_windows(study, tosses).target) + 1.0
    generated = {"v2.qpos": qpos, "v2.frames": np.full(12, 40), "v2.predicted": predicted}
    _, added = windows_of(CUBE, study, tosses, generated, ("v2", 2, 4))
    np.testing.assert_array_equal(added.target, predicted[: 4 * each])


def test_every_training_is_in_a_full_call() -> None:
    assert len(cells(STUDY)) % Recipe().together == 0
    assert len(set(cells(STUDY))) == len(cells(STUDY))
