"""The held-out arm, puck and T: recordings, tables, and what reality itself predicts."""

from pathlib import Path

import numpy as np
import pytest

from experiments.learned import held_out, held_out_push, held_out_slide
from worldmodel.episodes.split import split_episodes


@pytest.mark.parametrize("training", [6, 12, 40])
def test_a_fit_trains_on_as_many_episodes_as_asked_for(training: int) -> None:
    parts = [*split_episodes(range(held_out.count_of(training))).values()]
    assert parts.count("train") == training
    assert {"validation", "test"} <= {*parts}


def test_ratios_are_of_means_over_seeds_and_paired_over_episodes() -> None:
    usual = np.array([[1.0, 2.0, 3.0], [1.0, 1.0, 1.0]])
    share = {"physics": 1.0, "hybrid": 0.9, "physics with drives": 0.8, "hybrid with drives": 0.6}
    cells = {
        seed: {m: s * usual * (0.5 + seed) for m, s in (share | {"reality": 0.1}).items()}
        for seed in (0, 1)
    }
    rows = {row["model"]: row for row in held_out.summary(12, cells)}
    assert rows["physics"]["end"][0] == pytest.approx(2.0)
    assert rows["physics"]["by_seed"] == pytest.approx([1.0, 3.0])
    assert rows["hybrid"]["over_physics"] == pytest.approx([0.9] * 3)
    assert rows["hybrid with drives"]["over_physics"] == pytest.approx([0.6] * 3)
    assert rows["hybrid with drives"]["over_drives"] == pytest.approx([0.75] * 3)
    assert rows["physics"]["over_physics"] is None
    assert rows["physics with drives"]["whole"][0] == pytest.approx(0.8)
    half = {0: cells[0], 1: {m: cells[1][m] for m in ("reality", "physics", "hybrid")}}
    rows = {row["model"]: row for row in held_out.summary(12, half)}  # stopped within a cell
    assert rows["physics"]["seeds"] == [0, 1] and rows["hybrid with drives"]["seeds"] == [0]
    assert rows["hybrid with drives"]["over_physics"] == pytest.approx([0.6] * 3)


def test_reality_predicts_itself_within_its_play(tmp_path: Path) -> None:
    """Its joints are 0.7° from the middle of their play at most, and the start is in the middle."""
    test = tmp_path / "test"
    held_out.record(test, 2, seed=5)
    end, whole = held_out.reality_again(test)
    assert end.shape == (2,)
    assert whole.min() > 0.02 and whole.max() < 0.7
    # The drives' play is near that of joints; without it these errors are 0.65° and more.
    assert held_out.true_numbers(test, substeps=16).max() < 0.45


def test_the_held_out_puck_is_predicted_by_its_own_friction_alone(tmp_path: Path) -> None:
    held_out_slide.record(tmp_path, 4, seed=5)
    held_out_slide.record(tmp_path, 4, seed=5)  # nothing is played again
    known = held_out_slide.known(tmp_path)
    assert known["reality"].shape == known["true numbers"].shape == (2, 4)
    # The start is known to a millimetre in each direction, which turns the stroke a little.
    end = {name: errors[0].mean() for name, errors in known.items()}
    assert 1.0 < end["reality"] < end["reality without drives"] < end["true numbers"]


def test_the_held_out_t_is_predicted_by_itself(tmp_path: Path) -> None:
    held_out_push.record(tmp_path, 3, seed=5)
    held_out_push.record(tmp_path, 3, seed=5)  # nothing is played again
    known = held_out_push.known(tmp_path)
    assert known["reality"].shape == (2, 3) and not known["reality"].any()
    assert (known["true numbers"] > 0.3).all()  # friction from place to place
    end, whole = known["reality without drives"]
    assert (whole > 1.0).all() and (end < whole).all()  # at rest a delay no longer shows
