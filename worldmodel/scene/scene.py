"""MJCF → ``Scene``: the compiled model, its names and its control rate; static.

A scene that MJX cannot run, or cannot differentiate, is refused here with the name of the
element and the remedy, before anything is compiled by XLA.
"""

import dataclasses
import functools
import hashlib
import os
import re
import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from worldmodel._mujoco import mjx, mujoco
from worldmodel.scene.compiled import compile_general
from worldmodel.scene.equivalent import simplify
from worldmodel.scene.errors import SceneError, SceneWarning
from worldmodel.scene.mjcf import to_mjcf
from worldmodel.scene.names import element_name
from worldmodel.scene.report import check_size
from worldmodel.scene.unfinished import warn_unfinished
from worldmodel.scene.unsupported import (
    refuse_unsupported,
    refuse_untraceable,
    warn_departures,
)

_KEY_SIZES = {"qpos": "nq", "qvel": "nv", "act": "na", "ctrl": "nu"}


@dataclasses.dataclass(frozen=True, eq=False)
class Scene:
    """A compiled scene; a static argument, never changed. Scenes that compute the same are equal
    (``digest``)."""

    spec: mujoco.MjSpec  # its structure, compiled: that of ``mjcf``
    mj_model: mujoco.MjModel
    control_hz: float  # [1/s] rate of actions and states
    substeps: int  # physics steps per control step
    plain_sliders: np.ndarray  # (nbody,) bool; bodies that MuJoCo compiles as simple sliders
    assets: Mapping[str, bytes]  # the files that ``mjcf`` refers to, by their names in it

    @property
    def name(self) -> str:
        """The MJCF's model name."""
        return self.mj_model.names.split(b"\0", 1)[0].decode()

    @functools.cached_property
    def digest(self) -> str:
        """Equal for scenes that compute the same: of every number, name and rate."""
        buffer = np.zeros(mujoco.mj_sizeModel(self.mj_model), np.uint8)
        mujoco.mj_saveModel(self.mj_model, None, buffer)
        numbers = hashlib.sha256(buffer.tobytes() + self.plain_sliders.tobytes())
        return f"{numbers.hexdigest()} {self.control_hz} {self.substeps}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Scene) and (self is other or self.digest == other.digest)

    def __hash__(self) -> int:
        return hash(self.digest)

    def keyframe(self, name: str) -> dict[str, np.ndarray]:
        """A keyframe of the MJCF, as ``physics.initial_state`` takes it: qpos, qvel, act, time.

        A state holds no control; ``keyframe_ctrl`` gives the keyframe's.

        Raises:
          SceneError: no such keyframe, or one that moves a mocap body, which a state does not
            hold.
        """
        m, index = self.mj_model, self._key(name)
        for body in np.flatnonzero(m.body_mocapid >= 0).tolist():
            at = m.body_mocapid[body]
            pos, quat = m.key_mpos[index, 3 * at :][:3], m.key_mquat[index, 4 * at :][:4]
            if not (np.allclose(pos, m.body_pos[body]) and np.allclose(quat, m.body_quat[body])):
                raise SceneError(
                    f"keyframe '{name}' moves mocap body '{element_name(m, 'body', body)}'; mocap "
                    "bodies stay where the MJCF has them: give the body that pos and quat"
                )
        fields = ("qpos", "qvel", "act", "time")
        return {field: getattr(m, f"key_{field}")[index].copy() for field in fields}

    def keyframe_ctrl(self, name: str) -> np.ndarray:
        """(nu,) the control of a keyframe [in the actuators' units]: for the first
        ``physics.control_step``, or for all where the control holds the keyframe's pose.

        Raises:
          SceneError: no such keyframe.
        """
        return self.mj_model.key_ctrl[self._key(name)].copy()

    def _key(self, name: str) -> int:
        try:
            return self.mj_model.key(name).id
        except KeyError as error:
            known = [self.mj_model.key(i).name for i in range(self.mj_model.nkey)]
            raise SceneError(f"no keyframe '{name}'; the scene has {known}") from error

    @property
    def mjcf(self) -> str:
        """The scene as MJCF text, in full precision; it needs ``assets``, and no other file."""
        return to_mjcf(self.spec, self.mj_model)

    def mjx_model(self) -> mjx.Model:
        """The model's arrays on the default device, in JAX's default precision."""
        return mjx.put_model(self.mj_model)


def load_scene(
    mjcf: str | Path,
    *,
    control_hz: float,
    substeps: int,
    assets: Mapping[str, bytes] | None = None,
) -> Scene:
    """Compiles an MJCF file or text; the timestep becomes 1 / (control_hz · substeps).

    What MJX does not read and acts exactly like something that it reads is replaced by that:
    the armature and damping of actuators, springs and dampers that a flag switches off. The flags
    energy and fwdinv, which change no motion, are dropped.

    Args:
      mjcf: path, or text that starts with '<'.
      control_hz: rate of actions and states [1/s].
      substeps: physics steps per control step.
      assets: contents of meshes, height fields, textures and included files, by the names that
        the MJCF has for them; others are read from the disk.

    Raises:
      SceneError: the MJCF does not compile, or uses what MJX or its gradient cannot do; the
        message names the element and the remedy.
    """
    return compile_scene(parse_mjcf(mjcf, assets), control_hz=control_hz, substeps=substeps)


def parse_mjcf(mjcf: str | Path, assets: Mapping[str, bytes] | None = None) -> mujoco.MjSpec:
    """An editable spec from an MJCF file or text; ``assets`` as in ``load_scene``.

    Raises:
      SceneError: no such file, or not an MJCF.
    """
    if not isinstance(mjcf, str | Path):
        raise SceneError(f"a {type(mjcf).__name__} is no MJCF; give a path, or its text as a str")
    is_text = isinstance(mjcf, str) and mjcf.lstrip().startswith("<")
    if not is_text and not os.path.isfile(mjcf):  # False also of a text that is no path
        raise SceneError(
            f"no MJCF file {str(mjcf)[:200]}; give a path, or MJCF text that starts with '<'"
        )
    files = dict(assets or {})
    for name, content in files.items():
        if not isinstance(content, bytes):
            raise SceneError(f"assets['{name}'] is a {type(content).__name__}; give its bytes")
    included = {k: files.pop(k) for k in list(files) if files[k].lstrip().startswith(b"<")}
    read = mujoco.MjSpec.from_string if is_text else mujoco.MjSpec.from_file
    try:
        return read(str(mjcf), include=included, assets=files)
    except ValueError as error:
        folder = Path() if is_text else Path(mjcf).parent
        raise SceneError(_broken(str(error), folder, "" if is_text else f"{mjcf}: ")) from error


def compile_scene(spec: mujoco.MjSpec, *, control_hz: float, substeps: int) -> Scene:
    """Compiles an edited spec into a ``Scene``, see ``load_scene``."""
    whole = substeps >= 1 and substeps % 1 == 0
    if not (np.isfinite(control_hz) and control_hz > 0 and whole):
        raise SceneError(
            f"control_hz {control_hz} must be positive, and substeps {substeps} a whole number ≥ 1"
        )
    timestep = 1.0 / (control_hz * substeps)
    if not (np.isfinite(timestep) and timestep > 0):
        raise SceneError(
            f"control_hz {control_hz} and substeps {substeps} give a timestep of {timestep} s; "
            "give the rate in 1/s"
        )
    spec.option.timestep = timestep
    keys = [(key.name, {n: len(getattr(key, n)) for n in _KEY_SIZES}) for key in spec.keys]
    compiled = compile_spec(spec)
    _warn_short_keyframes(compiled, keys)
    simplify(compiled)
    refuse_unsupported(compiled)
    check_size(compiled)
    refuse_untraceable(compiled)
    warn_departures(compiled)
    warn_unfinished(compiled)
    try:
        written, model, plain_sliders, files = compile_general(spec, compiled)
    except ValueError as error:
        raise SceneError(f"this MJCF cannot be written out: {error}") from error
    return Scene(written, model, float(control_hz), int(substeps), plain_sliders, files)


def compile_spec(spec: mujoco.MjSpec) -> mujoco.MjModel:
    """MuJoCo's model of a spec, at the MJCF's own timestep.

    Raises:
      SceneError: it does not compile, such as for a mesh whose file is absent.
    """
    try:
        with warnings.catch_warnings():
            # ``refuse_unsupported`` reports it with the joints' names.
            warnings.filterwarnings("ignore", "Inertia matrix is too close to singular")
            return spec.compile()
    except ValueError as error:
        raise SceneError(_broken(str(error), Path(spec.modelfiledir))) from error


def _broken(message: str, folder: Path, where: str = "") -> str:
    """MuJoCo's message; of a file that it cannot open, where that was sought and the remedy."""
    unopened = re.search(r"Error opening file '(.*?)'", message)
    if unopened is None:
        remedy = (
            "; plugins are not in MJX; remove it" if re.search("plugin .* found", message) else ""
        )
        return f"broken MJCF: {where}{message.strip()}{remedy}"
    path = (folder / unopened.group(1)).absolute()
    return (
        f"{where}there is no file {path}, which the MJCF refers to; put it there, or give its "
        f"content: assets={{'{path.name}': ...}}"
    )


def _warn_short_keyframes(model: mujoco.MjModel, keys: list[tuple[str, dict[str, int]]]) -> None:
    for index, (name, given) in enumerate(keys):
        for field, count in given.items():
            size = getattr(model, _KEY_SIZES[field])
            if 0 < count < size:
                warnings.warn(
                    f"keyframe '{name or index}' has {count} numbers of {field}, the scene {size}: "
                    f"MuJoCo fills in the rest from its initial pose; write all {size}",
                    SceneWarning,
                    stacklevel=4,
                )
