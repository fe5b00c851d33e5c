"""The blend of first- and zeroth-order gradients, on functions whose smoothed gradient is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from worldmodel.finetune.smoothed_gradient import smoothed_gradient

KEYS = jax.random.split(jax.random.key(0), 200)


def estimates(loss, x, sigma, samples):
    run = jax.jit(jax.vmap(lambda k: smoothed_gradient(loss, x, k, sigma=sigma, samples=samples)))
    return run(KEYS)


def test_a_smooth_loss_leaves_it_to_the_first_order() -> None:
    out = estimates(lambda x: jnp.sum(jnp.square(x)), jnp.array([1.0, -2.0]), 0.1, 32)
    # Of 200 trials a few disagree by more than three deviations, and believe the values a little.
    np.testing.assert_allclose(out.gradient.mean(0), [2.0, -4.0], rtol=0.03)
    assert out.weight.mean() > 0.95


def test_a_step_leaves_it_to_the_zeroth_order() -> None:
    # E step(x + σε) = Φ(x/σ): its slope at 0 is 1/(σ√2π), while every gradient is 0.
    out = estimates(lambda x: jnp.heaviside(x, 0.5), jnp.array(0.0), 0.2, 64)
    truth = 1.0 / (0.2 * np.sqrt(2 * np.pi))
    assert not out.first.any()
    error = np.std(out.zeroth) / np.sqrt(len(KEYS))
    assert abs(out.gradient.mean() - truth) < 4 * error + 0.05 * truth


def test_a_stiff_ripple_weighs_each_coordinate_by_its_own_noise() -> None:
    def loss(x: jax.Array) -> jax.Array:
        return x[0] + x[1] + 0.01 * jnp.sin(1e4 * x[0])  # slopes of ±100 in the first alone

    out = estimates(loss, jnp.zeros(2), 0.1, 64)
    weight = out.weight.mean(0)
    assert weight[0] < 0.05 < 0.95 < weight[1]
    blend, first, zeroth = (
        np.sqrt(np.mean(np.square(g - 1.0), axis=0)) for g in (out.gradient, out.first, out.zeroth)
    )
    assert blend[0] < 0.1 * first[0]
    assert blend[1] < 0.5 * zeroth[1]


def test_pytrees_come_back_alike() -> None:
    x = {"a": jnp.ones(2), "b": jnp.array(3.0)}
    out = smoothed_gradient(lambda x: jnp.sum(x["a"]) * x["b"], x, KEYS[0], sigma=0.1, samples=400)
    assert jax.tree.structure(out.gradient) == jax.tree.structure(x)
    np.testing.assert_allclose(out.gradient["a"], [3.0, 3.0], atol=0.05)
    np.testing.assert_allclose(out.gradient["b"], 2.0, atol=0.05)


def test_samples_that_are_not_finite_are_left_out_and_counted() -> None:
    out = smoothed_gradient(
        lambda x: jnp.where(x > 1.0, jnp.nan, 2.0 * x),
        jnp.array(1.0),
        KEYS[0],
        sigma=0.1,
        samples=8,
    )
    assert int(out.nonfinite) == 8  # of each pair one is beyond 1
    assert np.isnan(out.gradient)
    out = smoothed_gradient(
        lambda x: jnp.where(x > 1.1, jnp.nan, 2.0 * x),
        jnp.array(1.0),
        KEYS[0],
        sigma=0.1,
        samples=64,
    )
    assert 0 < int(out.nonfinite) < 50
    np.testing.assert_allclose(out.first, 2.0)
    with pytest.raises(ValueError, match="at least 2"):
        smoothed_gradient(jnp.sum, jnp.ones(1), KEYS[0], sigma=0.1, samples=1)
    with pytest.raises(ValueError, match="above 0"):
        smoothed_gradient(jnp.sum, jnp.ones(1), KEYS[0], sigma=0.0, samples=8)
