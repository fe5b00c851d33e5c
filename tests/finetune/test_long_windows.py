"""How far validation reaches, and the widths of forecasts up to there."""

import numpy as np
import pytest

from worldmodel.episodes.windows import WindowGrid
from worldmodel.finetune.gate import at_knots, long_windows
from worldmodel.model.ensemble import along
from worldmodel.types import Episode


@pytest.mark.parametrize("horizon", [63, 64, 100, 127, 400])
def test_widths_are_those_of_their_frame_up_to_the_last_one(horizon: int) -> None:
    """Where the last frame lies between two knots, the one beyond is not its value."""
    frame = np.arange(1.0, horizon + 1.0)
    values = np.stack([np.sqrt(frame), 1.0 / np.sqrt(frame), np.zeros(horizon)], axis=1)
    again = along(at_knots(values), horizon)
    np.testing.assert_allclose(again[-1], values[-1], rtol=0.02)
    np.testing.assert_allclose(again[30:], values[30:], rtol=0.05)


def test_validation_reaches_as_far_as_half_of_the_episodes() -> None:
    def episodes(*frames: int) -> list[Episode]:
        return [
            Episode.regular(i, 100.0, **{k: np.zeros((n, 1)) for k in ("qpos", "qvel", "ctrl")})
            for i, n in enumerate(frames)
        ]

    grid = WindowGrid(first=1, stride=1, horizon=5)
    for frames, wanted in (((60, 60, 60), 20), ((12, 15, 60), 13), ((8, 8, 60), 6)):
        assert long_windows(episodes(*frames), grid).target.shape[1] == wanted
