"""Cases whose gradients are compared with differences of C MuJoCo over recompiled models."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from tests.helpers import scenes
from worldmodel import physics
from worldmodel._mujoco import mujoco
from worldmodel.physics import oracle, parameters
from worldmodel.rollout import Replay, rollout
from worldmodel.scene import FreeParameter, Scene, to_mjcf

STEPS = 3

_BOX_KINDS = ["mass", "com", "inertia", "friction", "solref", "solimp"]
_BOX_KINDS += ["geom_size", "geom_pos", "geom_rotation"]
BOX_FREE = (*(FreeParameter(kind, "box") for kind in _BOX_KINDS), FreeParameter("gravity_tilt", ""))
FINGER_FREE = (
    FreeParameter("friction", "tip"),
    FreeParameter("friction_torsional", "tip"),
    FreeParameter("friction_rolling", "tip"),
    FreeParameter("damping", "shoulder"),
    FreeParameter("frictionloss", "shoulder"),
    FreeParameter("armature", "elbow"),
    FreeParameter("joint_pos", "elbow"),
    FreeParameter("joint_axis", "elbow"),
    FreeParameter("gain", "shoulder_motor"),
    FreeParameter("gain", "elbow_servo"),
    FreeParameter("com", "lower"),
    FreeParameter("mass", "upper"),
)
DRIVES_FREE = (
    FreeParameter("gain", "servo"),
    FreeParameter("kv", "servo"),
    FreeParameter("stiffness", "shoulder"),
    FreeParameter("springref", "shoulder"),
    FreeParameter("stiffness", "reach"),
    FreeParameter("springref", "reach"),
    FreeParameter("gear", "servo"),
    FreeParameter("gear", "piston"),
    FreeParameter("gear", "twist"),
    FreeParameter("time_constant", "valve"),
    FreeParameter("time_constant", "piston"),
    FreeParameter("mass", "lower"),
)
MECHANISM_FREE = (
    FreeParameter("mass", "crank"),
    FreeParameter("com", "rod"),
    FreeParameter("damping", "crank"),
    FreeParameter("joint_pos", "rod"),
    FreeParameter("frictionloss", "a"),
    FreeParameter("damping", "a"),
    FreeParameter("mass", "b"),
    FreeParameter("gain", "lift"),
    FreeParameter("inertia", "pill", (1, 1, 1, 0, 0, 0)),  # two moments are equal: one turn is dead
    FreeParameter("friction", "pill"),
    FreeParameter("friction_torsional", "pill"),
    FreeParameter("friction_rolling", "pill"),
    FreeParameter("geom_size", "pill", (1, 1, 0)),
    FreeParameter("geom_rotation", "pill"),
    FreeParameter("frictionloss", "pusher"),
    FreeParameter("joint_axis", "pusher"),
)


class Case:
    """A scene at a state, as one function of everything that can be differentiated."""

    def __init__(
        self,
        scene: Scene,
        free: tuple[FreeParameter, ...],
        qpos: np.ndarray,
        qvel: np.ndarray,
        ctrl: np.ndarray,
        steps: int = STEPS,
    ) -> None:
        self.scene, self.free, self.ctrl, self.steps = scene, free, ctrl, steps
        model = scene.mjx_model()
        if not jax.config.jax_enable_x64:  # type: ignore[attr-defined]
            # Single precision cannot converge to 1e-14.
            model = model.tree_replace({"opt.tolerance": jnp.float32(1e-8)})
        self.apply = jax.jit(functools.partial(parameters.apply, scene, model, free))
        # Not at u = 0: a gradient may be right there by symmetry alone.
        random = np.random.default_rng(0)
        self.at = {
            "parameters": {
                name: jnp.asarray(0.2 * random.normal(size=u.shape))
                for name, u in parameters.zeros(free).items()
            },
            "qpos": jnp.asarray(qpos),
            "qvel": jnp.asarray(qvel),
            "ctrl": jnp.asarray(ctrl),
        }

        def final(x: dict) -> jax.Array:
            moved = parameters.apply(scene, model, free, x["parameters"])
            state = physics.initial_state(scene, x["qpos"], x["qvel"])
            step = functools.partial(physics.control_step, scene, moved)
            controls = jnp.tile(x["ctrl"], (steps, 1))
            states, _ = rollout(
                step, Replay(controls), state, steps, jax.random.key(0), keep=(physics.SOLUTION,)
            )
            return jnp.concatenate([states.qpos[-1], states.qvel[-1]])

        self.final = final
        self.jacobian = jax.jit(jax.jacfwd(final))

    def truth(self, x: dict) -> np.ndarray:
        """The same function by C MuJoCo on a model written out and compiled anew."""
        moved = self.apply(x["parameters"])
        text = to_mjcf(self.scene.spec, moved)
        model = mujoco.MjModel.from_xml_string(text, self.scene.assets)
        controls = np.tile(np.asarray(x["ctrl"]), (self.steps, 1))
        qpos, qvel = oracle.trajectory(
            model, np.asarray(x["qpos"]), np.asarray(x["qvel"]), controls, self.scene.substeps
        )
        return np.concatenate([qpos[-1], qvel[-1]])


@functools.cache
def box_case(steps: int = STEPS, cone: str = "elliptic") -> Case:
    scene = scenes.box(cone=cone)
    return Case(scene, BOX_FREE, scenes.BOX_QPOS, scenes.BOX_QVEL, np.zeros(0), steps)


@functools.cache
def finger_case(steps: int = STEPS) -> Case:
    start = (scenes.FINGER_QPOS, scenes.FINGER_QVEL, scenes.FINGER_CTRL)
    return Case(scenes.finger(), FINGER_FREE, *start, steps)


@functools.cache
def drives_case(steps: int = STEPS) -> Case:
    start = (scenes.DRIVES_QPOS, scenes.DRIVES_QVEL, scenes.DRIVES_CTRL)
    return Case(scenes.drives(), DRIVES_FREE, *start, steps)


def compare(
    case: Case, function: Callable[[dict], np.ndarray], *epsilons: float
) -> tuple[dict, dict]:
    """(derivatives of ``case.final``, differences of ``function``): (outputs, n) per leaf; the
    median over steps of the differences, so that a solve that stalls beside one spoils nothing."""
    ours = case.jacobian(case.at)
    each = [differences(case, function, epsilon) for epsilon in epsilons or (3e-4,)]
    truth = {name: np.median([x[name] for x in each], axis=0) for name in each[0]}
    flat = ours["parameters"] | ours
    return {name: np.asarray(flat[name]) for name in truth}, truth


def differences(
    case: Case, function: Callable[[dict], np.ndarray], epsilon: float = 3e-4
) -> dict[str, np.ndarray]:
    """Of ``function`` at ``case.at``: (outputs, n) per leaf that has numbers."""

    def leaf_differences(path: tuple) -> np.ndarray:
        def at(values: np.ndarray) -> np.ndarray:
            x: dict = dict(case.at, parameters=dict(case.at["parameters"]))
            if path[0] == "parameters":
                x["parameters"][path[1]] = jnp.asarray(values)
            else:
                x[path[0]] = jnp.asarray(values)
            return function(x)

        here = case.at[path[0]] if len(path) == 1 else case.at[path[0]][path[1]]
        # Contacts are millimetres deep, positions in metres: a narrow step; all else is of size 1.
        width = 3e-6 if path[0] == "qpos" else epsilon
        return oracle.differences(at, np.asarray(here), width)

    paths = [("parameters", name) for name in case.at["parameters"]]
    paths += [(name,) for name in ("qpos", "qvel", "ctrl") if case.at[name].size]
    return {path[-1]: leaf_differences(path) for path in paths}


def assert_same(ours: np.ndarray, truth: np.ndarray, name: str, relative: float = 1e-6) -> None:
    size = np.linalg.norm(truth)
    # 5e-10 is the error of the difference itself: a C solve converged to 1e-13 over 3e-4.
    error = np.linalg.norm(ours - truth)
    assert error < relative * size + 5e-10, f"{name}: error {error:.1e} of {size:.1e}"
