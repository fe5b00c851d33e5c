"""MJCF → ``Scene``: the compiled model, its names and its control rate; static.

A scene that MJX cannot run, or cannot differentiate, is refused here with the name of the
element and the remedy, before anything is compiled by XLA.
"""

import dataclasses
import hashlib
import re
import warnings
from pathlib import Path

import numpy as np

from worldmodel._mujoco import mjx, mujoco
from worldmodel.mjcf import to_mjcf
from worldmodel.types import InputError

ASSETS = Path(__file__).parent / "assets"  # the MJCF files that come with the package

_INERTIAL_FIELDS = (
    "body_ipos",
    "body_iquat",
    "body_inertia",
    "body_mass",
    "body_subtreemass",
    "body_invweight0",
    "dof_invweight0",
    "tendon_invweight0",
    "actuator_acc0",
)


class SceneError(InputError):
    """A broken MJCF, or a scene that MJX cannot run or differentiate."""


@dataclasses.dataclass(frozen=True, eq=False)
class Scene:
    """A compiled scene. Compared and hashed by identity, so it can be a static argument."""

    spec: mujoco.MjSpec  # its structure, compiled
    mj_model: mujoco.MjModel
    control_hz: float  # [1/s] rate of actions and states
    substeps: int  # physics steps per control step
    plain_sliders: np.ndarray  # (nbody,) bool; bodies that MuJoCo compiles as simple sliders

    @property
    def name(self) -> str:
        """The MJCF's model name."""
        return self.mj_model.names.split(b"\0", 1)[0].decode()

    @property
    def digest(self) -> str:
        """Equal for scenes that compute the same: of every number, name and rate."""
        buffer = np.zeros(mujoco.mj_sizeModel(self.mj_model), np.uint8)
        mujoco.mj_saveModel(self.mj_model, None, buffer)
        numbers = hashlib.sha256(buffer.tobytes() + self.plain_sliders.tobytes())
        return f"{numbers.hexdigest()} {self.control_hz} {self.substeps}"

    def geom_name(self, geom: int) -> str:
        """Name of a geom, or ``geom<id>`` where it has none."""
        return mujoco.mj_id2name(self.mj_model, mujoco.mjtObj.mjOBJ_GEOM, geom) or f"geom{geom}"

    def keyframe(self, name: str) -> dict[str, np.ndarray]:
        """A keyframe of the MJCF, as ``physics.initial_state`` takes it: qpos, qvel, act, time.

        A state holds no control, so the keyframe's is apart: ``keyframe_ctrl``.

        Raises:
          SceneError: no such keyframe, or one that moves a mocap body, which a state does not
            hold.
        """
        m, index = self.mj_model, self._key(name)
        bodies = np.flatnonzero(m.body_mocapid >= 0)
        for body, pos, quat in zip(
            bodies, m.key_mpos[index].reshape(-1, 3), m.key_mquat[index].reshape(-1, 4), strict=True
        ):
            if not (np.allclose(pos, m.body_pos[body]) and np.allclose(quat, m.body_quat[body])):
                mocap = mujoco.mj_id2name(m, mujoco.mjtObj.mjOBJ_BODY, body)
                raise SceneError(
                    f"keyframe '{name}' moves mocap body '{mocap}'; mocap bodies stay where the "
                    "MJCF has them: give the body that pos and quat"
                )
        return {
            "qpos": m.key_qpos[index].copy(),
            "qvel": m.key_qvel[index].copy(),
            "act": m.key_act[index].copy(),
            "time": m.key_time[index].copy(),
        }

    def keyframe_ctrl(self, name: str) -> np.ndarray:
        """(nu,) the control of a keyframe [in the actuators' units]: give it to the first
        ``physics.control_step``, or play it on, where the keyframe is a pose that it holds.

        Raises:
          SceneError: no such keyframe.
        """
        return self.mj_model.key_ctrl[self._key(name)].copy()

    def _key(self, name: str) -> int:
        m, kind = self.mj_model, mujoco.mjtObj.mjOBJ_KEY
        index = mujoco.mj_name2id(m, kind, name)
        if index < 0:
            known = [mujoco.mj_id2name(m, kind, i) for i in range(m.nkey)]
            raise SceneError(f"no keyframe '{name}'; the scene has {known}")
        return index

    @property
    def mjcf(self) -> str:
        """The scene as MJCF text, in full precision."""
        return to_mjcf(self.spec, self.mj_model)

    def mjx_model(self) -> mjx.Model:
        """The model's arrays on the default device, in JAX's default precision."""
        return mjx.put_model(self.mj_model)


def load_scene(mjcf: str | Path, *, control_hz: float, substeps: int) -> Scene:
    """Compiles an MJCF file or text; the timestep becomes 1 / (control_hz · substeps).

    Raises:
      SceneError: the MJCF does not compile, or uses what MJX or its gradient cannot do; the
        message names the element and the remedy.
    """
    return compile_scene(parse_mjcf(mjcf), control_hz=control_hz, substeps=substeps)


def parse_mjcf(mjcf: str | Path) -> mujoco.MjSpec:
    """An editable spec from an MJCF file or text.

    Raises:
      SceneError: no such file, or not an MJCF.
    """
    is_text = isinstance(mjcf, str) and mjcf.lstrip().startswith("<")
    if not is_text and not Path(mjcf).is_file():
        raise SceneError(f"no MJCF file {mjcf}; give a path, or MJCF text that starts with '<'")
    try:
        if is_text:
            return mujoco.MjSpec.from_string(str(mjcf))
        return mujoco.MjSpec.from_file(str(mjcf))
    except ValueError as error:
        raise SceneError(f"broken MJCF {'' if is_text else mjcf}: {error}") from error


def compile_scene(spec: mujoco.MjSpec, *, control_hz: float, substeps: int) -> Scene:
    """Compiles an edited spec into a ``Scene``, see ``load_scene``."""
    if not (np.isfinite(control_hz) and control_hz > 0 and substeps >= 1):
        raise SceneError(f"control_hz {control_hz} must be positive and substeps {substeps} ≥ 1")
    spec.option.timestep = 1.0 / (control_hz * substeps)
    try:
        with warnings.catch_warnings():
            # ``_refuse_singular`` says so with the joints' names.
            warnings.filterwarnings("ignore", "Inertia matrix is too close to singular")
            model, plain_sliders = _compile_general(spec)
    except ValueError as error:
        raise SceneError(f"broken MJCF: {error}") from error
    _refuse_unsupported(model)
    return Scene(spec, model, float(control_hz), int(substeps), plain_sliders)


def _compile_general(spec: mujoco.MjSpec) -> tuple[mujoco.MjModel, np.ndarray]:
    """Compiles without MuJoCo's "simple body" shortcut, every inertia explicit.

    A body whose inertial frame coincides with its own compiles as simple: the terms that couple
    translation and rotation are dropped from the mass matrix, in C and in MJX, and a centre of
    mass that moves later would silently have no effect. So the inertial frames are displaced by
    a micrometre while compiling and put back in the compiled model.
    """
    first = spec.compile()
    for body in spec.bodies:
        i = body.id
        if first.body_dofnum[i] == 0:
            continue
        body.explicitinertial = True
        body.mass, body.inertia = first.body_mass[i], first.body_inertia[i]
        body.fullinertia = np.full(6, np.nan)
        body.ipos, body.iquat = first.body_ipos[i] + 1e-6, first.body_iquat[i]
    model = spec.compile()
    for field in _INERTIAL_FIELDS:
        getattr(model, field)[:] = getattr(first, field)
    return model, first.body_simple == 2


def _refuse_unsupported(model: mujoco.MjModel) -> None:
    if model.opt.integrator == mujoco.mjtIntegrator.mjINT_IMPLICIT:
        raise SceneError(
            "option integrator='implicit' is not in MJX; use 'implicitfast', 'Euler' or 'RK4'"
        )
    if model.opt.solver == mujoco.mjtSolver.mjSOL_PGS:
        raise SceneError("option solver='PGS' is not in MJX; use solver='Newton'")
    if model.nflex:
        raise SceneError(f"flex '{_names(model, 'FLEX')[0]}' is not in MJX; use rigid bodies")
    if model.nplugin:
        raise SceneError("plugins are not in MJX; remove <extension> and its elements")
    if model.opt.noslip_iterations:
        raise SceneError(
            "option noslip_iterations is ignored by MJX; set it to 0 (friction will creep a "
            "little, as MuJoCo's soft contacts do)"
        )
    if model.opt.disableflags & int(mujoco.mjtDisableBit.mjDSBL_CONSTRAINT):
        raise SceneError(
            "flag constraint='disable' leaves contacts without rows; disable what is meant: "
            "contact, limit, frictionloss, equality"
        )
    if model.nv == 0:
        raise SceneError("nothing in this scene moves; give a body a <joint> or <freejoint>")
    _refuse_singular(model)
    try:
        mjx.put_model(model)
        mjx.make_data(model)
    except (NotImplementedError, ValueError) as error:
        raise SceneError(_explain(model, str(error))) from error


def _refuse_singular(model: mujoco.MjModel) -> None:
    """Refuses joints that can move without moving any mass, as two on one axis do: in the MJCF's
    own pose and in every keyframe."""
    data, inertia = mujoco.MjData(model), np.empty((model.nv, model.nv))
    for key in range(-1, model.nkey):
        data.qpos[:] = model.qpos0 if key < 0 else model.key_qpos[key]
        mujoco.mj_kinematics(model, data)
        mujoco.mj_comPos(model, data)
        mujoco.mj_tendon(model, data)  # its armature
        mujoco.mj_makeM(model, data)
        mujoco.mj_fullM(model, data, inertia)
        scale = np.sqrt(np.diag(inertia))
        values, directions = np.linalg.eigh(inertia / np.outer(scale, scale))
        if values[0] > 1e-10:
            continue
        dofs = np.flatnonzero(np.abs(directions[:, 0]) > 0.1)
        joints = dict.fromkeys(_names(model, "JOINT")[model.dof_jntid[dof]] for dof in dofs)
        where = "" if key < 0 else f" in keyframe '{_names(model, 'KEY')[key]}'"
        raise SceneError(
            f"the mass matrix is singular{where}: joints {', '.join(joints)} can move together "
            "without moving any mass; remove one of them, or give them armature"
        )


def _explain(model: mujoco.MjModel, message: str) -> str:
    """MJX's refusal with the names of the elements it is about."""
    if "condim=1" in message:
        frictionless = [
            n for n, d in zip(_names(model, "GEOM"), model.geom_condim, strict=True) if d == 1
        ]
        return (
            f"MJX has no condim=1 in an elliptic cone (geoms {', '.join(frictionless)}); "
            "use <option cone='pyramidal'>, or condim=3 with friction near 0"
        )
    if "margin/gap" in message:
        margins = [n for n, m in zip(_names(model, "GEOM"), model.geom_margin, strict=True) if m]
        return f"MJX has no contact margin: {message}; set margin=0 on {', '.join(margins)}"
    geom_types = re.findall(r"mjGEOM_([A-Z]+)", message)
    if geom_types:
        wanted = {int(getattr(mujoco.mjtGeom, f"mjGEOM_{t}")) for t in geom_types}
        names = _names(model, "GEOM")
        geoms = [f"'{names[i]}'" for i in range(model.ngeom) if int(model.geom_type[i]) in wanted]
        return (
            f"MJX has no collision {'–'.join(t.lower() for t in geom_types)} "
            f"(geoms {', '.join(geoms)}: {message}); replace one shape (a cylinder by a capsule "
            "or mesh), or keep the pair apart with contype/conaffinity or <exclude>"
        )
    enums = re.findall(r"<mjt(\w+)\.(mj\w+): (\d+)>", message)
    for kind, member, value in enums:
        field, obj = {
            "Bias": ("actuator_biastype", "ACTUATOR"),
            "Dyn": ("actuator_dyntype", "ACTUATOR"),
            "Gain": ("actuator_gaintype", "ACTUATOR"),
            "Trn": ("actuator_trntype", "ACTUATOR"),
            "Eq": ("eq_type", "EQUALITY"),
            "Sensor": ("sensor_type", "SENSOR"),
        }.get(kind, (None, None))
        if field is not None and obj is not None:
            ids = np.flatnonzero(getattr(model, field) == int(value))
            names = [f"'{_names(model, obj)[i]}'" for i in ids]
            return f"{obj.lower()} {', '.join(names)}: {member} is not in MJX; remove or replace it"
    return f"MJX cannot run this scene: {message}; remove or replace that feature"


def _names(model: mujoco.MjModel, kind: str) -> list[str]:
    obj = getattr(mujoco.mjtObj, f"mjOBJ_{kind}")
    count = {"GEOM": model.ngeom, "ACTUATOR": model.nu, "EQUALITY": model.neq}
    count |= {"SENSOR": model.nsensor, "FLEX": model.nflex, "JOINT": model.njnt, "KEY": model.nkey}
    return [mujoco.mj_id2name(model, obj, i) or f"{kind.lower()}{i}" for i in range(count[kind])]
