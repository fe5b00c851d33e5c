"""The one error convention: the error of a predicted pose, per named body and joint.

    position  ‖Δx‖ [m] of a body, |Δ| [m] of a slide joint
    rotation  2·acos|⟨q, q̂⟩| [rad] of a body; |Δθ| of one that turns in a plane, whole turns counted
    joint     |Δ| modulo 2π [rad] of a hinge; |Δ| of one between limits less than a turn apart

Scores use these errors. Losses use smooth squares: for a rotation and a hinge the square of the
chord, (2 sin(Δ / 2))², which equals Δ² to third order. A scene's ``position``, ``rotation`` and
``joints`` are the means over its named channels; they are averaged over frames, then over the
windows of an episode, then over episodes. Every mean is over what was measured: a channel counts in
a frame only where all its positions are ``measured``.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from worldmodel._mujoco import mujoco
from worldmodel.episodes.windows import Windows
from worldmodel.scene import Scene, SceneError
from worldmodel.scene.names import element_name
from worldmodel.scene.namespace import namespace
from worldmodel.scene.tangent import can_turn_around, chord, full_turns

GROUPS: tuple[str, ...] = ("position_m", "rotation_rad", "joint_rad")

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
    limited: bool = False  # by limits less than a turn apart: no pose of it reads as two angles

    def error(self, predicted: Array, recorded: Array) -> Array:
        """(…, nq) each → (…) [rad]."""
        moved = predicted[..., self.index] - recorded[..., self.index]
        return abs(moved if self.turns or self.limited else moved - full_turns(moved))

    def squared(self, predicted: Array, recorded: Array) -> Array:
        """(…, nq) each → (…) [rad²], smooth: a sine, since 1 − cosine can round to a negative
        number near zero in single precision."""
        moved = predicted[..., self.index] - recorded[..., self.index]
        if self.limited:
            return moved * moved
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

    @property
    def named(self) -> dict[str, tuple[Channel]]:
        """Every channel alone, as ``link1.position_m``."""
        groups = zip(GROUPS, self.groups, strict=True)
        return {f"{c.name}.{group}": (c,) for group, members in groups for c in members}

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
        names = [element_name(m, "joint", j) for j in range(m.njnt)]
        planes: dict[str, tuple[int, ...]] = dict.fromkeys(planar or {}, ())
        grouped = {name: body for body, joints in (planar or {}).items() for name in joints}
        for name in (*grouped, *leave_out):
            if name not in names:
                raise SceneError(f"scene '{scene.name}' has no joint '{name}'; it has {names}")
            kind = mujoco.mjtJoint(m.jnt_type[names.index(name)])
            if name in grouped and kind in (kinds.mjJNT_FREE, kinds.mjJNT_BALL):
                raise SceneError(f"joint '{name}' of a plane is neither a slide nor a hinge")
        position: list[Position] = []
        rotation: list[Rotation | Angle] = []
        joints: list[Angle] = []
        for j, name in enumerate(names):
            if name in leave_out:
                continue
            kind, q = m.jnt_type[j], int(m.jnt_qposadr[j])
            body = grouped.get(name) or element_name(m, "body", m.jnt_bodyid[j])
            if kind == kinds.mjJNT_FREE:
                position.append(Position(body, (q, q + 1, q + 2)))
                rotation.append(Rotation(body, (q + 3, q + 4, q + 5, q + 6)))
            elif kind == kinds.mjJNT_BALL:
                rotation.append(Rotation(body, (q, q + 1, q + 2, q + 3)))
            elif kind == kinds.mjJNT_HINGE and name in grouped:
                rotation.append(Angle(body, q, turns=True))
            elif kind == kinds.mjJNT_HINGE:
                joints.append(Angle(name, q, limited=not can_turn_around(m, j)))
            elif name in grouped:
                planes[body] += (q,)
            else:
                position.append(Position(name, (q,)))
        position += [Position(body, index) for body, index in planes.items() if index]
        channels = cls(tuple(position), tuple(rotation), tuple(joints))
        for group in channels.groups:
            called = [channel.name for channel in group]
            if repeated := {name for name in called if called.count(name) > 1}:
                raise SceneError(f"two channels are called {repeated}; rename a joint or a body")
        return channels


def errors(
    predicted: Array, recorded: Array, channels: Channels, measured: Array | None = None
) -> dict[str, Array | None]:
    """Error of each predicted frame by group, the mean over the group's measured channels.

    Args:
      predicted, recorded: (…, nq) positions.
      measured: (…, nq) bool, of ``recorded``; None: every position.

    Returns:
      ``position_m``, ``rotation_rad``, ``joint_rad``: (…) each, [m] or [rad]; 0 where nothing of
      the group was measured (``counted``), None where the scene has no such channel.
    """
    groups = dict(zip(GROUPS, channels.groups, strict=True))
    return dict.fromkeys(GROUPS) | _errors(predicted, recorded, groups, measured)


def _errors(
    predicted: Array,
    recorded: Array,
    groups: Mapping[str, Sequence[Channel]],
    measured: Array | None,
) -> dict[str, Any]:
    recorded = _filled(predicted, recorded, measured)
    return {
        name: _mean([c.error(predicted, recorded) for c in members], members, measured)
        for name, members in groups.items()
        if members
    }


def squared_errors(
    predicted: Array, recorded: Array, channels: Channels, measured: Array | None = None
) -> Array:
    """Squared errors by group, smooth everywhere, the mean over the group's measured channels.

    Args:
      predicted, recorded: (…, nq) positions.
      measured: (…, nq) bool, of ``recorded``; None: every position.

    Returns:
      (…, 3) position [m²], rotation and joints [rad²]; 0, and without a derivative, where the scene
      has no such channel or none of it was measured (``counted``).
    """
    xp, columns = namespace(predicted), []
    recorded = _filled(predicted, recorded, measured)
    for members in channels.groups:
        each = [channel.squared(predicted, recorded) for channel in members]
        none = xp.zeros(predicted.shape[:-1])
        columns.append(_mean(each, members, measured) if each else none)
    return xp.stack(columns, axis=-1)


def counted(channels: Channels, measured: Array) -> Array:
    """Which groups have a measured channel: (…, nq) bool → (…, 3) bool."""
    return namespace(measured).stack([_any(m, measured) for m in channels.groups], axis=-1)


def _whole(channel: Channel, measured: Array) -> Array:
    """(…) bool; where all positions of a channel were measured."""
    return measured[..., np.atleast_1d(channel.index)].all(axis=-1)


def _any(members: Sequence[Channel], measured: Array) -> Array:
    xp = namespace(measured)
    each = [_whole(channel, measured) for channel in members]
    return xp.stack(each).any(axis=0) if each else xp.zeros(measured.shape[:-1], bool)


def _filled(predicted: Array, recorded: Array, measured: Array | None) -> Array:
    """What was not measured as predicted: filled before and masked after, so that what is unknown,
    NaN, enters no derivative."""
    if measured is None:
        return recorded
    return namespace(predicted).where(measured, recorded, predicted)


def _mean(each: Sequence[Array], members: Sequence[Channel], measured: Array | None) -> Array:
    """The mean over the measured ones of a group's channels; 0 where there is none."""
    if measured is None:
        return sum(each[1:], each[0]) / len(each)
    xp = namespace(each[0])
    counts = xp.stack([_whole(channel, measured) for channel in members])
    total = xp.where(counts, xp.stack(each), 0.0).sum(axis=0)
    return total / xp.maximum(counts.sum(axis=0), 1)


def episode_errors(predicted: np.ndarray, windows: Windows, channels: Channels) -> np.ndarray:
    """Errors over the scored frames, then over the windows of an episode.

    Args:
      predicted: (windows, horizon, nq).

    Returns:
      (episodes, 3) position [m], rotation [rad], joints [rad]; NaN where the scene has none or the
      episode measured none, infinite where a scored prediction is not a number. Episodes in the
      order of ``np.unique(windows.episode)``; ``over_episodes`` takes their mean.
    """
    groups = dict(zip(GROUPS, channels.groups, strict=True))
    return _episode_errors(predicted, windows, groups)


def named_episode_errors(
    predicted: np.ndarray, windows: Windows, channels: Channels
) -> dict[str, np.ndarray]:
    """``episode_errors`` of every named channel, such as ``link1.position_m``: (episodes,) each."""
    columns = _episode_errors(predicted, windows, channels.named).T
    return dict(zip(channels.named, columns, strict=True))


def _episode_errors(
    predicted: np.ndarray, windows: Windows, groups: Mapping[str, Sequence[Channel]]
) -> np.ndarray:
    """(episodes, groups)."""
    error = _errors(predicted, np.asarray(windows.target), groups, windows.measured)
    columns = [_over_windows(error.get(name), each, windows) for name, each in groups.items()]
    per_window, episode = np.stack(columns, axis=1), np.asarray(windows.episode)
    return np.stack([over_episodes(per_window[episode == e]) for e in np.unique(episode)])


def over_episodes(error: np.ndarray) -> np.ndarray:
    """The mean over the episodes that measured a channel: (episodes, …) → (…); NaN without any."""
    has = ~np.isnan(error)
    with np.errstate(invalid="ignore"):
        return np.where(has, error, 0.0).sum(axis=0) / has.sum(axis=0)


def _over_windows(error: Any, members: Sequence[Channel], windows: Windows) -> np.ndarray:
    """(windows, horizon) → (windows,) mean over the frames that count; NaN without any."""
    counts = np.asarray(windows.scored)
    if error is None:
        return np.full(len(counts), np.nan)
    if windows.measured is not None:
        counts = counts & np.asarray(_any(members, np.asarray(windows.measured)))
    frames = counts.sum(1)
    with np.errstate(invalid="ignore"):
        mean = np.where(counts, error, 0.0).sum(1) / frames
    return np.where(np.isnan(mean) & (frames > 0), np.inf, mean)
