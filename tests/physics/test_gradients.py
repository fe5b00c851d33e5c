"""Gradients of every parameter class against central differences of recompiled C MuJoCo."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.helpers import scenes
from tests.helpers.gradient_cases import (
    BOX_FREE,
    DRIVES_FREE,
    FINGER_FREE,
    MECHANISM_FREE,
    Case,
    assert_same,
    box_case,
    compare,
    drives_case,
    finger_case,
)
from worldmodel.physics import kinds
from worldmodel.scene import FreeParameter


@functools.cache
def jacobians(make: str) -> tuple[dict, dict]:
    """(ours, C's) for a case, see ``compare``."""
    case = {"box": box_case, "finger": finger_case, "drives": drives_case}[make]()
    return compare(case, case.truth)


BOX_LEAVES = [f.name for f in BOX_FREE] + ["qpos", "qvel"]
FINGER_LEAVES = [f.name for f in FINGER_FREE] + ["qpos", "qvel", "ctrl"]


DRIVES_LEAVES = [f.name for f in DRIVES_FREE] + ["qpos", "qvel", "ctrl"]
LEAVES = {"box": BOX_LEAVES, "finger": FINGER_LEAVES, "drives": DRIVES_LEAVES}


@pytest.mark.parametrize(("make", "leaf"), [(m, n) for m, names in LEAVES.items() for n in names])
def test_gradient_is_that_of_recompiled_mujoco(make: str, leaf: str) -> None:
    ours, truth = jacobians(make)
    size = np.linalg.norm(truth[leaf])
    assert size > 0, f"{leaf} cannot matter in this scene: the test is void"
    assert_same(ours[leaf], truth[leaf], leaf)


@pytest.mark.parametrize("make", ["box", "finger", "drives"])
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
    """Those of drives need commands that change: tests/finetune/test_drives.py."""
    tested = {f.kind for f in BOX_FREE + FINGER_FREE + DRIVES_FREE}
    assert tested | set(kinds.DRIVES) == set(kinds.MOVING)


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
@pytest.mark.parametrize(("make", "options"), scenes.MATRIX)
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
    # MJX's solver stalls now and then at 1e-8 m/s² in an elliptic cone (its line search sees no
    # gain in the cost's last digit), C's does not: several steps tell such a solve from the rest.
    noisy = function != case.truth and options["cone"] == "elliptic"
    relative, epsilons = (1e-4, (1e-3, 2e-3, 4e-3, 8e-3, 1.6e-2)) if noisy else (1e-6, (3e-4,))
    ours, truth = compare(case, function, *epsilons)
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
