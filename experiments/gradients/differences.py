"""Central differences of a function that may have kinks."""

from collections.abc import Callable

import numpy as np

# Factors of a width, until the function is smooth within it.
NARROWER = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003)
SMOOTH = 1e-7  # relative jump of slope below which no narrower width is tried
JUMP = 1e-3  # relative jump of slope from which differences have no derivative


def slope(
    along: Callable[[float], np.ndarray], here: np.ndarray, width: float
) -> tuple[np.ndarray, np.ndarray]:
    """Fourth-order central differences, and the jump of slope at 0, each of ``here``'s shape.

    One-sided differences of a smooth function disagree in proportion to their width; what remains
    of the disagreement at zero width is a jump of slope: a kink at, or within the width of, 0.
    Of each row of ``here`` the width with the smallest jump counts.

    Args:
      along: displacement → (rows, m) outputs.
      here: (rows, m) outputs without a displacement.
      width: the widest displacement is twice it.
    """
    slopes, jumps = np.zeros_like(here), np.full_like(here, np.inf)
    for factor in NARROWER:
        h = width * factor
        near, far = (along(h), along(-h)), (along(2 * h), along(-2 * h))
        central = (8 * (near[0] - near[1]) - (far[0] - far[1])) / (12 * h)
        apart = [(near[0] - 2 * here + near[1]) / h, (far[0] - 2 * here + far[1]) / (2 * h)]
        jump = 2 * apart[0] - apart[1]
        smoother = (np.abs(jump).max(1) < np.abs(jumps).max(1))[:, None]
        slopes, jumps = np.where(smoother, central, slopes), np.where(smoother, jump, jumps)
        if (np.abs(jumps).max(1) <= SMOOTH * np.abs(slopes).max(1)).all():
            break
    return slopes, jumps
