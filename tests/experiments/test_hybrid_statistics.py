"""Statistics of a learned half: ratios, groups, progress, text and figures."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.recordings import hybrid_figures
from experiments.recordings.film import pyplot
from experiments.recordings.hybrid_statistics import (
    against,
    curves,
    headline,
    horizon_block,
    read_metrics,
    remaining,
)
from experiments.recordings.hybrid_table import refuse_diverged
from experiments.recordings.hybrid_text import markdown
from experiments.recordings.problems import CUBE, ELBOW, Problem
from tests.helpers.still_episodes import still_episodes
from worldmodel.episodes.windows import Windows
from worldmodel.errors import InputError

CHANNELS = CUBE.channels(CUBE.scene())
WHOLE = dataclasses.replace(CUBE.windows, horizon=None)


def off_by(windows: Windows, amount: np.ndarray | float) -> np.ndarray:
    """Predictions that are wrong by an amount per window [m], a tenth as much in angles [rad]."""
    predicted = np.array(windows.target, float)
    wrong = np.broadcast_to(amount, len(windows))[:, None]
    predicted[..., 1] += wrong
    predicted[..., 3], predicted[..., 4] = np.cos(0.05 * wrong), np.sin(0.05 * wrong)
    predicted[..., 7:] += 0.1 * wrong[..., None]
    return predicted


def test_ratios_are_of_shared_seeds_and_paired() -> None:
    base = np.random.default_rng(0).uniform(1, 5, (6, 3))
    base[:, 2] = np.nan  # no joints
    physics = {0: base, 1: 3 * base, 2: 100 * base}
    ratios = against({0: 0.5 * base, 1: 0.9 * base}, physics)
    assert set(ratios) == {"position_m", "rotation_rad"}
    for ratio in ratios.values():  # (.5 + .9) / (1 + 3), whatever the third seed
        np.testing.assert_allclose([ratio["ratio"], *ratio["bootstrap"]], 0.35)
        np.testing.assert_allclose(ratio["seeds"], [0.5, 0.3])
    with pytest.raises(InputError, match="no fit seed in common"):
        against({4: base}, physics)


def test_a_diverging_latent_model_gets_an_empty_cell_and_physics_is_refused() -> None:
    windows, _ = WHOLE.cut(still_episodes(CUBE, 3, 50))
    scored = np.asarray(windows.scored).copy()
    scored[:, -1] = False
    windows = dataclasses.replace(windows, scored=scored)
    right, wrong, past = off_by(windows, 0.1), off_by(windows, 0.3), off_by(windows, 0.2)
    wrong[1, 5] = np.nan
    past[:, -1] = np.nan  # not scored
    predicted = {"physics": {3: past}, "hybrid": {3: right}, "latent": {3: wrong}}
    block = horizon_block(predicted, windows, CHANNELS)
    rows = {r["model"]: r for r in block["rows"]}
    assert rows["latent"]["position_m"] is None
    assert rows["latent"]["reason"] == "windows of 3 that are not finite: seed 3: 1"
    assert rows["physics"]["position_m"] == pytest.approx(0.2)
    assert rows["physics"]["reason"] is None and "latent" not in block["comparisons"]
    assert block["comparisons"]["hybrid"]["physics"]["position_m"]["ratio"] == pytest.approx(0.5)
    refuse_diverged(past, windows, "physics, seed 3", [0, 20, 40])
    with pytest.raises(InputError, match=r"physics, seed 3: 1 of 3 .*episodes \['20'\]"):
        refuse_diverged(wrong, windows, "physics, seed 3", [0, 20, 40])


def test_the_remaining_error_is_split_by_start_and_contact() -> None:
    episodes = still_episodes(CUBE, 3, 57)
    windows, _ = CUBE.windows.cut(episodes)
    starts = np.concatenate([CUBE.windows.starts(e)[0] for e in episodes])
    assert sorted(set(starts)) == [8, 16, 24, 32, 40]
    predicted = {
        "physics": {0: off_by(windows, 0.1 * starts)},
        "hybrid": {0: off_by(windows, 0.04 * starts), 1: off_by(windows, 0.06 * starts)},
    }
    predicted["physics"][1] = predicted["physics"][0]
    lowest = np.where(starts == 40, 0.005, 0.0051)
    groups = remaining(predicted, windows, CHANNELS, starts, lowest)
    assert [g["label"] for g in groups["start"]] == ["0–15", "16–31", "32–47"]
    assert [g["windows"] for g in groups["start"]] == [3, 6, 6]
    means = [g["physics"]["position_m"]["mean"] for g in groups["start"]]
    np.testing.assert_allclose(means, [0.8, 2.0, 3.6])
    flying, touching = groups["contact"]
    assert (flying["label"], flying["windows"]) == ("flying", 12)
    assert (touching["label"], touching["windows"]) == ("touching", 3)
    np.testing.assert_allclose(touching["hybrid"]["position_m"]["mean"], 2.0)
    np.testing.assert_allclose(flying["ratio"]["position_m"]["ratio"], 0.5)
    late = remaining(predicted, windows, CHANNELS, starts + 104, None)
    assert [(g["label"], g["windows"]) for g in late["start"]] == [("112–", 15)]
    assert late["contact"] == []


def test_progress_is_read_past_resumes_and_kills(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    with pytest.raises(InputError, match="whole --out folder"):
        read_metrics(path)
    path.write_text('{"stage": "windows", "step": 1, "loss": 2}\n')
    with pytest.raises(InputError, match="no validated step"):
        read_metrics(path)
    rows = [
        {"stage": "windows", "step": 5, "validation": 0.9},
        {"stage": "windows", "step": 10, "validation": float("inf")},
        {"stage": "windows", "step": 5, "validation": 0.8},  # a resumed run wrote it again
        {"stage": "regression", "step": 50, "validation": 0.7},
    ]
    path.write_text("".join(json.dumps(r) + "\n" for r in rows) + '{"stage": "wind')
    rows_read = [(r["stage"], r["step"], r["validation"]) for r in read_metrics(path)]
    assert rows_read == [("regression", 50, 0.7), ("windows", 5, 0.8), ("windows", 10, None)]


def synthetic(problem: Problem) -> dict[str, Any]:
    """A table of made-up predictions: the hybrid half as wrong, the latent model not finite over
    whole tosses, one ablation with a single seed."""
    channels = problem.channels(problem.scene())
    episodes = still_episodes(problem, 4, 100)
    amounts = {"physics": 0.2, "hybrid": 0.1, "dealt": 0.2, "latent": 0.4, "no_history": 0.16}
    table: dict[str, Any] = {"horizons": []}
    for horizon in (16, 80, None):
        grid = dataclasses.replace(problem.windows, horizon=horizon)
        windows, skipped = grid.cut(episodes)
        spread = 1 + 0.01 * np.asarray(windows.episode)
        predicted = {
            m: {s: off_by(windows, a * spread) for s in (0, 1)} for m, a in amounts.items()
        }
        del predicted["no_history"][0]
        if horizon is None:
            predicted["latent"][1][2] = np.nan
        else:
            table["curves"] = curves(predicted, windows, channels)
        if horizon == 16:
            starts = np.concatenate([grid.starts(e)[0] for e in episodes])
            rest = remaining(predicted, windows, channels, starts, 0.001 * starts - 0.02)
            table["remaining"] = {"frames": 16} | rest
        head = {"frames": horizon, "skipped": skipped}
        head["seconds"] = None if horizon is None else horizon / problem.control_hz
        table["horizons"].append(head | horizon_block(predicted, windows, channels))
    rows = [
        {"stage": stage, "step": s, "validation": 1 - 0.01 * s}
        for stage in ("regression", "windows")
        for s in (0, 5, 10)
    ]
    fit = {"validation": 0.5, "result": {"validation": 0.8, "steps": 10}}
    about = {"commit": "abc", "date": "2000-01-01", "cpu": "a cpu", "cores": 2}
    return table | {
        "recording": problem.name,
        "split": "test",
        "control_hz": problem.control_hz,
        "command": "python -m experiments.recordings.hybrid_table",
        "data_sha256": "0" * 64,
        "split_ids_sha256": "1" * 64,
        "seeds": [0, 1],
        "best_seed": 1,
        "fits": {m: [fit | {"seed": s} for s in (0, 1)] for m in ("physics", "hybrid", "latent")},
        "provenance": about | {"versions": {"jax": "1"}},
        "convergence": {m: {"0": rows, "1": rows} for m in ("hybrid", "latent")},
    }


@pytest.mark.parametrize("problem", [CUBE, ELBOW], ids=lambda p: p.name)
def test_text_and_figures_come_from_the_table_alone(problem: Problem, tmp_path: Path) -> None:
    table = json.loads(json.dumps(synthetic(problem), allow_nan=False))
    text = markdown(table)
    assert "kept here: seed 1, with the least product (0.5000)" in text and "(0.8000)" in text
    lines = text.splitlines()
    assert sum(x.startswith("| hybrid | **0.500** [0.500, 0.500]; 0.500–0.500") for x in lines) == 3
    assert sum(x.startswith("| corrections dealt to other windows | **1.000**") for x in lines) == 3
    # Over the same seed of the physics, and of the hybrid.
    for ratio in ("0.800", "1.600"):
        assert sum(x.startswith(f"| no history | **{ratio}**") for x in lines) == 3
    assert text.count("no history (seeds 1)") == 3
    assert text.count("windows of 4 that are not finite: seed 1: 1") == 1
    published = 2 if problem is CUBE else 0
    assert text.count("NeRD (CoRL 2025") == text.count("18 mm | 15.2° (0.266 rad)") == published
    assert ("joints" in text) == (problem is ELBOW)
    assert "| flying |" in text and "| touching |" in text
    paths = hybrid_figures.draw(table, tmp_path)
    assert {p.stem for p in paths} == {"error_vs_horizon", "remaining", "convergence"}
    for path in paths:
        assert path.read_bytes()[:4] == b"\x89PNG"
        assert 5_000 < path.stat().st_size < 400_000
    figure = hybrid_figures.curves_figure(table)
    assert len(figure.axes) == 2 * len(table["curves"])
    assert len(figure.axes[0].lines) == 5  # four models and the horizon of the table
    pyplot.close(figure)


def test_the_headline_has_ratio_and_interval(tmp_path: Path) -> None:
    line = headline(synthetic(CUBE), tmp_path)
    assert line["interval"] == "t" and line["frames"] == 16
    np.testing.assert_allclose(line["hybrid_over_physics"]["position_m"], 0.5, atol=1e-3)
    np.testing.assert_allclose(line["dealt_over_physics"]["position_m"], 1.0, atol=1e-3)
    np.testing.assert_allclose(line["longest"]["hybrid"]["position_m"], 0.5, atol=1e-3)
