"""One row of the gate measured: the gradient against differences of MJX and of recompiled C.

A *class* is one kind of parameter, or a part of the state or control. Of each class, over one step
and over many, the error is ‖g − d‖∞ / ‖d‖∞: g our Jacobian of the final positions and velocities
in all numbers of the class, d fourth-order central differences.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.gradients.gate_scenes import WANTED, Placed, Row, place
from worldmodel import physics
from worldmodel._mujoco import mjx, mujoco
from worldmodel.physics import parameters
from worldmodel.scene import SceneError, to_mjcf

STEPS = (1, 32)
DTYPES = ("float64", "float32")
REFERENCES = ("mjx", "c")
# [m, rad] and of all else: contacts are tenths of a millimetre deep, all else is of size 1.
WIDTHS, WIDE = {"qpos": 3e-6}, 3e-4
NARROWER = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003)  # factors of a width, until the function is smooth
SMOOTH = 1e-7  # relative jump of slope below which no narrower width is tried
ROUNDING = 1e-6  # of the largest entry of a Jacobian: leaves below it are zero up to rounding
STATE = {  # class → leaf and its columns
    "position": ("qpos", slice(None)),
    "velocity": ("qvel", slice(None)),
    "control": ("ctrl", slice(0, 1)),
    "muscle control": ("ctrl", slice(1, 2)),
    "activation": ("act", slice(None)),
}
CLASSES = (*STATE, *(kind for kind in parameters.KINDS if kind in {f.kind for f in WANTED}))
Leaves = dict[str, np.ndarray]
Function = Callable[[Leaves], np.ndarray]  # a point → (len(STEPS), nq + nv) states


def measure(row: Row, *, dtypes: tuple[str, ...] = DTYPES, reverse: bool = False) -> dict[str, Any]:
    """The row's errors; the process is in double precision.

    Args:
      dtypes: of our gradient; the differences are in double precision.
      reverse: whether reverse mode is compared with forward mode, over one step.

    Returns:
      JSON's types: ``refused`` (message) where the scene is refused; else ``classes``: class →
      ``refused`` (message), or per number of steps the largest entry of our Jacobian (``ours``),
      and of each reference the largest entry (``size``), jump of slope (``jump``) and error by
      precision; ``values``: MJX against C MuJoCo, relative, per number of steps; ``reverse``, see
      ``reverse_error``.
    """
    try:
        placed = place(row)
    except SceneError as error:
        return {"refused": str(error)}
    functions = {"mjx": values_of_mjx(placed), "c": values_of_c(placed)}
    unmoved = placed.at | {f.name: 0.0 * placed.at[f.name] for f in placed.free}
    ours, theirs = (function(unmoved) for function in functions.values())
    away = np.abs(ours - theirs).max(1) / np.abs(theirs).max(1)
    references = {name: differences(placed, values) for name, values in functions.items()}
    jacobians, reverse_errors = {}, {}
    for dtype in dtypes:
        with jax.enable_x64(dtype == "float64"):
            jacobians[dtype] = gradient(placed)
            if reverse:
                reverse_errors[dtype] = reverse_error(placed, jacobians[dtype])
    classes: dict[str, Any] = {}
    for name in CLASSES:
        if name in placed.refused:
            classes[name] = {"refused": placed.refused[name]}
            continue
        free = ((f.name, slice(None)) for f in placed.free if f.kind == name)
        parts = [STATE[name]] if name in STATE else [*free]
        joined = functools.partial(_joined, parts)
        classes[name] = [
            errors_of(
                {dtype: joined(g, k) for dtype, g in jacobians.items()},
                {r: (joined(d, k), joined(jump, k)) for r, (d, jump) in references.items()},
            )
            for k in range(len(STEPS))
        ]
    return {"values": [*map(_number, away)], "reverse": reverse_errors, "classes": classes}


def _joined(parts: list[tuple[str, slice]], leaves: Leaves, k: int) -> np.ndarray:
    return np.concatenate([leaves[leaf][k][:, columns] for leaf, columns in parts], 1)


def errors_of(
    ours: dict[str, np.ndarray], references: dict[str, tuple[np.ndarray, np.ndarray]]
) -> dict[str, Any]:
    """A class over one number of steps, see ``measure``.

    Args:
      ours: our Jacobian by precision.
      references: their differences and jumps of slope.
    """
    cell: dict[str, Any] = {"ours": {d: _number(np.abs(g).max()) for d, g in ours.items()}}
    for name, (truth, jumps) in references.items():
        size = np.abs(truth).max()
        errors = {d: np.abs(g - truth).max() / (size or 1.0) for d, g in ours.items()}
        every = {"size": size, "jump": np.abs(jumps).max()} | errors
        cell[name] = {key: _number(value) for key, value in every.items()}
    return cell


def _number(x: Any) -> float | None:
    """As JSON has it, of three digits; None where it is not finite."""
    return float(f"{float(x):.3g}") if np.isfinite(x) else None


def _final(placed: Placed, step: Callable, x: dict, steps: Any) -> Any:
    """(nq + nv,) the state after some steps.

    Args:
      step: ``mjx.step`` or ``physics.step``.
      steps: may be traced, one compilation for every number; None is one step without a loop, which
        reverse mode takes.
    """
    scene, model = placed.scene, placed.scene.mjx_model()
    if not jax.config.jax_enable_x64:  # type: ignore[attr-defined]
        # Single precision does not converge further.
        model = model.tree_replace({"opt.tolerance": jnp.float32(1e-8)})
    model = parameters.apply(scene, model, placed.free, {f.name: x[f.name] for f in placed.free})
    blank = mjx.make_data(scene.mj_model).replace(ctrl=x["ctrl"])

    def once(_: Any, carry: tuple) -> tuple:
        qpos, qvel, act, warmstart = carry
        data = blank.replace(qpos=qpos, qvel=qvel, act=act, qacc_warmstart=warmstart)
        data = step(model, data)
        return data.qpos, data.qvel, data.act, jax.lax.stop_gradient(data.qacc_warmstart)

    start = x["qpos"], x["qvel"], x["act"], jnp.zeros_like(x["qvel"])
    end = once(0, start) if steps is None else jax.lax.fori_loop(0, steps, once, start)
    return jnp.concatenate(end[:2])


def gradient(placed: Placed) -> Leaves:
    """Leaf → (len(STEPS), nq + nv, n) our Jacobian, by forward mode in JAX's precision."""
    jacobian = jax.jit(jax.jacfwd(functools.partial(_final, placed, physics.step)))
    x = jax.tree.map(lambda leaf: jnp.asarray(leaf, float), placed.at)
    every = [jax.device_get(jacobian(x, jnp.int32(steps))) for steps in STEPS]
    return {name: np.stack([np.asarray(one[name], float) for one in every]) for name in every[0]}


def reverse_error(placed: Placed, forward: Leaves) -> float | None:
    """Largest relative disagreement, of a leaf, of one step's Jacobian by reverse mode; leaves of
    which nothing depends count by the largest of all, since theirs is rounding.

    Args:
      forward: of ``gradient``.

    Returns:
      None where reverse mode is not finite.
    """
    jacobian = jax.jit(jax.jacrev(functools.partial(_final, placed, physics.step, steps=None)))
    x = jax.tree.map(lambda leaf: jnp.asarray(leaf, float), placed.at)
    leaves = jax.device_get(jacobian(x))
    sizes = {name: np.abs(g[0]).max() for name, g in forward.items()}
    least = ROUNDING * max(sizes.values())
    apart = {name: np.abs(leaves[name] - g[0]).max() for name, g in forward.items()}
    return _number(np.max([apart[name] / max(sizes[name], least) for name in forward]))


def values_of_mjx(placed: Placed) -> Function:
    """States by ``mjx.step``, in double precision."""
    final = jax.jit(functools.partial(_final, placed, mjx.step))
    return lambda point: np.stack([np.asarray(final(point, np.int32(n))) for n in STEPS])


def values_of_c(placed: Placed) -> Function:
    """States by C MuJoCo, of a model that is written out and compiled anew."""
    scene, first = placed.scene, placed.scene.mjx_model()
    apply = jax.jit(functools.partial(parameters.apply, scene, first, placed.free))

    @functools.lru_cache(maxsize=4)
    def compiled(moved: tuple) -> mujoco.MjModel:
        values = {name: np.array(value) for name, value in moved}
        return mujoco.MjModel.from_xml_string(to_mjcf(scene.spec, apply(values)))

    def at(point: Leaves) -> np.ndarray:
        model = compiled(tuple((f.name, tuple(point[f.name])) for f in placed.free))
        model.opt.tolerance = 0.0  # until rounding
        data = mujoco.MjData(model)
        for name in ("qpos", "qvel", "ctrl", "act"):
            getattr(data, name)[:] = point[name]
        states = []
        for steps in np.diff(STEPS, prepend=0):
            mujoco.mj_step(model, data, nstep=int(steps))
            states.append(np.concatenate([data.qpos, data.qvel]))
        return np.stack(states)

    return at


def differences(placed: Placed, function: Function) -> tuple[Leaves, Leaves]:
    """Slopes of a function and their jumps: leaf → (len(STEPS), nq + nv, n) each."""
    here = function(placed.at)
    slopes, jumps = {}, {}
    for leaf, values in placed.at.items():
        columns = []
        for unit in np.eye(len(values)):

            def along(s: float, leaf: str = leaf, unit: np.ndarray = unit) -> np.ndarray:
                return function(placed.at | {leaf: placed.at[leaf] + s * unit})

            columns.append(slope(along, here, WIDTHS.get(leaf, WIDE)))
        slopes[leaf], jumps[leaf] = (np.stack(part, -1) for part in zip(*columns, strict=True))
    return slopes, jumps


def slope(
    along: Callable[[float], np.ndarray], here: np.ndarray, width: float
) -> tuple[np.ndarray, np.ndarray]:
    """Fourth-order central differences, and the jump of slope at 0, each of ``here``'s shape.

    One-sided differences of a smooth function disagree in proportion to their width; what remains
    of the disagreement at zero width is a jump of slope: a kink at, or within the width of, 0.
    Of each row of ``here`` the width with the smallest jump counts.

    Args:
      along: displacement → (rows, m) outputs.
      here: (rows, m) outputs without a displacement.
      width: the widest displacement is twice it.
    """
    slopes, jumps = np.zeros_like(here), np.full_like(here, np.inf)
    for h in width * np.array(NARROWER):
        near, far = (along(h), along(-h)), (along(2 * h), along(-2 * h))
        central = (8 * (near[0] - near[1]) - (far[0] - far[1])) / (12 * h)
        apart = [(near[0] - 2 * here + near[1]) / h, (far[0] - 2 * here + far[1]) / (2 * h)]
        jump = 2 * apart[0] - apart[1]
        smoother = (np.abs(jump).max(1) < np.abs(jumps).max(1))[:, None]
        slopes, jumps = np.where(smoother, central, slopes), np.where(smoother, jump, jumps)
        if (np.abs(jumps).max(1) <= SMOOTH * np.abs(slopes).max(1)).all():
            break
    return slopes, jumps
