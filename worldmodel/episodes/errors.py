"""The protocol by which predictions of recordings are split, cut and scored.

Prediction windows start at frames first, first + stride, …; H frames are predicted from the
first one on and only those are scored; the starting state uses nothing later. Errors are
averaged over frames, then windows, then episodes, and models are compared on the same episodes,
in pairs.
"""

import dataclasses
import zlib

import numpy as np

from worldmodel.episodes.recordings import Channels, Recording

TEST, VALIDATION = (0, 7, 14), (3, 10, 17)  # residues of the id modulo 20


def split(identity: int | str) -> str:
    """'train', 'validation' or 'test', by the id modulo 20.

    An id that is no whole number counts as the CRC-32 of its UTF-8 text.
    """
    try:
        number = int(identity)
    except ValueError:
        number = zlib.crc32(str(identity).encode())
    residue = number % 20
    if residue in TEST:
        return "test"
    return "validation" if residue in VALIDATION else "train"


def window_starts(
    recording: Recording, horizon: int, valid: np.ndarray, fresh: np.ndarray
) -> tuple[np.ndarray, int]:
    """Frames at which an episode's prediction windows start.

    A window starts at k = first + i · stride, or at the next ``fresh`` frame before the window
    after it would, if k + horizon is at most the last frame. It is skipped and counted where no
    such frame exists or a frame from its start to its end is not valid.

    Args:
      recording: for its first frame and stride.
      horizon: H, frames to predict.
      valid, fresh: (frames,) bool, of the episode.

    Returns:
      starts: (windows,) ascending; skipped: how many windows were left out.
    """
    starts, skipped = [], 0
    for k in range(recording.first, len(valid) - horizon, recording.stride):
        found = np.flatnonzero(fresh[k : min(k + recording.stride, len(valid) - horizon)])
        if len(found) and valid[k + found[0] : k + found[0] + horizon + 1].all():
            starts.append(k + int(found[0]))
        else:
            skipped += 1
    return np.array(starts, int), skipped


def whole_start(valid: np.ndarray) -> tuple[np.ndarray, int]:
    """The one window that is a whole episode: from frame 0; skipped if any frame is invalid."""
    return (np.array([0]), 0) if valid.all() else (np.array([], int), 1)


def errors(
    predicted: np.ndarray, recorded: np.ndarray, channels: Channels
) -> dict[str, np.ndarray | None]:
    """Error of each predicted frame.

    Args:
      predicted, recorded: (…, nq) positions.
      channels: which of them are what.

    Returns:
      ``position_m``: distance [m]; ``rotation_rad``: 2·acos|⟨q, q̂⟩|, or |Δθ| in a plane;
      ``joint_rad``: mean over the joints of |Δ| modulo 2π; each (…), None where the scene has
      no such channel.
    """
    position = rotation = joint = None
    if channels.position:
        index = list(channels.position)
        position = np.linalg.norm(predicted[..., index] - recorded[..., index], axis=-1)
    if channels.quaternion:
        index = list(channels.quaternion)
        cosine = np.abs(np.sum(predicted[..., index] * recorded[..., index], axis=-1))
        rotation = 2.0 * np.arccos(np.minimum(cosine, 1.0))
    elif channels.angle:
        index = list(channels.angle)
        rotation = np.abs(predicted[..., index] - recorded[..., index]).sum(-1)
    if channels.joints:
        index = list(channels.joints)
        difference = predicted[..., index] - recorded[..., index]
        joint = np.abs((difference + np.pi) % (2 * np.pi) - np.pi).mean(-1)
    return {"position_m": position, "rotation_rad": rotation, "joint_rad": joint}


@dataclasses.dataclass(frozen=True)
class Comparison:
    """One model's mean error over another's on the same episodes, with a 95 % interval."""

    ratio: float
    low: float
    high: float

    @property
    def better(self) -> bool:
        """Whether the whole interval lies below 1."""
        return self.high < 1.0


def paired_ratio(
    error: np.ndarray, reference: np.ndarray, *, resamples: int = 10_000, seed: int = 0
) -> Comparison:
    """Ratio of mean errors with a paired bootstrap interval over episodes.

    Args:
      error, reference: (episodes,) the two models' errors on the same episodes, in order.
      resamples: bootstrap samples of episodes, both models drawn together.
      seed: of the resampling.

    Raises:
      ValueError: fewer than two episodes, or unequal numbers of them.
    """
    if error.shape != reference.shape or error.ndim != 1 or len(error) < 2:
        raise ValueError(
            f"a paired interval needs the same episodes, at least two: {error.shape} and "
            f"{reference.shape}"
        )
    rows = np.random.default_rng(seed).integers(len(error), size=(resamples, len(error)))
    ratios = error[rows].mean(1) / reference[rows].mean(1)
    low, high = np.quantile(ratios, [0.025, 0.975])
    return Comparison(float(error.mean() / reference.mean()), float(low), float(high))
