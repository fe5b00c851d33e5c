"""MJCF → ``Scene``: the compiled model, its names and its control rate; static.

A scene that MJX cannot run, or cannot differentiate, is refused here with the name of the
element and the remedy, before anything is compiled by XLA.
"""

import dataclasses
import hashlib
import warnings
from pathlib import Path

import numpy as np

from worldmodel._mujoco import mjx, mujoco
from worldmodel.scene.mjcf import to_mjcf
from worldmodel.scene.report import check_size
from worldmodel.scene.unsupported import SceneError, refuse_unsupported

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

        A state holds no control; ``keyframe_ctrl`` gives the keyframe's.

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
        """(nu,) the control of a keyframe [in the actuators' units]: for the first
        ``physics.control_step``, or for all where the control holds the keyframe's pose.

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
            # ``refuse_unsupported`` reports it with the joints' names.
            warnings.filterwarnings("ignore", "Inertia matrix is too close to singular")
            model, plain_sliders = _compile_general(spec)
    except ValueError as error:
        raise SceneError(f"broken MJCF: {error}") from error
    check_size(model)
    refuse_unsupported(model)
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
