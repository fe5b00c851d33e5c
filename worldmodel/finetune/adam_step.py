"""One step of Adam through the physics: what it carries on, its gradients, what they move."""

import dataclasses
import functools
from collections.abc import Callable, Hashable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from worldmodel.episodes.errors import Channels
from worldmodel.episodes.windows import Windows
from worldmodel.finetune.loss import learned_loss, window_loss
from worldmodel.finetune.settings import FitConfig
from worldmodel.model import Parameters, WorldModel
from worldmodel.runtime import devices
from worldmodel.runtime.executables import cached_jit


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class FitState:
    """Everything a resumed fit needs."""

    parameters: Parameters
    optimiser: Any  # optax state
    best: Parameters  # parameters of the best validation so far
    best_error: jax.Array  # ()
    since_best: jax.Array  # () validations since then
    nonfinite: jax.Array  # () samples excluded so far
    step: jax.Array  # ()
    scale: jax.Array  # (3,) the origin's error per group; NaN where validation has none
    unit: jax.Array  # (nv,) [m, rad] the origin's errors, of a network's loss


@functools.lru_cache(maxsize=8)
def make_update(
    world: WorldModel, channels: Channels, config: FitConfig
) -> Callable[[FitState, Windows, jax.Array], tuple[FitState, jax.Array, jax.Array]]:
    """One compiled Adam step: of a state, windows, and which of these count (``devices.share``) →
    the state after, the mean loss, (batch,) which were finite. Cached, so that many fits of one
    kind compile once."""
    optimiser = make_optimiser(config)

    def gradients(fixed: tuple, windows: Windows, counts: jax.Array) -> tuple:
        """Of windows: losses, which are finite, gradients of the physics; and of the network, of
        their sum."""
        parameters, scale, unit = fixed

        def total(physics: Any, network: Any) -> tuple[jax.Array, jax.Array]:
            if config.train == "network":  # no derivative passes into the physics' numbers
                physics = jax.lax.stop_gradient(physics)

            def loss(physics: Any, window: Windows) -> jax.Array:
                parameters = {"physics": physics, "network": network}
                if world.learns:
                    how = channels, config.huber, scale, unit
                    return learned_loss(world, *how, parameters, window)
                return window_loss(world, channels, config.huber, scale, parameters, window)

            losses = jax.vmap(loss)(physics, windows)
            return jnp.sum(jnp.where(jnp.isfinite(losses) & counts, losses, 0.0)), losses

        # Physics gets one gradient per window, so that one bad window can be excluded; the
        # network's corrections pass no gradient that is not finite
        # (``network.finite_gradient``).
        count = len(windows)
        physics = jax.tree.map(
            lambda u: jnp.broadcast_to(u, (count, *u.shape)), parameters["physics"]
        )
        gradient = jax.value_and_grad(total, argnums=(0, 1), has_aux=True)
        (_, losses), (per_window, network) = gradient(physics, parameters["network"])
        finite = jnp.isfinite(losses)
        for g in per_window.values():
            finite &= jnp.isfinite(g).all(axis=1)
        return losses, finite, counts, per_window, jax.tree.map(lambda g: g[None], network)

    def advanced(state: FitState, computed: tuple) -> tuple[FitState, jax.Array, jax.Array]:
        losses, finite, counts, per_window, network = computed
        good = finite & counts
        count = jnp.maximum(good.sum(), 1)
        mean = {
            "physics": {
                name: jnp.where(good[:, None], g, 0.0).sum(0) / count
                + config.prior_weight * state.parameters["physics"][name]
                for name, g in per_window.items()
            },
            "network": jax.tree.map(lambda g: g.sum(0) / count, network),
        }
        updates, opt_state = optimiser.update(mean, state.optimiser, state.parameters)
        new = dataclasses.replace(
            state,
            parameters=optax.apply_updates(state.parameters, updates),
            optimiser=opt_state,
            nonfinite=state.nonfinite + jnp.sum(~finite & counts),
            step=state.step + 1,
        )
        return new, jnp.where(good, losses, 0.0).sum() / count, finite[: config.batch]

    @cached_jit(world, channels, config)
    def update(state: FitState, windows: Windows, counts: jax.Array) -> tuple:
        fixed = state.parameters, state.scale, state.unit
        return advanced(state, devices.over_devices(gradients)(fixed, windows, counts))

    if jax.process_count() == 1:
        return update
    compute, advance = jax.jit(devices.over_devices(gradients)), jax.jit(advanced)

    def update_together(state: FitState, windows: Windows, counts: jax.Array) -> tuple:
        computed = compute((state.parameters, state.scale, state.unit), windows, counts)
        return advance(state, devices.gathered(computed))

    return update_together


def make_optimiser(config: FitConfig) -> optax.GradientTransformation:
    """Adam at separate rates for physics and weights; standards and a frozen part do not move."""

    def adam(rate: float) -> optax.GradientTransformation:
        return optax.adam(optax.cosine_decay_schedule(rate, config.steps, 0.1))

    moves: dict[Hashable, optax.GradientTransformation] = {
        "physics": adam(config.learning_rate),
        "weights": optax.chain(
            optax.clip_by_global_norm(config.clip), adam(config.network_learning_rate)
        ),
        "spread": adam(config.network_learning_rate),
        "fixed": optax.set_to_zero(),
    }

    def label(parameters: Parameters) -> Parameters:
        physics = "fixed" if config.train == "network" else "physics"
        marked: dict[str, Any] = dict.fromkeys(parameters["network"], "fixed")
        if marked and config.train != "physics":
            parts = parameters["network"]["weights"]
            marked["weights"] = {k: "spread" if k == "spread" else "weights" for k in parts}
        return {"physics": physics, "network": marked}

    return optax.partition(moves, label)
