"""Small world models with a network, and starts for them."""

import jax
import jax.numpy as jnp
import numpy as np

from worldmodel._mujoco import mujoco
from worldmodel.episodes.windows import HISTORY, History
from worldmodel.model import Network, Parameters, WorldModel, init
from worldmodel.model.ensemble import members
from worldmodel.scene import Scene, load_scene

SMALL = Network(latent=4, width=8, members=2)
OPTIONS = '<option cone="elliptic" tolerance="1e-14" iterations="50" ls_iterations="30"/>'
# A ball two millimetres inside a table, sliding and spinning about no special axis; and at rest.
INSIDE = np.array([0.3, -0.2, 0.048, 0.9, 0.1, -0.3, 0.2]) / np.r_[1, 1, 1, np.full(4, 0.95**0.5)]
MOVING = np.array([0.6, 0.3, -0.1, 1.0, -2.0, 0.5])
RESTING = np.array([0.0, 0.0, 0.0499, 1.0, 0.0, 0.0, 0.0])


def ball() -> Scene:
    """A ball on a table."""
    return load_scene(
        f"""<mujoco model="ball">{OPTIONS}<worldbody><geom type="plane" size="0 0 .1"/>
        <body name="ball" pos="0 0 .05"><freejoint name="ball"/>
        <geom type="sphere" size=".05" mass=".3"/></body></worldbody></mujoco>""",
        control_hz=100.0,
        substeps=1,
    )


def puck() -> Scene:
    """A ball that slides in a vertical plane over a table."""
    return load_scene(
        f"""<mujoco model="puck">{OPTIONS}<worldbody><geom type="plane" size="0 0 .1"/>
        <body pos="0 0 .05"><joint type="slide" axis="1 0 0"/><joint type="slide" axis="0 0 1"/>
        <geom type="sphere" size=".05" mass=".3" friction=".3 0 0"/></body></worldbody></mujoco>""",
        control_hz=100.0,
        substeps=1,
    )


def one_member(world: WorldModel) -> Parameters:
    """The first member of an untrained model."""
    return members(init(world, jax.random.key(0)))[0]


def shaken(parameters: Parameters, seed: int = 0) -> Parameters:
    """Weights moved at random, so that corrections are of order one."""
    leaves, structure = jax.tree.flatten(parameters["network"]["weights"])
    keys = jax.random.split(jax.random.key(seed), len(leaves))
    leaves = [w + 0.5 * jax.random.normal(k, w.shape) for k, w in zip(keys, leaves, strict=True)]
    weights = jax.tree.unflatten(structure, leaves)
    return parameters | {"network": parameters["network"] | {"weights": weights}}


def answering(parameters: Parameters, g: jax.Array) -> Parameters:
    """An untrained transition whose correction, before the change of frame, is g everywhere."""

    def biased(layer: dict[str, jax.Array]) -> dict[str, jax.Array]:
        last = not layer["kernel"].any()
        return layer | {"bias": jnp.broadcast_to(g, layer["bias"].shape)} if last else layer

    transition = parameters["network"]["weights"]["transition"]["params"]
    layers = {name: biased(layer) for name, layer in transition.items()}
    weights = parameters["network"]["weights"] | {"transition": {"params": layers}}
    return parameters | {"network": parameters["network"] | {"weights": weights}}


def history_of(qpos: np.ndarray, qvel: np.ndarray) -> History:
    """A robot that went evenly in a straight line."""
    return History(
        np.tile(qpos, (HISTORY, 1)),
        qvel - 0.01 * np.arange(HISTORY)[:, None],
        np.zeros((HISTORY, 0)),
        np.ones(HISTORY, bool),
        np.ones(HISTORY, bool),
    )


def turned(
    scene: Scene, joint: str, qpos: np.ndarray, qvel: np.ndarray, axis: str, angle: float
) -> tuple[np.ndarray, np.ndarray]:
    """A free body, its place and its motion turned about a world axis through its own place."""
    m = scene.mj_model
    q, v = int(m.joint(joint).qposadr[0]), int(m.joint(joint).dofadr[0])
    vector = np.eye(3)["xyz".index(axis)]
    turn, matrix = np.zeros(4), np.zeros(9)
    mujoco.mju_axisAngle2Quat(turn, vector, angle)
    mujoco.mju_quat2Mat(matrix, turn)
    qpos, qvel = qpos.copy(), qvel.copy()
    orientation = qpos[q + 3 : q + 7].copy()
    mujoco.mju_mulQuat(qpos[q + 3 : q + 7], turn, orientation)
    qvel[v : v + 3] = matrix.reshape(3, 3) @ qvel[v : v + 3]
    return qpos, qvel
