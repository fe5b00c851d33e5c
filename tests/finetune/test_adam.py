"""Adam through the physics: what it moves, what it holds, and that it resumes bit for bit."""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests.helpers import planted_arm
from tests.helpers.planted_arm import Arm, equal, leaves, windows_of
from worldmodel import runtime
from worldmodel.episodes.errors import Angle, Channels, episode_errors
from worldmodel.finetune import adam
from worldmodel.finetune.adam import FitConfig, FitState, fit
from worldmodel.finetune.adam_step import make_optimiser
from worldmodel.model.ensemble import make_predictor
from worldmodel.runtime.checkpoint import CheckpointError

CHANNELS = Channels(joints=(Angle("arm", 0),))
METADATA = {"scene": "arm", "settings": {"data": "test"}}


@pytest.fixture(scope="module")
def arm() -> Arm:
    return planted_arm.arm()


FIT = FitConfig(
    steps=4,
    batch=8,
    learning_rate=0.02,
    network_learning_rate=2e-3,
    validate_every=2,
    checkpoint_every=2,
)


def fitted(
    arm: Arm, directory: Path, config: FitConfig, stop_after: int = 99
) -> tuple[FitState, list[dict[str, Any]]]:
    rows: list[dict[str, Any]] = []
    state = fit(
        arm.world,
        arm.origin,
        CHANNELS,
        windows_of(arm.train, 4),
        windows_of(arm.validation, 4, stride=8),
        config,
        directory,
        metadata=METADATA,
        record=rows.append,
        stop=lambda: bool(rows) and rows[-1]["step"] == stop_after,
        start=arm.start,
    )
    return state, rows


@pytest.fixture(scope="module")
def straight(arm: Arm, tmp_path_factory: pytest.TempPathFactory) -> tuple[FitState, list]:
    """A fit that ran through."""
    return fitted(arm, tmp_path_factory.mktemp("fit"), FIT)


def test_a_hybrid_predicts_what_its_physics_cannot(
    arm: Arm, straight: tuple[FitState, list]
) -> None:
    state, rows = straight
    assert [row["step"] for row in rows] == [0, 1, 2, 3, 4]
    validation = [row["validation"] for row in rows if "validation" in row]
    assert float(state.best_error) == min(validation) < 0.5
    assert int(state.nonfinite) == 0

    # The same by hand: the error over that of physics alone.
    judged = windows_of(arm.validation, 4, stride=8)
    alone = arm.world.without_network()
    errors = [
        np.nanmean(episode_errors(make_predictor(w, 8)(p, judged), judged, CHANNELS))
        for w, p in ((arm.world, state.best), (alone, arm.origin))
    ]
    assert errors[0] / errors[1] == pytest.approx(float(state.best_error), rel=1e-9)


def test_progress_shows_validations_and_a_line_a_second(
    arm: Arm,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(adam, "REPORT_SECONDS", np.inf)
    fitted(arm, tmp_path, FIT)
    shown = [line.split("/")[0] for line in capsys.readouterr().err.splitlines() if "loss" in line]
    assert shown == ["step    1", "step    2", "step    4"]


def test_an_interrupted_fit_goes_on_bit_for_bit(
    arm: Arm, straight: tuple[FitState, list], tmp_path: Path
) -> None:
    with pytest.raises(runtime.Interrupted, match="stopped at step 3"):
        fitted(arm, tmp_path, FIT, stop_after=3)
    state, rows = fitted(arm, tmp_path, FIT)
    assert [row["step"] for row in rows] == [4]
    assert equal(state, straight[0])
    assert rows[-1] == straight[1][-1]


def test_a_finished_fit_goes_on_with_more_steps_and_names_what_else_differs(
    arm: Arm, straight: tuple[FitState, list], tmp_path: Path
) -> None:
    fitted(arm, tmp_path, FIT)
    longer, rows = fitted(arm, tmp_path, dataclasses.replace(FIT, steps=6, patience=20))
    assert [row["step"] for row in rows] == [5, 6]
    assert int(longer.step) == 6 and float(longer.best_error) <= float(straight[0].best_error)
    other = dataclasses.replace(FIT, seed=1, learning_rate=0.5)
    named = r"config\.learning_rate was 0\.02 and is 0\.5; config\.seed was 0 and is 1;"
    with pytest.raises(CheckpointError, match=named):
        fitted(arm, tmp_path, other)


@pytest.mark.parametrize("half", ["network", "physics", "both"])
def test_a_frozen_half_stays(arm: Arm, half: str) -> None:
    optimiser = make_optimiser(dataclasses.replace(FIT, train=half))
    parameters: Any = arm.start
    state = optimiser.init(parameters)
    for _ in range(2):
        gradient = jax.tree.map(jnp.ones_like, parameters)
        updates, state = optimiser.update(gradient, state, parameters)
        parameters = optax.apply_updates(parameters, updates)
    moved = {
        "network": not equal(parameters["network"]["weights"], arm.start["network"]["weights"]),
        "physics": not equal(parameters["physics"], arm.start["physics"]),
    }
    assert moved == {"network": half != "physics", "physics": half != "network"}
    assert equal(parameters["network"]["norm"], arm.start["network"]["norm"])


def test_a_fit_moves_both_halves(arm: Arm, straight: tuple[FitState, list]) -> None:
    parameters = straight[0].parameters
    assert not equal(parameters["physics"], arm.start["physics"])
    for ours, theirs in zip(
        leaves(parameters["network"]["weights"]),
        leaves(arm.start["network"]["weights"]),
        strict=True,
    ):
        assert not np.array_equal(ours, theirs)
