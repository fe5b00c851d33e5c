"""The one error convention: the error of a predicted pose, per named body and joint.

    position  ‖Δx‖ [m] of a body, |Δ| [m] of a slide joint
    rotation  2·acos|⟨q, q̂⟩| [rad] of a body; |Δθ| of one that turns in a plane, whole turns counted
    joint     |Δ| modulo 2π [rad] of a hinge

Scores use these errors. Losses use smooth squares: for a rotation and a hinge the square of the
chord, (2 sin(Δ / 2))², which equals Δ² to third order. A scene's ``position``, ``rotation`` and
``joints`` are the means over its named channels; they are averaged over frames, then over the
windows of an episode, then over episodes.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from worldmodel._mujoco import mujoco
from worldmodel.episodes.windows import Windows
from worldmodel.scene import Scene, SceneError
from worldmodel.scene.tangent import chord, full_turns, namespace

GROUPS = ("position_m", "rotation_rad", "joint_rad")

Array = Any  # NumPy on the host, jax.Array inside a compiled function


@dataclasses.dataclass(frozen=True)
class Position:
    """A place, or one coordinate of it."""

    name: str
    index: tuple[int, ...]  # into qpos [m]

    def error(self, predicted: Array, recorded: Array) -> Array:
        """(…, nq) each → (…) [m]."""
        moved = predicted[..., np.array(self.index)] - recorded[..., np.array(self.index)]
        return namespace(moved).linalg.norm(moved, axis=-1)

    def squared(self, predicted: Array, recorded: Array) -> Array:
        """(…, nq) each → (…) [m²], smooth."""
        moved = predicted[..., np.array(self.index)] - recorded[..., np.array(self.index)]
        return (moved * moved).sum(axis=-1)


@dataclasses.dataclass(frozen=True)
class Rotation:
    """A rotation in space."""

    name: str
    index: tuple[int, ...]  # four, into qpos: a unit quaternion wxyz

    def error(self, predicted: Array, recorded: Array) -> Array:
        """(…, nq) each → (…) [rad], 0 to π."""
        index = np.array(self.index)
        cosine = abs((predicted[..., index] * recorded[..., index]).sum(axis=-1))
        xp = namespace(cosine)
        return 2.0 * xp.arccos(xp.minimum(cosine, 1.0))

    def squared(self, predicted: Array, recorded: Array) -> Array:
        """(…, nq) each → (…) [rad²], smooth."""
        moved = chord(recorded[..., np.array(self.index)], predicted[..., np.array(self.index)])
        return (moved * moved).sum(axis=-1)


@dataclasses.dataclass(frozen=True)
class Angle:
    """A hinge, or the rotation of a body in a plane."""

    name: str
    index: int  # into qpos [rad]
    turns: bool = False  # whether a whole turn counts as an error

    def error(self, predicted: Array, recorded: Array) -> Array:
        """(…, nq) each → (…) [rad]."""
        moved = predicted[..., self.index] - recorded[..., self.index]
        return abs(moved if self.turns else moved - full_turns(moved))

    def squared(self, predicted: Array, recorded: Array) -> Array:
        """(…, nq) each → (…) [rad²], smooth: a sine, since 1 − cosine can round to a negative
        number near zero in single precision."""
        moved = predicted[..., self.index] - recorded[..., self.index]
        sine = namespace(moved).sin(0.5 * moved)
        return (2.0 * sine) * (2.0 * sine)


Channel = Position | Rotation | Angle


@dataclasses.dataclass(frozen=True)
class Channels:
    """The named channels of a scene that are scored, by group; static."""

    position: tuple[Position, ...] = ()
    rotation: tuple[Rotation | Angle, ...] = ()
    joints: tuple[Angle, ...] = ()

    @property
    def groups(self) -> tuple[tuple[Channel, ...], ...]:
        """In the order of ``GROUPS``."""
        return self.position, self.rotation, self.joints

    @classmethod
    def of(
        cls,
        scene: Scene,
        *,
        planar: Mapping[str, Sequence[str]] | None = None,
        leave_out: Sequence[str] = (),
    ) -> "Channels":
        """Every joint of a scene: a free one is its body's position and rotation, a ball joint a
        rotation, a slide a position, a hinge an angle; by the names of the MJCF.

        Args:
          planar: body → its slide joints and hinge: scored as one position and one rotation.
          leave_out: joints that are not scored.

        Raises:
          SceneError: a joint that the scene does not have, or of a plane that is no slide or
            hinge; two channels of one name.
        """
        m, kinds = scene.mj_model, mujoco.mjtJoint
        names = [m.joint(j).name or f"joint{j}" for j in range(m.njnt)]
        bodies = [m.body(b).name or f"body{b}" for b in m.jnt_bodyid]
        planar = dict(planar or {})
        grouped = {name: body for body, joints in planar.items() for name in joints}
        for name in (*grouped, *leave_out):
            if name not in names:
                raise SceneError(f"scene '{scene.name}' has no joint '{name}'; it has {names}")
            kind = mujoco.mjtJoint(m.jnt_type[names.index(name)])
            if name in grouped and kind in (kinds.mjJNT_FREE, kinds.mjJNT_BALL):
                raise SceneError(f"joint '{name}' of a plane is neither a slide nor a hinge")
        position: list[Position] = []
        rotation: list[Rotation | Angle] = []
        joints: list[Angle] = []
        planes: dict[str, list[int]] = {body: [] for body in planar}
        for name, body, kind, q in zip(
            names, bodies, m.jnt_type, m.jnt_qposadr.tolist(), strict=True
        ):
            if name in leave_out:
                continue
            if kind == kinds.mjJNT_FREE:
                position.append(Position(body, (q, q + 1, q + 2)))
                rotation.append(Rotation(body, (q + 3, q + 4, q + 5, q + 6)))
            elif kind == kinds.mjJNT_BALL:
                rotation.append(Rotation(body, (q, q + 1, q + 2, q + 3)))
            elif kind == kinds.mjJNT_HINGE and name in grouped:
                rotation.append(Angle(grouped[name], q, turns=True))
            elif kind == kinds.mjJNT_HINGE:
                joints.append(Angle(name, q))
            elif name in grouped:
                planes[grouped[name]].append(q)
            else:
                position.append(Position(name, (q,)))
        position += [Position(body, tuple(index)) for body, index in planes.items() if index]
        channels = cls(tuple(position), tuple(rotation), tuple(joints))
        for group in channels.groups:
            repeated = {c.name for c in group if [d.name for d in group].count(c.name) > 1}
            if repeated:
                raise SceneError(f"two channels are called {repeated}; rename a joint or a body")
        return channels


def named_errors(predicted: Array, recorded: Array, channels: Channels) -> dict[str, Array]:
    """Error of every named channel, such as ``link1.position_m``.

    Args:
      predicted, recorded: (…, nq) positions.

    Returns:
      (…) each, [m] or [rad].
    """
    return {
        f"{channel.name}.{group}": channel.error(predicted, recorded)
        for group, members in zip(GROUPS, channels.groups, strict=True)
        for channel in members
    }


def errors(predicted: Array, recorded: Array, channels: Channels) -> dict[str, Array | None]:
    """Error of each predicted frame by group, the mean over the group's channels.

    Args:
      predicted, recorded: (…, nq) positions.

    Returns:
      ``position_m``, ``rotation_rad``, ``joint_rad``: (…) each, None where the scene has no such
      channel.
    """
    out: dict[str, Array | None] = {}
    for group, members in zip(GROUPS, channels.groups, strict=True):
        each = [channel.error(predicted, recorded) for channel in members]
        out[group] = sum(each[1:], each[0]) / len(each) if each else None
    return out


def squared_errors(predicted: Array, recorded: Array, channels: Channels) -> Array:
    """Squared errors by group, smooth everywhere, the mean over the group's channels.

    Args:
      predicted, recorded: (…, nq) positions.

    Returns:
      (…, 3) position [m²], rotation and joints [rad²]; 0 where the scene has no such channel.
    """
    xp, columns = namespace(predicted), []
    for members in channels.groups:
        each = [channel.squared(predicted, recorded) for channel in members]
        none = xp.zeros(predicted.shape[:-1])
        columns.append(sum(each[1:], each[0]) / len(each) if each else none)
    return xp.stack(columns, axis=-1)


def episode_errors(predicted: np.ndarray, windows: Windows, channels: Channels) -> np.ndarray:
    """Errors over the scored frames, then over the windows of an episode.

    Args:
      predicted: (windows, horizon, nq).

    Returns:
      (episodes, 3) position [m], rotation [rad], joints [rad]; NaN where the scene has none.
      Episodes in the order of ``np.unique(windows.episode)``.
    """
    error = errors(predicted, np.asarray(windows.target), channels)
    none = np.full(windows.target.shape[:2], np.nan)
    return _by_episode([none if error[name] is None else error[name] for name in GROUPS], windows)


def named_episode_errors(
    predicted: np.ndarray, windows: Windows, channels: Channels
) -> dict[str, np.ndarray]:
    """``episode_errors`` of every named channel: (episodes,) each, see ``named_errors``."""
    error = named_errors(predicted, np.asarray(windows.target), channels)
    return dict(zip(error, _by_episode(list(error.values()), windows).T, strict=True))


def _by_episode(error: Sequence[Any], windows: Windows) -> np.ndarray:
    """Columns of (windows, horizon) → (episodes, columns)."""
    scored, episode = np.asarray(windows.scored), np.asarray(windows.episode)
    per_window = np.stack([np.where(scored, e, 0.0).sum(1) / scored.sum(1) for e in error], axis=1)
    return np.stack([per_window[episode == e].mean(0) for e in np.unique(episode)])
