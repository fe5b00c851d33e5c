"""What an ensemble's corrections are worth at each horizon, and how wide its forecasts must be.

Validation says both. A displacement moves only what is read out, so it is scaled per horizon, and
fades out beyond the longest validated one. A correction that changes the state has one scale, at
which no group of channels is worse than the physics at any validated horizon. Where the network
does not help, the hybrid is its members' physics. That lies where it was drawn if validation bears
it beside the fitted one; else about that, and then nearer and nearer to it.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from worldmodel import runtime
from worldmodel.episodes.errors import Channels, counted, over_episodes, squared_errors
from worldmodel.episodes.forecasts import Forecasts, fit_multipliers
from worldmodel.episodes.windows import WindowGrid, Windows
from worldmodel.errors import InputError
from worldmodel.model import Parameters, WorldModel, init
from worldmodel.model.ensemble import Forecast, along, make_forecaster
from worldmodel.model.network import GATE_STEPS, blocks
from worldmodel.scene import Scene
from worldmodel.scene.names import element_name
from worldmodel.scene.tangent import displaced, measured_difference, measured_dofs, motions
from worldmodel.types import Episode

LONGER = 4  # times the fitted horizon, how far it is validated
SCALES = np.linspace(0.0, 1.0, 11).tolist()  # of a displacement
UNSEEN = 1e-4  # times a scale, of frames before it
DOUBT = 1.0  # standard errors by which a displacement must gain
SHARES = (1.0, 0.75, 0.5, 0.25)  # of a correction that changes the state, besides none
# Of the members' physics: shares of their middle's distance from the fitted one, and of their own
# from their middle.
PLACES = ((1.0, 1.0), (0.0, 1.0), (0.0, 0.5), (0.0, 0.25), (0.0, 0.0))
TOLERATED = 1.03  # times the error of the fitted physics, of drawn ones in any group of channels
APART = 3.0  # the same of a member alone
EQUAL = 1.001  # times the error of the physics, up to which a group is none the worse
RESOLUTION = 1e-9  # [m, rad] of an error
BATCH = 256  # windows predicted at once
WIDTHS = ("floor", "widening", "freedom")  # of the network; see ``episodes.forecasts``


def long_windows(episodes: Sequence[Episode], grid: WindowGrid) -> Windows:
    """The windows of a grid, but of up to ``LONGER`` times its horizon, as far as half of the
    episodes reach; whole episodes are as long as they are."""
    if grid.horizon is None:
        return grid.cut(episodes)[0]
    reach = int(np.median([len(e.qpos) for e in episodes])) - 1 - grid.first
    horizon = max(grid.horizon, min(LONGER * grid.horizon, reach))
    while True:
        try:
            return WindowGrid(grid.first, grid.stride, horizon).cut(episodes)[0]
        except InputError:
            if horizon == grid.horizon:
                raise
            horizon = max(grid.horizon, horizon // 2)


def gated(
    world: WorldModel,
    parameters: Parameters,
    channels: Channels,
    validation: Windows,
    engine: str = "mjx",
) -> Parameters:
    """Parameters whose ``gate``, members' physics and widths of forecasts are those of validation
    windows.

    The gate compares the ensemble with its members' own physics. What that lost by being drawn
    shows beside the fitted physics. Where the gated ensemble errs ``TOLERATED`` times as much at
    some horizon, or a member ``APART`` times, the next of ``PLACES`` is tried: a mean of few draws
    lies to one side, so they are first shifted to have the fitted physics in their middle. A gate
    that validation bears at none of them is shut, and the places are tried again.

    Args:
      parameters: of a model with a network; their own physics is the fitted one.
      validation: windows of episodes that no member was fitted to.
      engine: that predicts them, of ``model.ensemble.make_forecaster``.
    """
    shape = f"{len(validation)} windows of {validation.target.shape[1]} frames"
    runtime.log(f"what the members are worth, and how wide they miss: validation, {shape}")
    forecaster = make_forecaster(world, min(BATCH, len(validation)), engine)
    (shift, spread), drawn, gate = _borne(world, parameters, channels, validation, forecaster)
    if shift < 1.0:
        runtime.log(
            "validation finds the members' physics worse than the fitted one, which is their "
            f"middle now; they are {spread:g} times as far from each other as they were drawn"
        )
    if not gate.any():
        runtime.log("validation finds no use in the network's corrections: their gate is shut")
    parameters = drawn | {"network": drawn["network"] | {"gate": jnp.asarray(gate)}}
    return _calibrated(world, parameters, validation, engine)


def _predicted(
    forecaster: Callable[[Parameters, Windows], Forecast],
    parameters: Parameters,
    gate: float | np.ndarray,
    windows: Windows,
) -> Forecast:
    """What the members say under a gate."""
    gates = jnp.asarray(np.broadcast_to(gate, len(GATE_STEPS)), float)
    return forecaster(parameters | {"network": parameters["network"] | {"gate": gates}}, windows)


def _placed(parameters: Parameters, shift: float, spread: float) -> Parameters:
    """Parameters whose members' physics is at one of ``PLACES``."""

    def place(own: jax.Array, fitted: jax.Array) -> jax.Array:
        return spread * own + (shift - spread) * jnp.mean(own, axis=0) + (1.0 - shift) * fitted

    physics = jax.tree.map(place, parameters["network"]["physics"], parameters["physics"])
    return parameters | {"network": parameters["network"] | {"physics": physics}}


def _borne(
    world: WorldModel,
    parameters: Parameters,
    channels: Channels,
    validation: Windows,
    forecaster: Callable[[Parameters, Windows], Forecast],
) -> tuple[tuple[float, float], Parameters, np.ndarray]:
    """The first of ``PLACES``, parameters there, and their gate, that validation bears beside the
    fitted physics; or a shut one, which at the last place is that."""
    fitted = _predicted(forecaster, _placed(parameters, 0.0, 0.0), 0.0, validation).mean
    for shut in (False, True):
        for place in PLACES:
            drawn, gate = _placed(parameters, *place), np.zeros(len(GATE_STEPS))
            if not shut:
                gate = _gate(world, drawn, channels, validation, forecaster)
            forecast = _predicted(forecaster, drawn, gate, validation)
            together, *each = (
                np.nanmax(_worst(_changes(poses, fitted, validation, channels)), initial=0.0)
                for poses in (forecast.mean, *forecast.members)
            )
            if together <= TOLERATED and max(each) <= APART:
                return place, drawn, gate
    raise AssertionError("the fitted physics is worse than itself")


def _gate(
    world: WorldModel,
    parameters: Parameters,
    channels: Channels,
    validation: Windows,
    forecaster: Callable[[Parameters, Windows], Forecast],
) -> np.ndarray:
    """(len(GATE_STEPS),) what the corrections are worth beside the members' own physics."""
    off = _predicted(forecaster, parameters, 0.0, validation).mean
    assert world.correction is not None
    if world.correction.changes_state:
        shares = {s: _predicted(forecaster, parameters, s, validation).mean for s in SHARES}
        return _one_share(
            {s: _changes(poses, off, validation, channels) for s, poses in shares.items()}
        )
    apart = motions(world.scene, off, _predicted(forecaster, parameters, 1.0, validation).mean)

    def changes(share: float | np.ndarray) -> np.ndarray:
        poses = displaced(world.scene, off, np.where(share > 0, share * apart, 0.0))
        return _changes(poses, off, validation, channels)

    def judged(share: float) -> np.ndarray:
        change = changes(share)
        return np.where(_worst(change) > EQUAL, np.inf, _relative(change, DOUBT))

    gate = _shares({s: judged(s) for s in SCALES})
    # A gate is judged as if it were constant from one of its steps to the next.
    while (worse := _worst(changes(along(gate[:, None], apart.shape[1]))) > EQUAL).any():
        at = int(np.argmax(worse))
        if at + 1 < len(gate) and gate[at] < gate[at + 1]:  # it opens later
            gate[at + 1] = gate[at]
        else:  # it closes earlier
            gate[at:] = 0.0
    return gate if gate[1:].max() > UNSEEN else np.zeros_like(gate)  # before them is no frame


def _changes(
    poses: np.ndarray, off: np.ndarray, windows: Windows, channels: Channels
) -> np.ndarray:
    """(len(GATE_STEPS), episodes, groups) by how much the error is larger than that of the physics,
    over the mean of that: of the frames from one step of the gate up to the next where the physics
    is finite; infinite where the other is not. NaN of what is not measured, and beyond the windows.
    """
    counts, episode = np.asarray(windows.scored), np.asarray(windows.episode)
    counts, target = counts & np.isfinite(off).all(-1), np.asarray(windows.target)
    diverged = counts & ~np.isfinite(poses).all(-1)
    measured = np.ones(target.shape, bool)
    if windows.measured is not None:
        measured = np.asarray(windows.measured)
    known = counts[..., None] & counted(channels, measured)
    errors = [
        np.where(known, np.sqrt(squared_errors(p, target, channels, measured)), np.nan)
        for p in (poses, off)
    ]
    episodes = np.unique(episode)
    out = np.full((len(GATE_STEPS), len(episodes), known.shape[-1]), np.nan)
    ends = [*GATE_STEPS[1:].tolist(), np.inf]
    frame = np.arange(1, counts.shape[1] + 1)
    for i, (begin, end) in enumerate(zip(GATE_STEPS.tolist(), ends, strict=True)):
        here = (frame >= begin) & (frame < end)
        if diverged[:, here].any():
            out[i] = np.inf
        elif counts[:, here].any():
            on, plain = (
                np.stack(
                    [
                        over_episodes(error[episode == e][:, here].reshape(-1, out.shape[2]))
                        for e in episodes
                    ]
                )
                for error in errors
            )
            out[i] = (on - plain) / np.maximum(over_episodes(plain), RESOLUTION)
    return out


def _worst(changes: np.ndarray) -> np.ndarray:
    """(len(GATE_STEPS),) of the group where it is largest, the error over that of the physics."""
    groups = 1.0 + over_episodes(np.moveaxis(changes, 1, 0))
    largest = np.where(np.isnan(groups), -np.inf, groups).max(axis=1)
    return np.where(np.isnan(groups).all(axis=1), np.nan, largest)


def _relative(changes: np.ndarray, doubt: float = 0.0) -> np.ndarray:
    """(len(GATE_STEPS),) the mean over groups of the error over that of the physics, and ``doubt``
    standard errors over episodes more."""
    out = np.full(len(changes), np.nan)
    for i, each in enumerate(over_episodes(np.moveaxis(changes, 2, 0))):
        each = each[~np.isnan(each)]
        if len(each):
            out[i] = 1.0 + each.mean()
        if len(each) and doubt and np.isfinite(out[i]):  # one episode says nothing of its scatter
            count = len(each)
            out[i] += doubt * each.std(ddof=1) / np.sqrt(count) if count > 1 else np.inf
    return out


def _shares(relative: dict[float, np.ndarray]) -> np.ndarray:
    """Of a displacement: at each step the best scale; nothing after the first that gains nothing,
    since what has been summed is lost there, and before the first that gains so little of the scale
    of that, that it sums unseen."""
    scales, table = np.array(list(relative)), np.stack(list(relative.values()))
    known = np.any(~np.isnan(table), axis=0)  # the start has no frame
    table = np.where(np.isfinite(table), table, np.inf).round(6)  # the smaller of equal ones
    best = np.where(np.isfinite(table).any(0), scales[table.argmin(0)], 0.0)
    if not best.any():
        return best
    first = int(np.argmax(best > 0))
    best[:first] = best[first] * (UNSEEN if known[:first].any() else 1.0)
    return np.where(np.logical_and.accumulate(best > 0), best, 0.0)


def _one_share(changes: dict[float, np.ndarray]) -> np.ndarray:
    """Of a correction that changes the state: the best of those that are nowhere worse, or none."""
    means = {0.0: 1.0}
    for share, change in changes.items():
        if np.nanmax(_worst(change), initial=-np.inf) <= EQUAL and not np.isnan(change).all():
            means[share] = round(float(np.nanmean(_relative(change))), 6)
    return np.full(len(GATE_STEPS), min(means, key=lambda share: means[share]))


def _calibrated(
    world: WorldModel, parameters: Parameters, windows: Windows, engine: str
) -> Parameters:
    """Parameters whose forecasts of these windows are as wide as their errors; those of a joint or
    body that never errs stay as they are."""
    plain = init(world, jax.random.key(0))["network"]
    widths = {name: np.array(plain[name]) for name in WIDTHS}
    parameters = parameters | {"network": parameters["network"] | widths}
    forecast = make_forecaster(world, min(BATCH, len(windows)), engine)(parameters, windows)
    counts = np.broadcast_to(np.asarray(windows.scored)[..., None], forecast.deviation.shape)
    if windows.measured is not None:
        counts = counts & measured_dofs(world.scene, np.asarray(windows.measured))
    target, measured = np.asarray(windows.target), windows.measured
    error = -measured_difference(world.scene, target, forecast.mean, measured)
    usable = counts & np.isfinite(error) & (forecast.deviation > 0)
    held = Forecasts(
        np.where(usable, error, 0.0),
        np.where(usable, forecast.deviation, 1.0),
        np.asarray(windows.episode),
        usable,
    )
    block = blocks(world.scene)
    for b in np.unique(block):
        own = np.flatnonzero(block == b)
        try:
            fitted = fit_multipliers(held.part(slice(None), own.tolist()), [0] * len(own))
        except InputError as unknown:
            runtime.log(f"the forecasts of {_named(world.scene, own)} stay: {unknown}")
            continue
        if (fitted.factor == 1.0).all():
            runtime.log(
                f"the forecasts of {_named(world.scene, own)} stay: multipliers would not help "
                "episodes that they are not fitted to, or there are too few to tell"
            )
        widths["floor"][:, own] = at_knots(fitted.floor)
        widths["widening"][:, own] = at_knots(fitted.factor)
        with np.errstate(divide="ignore"):  # as ``along`` interpolates it
            widths["freedom"][:, own] = 1.0 / at_knots(1.0 / fitted.freedom)
    widths = {name: jnp.asarray(values) for name, values in widths.items()}
    return parameters | {"network": parameters["network"] | widths}


def _named(scene: Scene, dofs: np.ndarray) -> str:
    """The joints of degrees of freedom."""
    model = scene.mj_model
    joints = dict.fromkeys(int(model.dof_jntid[dof]) for dof in dofs)
    return ", ".join(element_name(model, "joint", joint) for joint in joints)


def at_knots(values: np.ndarray) -> np.ndarray:
    """(len(GATE_STEPS), n), from which ``model.ensemble.along`` interpolates the given values.

    The frames between the last knot and the horizon are interpolated towards the first knot beyond.
    Its value is the one that suits them best (least squares, with the last value as one more frame
    there), within a factor of 2 of the last.

    Args:
      values: (horizon, n) of the frames 1 … horizon, not negative.
    """
    horizon, last = len(values), values[-1]
    out = values[np.clip(GATE_STEPS - 1, 0, horizon - 1)]
    beyond = int(np.searchsorted(GATE_STEPS, horizon, side="right"))
    if beyond < len(GATE_STEPS):
        frame = np.arange(GATE_STEPS[beyond - 1] + 1, horizon + 1)
        share = np.log2(frame + 1.0) - (beyond - 1)
        rest = values[frame - 1] - (1.0 - share)[:, None] * out[beyond - 1]
        best = (share @ rest + last) / (share @ share + 1.0)
        out[beyond:] = np.clip(best, 0.5 * last, 2.0 * last)
    return out
