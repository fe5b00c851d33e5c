"""Whether the errors of a fit follow late commands: a warning, where no delay is fitted.

A log whose commands act later than it says looks like soft, heavy drives: gains and damping take
the delay up, and the error that remains does not show it against the velocity. So the delay of an
actuator's commands is estimated as one more unknown, by one Gauss-Newton step from the fit, in
which the fitted numbers follow; its derivative is the change of the prediction when the commands
come one frame later.
"""

import dataclasses

import numpy as np
from scipy.stats import t as student

from worldmodel.episodes.windows import Windows
from worldmodel.finetune.engines import make_engine
from worldmodel.finetune.gauss_newton import Identified, IdentifyConfig
from worldmodel.model import WorldModel
from worldmodel.scene.names import element_name

LATE = 0.5  # frames; a delay is warned of where its whole interval lies above
LEAST = 3  # episodes that an interval needs


@dataclasses.dataclass(frozen=True)
class Delay:
    """How much later commands act than the log says."""

    actuators: tuple[str, ...]  # one, or all whose commands change: their common delay
    seconds: float
    low: float  # [s] of its 95 % interval over episodes
    high: float
    late: bool  # whether it is certain enough to be warned of


def delays(
    world: WorldModel, identified: Identified, windows: Windows, config: IdentifyConfig
) -> tuple[Delay, ...]:
    """The delay of each actuator's commands and of all together, of the windows that a fit is of.

    To first order: a delay of several frames comes out roughly. Zeros of the log that no parameter
    takes up, and drives that are held at wrong values, move it as well.

    Args:
      world, windows, config: as ``identify`` had them.
      identified: its result.

    Returns:
      One for each actuator whose commands change and move the prediction and whose drive's delay
      is not free, and where there are several the common one last; empty below ``LEAST`` episodes.
    """
    engine = make_engine(world, config.engine, min(config.batch, len(windows)))
    kept = ~np.isin(np.arange(len(windows)), [out.window for out in identified.left_out])
    if len(np.unique(np.asarray(windows.episode)[kept])) < LEAST:
        return ()
    u, m = np.array([n.u for n in identified.numbers]), world.scene.mj_model
    error, slope = engine.slopes(u, identified.shift, windows, central=True)
    kept &= np.isfinite(slope).all((1, 2, 3))
    changing = np.ptp(_commands(windows)[kept], axis=(0, 1)) > 0
    fitted = {f.element for f in world.free if f.kind == "delay"}
    changing &= [element_name(m, "actuator", i) not in fitted for i in range(m.nu)]
    each = [np.array([actuator]) for actuator in np.flatnonzero(changing)]
    out = []
    for actuators in (*each, *([np.flatnonzero(changing)] if len(each) > 1 else [])):
        later = engine.errors(u, identified.shift, _later(windows, actuators)) - error
        usable = kept & np.isfinite(later).all((1, 2))
        if not later[usable].any():
            continue
        columns = np.concatenate([slope[..., : len(u)], later[..., None]], axis=-1)
        step, half = _last_step(error, columns, u, identified.noise, windows, usable, config.huber)
        seconds, low, high = np.array([step, step - half, step + half]) / world.scene.control_hz
        names = tuple(element_name(m, "actuator", int(i)) for i in actuators)
        out.append(Delay(names, float(seconds), float(low), float(high), step - half > LATE))
    return tuple(out)


def _commands(windows: Windows) -> np.ndarray:
    """(windows, horizon + 1, nu) from the frame before the start on."""
    past = np.asarray(windows.history.ctrl, float)[:, 1:2]
    return np.concatenate([past, np.asarray(windows.ctrl, float)], axis=1)


def _later(windows: Windows, actuators: np.ndarray) -> Windows:
    """The windows with the commands of some actuators one frame later."""
    ctrl, later = np.array(windows.ctrl, float), _commands(windows)[:, :-1]
    ctrl[..., actuators] = later[..., actuators]
    return dataclasses.replace(windows, ctrl=ctrl)


def _last_step(
    error: np.ndarray,
    slope: np.ndarray,
    u: np.ndarray,
    noise: np.ndarray,
    windows: Windows,
    usable: np.ndarray,
    huber: float,
) -> tuple[float, float]:
    """The last unknown's Gauss-Newton step, and half of its 95 % interval (the sandwich over
    episodes); the others have their prior, the last has none."""
    scored = (np.asarray(windows.scored) & usable[:, None])[..., None]
    error, slope = np.where(scored, error, 0.0), np.where(scored[..., None], slope, 0.0)
    weight = scored / np.sqrt(1.0 + np.square(error / noise / huber)) / np.square(noise)
    curvature = np.einsum("whv,whvi,whvj->wij", weight, slope, slope, optimize=True)
    gradient = np.einsum("whv,whvi,whv->wi", weight, slope, error, optimize=True)
    prior = np.append(np.ones(len(u)), 0.0)
    inverse = np.linalg.inv(curvature.sum(0) + np.diag(prior))
    step = -inverse @ (gradient.sum(0) + np.append(u, 0.0))
    after = gradient + curvature @ step
    episode = np.asarray(windows.episode)
    scores = np.stack([after[episode == e].sum(0) for e in np.unique(episode[usable])])
    count = len(scores)
    scatter = scores.T @ scores * count / (count - 1)
    deviation = np.sqrt((inverse @ scatter @ inverse)[-1, -1])
    return float(step[-1]), float(student.ppf(0.975, count - 1) * deviation)
