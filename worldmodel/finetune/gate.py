"""What an ensemble's corrections are worth at each horizon, and how wide its forecasts must be.

Validation says both. A displacement moves only what is read out, so it is scaled per horizon, and
by nothing beyond the longest validated one. A correction that changes the state has one scale, at
which no validated horizon is worse than the physics. Where the network does not help, the hybrid
is its physics.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from worldmodel.episodes.errors import Channels, squared_errors
from worldmodel.episodes.forecasts import Forecasts, multipliers
from worldmodel.episodes.windows import WindowGrid, Windows
from worldmodel.errors import InputError
from worldmodel.model import Parameters, WorldModel
from worldmodel.model.ensemble import make_forecaster
from worldmodel.model.network import GATE_STEPS, blocks
from worldmodel.scene.tangent import difference, integrate, measured_difference, measured_dofs
from worldmodel.types import Episode

LONGER = 4  # times the fitted horizon, how far it is validated
SCALES = np.linspace(0.0, 1.0, 11)  # of a displacement
SHARES = (1.0, 0.75, 0.5, 0.25, 0.0)  # of a correction that changes the state
BATCH = 256  # windows predicted at once


def long_windows(episodes: Sequence[Episode], grid: WindowGrid) -> Windows:
    """The windows of a grid, but of up to ``LONGER`` times its horizon, as far as half of the
    episodes reach."""
    assert grid.horizon is not None
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
    world: WorldModel, parameters: Parameters, channels: Channels, validation: Windows
) -> Parameters:
    """Parameters whose ``gate``, ``widening`` and ``freedom`` are those of validation windows.

    Args:
      parameters: of a model with a network.
      validation: windows of episodes that no member was fitted to.
    """
    correction = world.correction
    assert correction is not None
    forecaster = make_forecaster(world, min(BATCH, len(validation)))

    def at(share: float) -> np.ndarray:
        gate = jnp.full(len(GATE_STEPS), share)
        network = parameters["network"] | {"gate": gate}
        return forecaster(parameters | {"network": network}, validation).mean

    off = at(0.0)
    if correction.changes_state:
        rows = {share: at(share) for share in SHARES[:-1]} | {0.0: off}
    else:
        apart = difference(world.scene, off, at(1.0))
        moved = jax.vmap(jax.vmap(lambda q, v: integrate(world.scene, q, v, 1.0)))
        rows = {s: np.asarray(moved(off, jnp.asarray(s * apart))) for s in SCALES}
    relative = {s: _relative(poses, off, validation, channels) for s, poses in rows.items()}
    gate = (_one_share if correction.changes_state else _shares)(relative)
    parameters = parameters | {"network": parameters["network"] | {"gate": jnp.asarray(gate)}}
    return _calibrated(world, parameters, validation)


def _relative(
    poses: np.ndarray, off: np.ndarray, windows: Windows, channels: Channels
) -> np.ndarray:
    """(len(GATE_STEPS),) the mean over groups of the error over that of the physics, of the frames
    from one step of the gate up to the next; NaN beyond the windows."""
    counts, episode = np.asarray(windows.scored), np.asarray(windows.episode)
    measured = None if windows.measured is None else np.asarray(windows.measured)
    frame = np.arange(1, counts.shape[1] + 1)
    out = np.full(len(GATE_STEPS), np.nan)
    errors = [
        np.sqrt(squared_errors(p, np.asarray(windows.target), channels, measured))
        for p in (poses, off)
    ]
    ends = [*GATE_STEPS[1:].tolist(), np.inf]
    for i, (begin, end) in enumerate(zip(GATE_STEPS.tolist(), ends, strict=True)):
        here = counts & (frame >= begin) & (frame < end)
        if not here.any():
            continue
        means = []
        for error in errors:
            each = [
                error[episode == e][here[episode == e]].mean(0)
                for e in np.unique(episode[here.any(1)])
            ]
            means.append(np.nanmean(each, axis=0))
        has = means[1] > 0
        out[i] = np.mean(means[0][has] / means[1][has])
    return out


def _shares(relative: dict[float, np.ndarray]) -> np.ndarray:
    """Of a displacement: at each step the best scale, never more than at an earlier one."""
    scales, table = np.array(list(relative)), np.stack(list(relative.values()))
    table = np.where(np.isfinite(table), table, np.inf)
    best = np.where(np.isfinite(table).any(0), scales[table.argmin(0)], 0.0)
    # Frame 0 has no error, and no gate may rise again.
    best[0] = best[1]
    return np.minimum.accumulate(best)


def _one_share(relative: dict[float, np.ndarray]) -> np.ndarray:
    """Of a correction that changes the state: the best of those that are nowhere worse."""
    means = {
        share: np.nanmean(row) if np.nanmax(row) <= 1.0 else np.inf
        for share, row in relative.items()
    }
    means[0.0] = 1.0
    return np.full(len(GATE_STEPS), min(means, key=lambda share: means[share]))


def _calibrated(world: WorldModel, parameters: Parameters, windows: Windows) -> Parameters:
    """Parameters whose forecasts of these windows are as wide as their errors."""
    steps, nv = len(GATE_STEPS), world.scene.mj_model.nv
    network = parameters["network"] | {
        "widening": jnp.ones((steps, nv)),
        "freedom": jnp.full((steps, nv), jnp.inf),
    }
    parameters = parameters | {"network": network}
    forecast = make_forecaster(world, min(BATCH, len(windows)))(parameters, windows)
    counts = np.broadcast_to(np.asarray(windows.scored)[..., None], forecast.deviation.shape)
    if windows.measured is not None:
        counts = counts & measured_dofs(world.scene, np.asarray(windows.measured))
    error = -measured_difference(
        world.scene, np.asarray(windows.target), forecast.mean, windows.measured
    )
    usable = counts & np.isfinite(error) & (forecast.deviation > 0)
    held_out = Forecasts(
        np.where(usable, error, 0.0),
        np.where(usable, forecast.deviation, 1.0),
        np.asarray(windows.episode),
        usable,
    )
    factor, freedom = multipliers(held_out, blocks(world.scene).tolist())
    at = np.clip(GATE_STEPS - 1, 0, len(factor) - 1)
    widths = {"widening": jnp.asarray(factor[at]), "freedom": jnp.asarray(freedom[at])}
    return parameters | {"network": network | widths}
