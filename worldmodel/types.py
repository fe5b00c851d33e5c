"""The values that pass between the rooms: frozen pytrees in SI units.

Conventions, everywhere in the package: the world frame has z up; quaternions are unit and
ordered wxyz; a free joint's ``qvel`` is its linear velocity in the world frame [m/s] followed
by its angular velocity in the body frame [rad/s], as in MuJoCo. Leading batch dimensions come
from the caller's ``vmap``; the shapes below are those of one robot.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, Protocol

import jax
import numpy as np

Array = Any  # jax.Array in a model, np.ndarray on the host
Goal = dict[str, Array]  # of one episode: flat, numbers only; ``goal.<name>`` in a data set


class Policy(Protocol):
    """What commands a robot, in a model and in reality: a pytree whose leaves are its weights, so
    that new weights never compile anything again."""

    traceable: bool  # whether ``init`` and ``act`` can be compiled; a person's cannot

    def init(self, observation: Any, key: Array) -> Any:
        """What it carries from step to step, of fixed shapes, before the first observation."""
        ...

    def act(self, carry: Any, observation: Any, key: Array) -> tuple[Array, Any]:
        """One step: the action, and what it carries on."""
        ...


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Contacts:
    """Contact channels: one fixed slot per geom pair that can touch (``physics.contact_pairs``).

    A pair with several contact points (a box on a plane has four) is one slot: its distance is
    the smallest, its force the sum.
    """

    active: jax.Array  # (pairs,) bool; whether any point of the pair is inside its margin
    distance: jax.Array  # (pairs,) [m]; smallest signed distance, negative when penetrating
    force: jax.Array  # (pairs, 3) [N]; normal, tangent 1, tangent 2 of the closest point's frame


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class State:
    """What a step carries. ``mjx.Data`` is rebuilt inside the step and never carried."""

    qpos: jax.Array  # (nq,) [m, rad, quaternion]
    qvel: jax.Array  # (nv,) [m/s, rad/s]
    act: jax.Array  # (na,) actuator activations
    time: jax.Array  # () [s]
    qacc_warmstart: jax.Array  # (nv,) [m/s², rad/s²]; start of the next contact solve
    contacts: Contacts  # of the last substep taken; all inactive in an initial state
    latent: jax.Array  # (latent,) the network's memory; (0,) without a network
    correction: jax.Array  # (nv,) its last correction (``model.correction``); (0,) without one
    variance: jax.Array  # (nv,) of the predicted pose [m², rad²], as it sees it; (0,) without one
    drive: jax.Array  # (rows, nu) past commands (``scene.drives``); NaN: not known


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Start:
    """Where an episode begins."""

    qpos: Array  # (nq,)
    qvel: Array  # (nv,)


@dataclasses.dataclass(frozen=True)
class Names:
    """What a robot reports and takes, by the MJCF's names, in order; static."""

    joints: tuple[str, ...]  # hinges and slides
    objects: tuple[str, ...]  # bodies with a free joint
    touch: tuple[tuple[str, str], ...]  # pairs of geoms
    actuators: tuple[str, ...]
    forces: tuple[tuple[str, str], ...] = ()  # pairs of geoms whose normal force is measured

    def __post_init__(self) -> None:
        # Lists become tuples: names are compared, and are part of what is compiled.
        for kind in ("joints", "objects", "actuators"):
            object.__setattr__(self, kind, tuple(getattr(self, kind)))
        for kind in ("touch", "forces"):
            object.__setattr__(self, kind, tuple(map(tuple, getattr(self, kind))))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Measurement:
    """What a robot reports at its control rate, and what a task observes of a model's state."""

    joints: Array  # (joints,) [m, rad]; NaN was not measured
    velocities: Array  # (joints,) [m/s, rad/s]: backward differences; 0 in the first frame
    objects: Array  # (objects, 7) position [m] and unit quaternion wxyz; a NaN row was not seen
    touch: Array  # (touch,) bool
    force: Array  # (forces,) [N] normal, of the last physics step; NaN was not measured
    age: Array  # (joints + objects,) [s] since each was read
    applied: Array  # (nu,) the command that acted: clipped, or a person's; NaN: not known yet
    intervention: Array  # () bool; whether it was a person's
    names: Names = dataclasses.field(metadata={"static": True})


@dataclasses.dataclass(frozen=True)
class Family:
    """Policies of few parameters: what an expert plans in, and how a person errs in it."""

    policy: Callable[[Array, Goal], Policy]  # of (parameters,) and a goal; traced, one robot
    low: np.ndarray  # (parameters,)
    high: np.ndarray  # (parameters,)
    relative: Any = 0.0  # (parameters,) standard deviation of a parameter's logarithm
    absolute: Any = 0.0  # (parameters,) standard deviation, in the parameter's unit


@dataclasses.dataclass(frozen=True)
class Trial:
    """An episode to play, in reality or in a model."""

    start: Start
    goal: Goal
    policy: Policy


@dataclasses.dataclass(frozen=True)
class Episode:
    """One recorded, deployed or generated episode, sampled at a constant rate. NumPy, float64."""

    id: int | str  # the id in its source
    time: np.ndarray  # (frames,) [s], starts at 0
    qpos: np.ndarray  # (frames, nq); hinge angles unwrapped
    qvel: np.ndarray  # (frames, nv)
    ctrl: np.ndarray  # (frames, nu); row k is held from frame k to frame k + 1
    valid: np.ndarray  # (frames,) bool; False where the reader's rule rejects the frame
    fresh: np.ndarray  # (frames,) bool; a sample was taken since the last frame: a start
    # (frames, nq) bool; None: every position. Where False the value is assumed (finite: it may
    # start a prediction, and is never scored) or unknown (NaN: neither).
    measured: np.ndarray | None = None
    contact: np.ndarray | None = None  # (frames, touch pairs) bool; None where nothing reports it
    force: np.ndarray | None = None  # (frames, force pairs) [N] normal; None: nothing reports it
    goal: Goal = dataclasses.field(default_factory=dict)  # of the task
    action: np.ndarray | None = None  # (frames, action) of the policy; the last one is repeated
    intervention: np.ndarray | None = None  # (frames,) bool: that command was a person's
    success: bool | None = None  # as the task, or the person, judged it; None: not judged
    source: str = "real"  # or the version of the world model that generated it
    late: int = 0  # control steps of a robot that took more than 1.5 periods

    @classmethod
    def regular(
        cls,
        identity: int | str,
        control_hz: float,
        *,
        qpos: np.ndarray,
        qvel: np.ndarray,
        ctrl: np.ndarray,
        **more: Any,
    ) -> "Episode":
        """An episode whose frames are all valid and fresh, ``control_hz`` [1/s] of them."""
        every = np.ones(len(qpos), bool)
        time = np.arange(len(qpos)) / control_hz
        return dataclasses.replace(cls(identity, time, qpos, qvel, ctrl, every, every), **more)
