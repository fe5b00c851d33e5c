"""A scene's model with its free numbers moved, as MJX's arrays and as C MuJoCo's model.

C MuJoCo's compiler reads and hulls every mesh anew: of a robot with meshes, ten times the cost of
the rollouts that a difference needs. What it derives from masses, gains, damping and the like is
what ``mj_setConst`` derives, so those are set in a copy of the compiled model; frames and sizes,
which its bounding volumes depend on, are compiled.
"""

import copy
import functools
from collections import OrderedDict
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from worldmodel._mujoco import mjx, mujoco
from worldmodel.model import WorldModel
from worldmodel.physics import parameters as physical
from worldmodel.scene import Scene, to_mjcf
from worldmodel.scene.compiled import array_names

# Fields of ``physics.kinds`` from which the compiler derives what ``mj_setConst`` derives.
SETTABLE = (
    "body_mass",
    "body_inertia",
    "geom_friction",
    "geom_solref",
    "geom_solimp",
    "dof_damping",
    "dof_frictionloss",
    "dof_armature",
    "jnt_stiffness",
    "qpos_spring",
    "actuator_gainprm",
    "actuator_biasprm",
    "actuator_forcerange",
    "actuator_gear",
    "actuator_dynprm",
)
_KEPT = 4  # compiled models


def numbers(world: WorldModel) -> list[tuple[str, int]]:
    """The unknowns: (leaf, index in it) of every free number that moves."""
    return [
        (f.name, i)
        for f in world.free
        for i, width in enumerate(np.broadcast_to(f.scale, len(physical.KINDS[f.kind].width)))
        if width != 0
    ]


def unpacked(world: WorldModel, u: jax.Array) -> physical.Parameters:
    """Numbers → named leaves; those that do not move are 0."""
    leaves = {name: jnp.zeros_like(x) for name, x in physical.zeros(world.free).items()}
    for k, (name, i) in enumerate(numbers(world)):
        leaves[name] = leaves[name].at[i].set(u[k])
    return leaves


def packed(world: WorldModel, parameters: physical.Parameters) -> np.ndarray:
    """(numbers,): the inverse of ``unpacked``."""
    return np.array([float(np.asarray(parameters[name])[i]) for name, i in numbers(world)])


@functools.lru_cache(maxsize=16)
def applied(world: WorldModel) -> Callable[[np.ndarray], mjx.Model]:
    """(numbers,) → the model with those numbers, its arrays on the host; compiled once."""
    scene, free = world.scene, world.free
    fixed, tree = jax.tree.flatten(scene.mjx_model())
    held = jax.device_get(fixed)

    @jax.jit
    def moved(u: jax.Array) -> list[jax.Array | None]:
        model = physical.apply(scene, tree.unflatten(fixed), free, unpacked(world, u))
        # Most of some hundred arrays stay, and each costs its way back to the host.
        return [
            a if a is not b else None for a, b in zip(jax.tree.leaves(model), fixed, strict=True)
        ]

    def model(u: np.ndarray) -> mjx.Model:
        arrays = jax.device_get(moved(jnp.asarray(u)))
        return tree.unflatten([b if a is None else a for a, b in zip(arrays, held, strict=True)])

    return model


def compiled(world: WorldModel) -> Callable[[np.ndarray], mujoco.MjModel]:
    """(numbers,) → C MuJoCo's model with those numbers, as its compiler makes it of the MJCF.

    The next call may overwrite it: a copy of a robot with meshes costs more than its rollouts.
    """
    scene = world.scene
    if not world.free:
        own = copy.copy(scene.mj_model)
        return lambda u: own
    moved, structure = applied(world), scene.spec.to_xml()
    settable = _settable(scene)
    compiled_of: OrderedDict[bytes, mujoco.MjModel] = OrderedDict()

    def model(u: np.ndarray) -> mujoco.MjModel:
        arrays = moved(u)
        frames = _frames(arrays)
        if not settable or frames not in compiled_of:
            text = to_mjcf(scene.spec, arrays, structure)
            compiled_of[frames] = mujoco.MjModel.from_xml_string(text, scene.assets)
            if len(compiled_of) > _KEPT:
                compiled_of.popitem(last=False)
        compiled_of.move_to_end(frames)
        out = compiled_of[frames]
        if settable:
            for name in SETTABLE:
                getattr(out, name)[:] = np.reshape(getattr(arrays, name), getattr(out, name).shape)
            out.opt.gravity[:] = arrays.opt.gravity
            _set_constants(out)
        return out

    return model


def _frames(arrays: mjx.Model) -> bytes:
    """What of a model is compiled: the fields that a kind moves and that cannot be set."""
    fields = {k.field for k in physical.KINDS.values() if k.field} | {"body_iquat"}
    return b"".join(
        np.asarray(getattr(arrays, name)).tobytes() for name in sorted(fields - set(SETTABLE))
    )


def _set_constants(model: mujoco.MjModel) -> None:
    """``mj_setConst``, but for the flags of frames that coincide: no frame has moved."""
    flags = [model.body_sameframe, model.geom_sameframe, model.site_sameframe]
    kept = [flag.copy() for flag in flags]
    mujoco.mj_setConst(model, mujoco.MjData(model))
    for flag, before in zip(flags, kept, strict=True):
        flag[:] = before


def _settable(scene: Scene) -> bool:
    """Whether ``mj_setConst`` leaves the compiled model as it is; the length ranges of muscles
    are the compiler's alone."""
    model = scene.mj_model
    again = copy.copy(model)
    _set_constants(again)
    muscles = (model.actuator_gaintype == mujoco.mjtGain.mjGAIN_MUSCLE).any()
    return not muscles and all(
        np.array_equal(getattr(model, name), getattr(again, name)) for name in array_names(model)
    )
