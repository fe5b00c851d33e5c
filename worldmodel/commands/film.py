"""A held-out window as it was recorded and as the models predict it: a moving 3D view."""

import itertools
from collections.abc import Mapping

import numpy as np

from worldmodel._mujoco import mujoco
from worldmodel.commands.figures import COLOURS
from worldmodel.scene.view3d import view


def film(
    model: mujoco.MjModel,
    start: np.ndarray,
    recorded: np.ndarray,
    predicted: Mapping[str, np.ndarray],
    control_hz: float,
) -> tuple[str, str]:
    """The view, and a sentence on each thing that it does not show as it is.

    Args:
      model: compiled.
      start: (nq,) the frame that every prediction begins from, finite.
      recorded: (frames, nq) what follows; an unknown position, NaN, is shown at its last value.
      predicted: (frames, nq) by model; one that is not finite is not shown.
      control_hz: rate of the frames [1/s].
    """
    shown = np.concatenate([start[None], recorded])
    for before, row in itertools.pairwise(shown):
        row[:] = np.where(np.isfinite(row), row, before)
    notes = [] if np.isfinite(recorded).all() else ["Positions not recorded stay where they were."]
    episodes = {"recorded": shown}
    for name, rows in predicted.items():
        if np.isfinite(rows).all():
            episodes[name] = np.concatenate([start[None], rows])
        else:
            notes.append(f"The prediction of {name} is not finite and is not shown.")
    label = "one held-out window, recorded and predicted"
    return view(model, episodes, control_hz, colours=COLOURS, label=label), " ".join(notes)
