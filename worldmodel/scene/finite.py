"""Numbers of a compiled model that are not finite, refused by the name of their element."""

import numpy as np

from worldmodel._mujoco import mujoco
from worldmodel.scene.compiled import array_names
from worldmodel.scene.errors import SceneError
from worldmodel.scene.names import element_name

_ELEMENTS = {"jnt": "joint", "dof": "joint", "cam": "camera", "eq": "equality"}  # by prefix
_NAMED = "body joint geom site camera light mesh hfield pair equality tendon actuator sensor key"
_DERIVED = ("body_i", "body_mass", "body_subtreemass", "bvh", "light")
_REMEDY = "give it a finite number"


def refuse_nonfinite(model: mujoco.MjModel) -> None:
    """Refuses a model with a number that is NaN, or infinite where it is no limit.

    Raises:
      SceneError: the message names the element and the number.
    """
    for name in dir(model.opt):
        value = getattr(model.opt, name)
        if isinstance(value, float | np.ndarray) and not np.isfinite(value).all():
            raise SceneError(f"option {name} is {value}; {_REMEDY}")
    # A NaN in one number spreads: those that an MJCF gives come before those that follow.
    for name in sorted(array_names(model), key=_derived):
        array = getattr(model, name)
        bad = np.isnan(array) if name.endswith("range") else ~np.isfinite(array)
        if bad.any():
            row = int(np.argwhere(bad)[0][0])
            raise SceneError(f"{_owner(model, name, row)}: {name} is {array[row]}; {_REMEDY}")


def _derived(name: str) -> bool:
    return name.endswith(("0", "rbound", "aabb")) or name.startswith(_DERIVED)


def _owner(model: mujoco.MjModel, name: str, row: int) -> str:
    prefix = name.split("_")[0]
    kind = _ELEMENTS.get(prefix, prefix)
    row = int(model.dof_jntid[row]) if prefix == "dof" else row
    return f"{kind} '{element_name(model, kind, row)}'" if kind in _NAMED.split() else "the model"
