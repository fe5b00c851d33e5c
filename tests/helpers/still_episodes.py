"""Motionless episodes of a problem, for tests of windows and tables."""

import numpy as np

from experiments.recordings.problems import Problem
from worldmodel.types import Episode


def still_episodes(problem: Problem, count: int, frames: int) -> list[Episode]:
    """Episodes whose first position is the number of the frame; ids 0, 20, 40, …"""
    model = problem.model()
    qpos = np.tile(model.qpos0, (frames, 1))
    qpos[:, 0] = np.arange(frames)
    qvel, ctrl = np.zeros((frames, model.nv)), np.zeros((frames, model.nu))
    return [
        Episode.regular(20 * i, problem.control_hz, qpos=qpos, qvel=qvel, ctrl=ctrl)
        for i in range(count)
    ]
