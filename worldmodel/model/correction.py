"""Where the network's output g enters the step: one type for each kind of correction.

- ``Displacement``: g is added to the pose that the model predicts, summed over the steps, while
  the physics goes on from its own; for scenes whose contacts are chaotic, where the next contact
  would amplify a corrected state. For predictions: a policy that measured that pose would act on
  another one, so the loop refuses it.
- ``Velocity``: g is added to the velocity after the step, which also moves the positions over it;
  for scenes where errors of velocity persist, as in sliding.
- ``Force``: diag(M at ``qpos0``)·g / dt is added to the generalised force before the contact
  solve.
"""

import abc
import dataclasses
from collections.abc import Callable
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from worldmodel.scene import Scene
from worldmodel.scene.tangent import integrate
from worldmodel.types import State

Forced = Callable[[jax.Array], State]  # the base step again, under a generalised force (nv,)


@dataclasses.dataclass(frozen=True)
class Correction(abc.ABC):
    """What all corrections share; static. g is (nv,), in the space of ``qvel``."""

    changes_state: ClassVar[bool] = True  # whether the next physics step goes on from it
    sees_push: ClassVar[bool] = True  # whether g depends on the change of velocity by the base step

    @abc.abstractmethod
    def add(self, scene: Scene, state: State, after: State, again: Forced, g: jax.Array) -> State:
        """The sum f + g: the corrected state, whose ``correction`` is the added term.

        Args:
          state: before the step.
          after: f, the base step from ``state``.
          again: the base step from ``state`` under a force.
        """

    def pose(self, scene: Scene, state: State) -> jax.Array:
        """(nq,) the positions that the model predicts in a corrected state."""
        return state.qpos

    def force(self, scene: Scene, g: jax.Array) -> jax.Array | None:
        """(nv,) the generalised force [N, N·m] of g; None where g is not a force."""
        return None

    def pose_change(self, scene: Scene) -> float:
        """How far one unit of g moves the pose within its step."""
        return 1.0 / scene.control_hz

    def unit(self, scene: Scene, residual: np.ndarray, horizon: int) -> np.ndarray:
        """(nv,) g of one standard residual of the pose over windows of ``horizon`` frames."""
        # A constant g moves the pose by g · dt · (1 + 2 + … + horizon).
        return residual * scene.control_hz * 2.0 / (horizon * (horizon + 1.0))


@dataclasses.dataclass(frozen=True)
class Displacement(Correction):
    """g moves the predicted pose [m, rad]."""

    changes_state: ClassVar[bool] = False

    def add(self, scene: Scene, state: State, after: State, again: Forced, g: jax.Array) -> State:
        return dataclasses.replace(after, correction=state.correction + g)

    def pose(self, scene: Scene, state: State) -> jax.Array:
        return integrate(scene, state.qpos, state.correction, 1.0)

    def pose_change(self, scene: Scene) -> float:
        return 1.0

    def unit(self, scene: Scene, residual: np.ndarray, horizon: int) -> np.ndarray:
        return residual / horizon  # a step's share of the window's


@dataclasses.dataclass(frozen=True)
class Velocity(Correction):
    """g is added to the velocity [m/s, rad/s]."""

    def add(self, scene: Scene, state: State, after: State, again: Forced, g: jax.Array) -> State:
        qpos = integrate(scene, after.qpos, g, 1.0 / scene.control_hz)
        return dataclasses.replace(after, qpos=qpos, qvel=after.qvel + g, correction=g)


@dataclasses.dataclass(frozen=True)
class Force(Correction):
    """diag(M at ``qpos0``)·g / dt is added to the generalised force [N, N·m]."""

    sees_push: ClassVar[bool] = False  # the base step is taken once, under the force

    def add(self, scene: Scene, state: State, after: State, again: Forced, g: jax.Array) -> State:
        return dataclasses.replace(again(self.force(scene, g)), correction=g)

    def force(self, scene: Scene, g: jax.Array) -> jax.Array:
        dt = 1.0 / scene.control_hz
        return jnp.asarray(scene.mj_model.dof_M0) * g / dt
