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
WIDTHS = {"qpos": 3e-6}
WIDE = 3e-4
STATE = {  # class → leaf and its columns
    "position": ("qpos", slice(None)),
    "velocity": ("qvel", slice(None)),
    "control": ("ctrl", slice(0, 1)),
    "muscle control": ("ctrl", slice(1, 2)),
    "activation": ("act", slice(None)),
}
_MEASURED = {f.kind for f in WANTED}
CLASSES = (*STATE, *(kind for kind in parameters.KINDS if kind in _MEASURED))
Function = Callable[[dict], np.ndarray]  # a point → (len(STEPS), nq + nv) states

NARROWER = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003)  # factors of a width, until the function is smooth
SMOOTH = 1e-7  # relative jump of slope below which no narrower width is tried
ROUNDING = 1e-6  # of the largest entry of a Jacobian: leaves below it are zero up to rounding


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
    mjx_values, c_values = values_of_mjx(placed), values_of_c(placed)
    unmoved = placed.at | {f.name: 0.0 * placed.at[f.name] for f in placed.free}
    ours, theirs = mjx_values(unmoved), c_values(unmoved)
    away = np.abs(ours - theirs).max(1) / np.abs(theirs).max(1)
    functions = {"mjx": mjx_values, "c": c_values}
    references = {name: differences(placed, values) for name, values in functions.items()}
    jacobians, reversed_errors = {}, {}
    for dtype in dtypes:
        with jax.enable_x64(dtype == "float64"):
            jacobians[dtype] = gradient(placed)
            if reverse:
                one = {leaf: g[0] for leaf, g in jacobians[dtype].items()}
                reversed_errors[dtype] = reverse_error(placed, one)
    classes: dict[str, Any] = {}
    for name in CLASSES:
        refused, own = placed.refused.get(name), (placed, name, jacobians, references)
        classes[name] = {"refused": refused} if refused else _errors(*own)
    values = [_number(x) for x in away]
    return {"values": values, "reverse": reversed_errors, "classes": classes}


def _errors(
    placed: Placed, name: str, jacobians: dict[str, dict], references: dict[str, tuple]
) -> list[dict[str, Any]]:
    """Per number of steps, see ``measure``."""
    if name in STATE:
        leaf, columns = STATE[name]
        parts = [(leaf, columns)]
    else:
        parts = [(f.name, slice(None)) for f in placed.free if f.kind == name]
    rows = []
    for k in range(len(STEPS)):

        def joined(leaves: dict[str, np.ndarray], k: int = k) -> np.ndarray:
            return np.concatenate([leaves[leaf][k][:, columns] for leaf, columns in parts], 1)

        mine = {dtype: joined(leaves) for dtype, leaves in jacobians.items()}
        row: dict[str, Any] = {"ours": {d: _number(np.abs(g).max()) for d, g in mine.items()}}
        for reference, (slopes, jumps) in references.items():
            truth = joined(slopes)
            size = np.abs(truth).max()
            row[reference] = {"size": _number(size), "jump": _number(np.abs(joined(jumps)).max())}
            for dtype, g in mine.items():
                error = np.abs(g - truth).max()
                row[reference][dtype] = _number(error / size if size else error)
        rows.append(row)
    return rows


def _number(x: Any) -> float | None:
    """As JSON has it, of three digits; None where it is not finite."""
    return float(f"{float(x):.3g}") if np.isfinite(x) else None


def _final(placed: Placed, step: Callable, x: dict, steps: Any) -> Any:
    """(nq + nv,) the state after some steps.

    Args:
      step: ``mjx.step`` or ``physics.step``.
      steps: may be traced: one compilation serves every number of steps.
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
    # A number of steps that is known is not a loop: reverse mode takes it.
    end = once(0, start) if steps is None else jax.lax.fori_loop(0, steps, once, start)
    return jnp.concatenate(end[:2])


def gradient(placed: Placed) -> dict[str, np.ndarray]:
    """Leaf → (len(STEPS), nq + nv, n) our Jacobian, by forward mode in JAX's precision."""
    jacobian = jax.jit(jax.jacfwd(functools.partial(_final, placed, physics.step)))
    x = jax.tree.map(lambda leaf: jnp.asarray(leaf, float), placed.at)
    every = [jax.device_get(jacobian(x, jnp.int32(steps))) for steps in STEPS]
    return {name: np.stack([np.asarray(one[name], float) for one in every]) for name in every[0]}


def reverse_error(placed: Placed, forward: dict[str, np.ndarray]) -> float | None:
    """Largest relative disagreement, of a leaf, of one step's Jacobian by reverse mode; leaves of
    which nothing depends count by the largest of all, since theirs is rounding.

    Args:
      forward: leaf → (nq + nv, n) by forward mode.

    Returns:
      None where reverse mode is not finite.
    """
    jacobian = jax.jit(jax.jacrev(functools.partial(_final, placed, physics.step, steps=None)))
    x = jax.tree.map(lambda leaf: jnp.asarray(leaf, float), placed.at)
    leaves = jax.device_get(jacobian(x))
    sizes = {name: np.abs(g).max() for name, g in forward.items()}
    least = ROUNDING * max(sizes.values())
    worst = [
        np.abs(leaves[name] - g).max() / max(sizes[name], least) for name, g in forward.items()
    ]
    return _number(np.max(worst))


def values_of_mjx(placed: Placed) -> Function:
    """States by ``mjx.step``, in double precision."""
    final = jax.jit(functools.partial(_final, placed, mjx.step))

    def at(point: dict) -> np.ndarray:
        return np.stack([np.asarray(final(point, np.int32(steps))) for steps in STEPS])

    return at


def values_of_c(placed: Placed) -> Function:
    """States by C MuJoCo, of a model that is written out and compiled anew."""
    scene, first = placed.scene, placed.scene.mjx_model()
    apply = jax.jit(functools.partial(parameters.apply, scene, first, placed.free))

    @functools.lru_cache(maxsize=4)
    def compiled(moved: tuple) -> mujoco.MjModel:
        values = {name: np.array(value) for name, value in moved}
        return mujoco.MjModel.from_xml_string(to_mjcf(scene.spec, apply(values)))

    def at(point: dict) -> np.ndarray:
        model = compiled(tuple((f.name, tuple(point[f.name])) for f in placed.free))
        model.opt.tolerance = 0.0  # until rounding
        data = mujoco.MjData(model)
        for name in ("qpos", "qvel", "ctrl", "act"):
            getattr(data, name)[:] = point[name]
        states, done = [], 0
        for steps in STEPS:
            mujoco.mj_step(model, data, nstep=steps - done)
            states.append(np.concatenate([data.qpos, data.qvel]))
            done = steps
        return np.stack(states)

    return at


def differences(placed: Placed, function: Function) -> tuple[dict, dict]:
    """Slopes of a function and their jumps: leaf → (len(STEPS), nq + nv, n) each."""
    here = function(placed.at)
    slopes, jumps = {}, {}
    for leaf, values in placed.at.items():

        def along(move: np.ndarray, leaf: str = leaf) -> np.ndarray:
            return function(placed.at | {leaf: placed.at[leaf] + move})

        width = WIDTHS.get(leaf, WIDE)
        columns = [
            slope(lambda s, unit=unit, along=along: along(s * unit), here, width)
            for unit in np.eye(len(values))
        ]
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
    for factor in NARROWER:
        h = width * factor
        near, far = (along(h), along(-h)), (along(2 * h), along(-2 * h))
        central = (8 * (near[0] - near[1]) - (far[0] - far[1])) / (12 * h)
        apart = [(near[0] - 2 * here + near[1]) / h, (far[0] - 2 * here + far[1]) / (2 * h)]
        jump = 2 * apart[0] - apart[1]
        smoother = (np.abs(jump).max(1) < np.abs(jumps).max(1))[:, None]
        slopes, jumps = np.where(smoother, central, slopes), np.where(smoother, jump, jumps)
        if (np.abs(jumps).max(1) <= SMOOTH * np.abs(slopes).max(1)).all():
            break
    return slopes, jumps
