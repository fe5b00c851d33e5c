"""Heads on one trunk are overconfident where independent networks are less so.

A pendulum with drag; networks learn its acceleration from a few noisy episodes, and roll out 100
steps. All heads see all episodes, as in the published ensembles of that kind; an independent
network has its own bootstrap of the episodes.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from worldmodel.episodes.forecasts import Forecasts, multipliers, rank_correlation, scores, sizes

MEMBERS, TRAIN, STEPS, DT = 5, 12, 100, 0.05  # …, [s]
NOISE = 0.3  # of a measured acceleration [rad/s²]
ITERATIONS = 1000


class Net(nn.Module):
    """(…, 2) angle and velocity → (…, heads) accelerations."""

    heads: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        for _ in range(2):
            x = jnp.tanh(nn.Dense(32, param_dtype=float)(x))
        return nn.Dense(self.heads, param_dtype=float)(x)


def acceleration(x: np.ndarray) -> np.ndarray:
    return -2.0 * np.sin(x[..., 0]) - 0.15 * x[..., 1] * np.abs(x[..., 1])


def recorded(rng: np.random.Generator, episodes: int) -> np.ndarray:
    """(episodes, STEPS + 1, 2)."""
    rows = [rng.uniform([-2.0, -1.0], [2.0, 1.0], (episodes, 2))]
    for _ in range(STEPS):
        velocity = rows[-1][:, 1] + DT * acceleration(rows[-1])
        rows.append(np.stack([rows[-1][:, 0] + DT * velocity, velocity], axis=1))
    return np.stack(rows, axis=1)


def trained(key: jax.Array, heads: int, x: Any, y: Any) -> Any:
    """The weights after full-batch Adam on the squared error of every head."""
    net: Any = Net(heads)
    adam = optax.adam(optax.cosine_decay_schedule(1e-2, ITERATIONS))
    weights = net.init(key, x[0, 0])

    def step(carry: tuple, _: None) -> tuple:
        weights, state = carry
        loss = lambda w: jnp.square(net.apply(w, x) - y[..., None]).mean()  # noqa: E731
        change, state = adam.update(jax.grad(loss)(weights), state)
        return (optax.apply_updates(weights, change), state), None

    return jax.lax.scan(step, (weights, adam.init(weights)), None, length=ITERATIONS)[0][0]


def rolled_out(weights: Any, heads: int, start: jax.Array) -> jax.Array:
    """Angles by each head: (windows, 2) → (heads, windows, STEPS)."""

    net: Any = Net(heads)

    def step(x: jax.Array, _: None) -> tuple:  # (heads, windows, 2)
        by_head = jnp.moveaxis(net.apply(weights, x), -1, 1)  # (heads, heads, windows)
        velocity = x[..., 1] + DT * by_head[jnp.arange(heads), jnp.arange(heads)]
        x = jnp.stack([x[..., 0] + DT * velocity, velocity], axis=-1)
        return x, x[..., 0]

    first = jnp.broadcast_to(start, (heads, *start.shape))
    return jnp.moveaxis(jax.lax.scan(step, first, None, length=STEPS)[1], 0, -1)


def forecasts(members: np.ndarray, episodes: np.ndarray) -> Forecasts:
    """One window per episode; the members' mean and deviation."""
    error = (episodes[:, 1:, 0] - members.mean(axis=0))[..., None]
    deviation = members.std(axis=0, ddof=1)[..., None]
    return Forecasts(error, deviation, np.arange(len(error)), np.ones(error.shape, bool))


def test_a_shared_trunk_is_overconfident_before_multipliers() -> None:
    rng = np.random.default_rng(0)
    train, held, test = (recorded(rng, n) for n in (TRAIN, 100, 100))
    x, y = train[:, :-1], acceleration(train[:, :-1])
    y = y + NOISE * rng.normal(size=y.shape)
    draws = rng.integers(0, TRAIN, (MEMBERS, TRAIN))
    keys = jax.random.split(jax.random.key(0), MEMBERS)
    start = jnp.asarray(np.concatenate([held, test])[:, 0])

    @jax.jit
    def both() -> tuple[jax.Array, jax.Array]:
        alone = jax.vmap(trained, (0, None, 0, 0))(keys, 1, x[draws], y[draws])
        shared = trained(keys[0], MEMBERS, jnp.asarray(x), jnp.asarray(y))
        by_member = jax.vmap(rolled_out, (0, None, None))(alone, 1, start)[:, 0]
        return by_member, rolled_out(shared, MEMBERS, start)

    covered, ratio = {}, {}
    for name, members in zip(("independent", "shared"), map(np.asarray, both()), strict=True):
        fitted = forecasts(members[:, :100], held)
        forecast = forecasts(members[:, 100:], test)
        result = scores(forecast)
        covered[name], ratio[name] = result["coverage"]["0.9"], result["spread_over_error"]
        mended = scores(forecast.scaled(*multipliers(fitted, ["joint_rad"])))["coverage"]["0.9"]
        assert abs(mended["share"] - 0.9) < 0.08, (name, mended)
        # The ranking is right in both.
        spread, size = sizes(forecast.deviation, forecast.counts), np.abs(forecast.error[..., 0])
        assert (rank_correlation(spread, size) or 0.0) > 0.3
    assert covered["shared"]["high"] < 0.45 and ratio["shared"] < 0.4
    assert covered["independent"]["share"] > covered["shared"]["share"] + 0.25
