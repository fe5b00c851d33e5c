"""Predictions and simulations: one batching, one pose, and every correction in both."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.helpers.doors import MASS, door, door_windows
from tests.helpers.learned_models import SMALL, history_of, one_member, puck, shaken
from worldmodel.episodes.windows import HISTORY, History, Windows
from worldmodel.errors import InputError
from worldmodel.model import Correction, Displacement, Force, Velocity, WorldModel
from worldmodel.model.ensemble import make_predictor, make_simulator
from worldmodel.model.simulate import predict, simulate

STEPS = 4
QPOS, QVEL = np.array([0.2, -0.001]), np.array([0.5, -0.05])  # a millimetre inside the table


@pytest.mark.parametrize("correction", [Displacement(), Velocity(), Force()])
def test_simulations_and_predictions_hold_every_correction(correction: Correction) -> None:
    world = WorldModel(puck(), correction=correction, network=SMALL)
    parameters = shaken(one_member(world))
    parameters["network"]["norm"]["residual"] = jnp.array([0.05, 0.02])
    history = history_of(QPOS, QVEL)
    window = Windows(
        history, np.zeros((STEPS, 0)), np.zeros((STEPS, 2)), np.ones(STEPS, bool), np.array(0)
    )

    @jax.jit
    def played(parameters: Any, window: Windows) -> tuple[jax.Array, ...]:
        states = simulate(world, parameters, window.history, window.ctrl)
        alone = simulate(
            world.without_network(), parameters | {"network": {}}, window.history, window.ctrl
        )
        return states.qpos, predict(world, parameters, window), alone.qpos

    simulated, predicted, alone = played(parameters, window)
    np.testing.assert_allclose(simulated, predicted, atol=1e-12)
    assert np.abs(simulated - alone).max() > 1e-4  # and it is not the physics alone


def test_a_simulator_plays_what_simulate_plays_from_a_start_without_a_past() -> None:
    world = WorldModel(puck(), correction=Displacement(), network=SMALL)
    parameters = shaken(one_member(world))
    rng = np.random.default_rng(0)
    qpos = QPOS + 0.01 * rng.normal(size=(3, 2))
    qvel = QVEL + 0.1 * rng.normal(size=(3, 2))
    ctrl = np.zeros((3, STEPS, 0))
    states = make_simulator(world, 2)(parameters, qpos, ctrl, qvel)
    assert states.qpos.shape == (3, STEPS + 1, 2)
    np.testing.assert_array_equal(states.qpos[:, 0], qpos)
    run = jax.jit(
        lambda q, v: simulate(world, parameters, History.without_past(q, v, 0), jnp.zeros((4, 0)))
    )
    for row in range(3):
        np.testing.assert_allclose(states.qpos[row, 1:], run(qpos[row], qvel[row]).qpos, atol=1e-10)
    rest = make_simulator(world, 2)(parameters, qpos, ctrl)
    assert np.abs(rest.qpos - states.qpos)[:, -1].max() > 1e-3  # from rest when absent


def test_a_start_without_a_past_knows_its_own_frame_alone() -> None:
    history = History.without_past(jnp.asarray(QPOS), jnp.asarray(QVEL), 3)
    assert history.qpos.shape == (HISTORY, 2) and history.ctrl.shape == (HISTORY, 3)
    assert np.flatnonzero(history.known).tolist() == [0]
    np.testing.assert_array_equal(history.qpos[0], QPOS)


def test_nothing_to_predict_is_refused() -> None:
    world = WorldModel(door(), MASS)
    zero = one_member(world)
    for none in (door_windows().take(np.array([], int)), door_windows(horizon=0)):
        with pytest.raises(InputError, match="nothing to predict in windows of shape"):
            make_predictor(world, 2)(zero, none)
    with pytest.raises(InputError, match="no episode to simulate"):
        make_simulator(world, 2)(zero, np.zeros((0, 1)), np.zeros((0, 3, 1)))
