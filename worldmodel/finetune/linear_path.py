"""Windows with the physics linearised along them, by C MuJoCo: see ``model.linear``."""

import dataclasses

import numpy as np

from worldmodel.episodes.windows import Path, Windows
from worldmodel.errors import InputError
from worldmodel.model import Physics, Velocity, WorldModel
from worldmodel.model.calibration import calibrated
from worldmodel.model.played import replayer_of
from worldmodel.physics import parameters as physical
from worldmodel.scene import drives
from worldmodel.scene.replay import Replayer
from worldmodel.scene.tangent import displaced, measured_difference, motions

# Widths of the central differences, about as large as what a network corrects: where friction lets
# go or a contact sets in, the slope across a narrow one says nothing of such a correction.
POSE, RATE = 1e-3, 3e-2  # [m, rad], [m/s, rad/s]; a force: by which a control step changes a rate
GROWTH = 10.0  # times a change of the start, beyond which no linearisation holds; not scored there
ROWS = 8192  # rollouts at once
STIFFEST = 100.0  # times what moves a free body as far, a servo needs to be moved at most


def with_path(world: WorldModel, physics: physical.Parameters, windows: Windows) -> Windows:
    """The windows with their ``path``: the physics from the recorded start on, without a network.
    Frames by which a change of the start has grown by more than ``GROWTH`` are not scored; the
    path stays at the start there, and nothing is carried.

    Args:
      world: with physics; its network is left out.
      physics: of the path.
      windows: as logged.

    Raises:
      InputError: a model without physics.
    """
    if not isinstance(world.base, Physics):
        raise InputError(
            f"a {world.name} model has no physics for C MuJoCo to play; use engine mjx"
        )
    scene, nv = world.scene, world.scene.mj_model.nv
    seen = calibrated(scene, world.free, physics, windows)
    replayer, ctrl = replayer_of(world, physics), np.asarray(seen.ctrl, float)
    memory = replayer.memory(len(windows), scene.substeps, seen.past)
    qpos, qvel = [np.asarray(seen.qpos, float)], [np.asarray(seen.qvel, float)]
    slopes, size = [], max(1, ROWS // (6 * nv + 1))
    for frame in range(ctrl.shape[1]):
        rows = qpos[-1], qvel[-1], ctrl[:, frame], memory
        parts = [
            _stepped(world, replayer, *(x[first : first + size] for x in rows))
            for first in range(0, len(windows), size)
        ]
        *after, slope, memory = (np.concatenate(x) for x in zip(*parts, strict=True))
        qpos.append(after[0])
        qvel.append(after[1])
        slopes.append(slope)
    slope = np.stack(slopes, axis=1)
    near = np.logical_and.accumulate(_growth(slope[..., : 2 * nv]) <= GROWTH, axis=1)
    carry, response = np.split(np.where(near[..., None, None], slope, 0.0), [2 * nv], axis=-1)
    begun = np.concatenate([np.ones_like(near[:, :1]), near], axis=1)[..., None]
    poses, rates = (np.where(begun, x, x[:, :1]) for x in (np.stack(y, 1) for y in (qpos, qvel)))
    path = Path(poses, rates, carry, response)
    return dataclasses.replace(windows, path=path, scored=np.asarray(windows.scored) & near)


def _stepped(
    world: WorldModel,
    replayer: Replayer,
    qpos: np.ndarray,
    qvel: np.ndarray,
    ctrl: np.ndarray,
    memory: np.ndarray,
) -> tuple[np.ndarray, ...]:
    """One control step of every row: (rows, nq), (rows, nv) after it, the derivative of pose and
    velocity (rows, 2 nv, 3 nv) in pose, velocity and generalised force, and the drives' memory."""
    scene, nv = world.scene, qvel.shape[1]
    push = RATE * scene.mj_model.dof_M0 * scene.control_hz
    width = np.concatenate([np.full(nv, POSE), np.full(nv, RATE), push])
    aside = np.concatenate([np.zeros((1, 3 * nv)), np.diag(width), -np.diag(width)])
    shift = np.tile(aside, (len(qpos), 1))
    begin, rate, held, past = (np.repeat(x, len(aside), axis=0) for x in (qpos, qvel, ctrl, memory))
    states = replayer.states(displaced(scene, begin, shift[:, :nv]), rate + shift[:, nv : 2 * nv])
    if replayer.plays:
        past = drives.begun_faster(replayer.model, past, shift[:, nv : 2 * nv])
    played, after = replayer.play(
        states, held[:, None], scene.substeps, past, force=shift[:, 2 * nv :]
    )
    last = played[:, -1].reshape(len(qpos), len(aside), -1)
    poses, rates = last[..., replayer.qpos], last[..., replayer.qvel]
    apart = motions(scene, np.broadcast_to(poses[:, :1], poses.shape), poses)
    moved = np.concatenate([apart, rates], axis=2)[:, 1:]
    up, down = np.split(moved, 2, axis=1)
    slope = np.swapaxes((up - down) / (2.0 * width[:, None]), 1, 2)
    return poses[:, 0], rates[:, 0], slope, after[:: len(aside)]


def _growth(carry: np.ndarray) -> np.ndarray:
    """(windows, horizon) how far the pose moves for a change of the first pose; infinite where it
    is not finite."""
    nv = carry.shape[-1] // 2
    grown, out = np.broadcast_to(np.eye(2 * nv), carry[:, 0].shape), []
    for frame in range(carry.shape[1]):
        grown = carry[:, frame] @ grown
        out.append(np.linalg.norm(grown[:, :nv, :nv], axis=(1, 2)))
    growth = np.stack(out, axis=1)
    return np.where(np.isfinite(growth), growth, np.inf)


def unit_along(
    world: WorldModel, physics: physical.Parameters, windows: Windows, free: np.ndarray
) -> np.ndarray:
    """(nv,) the network's output that, held over a window, moves its last pose by a standard
    residual: a stiff servo yields to a push much less than the free body of ``Correction.unit``.

    Args:
      physics: of the windows' path.
      windows: with their path.
      free: (nv,) of a free body, the least that comes out.
    """
    assert windows.path is not None
    scene, nv = world.scene, len(free)
    dt, carry = 1.0 / scene.control_hz, windows.path.carry
    into = windows.path.response @ np.diag(scene.mj_model.dof_M0 / dt)
    if isinstance(world.correction, Velocity):
        into = np.broadcast_to(np.concatenate([dt * np.eye(nv), np.eye(nv)]), into.shape)
    moved = np.zeros_like(into[:, 0])
    for frame in range(carry.shape[1]):
        moved = carry[:, frame] @ moved + into[:, frame]
    seen = calibrated(scene, world.free, physics, windows)
    known = None if seen.measured is None else np.asarray(seen.measured)[:, -1]
    last = windows.path.qpos[:, -1]
    error = np.asarray(measured_difference(scene, np.asarray(seen.target)[:, -1], last, known))
    usable = np.isfinite(moved).all((1, 2)) & np.asarray(windows.scored)[:, -1]
    if not usable.any():
        return free
    gain = np.median(np.abs(np.diagonal(moved[usable], axis1=1, axis2=2))[:, :nv], axis=0)
    residual = np.sqrt(np.square(error[usable]).mean(0))
    return np.clip(residual / np.maximum(gain, 1e-12), free, STIFFEST * free)
