"""What an ensemble forecasts of its members, against numbers by hand; whose turn it is."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.helpers.doors import door, door_windows
from tests.helpers.learned_models import answering, ball
from worldmodel.errors import InputError
from worldmodel.model import Network, Parameters, WorldModel, init
from worldmodel.model.ensemble import (
    along,
    joined,
    make_forecaster,
    make_predictor,
    mean_pose,
    members,
    taking_turns,
)
from worldmodel.model.network import GATE_STEPS, LOG_VARIANCE

WORLD = WorldModel.latent(door(), Network(latent=2, width=4, members=3))
DT, FRAMES = 0.01, np.arange(1, 4)
PUSHED = DT * FRAMES * (FRAMES + 1) / 2  # by 1 rad/s in every step


def pushing(*speeds: float) -> Parameters:
    """Members that add so much to the velocity in every step."""
    origin = init(WORLD, jax.random.key(0))
    pairs = zip(members(origin), speeds, strict=True)
    return joined(origin, [answering(m, jnp.array([g])) for m, g in pairs])


def own_variance() -> np.ndarray:
    """(frames,) of an untrained member: the logarithm 0 between its bounds, once a step."""
    low, high = LOG_VARIANCE
    log = high - np.logaddexp(0.0, high)
    return FRAMES * np.exp(low + np.logaddexp(0.0, log - low))


def test_a_forecast_is_the_mean_and_scatter_of_its_members() -> None:
    windows, parameters = door_windows(2, 3), pushing(1.0, 2.0, 6.0)
    forecast = make_forecaster(WORLD, 2)(parameters, windows)
    for k, speed in enumerate((1.0, 2.0, 6.0)):
        np.testing.assert_allclose(forecast.members[k, 1, :, 0], 0.3 + speed * PUSHED)
    np.testing.assert_allclose(forecast.mean[0, :, 0], 0.3 + 3.0 * PUSHED)
    scatter = np.sqrt(7.0) * PUSHED  # (4 + 1 + 9) / 2
    np.testing.assert_allclose(forecast.disagreement[0, :, 0], scatter)
    deviation = np.sqrt(np.square(scatter) + own_variance())
    np.testing.assert_allclose(forecast.deviation[0, :, 0], deviation)
    assert np.isinf(forecast.freedom).all() and forecast.freedom.shape == (3, 1)
    predictor = make_predictor(WORLD, 2)
    np.testing.assert_array_equal(predictor(parameters, windows), forecast.mean)

    widths = {"widening": jnp.full((len(GATE_STEPS), 1), 2.0)}
    widths["freedom"] = jnp.full((len(GATE_STEPS), 1), 5.0)
    wider = make_forecaster(WORLD, 2)(
        parameters | {"network": parameters["network"] | widths}, windows
    )
    np.testing.assert_allclose(wider.deviation[0, :, 0], 2.0 * deviation)
    np.testing.assert_allclose(wider.freedom, 5.0)
    np.testing.assert_array_equal(wider.disagreement, forecast.disagreement)


def test_a_member_that_is_not_finite_has_no_say() -> None:
    windows = door_windows(2, 3)
    forecast = make_forecaster(WORLD, 2)(pushing(np.nan, 1.0, 2.0), windows)
    assert np.isnan(forecast.members[0]).all()
    np.testing.assert_allclose(forecast.mean[0, :, 0], 0.3 + 1.5 * PUSHED)
    scatter = np.sqrt(0.5) * PUSHED
    np.testing.assert_allclose(forecast.disagreement[0, :, 0], scatter)
    deviation = np.sqrt(np.square(scatter) + own_variance())
    np.testing.assert_allclose(forecast.deviation[0, :, 0], deviation)


def test_rotations_are_averaged_as_rotations() -> None:
    """About one axis, three members' angles and places; each sign of a quaternion is one pose."""
    angles, places = np.array([np.nan, 0.1, 0.2, 0.6]), np.array([np.nan, 1.0, 2.0, 6.0])
    poses = np.zeros((4, 1, 2, 7))
    poses[..., 0] = places[:, None, None]
    poses[..., 3] = np.cos(0.5 * angles)[:, None, None]
    poses[..., 6] = np.sin(0.5 * angles)[:, None, None]
    poses[2, :, :, 3:] *= -1.0
    poses[:, :, 1] = np.nan  # then nobody is finite
    mean, deviation = mean_pose(ball(), poses)
    wanted = [3.0, 0.0, 0.0, np.cos(0.15), 0.0, 0.0, np.sin(0.15)]
    np.testing.assert_allclose(mean[0, 0], wanted, atol=1e-12)
    scatter = [np.sqrt(7.0), 0.0, 0.0, 0.0, 0.0, np.sqrt(0.07)]
    np.testing.assert_allclose(deviation[0, 0], scatter, atol=1e-12)
    assert np.isnan(mean[0, 1]).all() and mean.shape == (1, 2, 7)

    alone, none = mean_pose(ball(), poses[1:2])
    np.testing.assert_array_equal(alone, poses[1])
    assert not none.any() and none.shape == (1, 2, 6)


def test_members_come_apart_and_together_again() -> None:
    parameters = pushing(1.0, 2.0, 6.0)
    again = joined(parameters, members(parameters))
    jax.tree.map(np.testing.assert_array_equal, again, parameters)
    assert set(members(parameters)[0]["network"]) == {"weights", "norm", "gate"}
    fewer = members(joined(parameters, members(parameters)[1:]))
    assert len(fewer) == 2
    jax.tree.map(np.testing.assert_array_equal, fewer[0], members(parameters)[1])
    physics = {"physics": {}, "network": {}}
    assert members(physics) == [physics]
    assert members(fewer[0]) == [fewer[0]]


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_members_take_turns_with_the_rows(count: int) -> None:
    @dataclasses.dataclass
    class Played:
        rows: np.ndarray
        by: np.ndarray

    jax.tree_util.register_dataclass(Played)

    def run(member: Any, rows: np.ndarray, more: dict[str, np.ndarray]) -> Played:
        np.testing.assert_array_equal(more["twice"], 2 * rows)
        return Played(rows, np.full(len(rows), member))

    rows = np.arange(10, 10 + count)
    each: Any = [0, 1, 2]
    played = taking_turns(run, 2, each, rows, {"twice": 2 * rows})
    np.testing.assert_array_equal(played.rows, rows)
    np.testing.assert_array_equal(played.by, np.arange(count) % 3)


def test_values_between_the_steps_of_a_gate_are_linear_in_their_logarithm() -> None:
    values = np.zeros((len(GATE_STEPS), 2))
    values[:, 0], values[:, 1] = np.arange(len(GATE_STEPS)), 3.0
    given = along(values, 8191)
    np.testing.assert_allclose(given[[0, 2, 6, 14], 0], [1.0, 2.0, 3.0, 4.0])  # 1, 3, 7, 15
    np.testing.assert_allclose(given[1, 0], np.log2(3.0))  # frame 2
    np.testing.assert_allclose(given[4095:, 0], 12.0)  # beyond the last
    np.testing.assert_allclose(given[:, 1], 3.0)


def test_no_row_is_nobodys_turn() -> None:
    with pytest.raises(InputError, match="there is no row"):
        taking_turns(lambda member, rows: rows, 2, [{}, {}], np.zeros((0, 3)))
