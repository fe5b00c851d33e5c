"""One compiled model from a spec: MuJoCo's own numbers, without its shortcuts for simple bodies."""

import warnings
import xml.etree.ElementTree as ElementTree

import numpy as np

from worldmodel._mujoco import mujoco
from worldmodel.scene import assets
from worldmodel.scene.mjcf import to_mjcf

DISPLACEMENT = 1e-6  # [m]
_SAMEFRAME = ("body_sameframe", "geom_sameframe", "site_sameframe")
_SHORTCUTS = (  # what differs without the shortcut: which terms of the mass matrix are stored
    "body_simple",
    "dof_simplenum",
    "M_rownnz",
    "M_rowadr",
    "M_colind",
    "mapM2M",
    "mapM2D",
    "mapD2M",
)


def compile_general(
    spec: mujoco.MjSpec, compiled: mujoco.MjModel
) -> tuple[mujoco.MjSpec, mujoco.MjModel, np.ndarray, dict[str, bytes]]:
    """Compiles without MuJoCo's "simple body" shortcut, every inertia explicit.

    A body whose inertial frame coincides with its own compiles as simple: the terms that couple
    translation and rotation are dropped from the mass matrix, in C and in MJX, and a centre of
    mass that moves later would silently have no effect. So the MJCF is written out with every
    number explicit, and compiled with its inertial frames displaced by a micrometre; the numbers
    of the result are those of the written MJCF as it is.

    Args:
      spec: as ``compiled`` was made from it.
      compiled: MuJoCo's own, ``equivalent.simplify`` applied.

    Returns:
      The spec of the written MJCF, compiled; its general model; (nbody,) bool, which bodies MuJoCo
      compiles as simple sliders; the files of the spec, by the names in it.

    Raises:
      InputError: a file is at hand no more.
      ValueError: the MJCF cannot be written.
    """
    root = ElementTree.fromstring(to_mjcf(spec, compiled))
    files = assets.collect(root, spec, compiled)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ``compiled`` has brought them forth
        text = ElementTree.tostring(root, encoding="unicode")
        # ``MjSpec.copy`` fails where there is an instance of a plugin.
        written, displaced = (_parsed(text, files, compiled) for _ in range(2))
        first = written.compile()
        for body, as_is in zip(displaced.bodies, written.bodies, strict=True):
            if body.explicitinertial and first.body_dofnum[as_is.id]:
                body.ipos = first.body_ipos[as_is.id] + DISPLACEMENT
        general = displaced.compile()
    for name in array_names(first):
        ours, theirs = getattr(general, name), getattr(first, name)
        if name in _SAMEFRAME:  # frames that coincide in one of the two alone do not
            ours[ours != theirs] = mujoco.mjtSameFrame.mjSAMEFRAME_NONE
        elif name not in _SHORTCUTS:
            if ours.shape != theirs.shape:
                raise ValueError(f"{name} is {theirs.shape} and {ours.shape} once written")
            ours[:] = theirs
    for name in ("meaninertia", "meanmass", "meansize", "extent", "center"):
        setattr(general.stat, name, getattr(first.stat, name))
    return written, general, first.body_simple == 2, files


def _parsed(text: str, files: dict[str, bytes], compiled: mujoco.MjModel) -> mujoco.MjSpec:
    """An MJCF's spec, replaced what ``equivalent.simplify`` has replaced in ``compiled``."""
    spec = mujoco.MjSpec.from_string(text, assets=files)
    for name in ("disableflags", "enableflags", "jacobian"):
        setattr(spec.option, name, getattr(compiled.opt, name))
    for actuator in spec.actuators:  # whose joints and tendons have them now
        actuator.armature, actuator.damping = 0.0, np.zeros_like(actuator.damping)
    return spec


def array_names(model: mujoco.MjModel) -> list[str]:
    """The names of a model's arrays."""
    names = [name for name in dir(model) if not name.startswith("_")]
    return [name for name in names if isinstance(getattr(model, name), np.ndarray)]
