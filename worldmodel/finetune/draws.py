"""Where a fit of physics begins: at the best of values that are drawn from their prior.

Where a grip slips in reality and holds in the model, or a block lies that nothing has touched, the
derivative of a prediction leads nowhere, or by a hundredth of what it should; a draw from the prior
that slips, or that touches, is found by trying. C MuJoCo plays a draw in milliseconds.
"""

import jax.numpy as jnp
import numpy as np
from scipy.stats import norm, qmc

from worldmodel import runtime
from worldmodel.episodes.windows import Windows
from worldmodel.finetune.least_squares import IdentifyConfig, LeastSquares, deviation
from worldmodel.finetune.moved import packed, unpacked
from worldmodel.model import Parameters, WorldModel
from worldmodel.physics import parameters as physical


def best_draw(
    world: WorldModel, windows: Windows, parameters: Parameters, draws: int
) -> Parameters:
    """The parameters given, or those of the draws whose cost (``gauss_newton``) is less.

    Args:
      world: static; without a network, some of its physics free.
      windows: recorded stretches; all that is measured of them counts. Those that the parameters
        given cannot predict count for no draw, and where there are no others these stay.
      parameters: where a fit would begin.
      draws: of a Sobol sequence, which is the same in every run; 0: the parameters stay.

    Raises:
      IdentifyError, ParameterError: as ``gauss_newton.identify``.
    """
    physical.check_leaves(world.free, parameters["physics"])
    physical.check_finite(parameters["physics"])
    if draws < 1:
        return parameters
    problem = LeastSquares(world, windows, IdentifyConfig(engine="c"))
    given = packed(world, parameters["physics"])
    drawn = norm.ppf(qmc.Sobol(len(given), scramble=False).fast_forward(1).random(draws))
    starts = [problem.begin(u) for u in (given, *drawn)]
    errors = [problem.engine.errors(x.u, x.shift, windows) for x in starts]
    kept = problem.usable & np.isfinite(errors[0]).all((1, 2))
    size, counted = np.abs(errors[0]), problem.counted(kept)
    if not counted.any():  # nothing to compare with
        return parameters
    noise = np.array([deviation(size[..., v][counted[..., v]]) for v in range(size.shape[-1])])
    costs = [problem.cost(e, kept, x, noise) for e, x in zip(errors, starts, strict=True)]
    best = int(np.argmin(costs))
    if not best:
        return parameters
    runtime.log(f"begins at a draw of the prior: cost {costs[best]:.6g} of {costs[0]:.6g}")
    return {"physics": unpacked(world, jnp.asarray(starts[best].u)), "network": {}}
