"""Motionless episodes of a recording, for tests of windows and tables."""

import numpy as np

from worldmodel.episodes.recording import Recording
from worldmodel.types import Episode


def still_episodes(recording: Recording, count: int, frames: int) -> list[Episode]:
    """Episodes whose first position is the number of the frame; ids 0, 20, 40, …"""
    qpos = np.zeros((frames, recording.nq))
    qpos[:, 0] = np.arange(frames)
    for quaternion in recording.quaternions:
        qpos[:, quaternion[0]] = 1.0
    qvel, ctrl = np.zeros((frames, recording.nv)), np.zeros((frames, recording.nu))
    return [
        Episode.regular(20 * i, recording.control_hz, qpos=qpos, qvel=qvel, ctrl=ctrl)
        for i in range(count)
    ]
