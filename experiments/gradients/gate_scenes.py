"""The gate's scenes: one body on one joint, touching one fixed geom, in motion.

Every number is generic: no pose is aligned with another, no value is zero, so that no derivative
is right by symmetry alone. A pose's height is solved for a contact of ``DEPTH`` in MJX, and
a servo presses the body on, so that most contacts last over the steps of the gate.
"""

import dataclasses
import itertools
from collections.abc import Callable

import jax
import numpy as np

from worldmodel import physics
from worldmodel._mujoco import mjx, mujoco
from worldmodel.errors import InputError
from worldmodel.physics import parameters
from worldmodel.scene import FreeParameter, Scene, load_scene

JOINTS = ("free", "ball", "hinge", "slide")
CONES = ("pyramidal", "elliptic")
INTEGRATORS = ("Euler", "implicitfast", "RK4")
GROUNDS = ("plane", "hfield")  # shapes that never move
SOLIDS = ("sphere", "capsule", "ellipsoid", "cylinder", "box", "mesh")
# All pairs of shapes, those without a collider in MJX too: ``load_scene`` refuses them.
PAIRS = (
    *itertools.product(GROUNDS, SOLIDS),
    *itertools.combinations_with_replacement(SOLIDS, 2),
)
REPRESENTATIVE = ("plane", "sphere")  # of which every joint, cone and integrator is measured
DEPTH = 4e-4  # [m]
SEARCHED = 0.02  # [m] above C's height, where MJX's collider may touch sooner
CLOSING = 0.01  # [m/s]
STEP_HZ = 500.0

_ASSETS = {
    "mesh": """
    <mesh name="stone" vertex="0.05 0.01 -0.02  -0.02 0.045 -0.025  -0.03 -0.04 -0.02
                               0.035 -0.03 0.03  0.02 0.04 0.035  -0.045 0.005 0.03"/>""",
    "hfield": """
    <hfield name="hills" nrow="4" ncol="4" size="0.3 0.3 0.05 0.05"
            elevation="0.1 0.4 0.3 0.6  0.5 0.2 0.35 0.1  0.3 0.45 0.15 0.5  0.2 0.1 0.6 0.4"/>""",
}
_SHAPE = {
    "plane": 'type="plane" size="0 0 .1"',
    "hfield": 'type="hfield" hfield="hills"',
    "sphere": 'type="sphere" size=".05"',
    "capsule": 'type="capsule" size=".03 .06"',
    "ellipsoid": 'type="ellipsoid" size=".06 .045 .035"',
    "cylinder": 'type="cylinder" size=".045 .03"',
    "box": 'type="box" size=".05 .04 .03"',
    "mesh": 'type="mesh" mesh="stone"',
}
_FIXED_POSE = {  # euler angles [deg]
    "plane": "4 -3 0",
    "hfield": "0 0 0",
    **dict.fromkeys(SOLIDS, "-5 7 30"),
    "capsule": "81 8 14",  # it touches with its side
}
_MOVING_POSE = {
    **dict.fromkeys(SOLIDS, "23 38 11"),
    **dict.fromkeys(("capsule", "cylinder"), "77 12 98"),
}
# Of the joint in the moving body; and a state: positions (a free joint's are the body's pose).
_JOINT = {
    "free": 'type="free"',
    "ball": 'type="ball" pos="-.14 .05 .09"',
    "hinge": 'type="hinge" pos="-.15 .03 .07" axis="0.15 1 0.25"',
    "slide": 'type="slide" axis="0.25 0.15 1"',
}
_TURN = (0.9896, 0.0594, -0.0891, 0.0990)
_QPOS = {
    "free": (0.012, -0.009, 0.0, *_TURN),
    "ball": _TURN,
    "hinge": (0.11,),
    "slide": (0.013,),
}
_RIDGE = (0.099, -0.09)  # [m] where a sphere is above an edge of the height field
_QVEL = {
    "free": (0.05, 0.03, -0.004, 0.12, -0.09, 0.2),
    "ball": (0.2, 0.04, 0.4),
    "hinge": (0.05,),
    "slide": (-0.01,),
}

# Gears of the servo: it presses the body on the fixed geom.
_PRESSING = {
    "free": "0.5 0.3 -3 0.02 0.03 0.05",
    "ball": "0.05 0.5 0.08 0 0 0",
    "hinge": "0.5 0 0 0 0 0",
    "slide": "-3 0 0 0 0 0",
}

_MJCF = """
<mujoco model="{name}">
  <option cone="{cone}" integrator="{integrator}" tolerance="1e-14" iterations="100"
          ls_iterations="50"/>
  <asset>{assets}
  </asset>
  <worldbody>
    <geom name="fixed" {fixed} euler="{fixed_pose}" pos="0.002 0.003 -0.004"/>
    <body name="body" pos="0.012 -0.009 {height!r}">
      <joint name="joint" {joint} damping="0.04" armature="0.003" frictionloss="0.02"/>
      <inertial pos="0.004 -0.003 0.002" quat="0.98 0.1 0.1 0.1" mass="0.4"
                diaginertia="5e-4 8e-4 6e-4"/>
      <geom name="moving" {moving} euler="{moving_pose}" pos="0.003 0.002 -0.001" priority="1"
            condim="6" friction="0.4 0.01 0.004" solref="0.012 0.9"
            solimp="0.8 0.93 0.002 0.4 2"/>
    </body>
  </worldbody>
  <actuator>
    <position name="servo" joint="joint" gear="{gear}" kp="4"/>
    <muscle name="muscle" joint="joint" gear="0.3 -0.2 0.4 0.02 -0.03 0.01" force="0.6"
            lengthrange="-0.8 0.9" range="0.7 1.1"/>
  </actuator>
</mujoco>"""

_BODY = ("mass", "com", "inertia")
_GEOM = ("friction", "friction_torsional", "friction_rolling", "solref", "solimp")
_PLACE = ("geom_size", "geom_pos", "geom_rotation")
_JOINTED = ("damping", "frictionloss", "armature", "joint_pos", "joint_axis")
WANTED = (  # in the order of the published table
    *(FreeParameter(kind, "body") for kind in _BODY),
    *(FreeParameter(kind, "joint") for kind in _JOINTED),
    *(FreeParameter(kind, "moving") for kind in (*_GEOM, *_PLACE)),
    *(FreeParameter(kind, "fixed") for kind in _PLACE),
    FreeParameter("gain", "servo"),
    FreeParameter("gravity_tilt", ""),
)
# Away from 0, where a derivative may be right by chance; what moves the contact stays in place.
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


@dataclasses.dataclass(frozen=True)
class Placed:
    """A row's scene in contact, and what of it can be differentiated."""

    scene: Scene
    free: tuple[FreeParameter, ...]
    refused: dict[str, str]  # kind → message, of the kinds that no element of the scene has
    at: dict[str, np.ndarray]  # qpos, qvel, ctrl, act and each parameter, float64


def mjcf(row: Row, height: float) -> str:
    """The row's MJCF, its body at a height [m]."""
    aligned = row.pose == "aligned"
    return _MJCF.format(
        name=row.name,
        cone=row.cone,
        integrator=row.integrator,
        assets="".join(text for shape, text in _ASSETS.items() if shape in (row.fixed, row.moving)),
        fixed=_SHAPE[row.fixed],
        fixed_pose=_FIXED_POSE[row.fixed],
        moving=_SHAPE[row.moving],
        moving_pose=(_FIXED_POSE[row.fixed] if aligned else _MOVING_POSE[row.moving]),
        joint=_JOINT[row.joint],
        gear=_PRESSING[row.joint],
        height=height,
    )


def place(row: Row) -> Placed:
    """The row's scene and state.

    Raises:
      SceneError: MJX cannot run it.
    """
    # Refused before it is placed.
    raised = load_scene(mjcf(row, 1.0), control_hz=STEP_HZ, substeps=1)
    height_in_c = _height(_depth_in_c(row), 0.4)
    height = _height(_depth_in_mjx(raised, row), height_in_c + SEARCHED)
    scene = load_scene(mjcf(row, height), control_hz=STEP_HZ, substeps=1)
    free, refused = [], {}
    for parameter in WANTED:
        try:
            parameters.check(scene, (parameter,))
            free.append(parameter)
        except parameters.ParameterError as error:
            refused[parameter.kind] = str(error)
    random = np.random.default_rng(0)
    values = {}
    for f in free:
        size = len(parameters.KINDS[f.kind].width)
        values[f.name] = 0.2 * random.normal(size=size) * (f.kind not in _UNMOVED)
    qpos = _qpos(row, height)
    at = values | {
        "qpos": qpos,
        "qvel": _sliding(row, height_in_c),
        "ctrl": np.array([0.9, 0.7]),
        "act": np.array([0.4]),
    }
    alive = {f.kind for f in free}
    refused = {kind: text for kind, text in refused.items() if kind not in alive}
    return Placed(scene, tuple(free), refused, at)


def _qpos(row: Row, height: float) -> np.ndarray:
    qpos = np.array(_QPOS[row.joint])
    if row.joint == "free":
        qpos[2] = height
    if row.pose == "aligned":
        qpos[-4:] = 1.0, 0.0, 0.0, 0.0
        if row.fixed == "hfield":
            qpos[:2] = _RIDGE
    if row.joint in ("free", "ball"):
        qpos[-4:] /= np.linalg.norm(qpos[-4:])
    return qpos


def _height(depth: Callable[[float], float], start: float) -> float:
    """Height [m] of the body at which the contact is ``DEPTH`` deep: from above, then halved.

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
    low = high - 1e-3
    for _ in range(40):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if depth(middle) >= DEPTH else (low, middle)
    return round(high, 9)


def _depth_in_c(row: Row) -> Callable[[float], float]:
    model = mujoco.MjModel.from_xml_string(mjcf(row, 0.0))
    data = mujoco.MjData(model)

    def depth(height: float) -> float:
        model.body_pos[1, 2] = height
        data.qpos[:] = _qpos(row, height)
        mujoco.mj_fwdPosition(model, data)
        return -float(data.contact.dist.min()) if data.ncon else -np.inf

    return depth


def _depth_in_mjx(scene: Scene, row: Row) -> Callable[[float], float]:
    """By MJX's own colliders: some are millimetres from those of C."""
    model, blank = scene.mjx_model(), mjx.make_data(scene.mj_model)

    @jax.jit
    def deepest(height: jax.Array, qpos: jax.Array) -> jax.Array:
        placed = model.replace(body_pos=model.body_pos.at[1, 2].set(height))
        data = mjx.fwd_position(placed, blank.replace(qpos=qpos))
        return physics.channels(scene, placed, data).distance[0]

    return lambda height: -float(deepest(height, _qpos(row, height)))


def _sliding(row: Row, height: float) -> np.ndarray:
    """(nv,) the velocity nearest to the joint's own at which the deepest contact of C MuJoCo closes
    at ``CLOSING``; unchanged where a joint has one degree of freedom, which leaves no choice."""
    qvel = np.array(_QVEL[row.joint])
    if len(qvel) == 1:
        return qvel
    model = mujoco.MjModel.from_xml_string(mjcf(row, height))
    data = mujoco.MjData(model)
    data.qpos[:] = _qpos(row, height)
    mujoco.mj_fwdPosition(model, data)
    deepest = data.contact[int(np.argmin(data.contact.dist))]
    jacobian = np.zeros((3, model.nv))
    moving = int(model.geom_bodyid[deepest.geom2] > 0)  # the normal points to the second geom
    mujoco.mj_jac(model, data, jacobian, None, deepest.pos, 1)
    normal = (2 * moving - 1) * deepest.frame[:3] @ jacobian
    return qvel - normal * (normal @ qvel + CLOSING) / (normal @ normal)
