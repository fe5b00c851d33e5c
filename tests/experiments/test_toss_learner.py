"""The learner of the study of alpha on tosses: what it keeps, and what it refuses."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.recordings.problems import CUBE
from experiments.tosses_alpha.learner import Learner, Recipe
from experiments.tosses_alpha.versions import Study, training_windows
from tests.helpers.flights import SCENE, flights
from worldmodel.episodes.errors import (
    Angle,
    Channels,
    Position,
    Rotation,
    episode_errors,
    squared_errors,
)
from worldmodel.episodes.windows import Windows
from worldmodel.model import Network, Parameters, WorldModel, init
from worldmodel.model.ensemble import make_predictor

CHANNELS = CUBE.channels(SCENE)
NETWORK = Network(latent=4, width=8)
RECIPE = Recipe(network=NETWORK, steps=40, batch=8, validate_every=10, together=2)
WORLD = WorldModel.latent(SCENE, NETWORK)


def errors(parameters: Parameters, windows: Windows) -> np.ndarray:
    predicted = make_predictor(WORLD, 64)(parameters, windows)
    return episode_errors(predicted, windows, CHANNELS).mean(0)


@pytest.fixture(scope="module")
def windows() -> Windows:
    noise = np.array([1e-4, 1e-4, 1e-4, 1e-2, 1e-2, 1e-2])
    return training_windows(Study(), flights(12, noise))


@pytest.fixture(scope="module")
def learner(windows: Windows) -> Learner:
    judged = windows.take(np.arange(32))
    scale = errors(init(WORLD, jax.random.key(0)), judged)
    return Learner(WORLD, CHANNELS, RECIPE, judged, scale, 0)


def primary(learner: Learner, parameters: Parameters) -> float:
    ratio = errors(parameters, learner.judged) / learner.scale
    return float(np.exp(np.log(ratio[np.isfinite(ratio)]).mean()))


def test_errors_keep_their_digits_in_single_precision() -> None:
    """A rotation's was 4 (1 − ⟨q, q̂⟩²): below zero for poses equal to the digit."""
    channels = Channels(
        position=(Position("body", (0, 1, 2)),),
        rotation=(Rotation("body", (3, 4, 5, 6)),),
        joints=(Angle("hinge", 7),),
    )
    q = np.random.default_rng(0).normal(size=(1000, 8)).astype(np.float32)
    q[:, 3:7] /= np.linalg.norm(q[:, 3:7], axis=1, keepdims=True)
    # To rounding: 1e-14 where the cosine's would be 1e-6 of either sign.
    assert (np.abs(squared_errors(jnp.asarray(q), jnp.asarray(q), channels)) < 1e-13).all()
    angle = np.float32(1e-3)
    half = np.array([np.cos(angle / 2), np.sin(angle / 2), 0, 0], np.float32)
    still = np.array([0, 0, 0, 1, 0, 0, 0, 0.5], np.float32)
    turned = np.concatenate([still[:3], half, still[7:] + angle])
    error = squared_errors(jnp.asarray(turned), jnp.asarray(still), channels)
    np.testing.assert_allclose(error, [0, 1e-6, 1e-6], rtol=1e-4)


def test_what_is_kept_is_never_worse_than_the_untrained_network(
    learner: Learner, windows: Windows
) -> None:
    wrong = dataclasses.replace(windows, target=np.roll(windows.target, 7, axis=0))
    kept = [primary(learner, p) for p in learner.train([windows, wrong])]
    assert kept[0] < 0.999  # it learns
    assert kept[1] < 1.001  # nothing to learn from the futures of others


def test_a_training_knows_only_its_own_windows(learner: Learner, windows: Windows) -> None:
    few = windows.take(np.arange(20))
    (alone,) = learner.train([few])
    together, _ = learner.train([few, windows])
    jax.tree.map(np.testing.assert_array_equal, alone, together)


def test_errors_that_are_not_finite_end_the_training(learner: Learner, windows: Windows) -> None:
    judged = dataclasses.replace(learner.judged, target=np.nan * np.asarray(windows.target[:32]))
    broken = dataclasses.replace(learner, judged=judged)
    with pytest.raises(FloatingPointError, match="training 0 of 1: the primary error is nan"):
        broken.train([windows])
    with pytest.raises(ValueError, match="3 trainings; this call takes 1 to 2"):
        learner.train([windows] * 3)
