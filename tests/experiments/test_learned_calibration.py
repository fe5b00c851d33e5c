"""Calibration of an ensemble's forecasts: rows of its table, and what a model forecasts."""

import dataclasses
import functools
import json

import jax
import numpy as np
import pytest

from experiments.learned.calibration import (
    CALIBRATED,
    COLUMNS,
    MOVED,
    RAW,
    STEP,
    Part,
    by_group,
    forecast,
    groups_of,
    rows,
    spreads,
)
from experiments.records import table
from tests.helpers.command import ROOT
from tests.helpers.learned_models import SMALL, shaken
from worldmodel.episodes.forecasts import Forecasts
from worldmodel.episodes.windows import WindowGrid
from worldmodel.model import WorldModel, init
from worldmodel.model.ensemble import make_forecaster
from worldmodel.scene import load_scene
from worldmodel.types import Episode

HORIZON, GROUPS = 60, ["position_m", "position_m", "joint_rad"]


def part(rng: np.random.Generator, episodes: int) -> Part:
    """Errors are random walks, some windows harder than others. The deviations know which, but are
    three times too small, and more so the longer the windows run."""
    windows, channels = 4 * episodes, len(GROUPS)
    frames = np.arange(1, HORIZON + 1)[:, None]
    hard = np.exp(0.6 * rng.normal(size=(windows, 1, 1)))
    error = 0.01 * hard * np.cumsum(rng.normal(size=(windows, HORIZON, channels)), axis=1)
    speed = rng.normal(size=(windows, 1, channels))
    deviation = 0.003 * hard * frames**0.3 * np.ones(channels)
    scored = np.arange(HORIZON) < np.where(np.arange(windows) % 4 == 3, 40, HORIZON)[:, None]
    counts = np.broadcast_to(scored[..., None], error.shape)
    forecasts = Forecasts(error, deviation, np.repeat(np.arange(episodes), 4), counts)
    moved = np.broadcast_to(0.01 * speed * frames, forecasts.error.shape)
    return Part(forecasts, np.array(moved))


def parts(seed: int = 0) -> tuple[Part, Part]:
    """Validation and test; a tenth of the latter is not measured."""
    rng = np.random.default_rng(seed)
    held, test = part(rng, 80), part(rng, 40)
    measured = rng.random(test.moved.shape) < 0.9
    error = np.where(measured, test.forecasts.error, np.nan)
    counts = test.forecasts.counts & measured
    forecasts = dataclasses.replace(test.forecasts, error=error, counts=counts)
    return held, dataclasses.replace(test, forecasts=forecasts)


def test_multipliers_mend_what_is_too_narrow_and_keep_the_ranks() -> None:
    table = rows(by_group(*parts(), GROUPS), (1, 10, 50))
    by_cell = {(r["group"], r["frames"], r["spread"]): r for r in table}
    names = (RAW, CALIBRATED, STEP, MOVED)
    assert list(by_cell) == [
        (g, h, s) for g in ("position_m", "joint_rad") for h in (1, 10, 50, None) for s in names
    ]
    right = {
        name: [
            v["right"]
            for r in table
            if r["spread"] == name and r["frames"] is not None
            for v in r["coverage"].values()
        ]
        for name in (RAW, CALIBRATED)
    }
    # Two of three groups of cells are 24 coverages; a multiplier's own error costs a few.
    assert len(right[RAW]) == 24 and not any(right[RAW]) and sum(right[CALIBRATED]) >= 20
    for group in ("position_m", "joint_rad"):
        for frames in (1, 10, 50):
            raw, mended, step, moved = (by_cell[group, frames, s] for s in names)
            assert mended["crps"] < min(raw["crps"], step["crps"], moved["crps"])
            assert mended["over_step_index"][2] < 1.0 and mended["nll"] < raw["nll"]
            assert raw["spread_over_error"] < 0.4
            assert mended["rank_correlation"] == pytest.approx(raw["rank_correlation"])
            assert mended["rank_correlation"] > 0.2 > abs(moved["rank_correlation"])
            assert step["rank_correlation"] is None and step["over_step_index"] is None
        everything = [by_cell[group, None, s]["rank_correlation"] for s in names]
        assert everything[1] > everything[2] > 0.2 and everything[1] > everything[0]


def test_a_baseline_of_distance_ranks_by_how_far_the_mean_moves() -> None:
    """Here a window errs in proportion to its speed, and the ensemble does not know."""

    def erring(given: Part) -> Part:
        error = np.abs(given.moved) * np.random.default_rng(1).normal(size=given.moved.shape)
        plain = np.ones_like(error)
        forecasts = dataclasses.replace(given.forecasts, error=error, deviation=plain)
        return dataclasses.replace(given, forecasts=forecasts)

    held, test = (erring(given).of([0, 1]) for given in parts())
    by_spread = spreads(held, test)
    deviation = by_spread[MOVED].deviation
    size = np.sqrt(np.square(test.moved).mean(axis=2))
    order = np.argsort(size[:, 20])
    assert (np.diff(deviation[order, 20, 0]) >= 0).all() and np.ptp(deviation[:, 20, 0]) > 0
    np.testing.assert_array_equal(deviation[..., 0], deviation[..., 1])
    assert (np.ptp(by_spread[STEP].deviation, axis=0) == 0).all()
    np.testing.assert_array_equal(by_spread[RAW].deviation, test.forecasts.deviation)


def test_a_group_that_never_moves_is_left_out_by_name(capfd: pytest.CaptureFixture[str]) -> None:
    held, test = parts()
    held.moved[..., 2] = 0.0
    assert {row["group"] for row in rows(by_group(held, test, GROUPS), (5,))} == {"position_m"}
    assert "group joint_rad is left out: no forecast moves" in capfd.readouterr().err


SCENE = """<mujoco><worldbody><body><freejoint/><geom size=".1" mass="1"/></body>
<body pos="1 0 0"><joint name="rail" type="slide" axis="1 0 0"/><geom size=".1" mass="1"/>
<body><joint name="turn" axis="0 0 1"/><geom size=".1" pos=".2 0 0" mass="1"/></body></body>
</worldbody></mujoco>"""


def test_a_models_forecasts_are_without_its_own_multipliers() -> None:
    """A network without physics: what is recorded is the start plus mean plus error."""
    scene = load_scene(SCENE, control_hz=50.0, substeps=1)
    world = WorldModel.latent(scene, SMALL)
    rng = np.random.default_rng(0)
    qpos = rng.normal(size=(2, 12, scene.mj_model.nq))
    qpos[..., 3:7] /= np.linalg.norm(qpos[..., 3:7], axis=-1, keepdims=True)
    still = np.zeros((12, 8)), np.zeros((12, 0))
    episodes = [
        Episode.regular(i, 50.0, qpos=q, qvel=still[0], ctrl=still[1]) for i, q in enumerate(qpos)
    ]
    windows, _ = WindowGrid(1, 3, 5).cut(episodes)
    measured = rng.random(windows.target.shape) < 0.8
    parameters = shaken(jax.jit(functools.partial(init, world))(jax.random.key(1)))
    doubled = {"widening": 2.0 * parameters["network"]["widening"]}
    mended = parameters | {"network": parameters["network"] | doubled}
    held = forecast(world, mended, windows)
    test = forecast(world, mended, dataclasses.replace(windows, measured=measured))
    groups = groups_of(scene)
    assert groups == ["position_m"] * 3 + ["rotation_rad"] * 3 + ["position_m", "joint_rad"]
    assert test.forecasts.episode.tolist() == [0, 0, 1, 1]
    recorded = (np.asarray(windows.target) - windows.qpos[:, None])[..., [0, 1, 2, 7]]
    again = (held.moved + held.forecasts.error)[..., [0, 1, 2, 6]]
    np.testing.assert_allclose(again, recorded, atol=1e-6)
    plain = make_forecaster(world, len(windows))(parameters, windows)
    np.testing.assert_allclose(held.forecasts.deviation, plain.deviation, rtol=1e-5)
    assert held.forecasts.counts.all()
    whole = measured[..., 3:7].all(axis=-1)
    np.testing.assert_array_equal(test.forecasts.counts[..., 4], whole)
    np.testing.assert_array_equal(test.forecasts.counts[..., 7], measured[..., 8])


def test_a_committed_table_is_that_of_its_rows() -> None:
    for path in sorted((ROOT / "experiments/results/learned/calibration").glob("*/table.json")):
        text = path.with_name("table.md").read_text()
        assert text.endswith(table(json.loads(path.read_text())["rows"], COLUMNS)), path
