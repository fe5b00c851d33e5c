"""The gate's scenes: one body on one joint, touching one fixed geom, in motion.

Every number is generic: no pose is aligned with another, no value is zero, so that no derivative
is right by symmetry alone. A pose's height is solved for a contact of ``DEPTH`` in MJX, and
a servo presses the body on, so that most contacts last over the steps of the gate.
"""

import dataclasses
import functools
import itertools
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
from scipy.optimize import root_scalar

from worldmodel import physics
from worldmodel._mujoco import mjx, mujoco
from worldmodel.errors import InputError
from worldmodel.physics import parameters
from worldmodel.scene import FreeParameter, Scene, load_scene

DEPTH = 4e-4  # [m]
SEARCHED = 0.02  # [m] above C's height, where MJX's collider may touch sooner
CLOSING = 0.01  # [m/s]
STEP_HZ = 500.0

CONES = ("pyramidal", "elliptic")
INTEGRATORS = ("Euler", "implicitfast", "RK4")
MJCF = Path(__file__).with_name("gate.xml").read_text()
_TURN = (0.9896, 0.0594, -0.0891, 0.0990)
# Positions (a free joint's are the body's pose) and velocities.
JOINTS = {
    "free": ((0.012, -0.009, 0.0, *_TURN), (0.05, 0.03, -0.004, 0.12, -0.09, 0.2)),
    "ball": (_TURN, (0.2, 0.04, 0.4)),
    "hinge": ((0.11,), (0.05,)),
    "slide": ((0.013,), (-0.01,)),
}
GROUNDS = ("plane", "hfield")  # shapes that never move
SOLIDS = ("sphere", "capsule", "ellipsoid", "cylinder", "box", "mesh")
# Euler angles [deg]; a fixed capsule is touched with its side.
FIXED: dict[str, str] = dict.fromkeys(SOLIDS, "-5 7 30")
FIXED |= {"capsule": "81 8 14", "plane": "4 -3 0", "hfield": "0 0 0"}
MOVING: dict[str, str] = dict.fromkeys(SOLIDS, "23 38 11")
MOVING |= dict.fromkeys(("capsule", "cylinder"), "77 12 98")
_RIDGE = (0.099, -0.09)  # [m] where a sphere is above an edge of the height field
# All pairs of shapes, those without a collider in MJX too: ``load_scene`` refuses them.
PAIRS = (
    *itertools.product(GROUNDS, SOLIDS),
    *itertools.combinations_with_replacement(SOLIDS, 2),
)
_PLACE = ("geom_size", "geom_pos", "geom_rotation")
_KINDS = {  # of each element, in the order of the published table
    "body": ("mass", "com", "inertia"),
    "joint": ("damping", "frictionloss", "armature", "joint_pos", "joint_axis"),
    "moving": ("friction", "friction_torsional", "friction_rolling", "solref", "solimp", *_PLACE),
    "fixed": _PLACE,
    "servo": ("gain",),
    "": ("gravity_tilt",),
}
WANTED = tuple(FreeParameter(kind, element) for element in _KINDS for kind in _KINDS[element])
# All others are away from 0, where a derivative may be right by chance; these move the contact.
_UNMOVED = (*_PLACE, "joint_pos", "joint_axis")


@dataclasses.dataclass(frozen=True)
class Row:
    """A scene of the gate: a joint, a pair of shapes, a friction cone, an integrator, a pose."""

    joint: str
    fixed: str  # the shape that does not move
    moving: str
    cone: str = "pyramidal"
    integrator: str = "Euler"
    # Or "aligned", for a free joint: the axes of both shapes are parallel; over an edge of hills.
    pose: str = "generic"

    @property
    def name(self) -> str:
        """Key of the row."""
        pose = "" if self.pose == "generic" else f" {self.pose}"
        return f"{self.joint} {self.fixed}–{self.moving} {self.cone} {self.integrator}{pose}"

    def mjcf(self, height: float) -> str:
        """Its MJCF, the body at a height [m]."""
        pose = FIXED[self.fixed] if self.pose == "aligned" else MOVING[self.moving]
        poses = {"fixed_pose": FIXED[self.fixed], "moving_pose": pose}
        return MJCF.format(**dataclasses.asdict(self), **poses, height=height)

    def qpos(self, height: float) -> np.ndarray:
        """(nq,) with the body at a height [m]."""
        qpos = np.array(JOINTS[self.joint][0])
        if self.joint == "free":
            qpos[2] = height
        if self.pose == "aligned":
            qpos[-4:] = 1.0, 0.0, 0.0, 0.0
            if self.fixed == "hfield":
                qpos[:2] = _RIDGE
        if self.joint in ("free", "ball"):
            qpos[-4:] /= np.linalg.norm(qpos[-4:])
        return qpos


@dataclasses.dataclass(frozen=True)
class Placed:
    """A row's scene in contact, and what of it can be differentiated."""

    scene: Scene
    free: tuple[FreeParameter, ...]
    refused: dict[str, str]  # kind → message, of the kinds that no element of the scene has
    at: dict[str, np.ndarray]  # qpos, qvel, ctrl, act and each parameter, float64


def place(row: Row) -> Placed:
    """The row's scene and state.

    Raises:
      SceneError: MJX cannot run it.
    """
    # Refused before it is placed.
    raised = load_scene(row.mjcf(1.0), control_hz=STEP_HZ, substeps=1)
    height_in_c = _height(functools.partial(_depth_in_c, row), 0.4)
    height = _height(_depth_in_mjx(raised, row), height_in_c + SEARCHED)
    scene = load_scene(row.mjcf(height), control_hz=STEP_HZ, substeps=1)
    free, refused = [], {}
    for parameter in WANTED:
        try:
            parameters.check(scene, (parameter,))
            free.append(parameter)
        except parameters.ParameterError as error:
            refused[parameter.kind] = str(error)
    random, at = np.random.default_rng(0), {}
    for f in free:
        drawn = random.normal(size=len(parameters.KINDS[f.kind].width))
        at[f.name] = 0.2 * drawn * (f.kind not in _UNMOVED)
    at |= {"qpos": row.qpos(height), "qvel": _sliding(row, height_in_c)}
    at |= {"ctrl": np.array([0.9, 0.7]), "act": np.array([0.4])}
    alive = {f.kind for f in free}
    refused = {kind: text for kind, text in refused.items() if kind not in alive}
    return Placed(scene, tuple(free), refused, at)


def _height(depth: Callable[[float], float], start: float) -> float:
    """Height [m] of the body at which the contact is ``DEPTH`` deep, from above.

    Args:
      depth: height → depth of the deepest contact [m], negative where nothing touches.
      start: height [m] at which nothing touches.

    Raises:
      InputError: nothing touches further down either.
    """
    high = start
    while depth(high - 1e-3) < DEPTH:
        high -= 1e-3
        if high < start - 0.6:
            raise InputError(f"nothing touches below {start} m; correct the pose")
    over = lambda height: depth(height) - DEPTH  # noqa: E731
    end = root_scalar(over, method="bisect", bracket=(high - 1e-3, high), xtol=1e-14)
    return round(end.root, 9)


def _in_c(row: Row, height: float) -> tuple[mujoco.MjModel, mujoco.MjData]:
    """The contacts of C MuJoCo, the body at a height [m]."""
    model = mujoco.MjModel.from_xml_string(row.mjcf(height))
    data = mujoco.MjData(model)
    data.qpos[:] = row.qpos(height)
    mujoco.mj_fwdPosition(model, data)
    return model, data


def _depth_in_c(row: Row, height: float) -> float:
    _, data = _in_c(row, height)
    return -float(data.contact.dist.min()) if data.ncon else -1.0


def _depth_in_mjx(scene: Scene, row: Row) -> Callable[[float], float]:
    """By MJX's own colliders: some are millimetres from those of C."""
    model, blank = scene.mjx_model(), mjx.make_data(scene.mj_model)

    @jax.jit
    def deepest(height: jax.Array, qpos: jax.Array) -> jax.Array:
        placed = model.replace(body_pos=model.body_pos.at[1, 2].set(height))
        data = mjx.fwd_position(placed, blank.replace(qpos=qpos))
        return physics.channels(scene, placed, data).distance[0]

    return lambda height: -float(deepest(height, row.qpos(height)))


def _sliding(row: Row, height: float) -> np.ndarray:
    """(nv,) the velocity nearest to the joint's own at which the deepest contact of C MuJoCo closes
    at ``CLOSING``; unchanged where a joint has one degree of freedom, which leaves no choice."""
    qvel = np.array(JOINTS[row.joint][1])
    if len(qvel) == 1:
        return qvel
    model, data = _in_c(row, height)
    deepest = data.contact[int(np.argmin(data.contact.dist))]
    jacobian = np.zeros((3, model.nv))
    moving = int(model.geom_bodyid[deepest.geom2] > 0)  # the normal points to the second geom
    mujoco.mj_jac(model, data, jacobian, None, deepest.pos, 1)
    normal = (2 * moving - 1) * deepest.frame[:3] @ jacobian
    return qvel - normal * (normal @ qvel + CLOSING) / (normal @ normal)
