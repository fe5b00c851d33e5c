"""The physics of a window as its linearisation along a path that was played beforehand.

    x' = x̄' + A (x − x̄) + B f

x̄ is the path's state, f a generalised force beside it, A and B the derivatives of the control step
there. What a network adds to the physics is small, so a network that is fitted
in the linearisation suits the physics itself; a step of it costs two small products of matrices
instead of tens of contact solves, and compiles in seconds. ``finetune.linear_path`` makes paths.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from worldmodel.episodes.windows import History, Path
from worldmodel.model.world import Physics
from worldmodel.physics import initial_state
from worldmodel.scene import FreeParameter, Scene
from worldmodel.scene.tangent import difference, integrate
from worldmodel.types import State


@dataclasses.dataclass(frozen=True)
class LinearPath(Physics):
    """The base whose physics is that of a path: its parameters are a ``Path`` of one window."""

    def model(self, scene: Scene, free: tuple[FreeParameter, ...], parameters: Any) -> Any:
        """The path."""
        return parameters

    def start(
        self, scene: Scene, free: tuple[FreeParameter, ...], parameters: Any, history: History
    ) -> State:
        """The last recorded frame; the path has played its drives."""
        return initial_state(scene, history.qpos[0], history.qvel[0])

    def step(
        self, scene: Scene, model: Any, state: State, ctrl: jax.Array, force: jax.Array | None
    ) -> State:
        """One control step; ``ctrl`` is the path's."""
        path: Path = model
        frame, nv = jnp.round(state.time * scene.control_hz).astype(int), scene.mj_model.nv
        here = difference(scene, path.qpos[frame], state.qpos), state.qvel - path.qvel[frame]
        moved = path.carry[frame] @ jnp.concatenate(here)
        if force is not None:
            moved += path.response[frame] @ force
        return dataclasses.replace(
            state,
            qpos=integrate(scene, path.qpos[frame + 1], moved[:nv], 1.0),
            qvel=path.qvel[frame + 1] + moved[nv:],
            time=state.time + 1.0 / scene.control_hz,
        )
