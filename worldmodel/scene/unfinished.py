"""Contact solves that run out of iterations, found by C MuJoCo."""

import copy
import warnings

import numpy as np

from worldmodel._mujoco import mujoco
from worldmodel.scene.errors import SceneWarning

CONVERGED = 1e-3  # of the largest acceleration: the largest remaining Newton step
_RETRY = 20  # times the iterations, for the solve that the model's own one is compared with
_STEPS = 100  # of the motion that is looked at


class Solves:
    """Tells how far the solve of a model's next step is from its optimum.

    Of RK4's four solves per step it looks at the first.
    """

    def __init__(self, model: mujoco.MjModel) -> None:
        self._model, self._patient = model, copy.copy(model)
        self._patient.opt.solver = mujoco.mjtSolver.mjSOL_NEWTON
        self._patient.opt.iterations = _RETRY * max(model.opt.iterations, 5)
        self._patient.opt.ls_iterations = max(model.opt.ls_iterations, 50)
        self._probe, self._exact = (mujoco.MjData(m) for m in (model, self._patient))
        self._size = mujoco.mj_stateSize(model, mujoco.mjtState.mjSTATE_INTEGRATION)

    def remaining(self, data: mujoco.MjData) -> float:
        """The largest remaining Newton step, of the largest acceleration (at least 1 m/s², rad/s²);
        0 where the solver stops before its last iteration, NaN where it is not finite."""
        state, at = mujoco.mjtState.mjSTATE_INTEGRATION, np.empty(self._size)
        mujoco.mj_getState(self._model, data, at, state)
        mujoco.mj_setState(self._model, self._probe, at, state)
        mujoco.mj_forward(self._model, self._probe)
        stopped = self._probe.solver_niter.max(initial=0) < self._model.opt.iterations
        if stopped and np.isfinite(self._probe.qacc).all():
            return 0.0
        mujoco.mj_setState(self._patient, self._exact, at, state)
        mujoco.mj_forward(self._patient, self._exact)
        step = np.abs(self._exact.qacc - self._probe.qacc).max(initial=0.0)
        return float(step / max(np.abs(self._exact.qacc).max(initial=0.0), 1.0))


def warn_unfinished(model: mujoco.MjModel) -> None:
    """Warns of a solver whose iterations do not suffice for the scene's first steps.

    They start from the first keyframe, or from the MJCF's own pose, under the keyframe's control.
    """
    solves, data = Solves(model), mujoco.MjData(model)
    if model.nkey:
        mujoco.mj_resetDataKeyframe(model, data, 0)
    worst, bad = 0.0, 0
    for _ in range(_STEPS):
        remaining = solves.remaining(data)
        if not np.isfinite(remaining):
            return  # the motion itself explodes, which is not the solver's doing
        worst, bad = max(worst, remaining), bad + (remaining > CONVERGED)
        mujoco.mj_step(model, data)
    if bad:
        name = "Newton" if model.opt.solver == mujoco.mjtSolver.mjSOL_NEWTON else "CG"
        warnings.warn(
            f"option solver='{name}' iterations='{model.opt.iterations}' "
            f"ls_iterations='{model.opt.ls_iterations}': {bad} of the first {_STEPS} steps end "
            f"their contact solve unfinished, up to {worst:.1%} of the acceleration away; the "
            "values are those of the broken-off solve, derivatives those of its optimum: "
            + ("raise iterations" if name == "Newton" else "use solver='Newton'"),
            SceneWarning,
            stacklevel=4,
        )
