"""Ensembles: several members of one model, what they forecast together, and how far they disagree.

Each member has weights of its own, learned from its own bootstrap of the episodes, and physical
parameters drawn from what the data leave open (deep ensembles, Lakshminarayanan et al. 2017; PETS,
Chua et al. 2018). A step is that of one member; an ensemble is a loop or ``vmap`` over members.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from worldmodel.episodes.windows import History, Windows
from worldmodel.errors import InputError
from worldmodel.model import played
from worldmodel.model.network import GATE_STEPS
from worldmodel.model.simulate import predict_spread, simulate
from worldmodel.model.world import Parameters, WorldModel, start
from worldmodel.runtime.devices import over_members
from worldmodel.runtime.executables import cached_jit
from worldmodel.scene import Scene
from worldmodel.scene.tangent import displaced, motions
from worldmodel.types import State


def members(parameters: Parameters) -> list[Parameters]:
    """The parameters of each member, as ``make_step`` takes them; of a model without a network, or
    of one member, that one alone."""
    network = parameters["network"]
    if "physics" not in network:
        return [parameters]
    own = {name: network[name] for name in ("physics", "weights")}
    shared = {name: network[name] for name in ("norm", "gate")}
    count = len(jax.tree.leaves(own["weights"])[0])
    each = [jax.tree.map(lambda x, k=k: x[k], own) for k in range(count)]
    return [{"physics": m["physics"], "network": shared | {"weights": m["weights"]}} for m in each]


def joined(parameters: Parameters, each: Sequence[Parameters]) -> Parameters:
    """A model's parameters with the physics and weights of these members.

    Args:
      parameters: what they share, and the nominal physics.
    """
    own = {
        "physics": [m["physics"] for m in each],
        "weights": [m["network"]["weights"] for m in each],
    }
    stacked = {k: jax.tree.map(lambda *x: jnp.stack(x), *v) for k, v in own.items()}
    return parameters | {"network": parameters["network"] | stacked}


@dataclasses.dataclass(frozen=True)
class Forecast:
    """What an ensemble says of windows, on the host."""

    members: np.ndarray  # (members, windows, horizon, nq); NaN from where one diverges
    mean: np.ndarray  # (windows, horizon, nq) over the members that are finite
    # (windows, horizon, nv) [m, rad]: of the members and of what each leaves open, together, the
    # scale of Student's t with ``freedom``; (windows, horizon, 0) without a network
    deviation: np.ndarray
    freedom: np.ndarray  # (horizon, nv); inf: normal
    disagreement: np.ndarray  # (windows, horizon, nv) [m, rad] deviation of the members alone


@functools.lru_cache(maxsize=8)
def make_forecaster(
    world: WorldModel, batch: int, engine: str = "mjx"
) -> Callable[[Parameters, Windows], Forecast]:
    """Forecasts compiled once for batches of one size, for any number of windows and members.

    Args:
      engine: mjx, or c, which plays the physics of all windows in C MuJoCo (``model.played``).

    Returns:
      ``forecaster(parameters, windows)``; parameters of the model, or of one member. InputError
      where there is no window or no frame to predict.
    """

    @cached_jit(world)
    def run(parameters: Parameters, windows: Windows) -> tuple[jax.Array, jax.Array]:
        return jax.vmap(lambda w: predict_spread(world, parameters, w))(windows)

    def forecaster(parameters: Parameters, windows: Windows) -> Forecast:
        if 0 in windows.target.shape[:2]:
            raise InputError(f"nothing to predict in windows of shape {windows.target.shape}")
        windows = dataclasses.replace(windows, measured=None)  # one program for all windows
        each = members(parameters)
        if engine == "c":
            alone = [played.play(world, one, windows) for one in each]
            poses, variance = (np.stack(x) for x in zip(*alone, strict=True))
        else:
            shared = jax.tree.map(lambda x: np.broadcast_to(x, (len(each), *np.shape(x))), windows)
            poses, variance = over_members(run, batch, each, shared)
        return _together(world.scene, poses, variance, parameters["network"])

    return forecaster


def make_predictor(
    world: WorldModel, batch: int, engine: str = "mjx"
) -> Callable[[Parameters, Windows], np.ndarray]:
    """``predictor(parameters, windows)`` → (windows, horizon, nq): the mean of ``make_forecaster``,
    whose arguments these are."""
    forecaster = make_forecaster(world, batch, engine)
    return lambda parameters, windows: forecaster(parameters, windows).mean


def _together(
    scene: Scene, poses: np.ndarray, variance: np.ndarray, network: dict[str, Any]
) -> Forecast:
    """Members (members, windows, horizon, …) → their forecast (law of total variance)."""
    horizon, nv = poses.shape[2], scene.mj_model.nv
    mean, disagreement = mean_pose(scene, poses)
    freedom = np.full((horizon, nv), np.inf)
    if not variance.shape[-1]:
        return Forecast(poses, mean, variance[0], freedom, disagreement)
    finite = np.isfinite(variance) & np.isfinite(poses).all(-1, keepdims=True)
    own = np.where(finite, variance, 0.0).sum(0) / np.maximum(finite.sum(0), 1)
    deviation = np.sqrt(np.square(disagreement) + own)
    if "widening" in network:
        floor = along(np.asarray(network["floor"]), horizon)
        deviation = along(np.asarray(network["widening"]), horizon) * np.hypot(deviation, floor)
        with np.errstate(divide="ignore"):
            freedom = 1.0 / along(1.0 / np.asarray(network["freedom"]), horizon)
    return Forecast(poses, mean, deviation, freedom, disagreement)


def mean_pose(scene: Scene, poses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(members, windows, horizon, nq) → the mean (windows, horizon, nq) of those that are finite,
    and their deviation (windows, horizon, nv) [m, rad], NaN where fewer than two are: about the
    first such member's pose."""
    if len(poses) == 1:
        return poses[0], np.zeros((*poses.shape[1:3], scene.mj_model.nv))
    finite = np.isfinite(poses).all(-1, keepdims=True)
    reference = np.take_along_axis(poses, finite.argmax(0)[None], axis=0)[0]
    apart = np.where(finite, motions(scene, reference, poses), 0.0)
    count = finite.sum(0)
    middle = apart.sum(0) / np.maximum(count, 1)
    square = np.where(finite, np.square(apart - middle), 0.0).sum(0)
    with np.errstate(invalid="ignore", divide="ignore"):  # one member alone cannot disagree
        deviation = np.sqrt(np.where(count > 1, square / (count - 1), np.nan))
    return displaced(scene, reference, middle), deviation


def along(values: np.ndarray, horizon: int) -> np.ndarray:
    """(horizon, nv) of the frames 1 … horizon: linear in the logarithm of the frame between the
    values (len(GATE_STEPS), nv), and the last of them beyond."""
    at, knots = np.log2(np.arange(1, horizon + 1) + 1.0), np.arange(float(len(GATE_STEPS)))
    return np.stack([np.interp(at, knots, column) for column in values.T], axis=1)


@functools.lru_cache(maxsize=8)
def make_simulator(world: WorldModel, batch: int) -> Callable[..., State]:
    """``simulate`` compiled once for batches of one size, from starts without a past.

    Returns:
      ``simulator(parameters, qpos, ctrl, qvel)`` → states (episodes, frames + 1, …) as NumPy, the
      starting one first; qpos (episodes, nq), ctrl (episodes, frames, nu), qvel (episodes, nv),
      from rest when absent. Members take turns with the episodes. InputError without episodes.
    """
    nv, nu = world.scene.mj_model.nv, world.scene.mj_model.nu

    @cached_jit(world)
    def run(parameters: Parameters, qpos: jax.Array, ctrl: jax.Array, qvel: jax.Array) -> State:
        def one(qpos: jax.Array, ctrl: jax.Array, qvel: jax.Array) -> State:
            history = History.without_past(qpos, qvel, nu)
            states = simulate(world, parameters, history, ctrl)
            first = start(world, parameters, history)
            return jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), first, states)

        return jax.vmap(one)(qpos, ctrl, qvel)

    def simulator(
        parameters: Parameters,
        qpos: np.ndarray,
        ctrl: np.ndarray,
        qvel: np.ndarray | None = None,
    ) -> State:
        if not len(qpos):
            raise InputError("no episode to simulate")
        qvel = np.zeros((len(qpos), nv)) if qvel is None else qvel
        return taking_turns(run, batch, members(parameters), qpos, ctrl, qvel)

    return simulator


def taking_turns(run: Callable[..., Any], size: int, each: Sequence[Parameters], *rows: Any) -> Any:
    """``run(member, *rows)`` for pytrees of rows, which members take turns with: row i is member
    i's, modulo their number. Arguments of ``devices.over_members``, but for rows without members;
    results on the host, in the order of the rows."""
    count = len(jax.tree.leaves(rows)[0])
    each = each[: max(1, count)]
    most = -(-count // len(each))
    share = np.minimum(np.arange(most * len(each)).reshape(most, len(each)).T, count - 1)
    out = over_members(run, size, each, *jax.tree.map(lambda x: np.asarray(x)[share], rows))
    back = np.arange(count)
    return jax.tree.map(lambda x: x[back % len(each), back // len(each)], out)
