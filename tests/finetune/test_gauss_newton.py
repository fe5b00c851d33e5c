"""Gauss-Newton identification: its estimates, their uncertainty, and what it refuses."""

import copy
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from tests.helpers.planted_parameters import NOISE, PUCK, SWING, bob, puck, recorded, swing
from worldmodel.errors import InputError
from worldmodel.finetune import least_squares
from worldmodel.finetune.draws import best_draw
from worldmodel.finetune.engines import Engine, make_engine
from worldmodel.finetune.gauss_newton import (
    Identified,
    IdentifyConfig,
    IdentifyError,
    Progress,
    identify,
    intervals,
)
from worldmodel.finetune.least_squares import LeastSquares
from worldmodel.finetune.moved import numbers, unpacked
from worldmodel.model import Force, WorldModel
from worldmodel.physics.parameters import ParameterError
from worldmodel.scene import FreeParameter


@pytest.fixture(scope="module")
def swinging() -> WorldModel:
    return WorldModel(swing(), SWING)


@pytest.fixture(scope="module")
def sliding() -> WorldModel:
    return WorldModel(puck(), PUCK)


def deviations(result: Identified, u: np.ndarray) -> np.ndarray:
    return (np.array([n.u for n in result.numbers]) - u) / np.sqrt(np.diag(result.covariance))


C = IdentifyConfig(engine="c")


def test_numbers_that_are_held_are_no_unknowns(swinging: WorldModel) -> None:
    assert numbers(swinging) == [
        ("lower.mass", 0),
        ("upper.com", 2),
        ("elbow.damping", 0),
        ("elbow.frictionloss", 0),
    ]
    leaves = unpacked(swinging, jnp.arange(1.0, 5.0))
    np.testing.assert_array_equal(leaves["upper.com"], [0.0, 0.0, 2.0])


@pytest.mark.parametrize("scene", ["swinging", "sliding"])
def test_both_engines_agree(scene: str, request: pytest.FixtureRequest) -> None:
    world: WorldModel = request.getfixturevalue(scene)
    rng = np.random.default_rng(3)
    u = 0.3 * rng.normal(size=len(numbers(world)))
    # Fast, so that no bearing comes to rest: a difference across stiction is no derivative.
    windows = recorded(world, u, rng, windows=3, horizon=5, speed=15.0)
    nv = world.scene.mj_model.nv
    shift = 1e-3 * rng.normal(size=(3, 2 * nv))
    if scene == "sliding":
        shift[:, [1, 3]] = 0.0  # stays in touch
    mine = make_engine(world, "mjx", 2).slopes(u, shift, windows)
    theirs = make_engine(world, "c", 2).slopes(u, shift, windows)
    np.testing.assert_allclose(mine[0], theirs[0], atol=1e-9)
    scale = np.abs(theirs[1]).max(axis=(0, 1, 2))
    assert (scale > 0).all()
    # The differences' own error: 1e-3 squared, times a third derivative of order one.
    assert (np.abs(mine[1] - theirs[1]).max(axis=(0, 1, 2)) < 2e-4 * scale).all()
    np.testing.assert_allclose(
        make_engine(world, "mjx", 2).errors(u, shift, windows), mine[0], atol=1e-12
    )


def test_intervals_cover_what_they_claim(swinging: WorldModel) -> None:
    """Truths from the prior, fresh noise, the noise's deviation unknown: 95 % intervals."""
    covered = []
    for seed in range(40):
        rng = np.random.default_rng([1, seed])
        u = rng.normal(size=4)
        result = identify(swinging, recorded(swinging, u, rng, windows=4), C)
        assert result.converged and not result.uncertainty.by_episode
        np.testing.assert_allclose(result.noise, NOISE, rtol=0.4)
        covered.append(np.abs(deviations(result, u)) < 1.96)
    # 160 numbers; a right one falls outside these limits less than once in 500 times.
    assert 0.89 <= np.mean(covered) <= 0.994


def test_a_fit_begins_where_a_draw_of_the_prior_fits_better(sliding: WorldModel) -> None:
    """A push that the start's friction holds and the recorded one's does not: the cost is flat
    around the start."""
    world = dataclasses.replace(sliding, free=PUCK[:1])
    u, rng = np.array([-2.0]), np.random.default_rng(0)
    windows = recorded(world, u, rng, noise=0.0, speed=0.0)
    windows = dataclasses.replace(windows, ctrl=np.full_like(windows.ctrl, 0.2))
    at_zero = dataclasses.replace(windows, target=np.zeros_like(windows.target))
    played = make_engine(world, "c", 8).errors(u, np.zeros((8, 0)), at_zero)
    windows = dataclasses.replace(windows, target=played + 1e-4 * rng.normal(size=played.shape))
    stuck = identify(world, windows, C)
    assert stuck.numbers[0].u == 0.0 and "took no step" in stuck.reason
    zero = {"physics": unpacked(world, jnp.zeros(1)), "network": {}}
    drawn = identify(world, windows, C, start=best_draw(world, windows, zero, 16))
    assert drawn.converged and abs(deviations(drawn, u)[0]) < 3
    there = {"physics": unpacked(world, jnp.asarray(u)), "network": {}}  # no draw is better
    np.testing.assert_array_equal(
        best_draw(world, windows, there, 16)["physics"]["puck.friction"], u
    )
    assert best_draw(world, windows, zero, 0) is zero


def test_the_first_noise_is_not_that_of_frames_at_rest(swinging: WorldModel) -> None:
    """Of errors of which four in five are next to nothing; and of others it is the median's."""
    rng = np.random.default_rng(5)
    windows = recorded(swinging, np.zeros(4), rng, windows=50, horizon=5)
    problem = LeastSquares(swinging, windows, C)
    at = problem.derivatives(problem.begin(np.zeros(4)), np.ones(50, bool), 1e-3, True)
    error = rng.normal(size=at.error.shape)
    np.testing.assert_allclose(
        problem.first_noise(dataclasses.replace(at, error=error)),
        1.4826 * np.median(np.abs(error), axis=(0, 1)),
    )
    error[:40] *= 1e-14
    noise = problem.first_noise(dataclasses.replace(at, error=error))
    half = stats.norm.ppf(0.75)  # nine in ten of all are half of those that are something
    np.testing.assert_allclose(noise, 0.1 * half / stats.norm.ppf(0.95), rtol=0.3)


def test_intervals_rest_on_the_curvature_of_the_cost_itself(swinging: WorldModel) -> None:
    """Of errors that are linear in the numbers, some beyond what counts quadratically."""
    windows = recorded(swinging, 0.5 * np.ones(4), np.random.default_rng(4), windows=3, horizon=5)
    problem = LeastSquares(swinging, windows, C)
    at = problem.derivatives(problem.begin(np.zeros(4)), np.ones(3, bool), 1e-3, True)
    sigma = np.full(2, np.std(at.error) / 4.0)
    assert (np.abs(at.error / sigma) > C.huber).any()
    step = 1e-4 * np.array([1.0, -2.0, 0.5, 1.0])

    def cost(size: float) -> float:
        return problem.data_cost(at.error + size * at.slope @ step, at.kept, sigma)

    bend = cost(1.0) - 2.0 * cost(0.0) + cost(-1.0)
    curved, normal = problem.curved(at, sigma), problem.normal(at, sigma)
    np.testing.assert_allclose(step @ curved.square.sum(0) @ step, bend, rtol=1e-3)
    np.testing.assert_allclose(curved.slope, normal.slope, rtol=1e-12)
    assert step @ normal.square.sum(0) @ step > 1.2 * bend


def test_what_the_data_do_not_determine_is_named() -> None:
    """Mass and gain only act as their ratio: each is unknown, the pair is named; the string's
    length is known nevertheless."""
    world = WorldModel(
        bob(),
        (
            FreeParameter("com", "bob", (0, 0, 1)),
            FreeParameter("mass", "bob"),
            FreeParameter("gain", "push", 0.2 / 0.7),  # a width of 0.2, as the mass has
        ),
    )
    u = np.array([0.5, 0.3, -0.4])
    result = identify(world, recorded(world, u, np.random.default_rng(0)), C)
    length, mass, gain = result.numbers
    assert result.converged
    assert length.identified and abs(deviations(result, u)[0]) < 3
    assert not mass.identified and not gain.identified
    assert [(i, j) for i, j, _ in result.together()] == [(1, 2)]
    ratio = np.array([0.0, -1.0, 1.0])
    spread = np.sqrt(ratio @ result.covariance @ ratio)
    assert spread < 0.2 and abs(ratio @ ([n.u for n in result.numbers] - u)) < 3 * spread


def test_a_start_that_is_not_known_is_fitted_with_the_rest(swinging: WorldModel) -> None:
    """Held starts make the numbers many times less certain, which the episodes' scatter shows."""
    u = np.array([0.8, -0.5, 0.6, 0.4])
    spread: dict[bool, list[np.ndarray]] = {False: [], True: []}
    for seed in range(4):
        windows = recorded(swinging, u, np.random.default_rng([2, seed]), start_noise=0.05)
        for free in (False, True):
            config = dataclasses.replace(C, pose_spread=0.05 * free)
            result = identify(swinging, windows, config)
            assert np.abs(deviations(result, u)).max() < 4.0
            spread[free].append(np.sqrt(np.diag(result.covariance)))
            if free:
                np.testing.assert_allclose(result.noise, NOISE, rtol=0.3)
                assert (result.shift[:, 2:] == 0).all()  # velocities were not free
    assert (np.mean(spread[True], axis=0) < 0.5 * np.mean(spread[False], axis=0)).all()


def test_starts_alone_are_fitted(swinging: WorldModel) -> None:
    """No number is free: the fit goes on until the starts have come to rest."""
    windows = recorded(swinging, np.zeros(4), np.random.default_rng(8), start_noise=0.05)
    held = WorldModel(swinging.scene, ())
    result = identify(held, windows, dataclasses.replace(C, pose_spread=0.05))
    assert result.converged and result.iterations > 1 and result.numbers == ()
    assert intervals(held, result) == {}
    np.testing.assert_allclose(result.noise, NOISE, rtol=0.2)  # nothing else is left over
    assert 0.02 < result.shift[:, :2].std() < 0.1


def test_episodes_that_err_together_widen_the_interval(swinging: WorldModel) -> None:
    """A shaken start makes an episode's frames err together; the sandwich knows, noise does not."""
    rng = np.random.default_rng(5)
    windows = recorded(swinging, np.zeros(4), rng, windows=24, start_noise=0.05)
    result = identify(swinging, windows, C)
    assert result.uncertainty.by_episode
    one = dataclasses.replace(windows, episode=np.zeros(24, int))
    naive = identify(swinging, one, C)
    assert not naive.uncertainty.by_episode
    np.testing.assert_allclose([n.u for n in naive.numbers], [n.u for n in result.numbers])
    assert (np.diag(result.covariance) > 2.0 * np.diag(naive.covariance)).all()
    assert np.abs(deviations(result, np.zeros(4))).max() < 4.0


def test_outliers_count_little(swinging: WorldModel) -> None:
    u = np.array([0.8, -0.5, 0.6, 0.4])
    windows = recorded(swinging, u, np.random.default_rng(6))
    target = np.array(windows.target)
    target[0, 5] += 1.0
    result = identify(swinging, dataclasses.replace(windows, target=target), C)
    assert np.abs(deviations(result, u)).max() < 4.0


def test_a_number_at_its_bound_is_not_called_identified(swinging: WorldModel) -> None:
    windows = recorded(swinging, np.array([3.0, 0.0, 0.0, 0.0]), np.random.default_rng(7))
    result = identify(swinging, windows, dataclasses.replace(C, bound=1.0))
    assert result.numbers[0].u == 1.0 and result.numbers[0].at_bound
    assert not result.numbers[0].identified


def test_intervals_are_in_physical_units(swinging: WorldModel) -> None:
    windows = recorded(swinging, np.zeros(4), np.random.default_rng(8))
    result = identify(swinging, windows, C)
    out = intervals(swinging, result)
    mass, deviation = result.numbers[0].u, result.numbers[0].deviation
    quantile = stats.t.ppf(0.975, result.uncertainty.freedom[0])
    assert 2.0 < quantile < 3.5  # eight episodes, of unlike weight
    expected = 0.3 * np.exp(0.2 * (mass + quantile * deviation * np.array([0.0, -1.0, 1.0])))
    np.testing.assert_allclose(out["lower.mass"][0], expected, rtol=1e-5)
    assert out["upper.com"].shape == (3, 3)
    np.testing.assert_allclose(out["upper.com"][0], 0.0, atol=1e-12)  # held


def test_what_cannot_be_identified_is_refused(swinging: WorldModel) -> None:
    windows = recorded(swinging, np.zeros(4), np.random.default_rng(9), windows=4, horizon=5)
    blank = dataclasses.replace(windows, scored=np.zeros_like(windows.scored))
    with pytest.raises(IdentifyError, match="no frame"):
        identify(swinging, blank, C)
    broken = jax.tree.map(np.array, windows)
    broken.history.qvel[1] = np.nan
    with pytest.raises(IdentifyError, match=r"1 of 4 windows.*episodes \[1\]"):
        identify(swinging, broken, C)
    spared = identify(swinging, broken, dataclasses.replace(C, max_left_out=0.5))
    assert [o.window for o in spared.left_out] == [1] and np.isfinite(spared.covariance).all()
    with pytest.raises(InputError, match="none of mjx, c"):
        identify(swinging, windows, dataclasses.replace(C, engine="warp"))
    with pytest.raises(InputError, match="without_network"):
        identify(dataclasses.replace(swinging, correction=Force()), windows, C)
    unknown = dataclasses.replace(swinging, free=(FreeParameter("mass", "nobody"),))
    with pytest.raises(ParameterError, match="nobody"):
        identify(unknown, windows, C)


def same(a: Any, b: Any) -> None:
    for one, other in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_array_equal(one, other)


def fields(progress: Progress) -> dict[str, Any]:
    return {f.name: getattr(progress, f.name) for f in dataclasses.fields(progress)}


@pytest.mark.parametrize("estimated", [True, False], ids=["noise estimated", "noise given"])
def test_arguments_and_progress_stay_as_they_were(
    estimated: bool, swinging: WorldModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where a window is not finite any more from the second iterate on."""
    calls = 0

    def breaking(*arguments: Any) -> Engine:
        engine = make_engine(*arguments)

        def slopes(*x: Any) -> tuple[np.ndarray, np.ndarray]:
            nonlocal calls
            calls += 1
            error, slope = engine.slopes(*x)
            error = np.array(error)
            error[1] = np.nan if calls > 1 else error[1]
            return error, slope

        return dataclasses.replace(engine, slopes=slopes)

    monkeypatch.setattr(least_squares, "make_engine", breaking)
    windows = recorded(swinging, np.array([0.8, -0.5, 0.6, 0.4]), np.random.default_rng(6))
    start = {"physics": unpacked(swinging, jnp.full(4, 0.2)), "network": {}}
    given = {"start": start, "noise": None if estimated else np.full(2, NOISE)}
    before = copy.deepcopy((windows, given))
    for array in jax.tree.leaves((windows, given)):
        if isinstance(array, np.ndarray):
            array.flags.writeable = False  # a change in place raises
    handed_out: list[tuple[Progress, dict[str, Any]]] = []

    def keep(progress: Progress) -> None:
        handed_out.append((progress, copy.deepcopy(fields(progress))))

    result = identify(
        swinging, windows, dataclasses.replace(C, max_left_out=0.2), keep=keep, **given
    )
    same((windows, given), before)
    assert [o.window for o in result.left_out] == [1] and len(handed_out) > 2
    assert handed_out[0][0].kept.all() and not handed_out[1][0].kept[1]
    for progress, then in handed_out:
        same(fields(progress), then)


def test_a_fit_goes_on_from_its_progress_to_the_same_numbers(swinging: WorldModel) -> None:
    windows = recorded(swinging, np.array([0.8, -0.5, 0.6, 0.4]), np.random.default_rng(6))
    handed_out: list[Progress] = []
    whole = identify(swinging, windows, C, keep=handed_out.append)
    middle = handed_out[1]
    then = copy.deepcopy(fields(middle))
    rest = identify(swinging, windows, C, progress=middle)
    same(fields(middle), then)
    assert (rest.cost, rest.iterations) == (whole.cost, whole.iterations)
    same([n.u for n in rest.numbers], [n.u for n in whole.numbers])
    same((rest.covariance, rest.noise), (whole.covariance, whole.noise))
