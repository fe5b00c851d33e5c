"""C MuJoCo as the reference: trajectories, and central differences over recompiled models.

Changing a field of a compiled model gives a wrong derivative: MuJoCo's compiler derives constants
and shortcuts from the fields. So the model is written out and compiled anew for every difference.
"""

import copy
from collections.abc import Callable

import numpy as np

from worldmodel._mujoco import mujoco
from worldmodel.scene.replay import Replayer, controlled


def trajectory(
    model: mujoco.MjModel,
    qpos: np.ndarray,
    qvel: np.ndarray,
    ctrl: np.ndarray,
    substeps: int,
) -> tuple[np.ndarray, np.ndarray]:
    """States after each control step, from a fresh ``MjData``.

    Args:
      model: compiled; its timestep is that of a substep.
      qpos, qvel: (nq,), (nv,) at the start.
      ctrl: (steps, nu), each held for one control step.
      substeps: physics steps per control step.

    Returns:
      (steps, nq), (steps, nv).
    """
    model = Replayer(copy.copy(model)).model
    data = mujoco.MjData(model)
    data.qpos[:], data.qvel[:] = qpos, qvel
    states = []
    for _ in controlled(model, data, ctrl, substeps):
        mujoco.mj_step(model, data)
        states.append((data.qpos.copy(), data.qvel.copy()))
    out_qpos, out_qvel = (np.stack(x)[substeps - 1 :: substeps] for x in zip(*states, strict=True))
    return out_qpos, out_qvel


def differences(
    function: Callable[[np.ndarray], np.ndarray], x: np.ndarray, epsilon: float = 3e-4
) -> np.ndarray:
    """Jacobian by central differences of fourth order.

    The order allows a wide step: a C solve is converged to about 1e-13 alone, and the difference
    divides that by the step.

    Args:
      function: (n,) → (m,); of a parameter, it writes and compiles a model.
      x: (n,) where.
      epsilon: step; the error is O(epsilon⁴) plus rounding over epsilon.

    Returns:
      (m, n).
    """
    columns = []
    for i in range(len(x)):
        step = np.zeros(len(x))
        step[i] = epsilon
        near = function(x + step) - function(x - step)
        far = function(x + 2 * step) - function(x - 2 * step)
        columns.append((8 * near - far) / (12 * epsilon))
    return np.stack(columns, axis=1)
