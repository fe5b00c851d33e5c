"""Gradients of every parameter class against central differences of recompiled C MuJoCo."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.helpers import scenes
from tests.physics.test_step import MATRIX
from worldmodel import physics
from worldmodel._mujoco import mujoco
from worldmodel.scene.mjcf import to_mjcf
from worldmodel.physics import oracle, parameters
from worldmodel.scene import FreeParameter

from worldmodel.rollout import replay, rollout
from worldmodel.scene import Scene

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
                step, replay(controls), state, steps, jax.random.key(0), keep=(physics.SOLUTION,)
            )
            return jnp.concatenate([states.qpos[-1], states.qvel[-1]])

        self.final = final
        self.jacobian = jax.jit(jax.jacfwd(final))

    def truth(self, x: dict) -> np.ndarray:
        """The same function by C MuJoCo on a model written out and compiled anew."""
        moved = self.apply(x["parameters"])
        model = mujoco.MjModel.from_xml_string(to_mjcf(self.scene.spec, moved))
        controls = np.tile(np.asarray(x["ctrl"]), (self.steps, 1))
        qpos, qvel = oracle.trajectory(
            model, np.asarray(x["qpos"]), np.asarray(x["qvel"]), controls, self.scene.substeps
        )
        return np.concatenate([qpos[-1], qvel[-1]])


@functools.cache
def box_case(steps: int = STEPS) -> Case:
    return Case(scenes.box(), BOX_FREE, scenes.BOX_QPOS, scenes.BOX_QVEL, np.zeros(0), steps)


@functools.cache
def finger_case(steps: int = STEPS) -> Case:
    start = (scenes.FINGER_QPOS, scenes.FINGER_QVEL, scenes.FINGER_CTRL)
    return Case(scenes.finger(), FINGER_FREE, *start, steps)


@functools.cache
def jacobians(make: str) -> tuple[dict, dict]:
    """(ours, C's) for a case, see ``compare``."""
    case = {"box": box_case, "finger": finger_case}[make]()
    return compare(case, case.truth)


def compare(
    case: Case, function: Callable[[dict], np.ndarray], epsilon: float = 3e-4
) -> tuple[dict, dict]:
    """(derivatives of ``case.final``, differences of ``function``): (outputs, n) per leaf."""
    ours, truth = case.jacobian(case.at), differences(case, function, epsilon)
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


BOX_LEAVES = [f.name for f in BOX_FREE] + ["qpos", "qvel"]
FINGER_LEAVES = [f.name for f in FINGER_FREE] + ["qpos", "qvel", "ctrl"]


@pytest.mark.parametrize(
    ("make", "leaf"), [("box", n) for n in BOX_LEAVES] + [("finger", n) for n in FINGER_LEAVES]
)
def test_gradient_is_that_of_recompiled_mujoco(make: str, leaf: str) -> None:
    ours, truth = jacobians(make)
    size = np.linalg.norm(truth[leaf])
    assert size > 0, f"{leaf} cannot matter in this scene: the test is void"
    assert_same(ours[leaf], truth[leaf], leaf)


def assert_same(ours: np.ndarray, truth: np.ndarray, name: str, relative: float = 1e-6) -> None:
    size = np.linalg.norm(truth)
    # 5e-10 is what the difference itself is worth: a C solve converged to 1e-13 over 3e-4.
    error = np.linalg.norm(ours - truth)
    assert error < relative * size + 5e-10, f"{name}: error {error:.1e} of {size:.1e}"


@pytest.mark.parametrize("make", ["box", "finger"])
def test_no_parameter_is_silently_dead(make: str) -> None:
    ours, truth = jacobians(make)
    dead = [
        f"{name}[{i}]"
        for name in ours
        for i in range(ours[name].shape[1])
        if not ours[name][:, i].any() and np.abs(truth[name][:, i]).max() > 1e-9
    ]
    assert dead == []
    void = [
        f"{name}[{i}]"
        for name in truth
        for i in range(truth[name].shape[1])
        if np.abs(truth[name][:, i]).max() < 1e-9
    ]
    assert void == [], "no motion of this scene depends on them: nothing is tested"


def test_every_kind_is_tested() -> None:
    tested = {f.kind for f in BOX_FREE + FINGER_FREE}
    assert tested == set(parameters.KINDS)


def test_reverse_mode_is_the_transpose_of_forward_mode_also_in_a_batch() -> None:
    case = finger_case()
    weights = jnp.asarray(np.random.default_rng(1).normal(size=len(case.truth(case.at))))
    other = dict(case.at, qvel=0.5 * case.at["qvel"])
    batch = jax.tree.map(lambda *x: jnp.stack(x), case.at, other)
    reverse = jax.jit(jax.vmap(jax.grad(lambda x: weights @ case.final(x))))(batch)
    for i, at in enumerate((case.at, other)):
        forward = jax.tree.map(lambda jacobian: weights @ jacobian, case.jacobian(at))
        flat, expected = (x["parameters"] | x for x in (reverse, forward))
        for name in (*case.at["parameters"], "qpos", "qvel", "ctrl"):
            np.testing.assert_allclose(
                flat[name][i], expected[name], rtol=1e-9, atol=1e-12, err_msg=name
            )


@pytest.mark.slow
@pytest.mark.parametrize(("make", "options"), MATRIX)
def test_gradients_everywhere(make: str, options: dict) -> None:
    if make == "box":
        scene = scenes.box(**options)
        case = Case(scene, BOX_FREE, scenes.BOX_QPOS, scenes.BOX_QVEL, np.zeros(0))
    else:
        scene = scenes.finger(**options)
        finger = (scenes.FINGER_QPOS, scenes.FINGER_QVEL, scenes.FINGER_CTRL)
        case = Case(scene, FINGER_FREE, *finger)
    function: Callable[[dict], np.ndarray] = case.truth
    if make == "box" and options["integrator"] == "implicitfast":
        # MuJoCo's implicitfast of a free body is another integrator (see test_step): the truth
        # is then our own forward step, which equals MJX's.
        forward = jax.jit(case.final)
        function = lambda x: np.asarray(forward(x))  # noqa: E731
    # MJX's solver stalls at 1e-8 m/s² in an elliptic cone (its line search sees no gain in the
    # cost's last digit), C's does not; differences of MJX multiply that, the less the wider.
    noisy = function != case.truth and options["cone"] == "elliptic"
    relative, epsilon = (1e-3, 2e-3) if noisy else (1e-6, 3e-4)
    ours, truth = compare(case, function, epsilon)
    least = {"friction": 3, "friction_torsional": 4, "friction_rolling": 6}
    for name in ours:
        assert_same(ours[name], truth[name], name, relative)
        live = options["condim"] >= least.get(name.split(".")[-1], 1)
        assert bool(ours[name].any()) == live, name


HELD_FREE = (
    FreeParameter("mass", "rod"),
    FreeParameter("com", "rod"),
    FreeParameter("inertia", "rod", (1, 1, 1, 0, 0, 0)),  # two moments are equal: one turn is dead
    FreeParameter("mass", "plate"),
    FreeParameter("inertia", "plate"),
    FreeParameter("gravity_tilt", ""),
)


@pytest.mark.parametrize("moving", [False, True], ids=["at rest", "in motion"])
def test_gradients_through_connect_and_weld(moving: bool) -> None:
    """In motion C MuJoCo has a velocity term that MJX lacks (``test_step``), of second order in
    the velocity: the truth is then our own step. At rest it is C on a recompiled MJCF."""
    case, forward = held_case()
    if moving:
        case.at["qvel"] = jnp.asarray(scenes.HELD_QVEL)
        ours, truth = compare(case, lambda x: np.asarray(forward(x)), 1e-3)
    else:
        case.at["qvel"] = jnp.zeros(12)
        np.testing.assert_allclose(forward(case.at), case.truth(case.at), atol=1e-10)
        ours, truth = compare(case, case.truth)
    for name in ours:
        assert_same(ours[name], truth[name], name)
        assert ours[name].any(), name


@functools.cache
def held_case() -> tuple[Case, Callable]:
    case = Case(scenes.held(), HELD_FREE, scenes.HELD_QPOS, scenes.HELD_QVEL, np.zeros(0), steps=1)
    return case, jax.jit(case.final)


@pytest.mark.slow
def test_gradients_through_tendons_equality_balls_and_activation() -> None:
    scene = scenes.mechanism()
    case = Case(
        scene,
        MECHANISM_FREE,
        scene.mj_model.qpos0,
        scenes.MECHANISM_QVEL,
        scenes.MECHANISM_CTRL,
    )
    ours, truth = compare(case, case.truth)
    for name in ours:
        assert_same(ours[name], truth[name], name)
        assert ours[name].any(), name
