"""Settings that no fit can be run with are refused by name, where they are given."""

from typing import Any

import numpy as np
import pytest

from worldmodel.errors import InputError
from worldmodel.finetune.adam import FitConfig, scored_frames
from worldmodel.finetune.gauss_newton import IdentifyConfig
from worldmodel.finetune.regression import RegressionConfig


@pytest.mark.parametrize(
    ("kind", "setting", "value"),
    [
        (FitConfig, "steps", 0),
        (FitConfig, "batch", 0),
        (FitConfig, "patience", 0),
        (FitConfig, "validate_every", 0),
        (FitConfig, "checkpoint_every", -5),
        (FitConfig, "seed", -1),
        (FitConfig, "learning_rate", np.nan),
        (FitConfig, "huber", 0.0),
        (FitConfig, "max_nonfinite", -0.1),
        (RegressionConfig, "steps", -1),
        (RegressionConfig, "batch", 0),
        (RegressionConfig, "validate_every", 0),
        (RegressionConfig, "seed", -1),
        (IdentifyConfig, "iterations", 0),
        (IdentifyConfig, "batch", 0),
        (IdentifyConfig, "tolerance", 0.0),
        (IdentifyConfig, "pose_spread", np.inf),
    ],
)
def test_an_impossible_number_is_refused_by_name(kind: Any, setting: str, value: float) -> None:
    with pytest.raises(InputError, match=f"{kind.__name__}: {setting} = {value}; give a number"):
        kind(**{setting: value})


def test_other_impossible_settings_are_refused_by_name() -> None:
    with pytest.raises(InputError, match="train 'half' is none of physics, network, both"):
        FitConfig(train="half")
    with pytest.raises(InputError, match=r"curriculum \(2, 0\): give at least 1 frame"):
        FitConfig(curriculum=(2, 0))


def test_a_curriculum_grows_in_equal_shares() -> None:
    config = FitConfig(steps=6, curriculum=(2, 4, 16))
    assert [scored_frames(config, i) for i in range(6)] == [2, 2, 4, 4, 16, 16]
