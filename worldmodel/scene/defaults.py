"""Defaults for a bare MJCF: its substeps, and what may be fitted.

The rules are for a robot that nobody tuned; each is printed with its numbers and can be overridden.
"""

import dataclasses
import math
from collections.abc import Collection, Hashable, Sequence

import numpy as np

from worldmodel._mujoco import mujoco
from worldmodel.scene import drives
from worldmodel.scene.actuators import driven_dof, is_position_servo
from worldmodel.scene.collisions import geom_pairs, geoms_of_pairs_alone
from worldmodel.scene.free_parameter import FreeParameter
from worldmodel.scene.names import element_name, pair_names
from worldmodel.scene.scene import compile_spec


@dataclasses.dataclass(frozen=True)
class Limit:
    """Something that the timestep must resolve."""

    what: str
    seconds: float  # the longest timestep that it allows


@dataclasses.dataclass(frozen=True)
class Stepping:
    """Physics steps per control step, and what asks for them."""

    substeps: int
    timestep: float  # [s]
    limits: tuple[Limit, ...]  # the tightest first

    def __str__(self) -> str:
        tightest = self.limits[0]
        return (
            f"{self.substeps} substeps of {1e3 * self.timestep:.3g} ms: {tightest.what} asks for "
            f"at most {1e3 * tightest.seconds:.3g} ms"
        )


def stepping(model: mujoco.MjModel, control_hz: float, substeps: int | None = None) -> Stepping:
    """``substeps``, or where absent the fewest whose timestep is at most

    - the MJCF's own timestep,
    - half the time constant (``solref``) of every geom that can touch, every <pair>, which has its
      own, and every limited joint: MuJoCo stiffens no contact beyond that,
    - √(I / kp) of every position servo, I / kv of every velocity feedback that the integrator
      takes explicitly (Euler, RK4), and the time constant of every filtered actuator,

    I the inertia that the joint feels with all others free, 1 / ``dof_invweight0``.

    Args:
      model: compiled, with the MJCF's own timestep.
      control_hz: rate of the frames [1/s].
    """
    limits = [Limit("the MJCF's timestep", float(model.opt.timestep))]
    soft = [
        (f"the contact of geom '{element_name(model, 'geom', geom)}'", model.geom_solref[geom])
        for geom in sorted({*touching_geoms(model)} - geoms_of_pairs_alone(model))
    ]
    for pair in range(model.npair):
        sides = int(model.pair_geom1[pair]), int(model.pair_geom2[pair])
        soft.append((f"the contact of {pair_names(model, [sides])}", model.pair_solref[pair]))
    for joint in np.flatnonzero(model.jnt_limited).tolist():
        name = f"the limit of joint '{element_name(model, 'joint', joint)}'"
        soft.append((name, model.jnt_solref[joint]))
    # A negative number is a stiffness, which has no time constant of its own.
    limits += [Limit(name, float(solref[0]) / 2) for name, solref in soft if solref[0] > 0]
    for actuator in range(model.nu):
        limits += _drive_limits(model, actuator)
    limits.sort(key=lambda limit: limit.seconds)
    substeps = substeps or max(1, math.ceil(1.0 / (control_hz * limits[0].seconds) - 1e-9))
    return Stepping(substeps, 1.0 / (control_hz * substeps), tuple(limits))


def _drive_limits(model: mujoco.MjModel, actuator: int) -> list[Limit]:
    name, limits = f"actuator '{element_name(model, 'actuator', actuator)}'", []
    filtered = (mujoco.mjtDyn.mjDYN_FILTER, mujoco.mjtDyn.mjDYN_FILTEREXACT)
    if int(model.actuator_dyntype[actuator]) in filtered and model.actuator_dynprm[actuator, 0] > 0:
        limits.append(Limit(f"the filter of {name}", float(model.actuator_dynprm[actuator, 0])))
    dof = driven_dof(model, actuator)
    if dof is None or model.actuator_biastype[actuator] != mujoco.mjtBias.mjBIAS_AFFINE:
        return limits
    gear = float(model.actuator_gear[actuator, 0]) ** 2
    _, kp, kv = -model.actuator_biasprm[actuator, :3] * gear
    inertia = 1.0 / max(float(model.dof_invweight0[dof]), 1e-12)  # all other joints free
    if kp > 0:
        limits.append(Limit(f"the servo of {name} (kp {kp:.3g})", math.sqrt(inertia / kp)))
    explicit = (mujoco.mjtIntegrator.mjINT_EULER, mujoco.mjtIntegrator.mjINT_RK4)
    if kv > 0 and int(model.opt.integrator) in explicit:
        limits.append(Limit(f"the servo of {name} (kv {kv:.3g})", inertia / kv))
    return limits


def touching_geoms(model: mujoco.MjModel) -> list[int]:
    """Geoms that are part of a pair that may touch, in order."""
    return sorted({geom for first, second, _ in geom_pairs(model) for geom in (first, second)})


def candidates(
    model: mujoco.MjModel, touching: Collection[int] | None = None, *, with_drives: bool = False
) -> tuple[FreeParameter, ...]:
    """What a recording of a scene may identify; the data decide (``finetune.choice``).

    - of every moving body ``com`` and ``inertia`` (its principal moments), and ``mass``: but in a
      tree that no actuator drives only ratios of masses show, so its heaviest body keeps its own,
    - ``friction`` and ``solref`` of geoms that touch and belong to a moving body; geoms of one
      body, and meshes of one tree, have one factor in common where their numbers are equal. A
      contact has the larger friction of its two geoms, so a geom that does not move shares the
      friction's factor where it touches no other's. A geom that touches in a <pair> alone has
      neither: those of the contact are the pair's,
    - ``damping``, ``frictionloss`` and ``armature`` of every hinge and slide,
    - ``gain`` of every actuator and ``kv`` of every servo with velocity feedback,
    - where ``with_drives``, the drive of every actuator that can have one: its ``delay``, ``lag``,
      ``backlash``, ``stiction`` with its ``stribeck_speed``, ``no_load_speed`` (``scene.drives``),
    - of the log, not of the robot: ``joint_zero`` of every hinge and slide, ``command_zero`` of
      every position servo.

    What has no name in the MJCF is left out; ``name_elements`` names everything.

    Args:
      touching: geoms that touch in the recording; those that can touch when absent.
      with_drives: whether drives are among them; a friction loss stands for their ``coulomb``.
    """
    free: list[FreeParameter] = []
    dofs = (driven_dof(model, actuator) for actuator in range(model.nu))
    driven = {int(model.body_rootid[model.dof_bodyid[d]]) for d in dofs if d is not None}
    moves = (model.body_dofnum > 0) & (model.body_mass > 0)
    for root in np.unique(model.body_rootid[1:]).tolist():
        bodies = np.flatnonzero(moves & (model.body_rootid == root)).tolist()
        heaviest = max(bodies, key=lambda b: model.body_mass[b], default=None)
        for body in bodies:
            name = model.body(body).name
            if root in driven or body != heaviest:
                free.append(FreeParameter("mass", name))
            free.append(FreeParameter("com", name))
            if (model.body_inertia[body] > 0).all():
                free.append(FreeParameter("inertia", name, (1.0, 1.0, 1.0, 0.0, 0.0, 0.0)))
    touching = touching_geoms(model) if touching is None else sorted(touching)
    paired = geoms_of_pairs_alone(model)
    touching = [g for g in touching if g not in paired]
    moving = [g for g in touching if model.body_weldid[model.geom_bodyid[g]] != 0]
    for kind, numbers in (
        ("friction", model.geom_friction[:, :1]),
        ("solref", model.geom_solref),
    ):
        groups = _alike(model, moving, numbers)
        under = _under(model, groups, touching) if kind == "friction" else {}
        for group in groups:
            if (numbers[group[0]] > 0).all():
                name, *also = (model.geom(g).name for g in (*group, *under.get(group[0], ())))
                free.append(FreeParameter(kind, name, also=tuple(also)))
    scalar = (int(mujoco.mjtJoint.mjJNT_HINGE), int(mujoco.mjtJoint.mjJNT_SLIDE))
    for joint in np.flatnonzero(np.isin(model.jnt_type, scalar)):
        name = model.joint(joint).name
        kinds = ("damping", "frictionloss", "armature", "joint_zero")
        free += [FreeParameter(kind, name) for kind in kinds]
    for actuator in range(model.nu):
        name = model.actuator(actuator).name
        if model.actuator_gainprm[actuator, 0] > 0:
            free.append(FreeParameter("gain", name))
        if is_position_servo(model, actuator):
            if model.actuator_biasprm[actuator, 2] < 0:
                free.append(FreeParameter("kv", name))
            if driven_dof(model, actuator) is not None:
                free.append(FreeParameter("command_zero", name))
        if with_drives:
            free += [
                FreeParameter(kind, name)
                for kind in drives.COLUMNS
                if kind != "coulomb" and drives.obstacle(model, actuator, kind) is None
            ]
    return tuple(f for f in free if f.element)


def _alike(model: mujoco.MjModel, geoms: Sequence[int], numbers: np.ndarray) -> list[list[int]]:
    """Geoms by what they share: their numbers, and their body, or the tree of meshes."""
    groups: dict[Hashable, list[int]] = {}
    for g in geoms:
        mesh = bool(model.geom_type[g] == mujoco.mjtGeom.mjGEOM_MESH)
        body = model.body_rootid if mesh else model.body_weldid
        shared = mesh, int(body[model.geom_bodyid[g]]), *numbers[g].tolist()
        groups.setdefault(shared, []).append(g)
    return list(groups.values())


def _under(
    model: mujoco.MjModel, groups: Sequence[Sequence[int]], touching: Collection[int]
) -> dict[int, list[int]]:
    """Geoms that do not move, by the first geom of the only group of moving ones they touch."""
    first_of = {g: group[0] for group in groups for g in group}
    touched: dict[int, set[int]] = {}
    for a, b, _ in geom_pairs(model):
        for fixed, moving in ((a, b), (b, a)):
            if fixed in touching and fixed not in first_of and moving in first_of:
                touched.setdefault(fixed, set()).add(first_of[moving])
    under: dict[int, list[int]] = {}
    for fixed, firsts in sorted(touched.items()):
        if len(firsts) == 1:
            under.setdefault(firsts.pop(), []).append(fixed)
    return under


def name_elements(spec: mujoco.MjSpec) -> list[str]:
    """Names every body, joint, geom and actuator that has none after its index, as ``geom3`` (or
    ``geom3_`` where another has that name), so that a parameter can belong to it; compiles the
    spec. Returns the new names.

    Raises:
      SceneError: the spec does not compile.
    """
    compile_spec(spec)
    named = []
    kinds = {"body": spec.bodies, "joint": spec.joints, "geom": spec.geoms}
    for kind, elements in (kinds | {"actuator": spec.actuators}).items():
        taken = {element.name for element in elements}
        for element in elements:
            if not element.name:
                name = f"{kind}{element.id}"
                while name in taken:
                    name += "_"
                element.name = name
                taken.add(name)
                named.append(name)
    return named
