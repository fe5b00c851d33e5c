"""The benchmark's gradient against differences of C MuJoCo."""

import functools
import itertools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from experiments.gradients.rollouts import Rollouts
from worldmodel import physics
from worldmodel._mujoco import mujoco
from worldmodel.physics import oracle, parameters
from worldmodel.scene import to_mjcf

# Widths of the differences in qpos and in all else. Over 32 steps some corner is close to a touch,
# which a difference of 1e-5 m in qpos would step over.
EPSILON = {"qpos": 1e-6}
WIDE = 3e-5
# Factors of these widths: where a touch is within a width, the next width disagrees.
WIDTHS = (1.0, 0.3, 0.1, 0.03)
AGREE = 1e-3  # relative disagreement of two widths' differences, at most


def errors(rollouts: Rollouts) -> dict:
    """The gradient against fourth-order differences of C MuJoCo on recompiled models.

    C computes both in float64; our gradient has this process's precision.

    Returns:
      A row: ``relative`` is the error's norm over the differences', ``disagreement`` that of two
      widths' differences from one another.
    """
    bench, horizon = rollouts.bench, rollouts.horizon
    scene = bench.scene
    apply = jax.jit(lambda u: parameters.apply(scene, scene.mjx_model(), bench.free, u))
    grad = jax.jit(jax.value_and_grad(functools.partial(rollouts.loss, step=physics.step)))
    value, ours = grad(rollouts.at)
    point = jax.tree.map(lambda leaf: np.asarray(leaf, float), rollouts.at)
    weights = np.asarray(rollouts.weights, float)

    def final(x: dict[str, Any]) -> np.ndarray:
        with jax.enable_x64(True):
            text = to_mjcf(scene.spec, apply(x["parameters"]))
        model = mujoco.MjModel.from_xml_string(text, scene.assets)
        model.opt.tolerance, model.opt.iterations, model.opt.ls_iterations = 1e-14, 100, 50
        ctrl = np.tile(x["ctrl"], (horizon, 1))
        qpos, qvel = oracle.trajectory(model, x["qpos"], x["qvel"], ctrl, 1)
        return weights[None] @ np.concatenate([qpos[-1], qvel[-1]])

    names = [*(("parameters", n) for n in rollouts.at["parameters"]), "qpos", "qvel", "ctrl"]

    def differences(width: float) -> np.ndarray:
        truth = []
        for name in names:
            key, inner = name if isinstance(name, tuple) else (name, None)
            here = point[key] if inner is None else point[key][inner]

            def at(values: np.ndarray, key: str = key, inner: str | None = inner) -> np.ndarray:
                x = dict(point)
                x[key] = values if inner is None else dict(x[key], **{inner: values})
                return final(x)

            if here.size:
                epsilon = width * EPSILON.get(key, WIDE)
                truth.append(oracle.differences(at, here, epsilon)[0])
        return np.concatenate(truth)

    truth, disagreement, width = agreeing(differences, WIDTHS)
    leaves = [ours[n] if isinstance(n, str) else ours[n[0]][n[1]] for n in names]
    mine = np.concatenate([np.asarray(leaf, float).ravel() for leaf in leaves])
    return {
        "variant": "error",
        "horizon": horizon,
        "numbers": len(truth),
        "relative": float(np.linalg.norm(mine - truth) / np.linalg.norm(truth)),
        "cosine": float(mine @ truth / np.linalg.norm(mine) / np.linalg.norm(truth)),
        "norm": float(np.linalg.norm(truth)),
        "norm_of_ours": float(np.linalg.norm(mine)),
        "disagreement": disagreement,
        "width": width,
        "value": float(value),
        "value_of_c": float(final(point)[0]),
    }


def agreeing(
    differences: Callable[[float], np.ndarray], widths: tuple[float, ...]
) -> tuple[np.ndarray, float, float]:
    """Differences of the first width that agree with the next width's; else of the last one.

    Args:
      differences: width → (numbers,).

    Returns:
      (numbers,) differences; the relative disagreement of two widths; the width.
    """
    here = differences(widths[0])
    disagreement = np.inf
    for width, other in itertools.pairwise(widths):
        there = differences(other)
        disagreement = float(np.linalg.norm(there - here) / np.linalg.norm(there))
        if disagreement <= AGREE:
            return here, disagreement, width
        here = there
    return here, disagreement, widths[-1]
