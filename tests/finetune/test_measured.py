"""What was not measured moves no estimate and no gradient, whatever stands in its place."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.helpers import planted_arm
from tests.helpers.planted_arm import REGRESSION, equal, regressed, windows_of
from tests.helpers.planted_parameters import NOISE, SWING, recorded, swing
from worldmodel.episodes.errors import Channels
from worldmodel.episodes.windows import Windows
from worldmodel.finetune.engines import make_engine
from worldmodel.finetune.gauss_newton import IdentifyConfig, identify
from worldmodel.finetune.loss import window_loss
from worldmodel.finetune.regression import regression_data, standards
from worldmodel.model import ConstantVelocity, WorldModel

U = np.array([0.4, -0.3, 0.5, 0.2])
NOTHING = {"physics": {}, "network": {}}


@pytest.fixture(scope="module")
def world() -> WorldModel:
    return WorldModel(swing(), SWING)


def hidden(windows: Windows, measured: np.ndarray, value: float) -> Windows:
    target = np.where(measured, np.asarray(windows.target), value)
    return dataclasses.replace(windows, target=target, measured=measured)


def elbow_hidden(windows: Windows, count: int) -> np.ndarray:
    """The elbow is seen in the first frames alone, and never in the last ``count`` windows."""
    measured = np.ones(np.shape(windows.target), bool)
    measured[:, 3:, 1] = False
    measured[len(measured) - count :, :, 1] = False
    return measured


@pytest.mark.parametrize("name", ["c", "mjx"])
def test_errors_and_slopes_are_zero_where_nothing_was_measured(
    world: WorldModel, name: str
) -> None:
    windows = recorded(world, U, np.random.default_rng(0), windows=3, horizon=5, speed=15.0)
    measured, none = elbow_hidden(windows, 1), np.zeros((3, 0))
    whole, slopes = make_engine(world, "c", 3).slopes(np.zeros(4), none, windows)
    partly = hidden(windows, measured, np.nan)
    error, slope = make_engine(world, name, 3).slopes(np.zeros(4), none, partly)
    assert not error[~measured].any() and not slope[~measured].any()
    assert np.abs(whole[~measured]).min() > 0.0
    np.testing.assert_allclose(error[measured], whole[measured], atol=1e-9)
    # The differences of engine c are themselves off by their width squared.
    scale = np.abs(slopes).max(axis=(0, 1, 2))
    assert (np.abs(slope - slopes)[measured].max(axis=0) < 2e-4 * scale).all()


def test_an_identification_does_not_see_what_was_not_measured(world: WorldModel) -> None:
    windows = recorded(world, U, np.random.default_rng(1), windows=12, horizon=20)
    measured = elbow_hidden(windows, 4)
    config = IdentifyConfig(engine="c")
    unknown, assumed = (
        identify(world, hidden(windows, measured, value), config) for value in (np.nan, 0.7)
    )
    np.testing.assert_array_equal(unknown.covariance, assumed.covariance)
    estimates = np.array([n.u for n in unknown.numbers])
    np.testing.assert_array_equal(estimates, [n.u for n in assumed.numbers])
    assert unknown.converged and not len(unknown.left_out)
    # A deviation estimated as if the zeros of hidden frames were errors would be half of this.
    np.testing.assert_allclose(unknown.noise, NOISE, rtol=0.4)
    assert (np.abs(estimates - U) < 4 * np.sqrt(np.diag(unknown.covariance))).all()
    everything = identify(world, windows, config)
    assert (np.diag(unknown.covariance) > np.diag(everything.covariance)).all()
    never = np.ones_like(measured)
    never[..., 1] = False
    alone = identify(world, hidden(windows, never, np.nan), config)
    assert np.isfinite(alone.covariance).all() and alone.noise[0] == pytest.approx(NOISE, rel=0.4)


def test_the_loss_of_a_window_is_over_what_was_measured(world: WorldModel) -> None:
    """Of a model that keeps its velocity, in that velocity: its predictions are known by hand."""
    channels, still = Channels.of(world.scene), WorldModel(world.scene, base=ConstantVelocity())
    windows = recorded(world, U, np.random.default_rng(2), windows=1, horizon=5)
    scale = jnp.array([np.nan, np.nan, 0.01])
    measured = elbow_hidden(windows, 0)
    measured[0, 3:] = False
    masks = {"all": np.ones_like(measured), "some": measured, "none": np.zeros_like(measured)}

    @jax.jit
    def slope(window: Windows) -> tuple:
        def loss(qvel: jax.Array) -> jax.Array:
            history = dataclasses.replace(window.history, qvel=window.history.qvel.at[0].set(qvel))
            moved = dataclasses.replace(window, history=history)
            return window_loss(still, channels, 0.3, scale, NOTHING, moved)

        return jax.value_and_grad(loss)(window.history.qvel[0])

    def of_first(windows: Windows) -> tuple:
        return slope(jax.tree.map(jnp.asarray, windows.take(np.array(0))))

    plain = of_first(windows)
    values = {name: of_first(hidden(windows, m, np.nan)) for name, m in masks.items()}
    for one, other in zip(plain, values["all"], strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12)
    unscored = of_first(dataclasses.replace(windows, scored=np.zeros_like(windows.scored)))
    assert not any(np.any(x) for x in (*values["none"], *unscored))

    # Both hinges in the first three frames.
    times = np.arange(1, 4)[:, None] / world.scene.control_hz
    predicted = windows.qpos[0] + times * windows.qvel[0]
    moved = predicted - np.asarray(windows.target)[0, :3]
    relative = np.square(2 * np.sin(moved / 2)).mean(axis=1) / (0.01 * 0.3) ** 2
    robust = 0.3 * (np.sqrt(1.0 + relative) - 1.0)
    value, gradient = values["some"]
    assert float(value) == pytest.approx(robust.mean(), rel=1e-9)
    each = 0.3 / 2 / np.sqrt(1.0 + relative)[:, None] * np.sin(moved) / (0.01 * 0.3) ** 2 / 3
    np.testing.assert_allclose(gradient, (times * each).sum(axis=0), rtol=1e-9)


def test_a_regression_does_not_learn_what_was_not_measured() -> None:
    arm = planted_arm.arm()
    windows = windows_of(arm.train, 1)
    measured = np.ones(np.shape(windows.target), bool)
    measured[::2] = False
    unknown, wrong = (
        regression_data(arm.world, arm.origin, hidden(windows, measured, value))
        for value in (np.nan, 3.0)
    )
    kept = np.asarray(arm.train_data.target)[measured]
    np.testing.assert_allclose(np.asarray(unknown.target)[measured], kept, atol=1e-15)
    assert not np.asarray(unknown.target)[~measured].any()
    residual = standards(arm.world, unknown)["residual"]
    np.testing.assert_allclose(residual, kept.std() * planted_arm.HZ, rtol=1e-9)
    short = dataclasses.replace(REGRESSION, steps=50, validate_every=50)
    rows: list[dict] = []
    one, other = (
        regressed(arm.world, arm.origin, data, arm.validation_data, short, record=rows.append)
        for data in (unknown, wrong)
    )
    assert equal(one, other)
    assert rows[0]["validation"] < 1.0  # half of the frames teach it
