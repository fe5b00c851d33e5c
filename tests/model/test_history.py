"""Which past a prediction may use, and its gradient with respect to the weights."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.helpers.learned_models import SMALL, history_of, one_member, puck, shaken
from worldmodel.episodes.windows import HISTORY, Windows
from worldmodel.model import Velocity, WorldModel
from worldmodel.model.simulate import predict


@dataclasses.dataclass(frozen=True)
class Slide:
    """Three frames of a puck on a table, compiled once: positions, loss and its gradient."""

    weights: Any
    window: Windows
    run: Any  # (weights, window) → (loss, qpos), gradient


@pytest.fixture(scope="module")
def sliding() -> Slide:
    world = WorldModel(puck(), correction=Velocity(), network=SMALL)
    parameters = shaken(one_member(world))
    network = parameters["network"]
    network["norm"]["residual"] = jnp.array([0.05, 0.02])  # [m/s]

    @jax.jit
    def run(weights: Any, window: Windows) -> Any:
        def loss(weights: Any) -> tuple[jax.Array, jax.Array]:
            given = {"physics": {}, "network": network | {"weights": weights}}
            qpos = predict(world, given, window)
            return 1e3 * jnp.sum(jnp.square(qpos - window.target)), qpos

        return jax.value_and_grad(loss, has_aux=True)(weights)

    # A millimetre inside the table.
    history = history_of(np.array([0.2, -0.001]), np.array([0.5, -0.05]))
    window = Windows(history, np.zeros((3, 0)), np.zeros((3, 2)), np.ones(3, bool), np.array(0))
    return Slide(network["weights"], window, run)


def past(window: Windows, **changes: Any) -> Windows:
    return dataclasses.replace(window, history=dataclasses.replace(window.history, **changes))


def test_gradients_of_weights_are_those_of_differences(sliding: Slide) -> None:
    _, gradient = sliding.run(sliding.weights, sliding.window)
    # No position depends on the variances.
    assert not any(np.asarray(g).any() for g in jax.tree.leaves(gradient["spread"]))
    leaves, structure = jax.tree.flatten(sliding.weights)
    slopes = [np.asarray(g) for g in jax.tree.leaves(gradient)]
    assert all(np.isfinite(g).all() for g in slopes)
    spreads = len(jax.tree.leaves(gradient["spread"]))
    assert (
        sum(bool(g.any()) for g in slopes) == len(slopes) - spreads
    )  # encoder and transition, all layers
    h = 1e-5
    for i, (leaf, slope) in enumerate(zip(leaves, slopes, strict=True)):
        where = np.unravel_index(np.argmax(np.abs(slope)), slope.shape)
        values = []
        for sign in (1, -1):
            moved = [*leaves[:i], leaf.at[where].add(sign * h), *leaves[i + 1 :]]
            values.append(sliding.run(jax.tree.unflatten(structure, moved), sliding.window)[0][0])
        difference = (values[0] - values[1]) / (2 * h)
        # Of second order in h, and the contact solve is converged to about 1e-13, over h.
        np.testing.assert_allclose(slope[where], difference, rtol=1e-5, atol=1e-6)


def test_only_what_is_known_of_the_past_counts(sliding: Slide) -> None:
    known = np.arange(HISTORY) < 4
    window = past(sliding.window, known=known)
    (_, qpos), gradient = sliding.run(sliding.weights, window)
    history = window.history
    hidden = {
        "qpos": np.where(known[:, None], history.qpos, np.nan),
        "qvel": np.where(known[:, None], history.qvel, 1e9),
    }
    (_, same), finite = sliding.run(sliding.weights, past(window, **hidden))
    np.testing.assert_array_equal(qpos, same)
    for a, b in zip(jax.tree.leaves(gradient), jax.tree.leaves(finite), strict=True):
        np.testing.assert_array_equal(a, b)
    for change in (
        {"qvel": history.qvel + 0.1 * (np.arange(HISTORY) == 3)[:, None]},
        {"known": np.arange(HISTORY) < 3},
        {"known": np.arange(HISTORY) < 1},
    ):
        (_, other), _ = sliding.run(sliding.weights, past(window, **change))
        assert np.abs(other - qpos).max() > 1e-6
    later = dataclasses.replace(window, target=np.full((3, 2), 7.0))
    np.testing.assert_array_equal(sliding.run(sliding.weights, later)[0][1], qpos)


@pytest.mark.parametrize("where", ["target", "qvel", "qpos"])
def test_a_window_that_is_not_finite_leaves_the_weights_gradient_finite(
    sliding: Slide, where: str
) -> None:
    """Weights are shared by all windows of a batch."""
    if where == "target":
        window = dataclasses.replace(sliding.window, target=np.full((3, 2), np.nan))
    else:
        window = past(sliding.window, **{where: np.full((HISTORY, 2), np.nan)})
    (loss, _), gradient = sliding.run(sliding.weights, window)
    assert not np.isfinite(loss)  # the fit sees and counts it
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(gradient))
