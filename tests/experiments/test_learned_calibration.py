"""Calibration of an ensemble's forecasts: from a file of arrays to table and figure, by command."""

import dataclasses
import json
from pathlib import Path

import jax
import numpy as np
import pytest

from experiments.learned.calibration import CALIBRATED, MOVED, RAW, STEP, Args, main, spreads
from experiments.learned.forecast_file import read, write
from tests.helpers import command
from tests.helpers.learned_models import SMALL, shaken
from worldmodel.episodes.windows import WindowGrid
from worldmodel.errors import InputError
from worldmodel.model import WorldModel, init
from worldmodel.model.ensemble import make_forecaster
from worldmodel.runtime.records import write_arrays
from worldmodel.scene import load_scene
from worldmodel.types import Episode

HORIZON, GROUPS = 60, ["position_m", "position_m", "joint_rad"]


def part(rng: np.random.Generator, episodes: int) -> dict[str, np.ndarray]:
    """Errors are random walks, some windows harder than others. The members know which, but lie
    three times too near one another, and more so the longer they run."""
    windows, channels = 4 * episodes, len(GROUPS)
    frames = np.arange(1, HORIZON + 1)[:, None]
    hard = np.exp(0.6 * rng.normal(size=(windows, 1, 1)))
    error = 0.01 * hard * np.cumsum(rng.normal(size=(windows, HORIZON, channels)), axis=1)
    speed = rng.normal(size=(windows, 1, channels))
    scatter = rng.normal(size=(5, windows, 1, channels))
    scatter -= scatter.mean(axis=0)
    deviation = 0.003 * hard * frames**0.3 * np.ones(channels)
    return {
        "error": error,
        "deviation": deviation,
        "members": 0.01 * speed * frames + scatter * deviation,
        "start": np.tile(np.arange(4) * HORIZON, episodes),
        "episode": np.repeat(np.arange(episodes), 4),
        "scored": np.arange(HORIZON) < np.where(np.arange(windows) % 4 == 3, 40, HORIZON)[:, None],
    }


def arrays(seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    parts = {"validation": part(rng, 80), "test": part(rng, 40)}
    named = {f"{p}.{name}": values for p, each in parts.items() for name, values in each.items()}
    measured = rng.random(named["test.error"].shape) < 0.9
    named["test.error"] = np.where(measured, named["test.error"], np.nan)
    return named | {
        "test.measured": measured,
        "groups": np.array(GROUPS),
        "horizon_hz": np.array(50.0),
    }


def test_the_command_writes_a_table_and_a_figure(tmp_path: Path) -> None:
    file, out = tmp_path / "forecasts.npz", tmp_path / "out"
    write_arrays(file, arrays())
    line = ["experiments.learned.calibration", "--forecasts", str(file), "--out", str(out)]
    done = command.run(*line)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "reach 60 frames; horizons beyond are left out" in done.stderr
    table = json.loads((out / "table.json").read_text())
    rows = {(r["group"], r["frames"], r["spread"]): r for r in table["rows"]}
    names = (RAW, CALIBRATED, STEP, MOVED)
    assert list(rows) == [
        (g, h, s) for g in ("position_m", "joint_rad") for h in (1, 10, 50, None) for s in names
    ]
    # Two of three groups of cells are 24 coverages; a multiplier's own error costs a few.
    right = json.loads(done.stdout)["right"]
    assert right[RAW] == [0, 24] and right[CALIBRATED][0] >= 20, right
    for group in ("position_m", "joint_rad"):
        for frames in (1, 10, 50):
            raw, mended, step, moved = (rows[group, frames, s] for s in names)
            assert mended["crps"] < min(raw["crps"], step["crps"], moved["crps"])
            assert mended["over_step_index"][2] < 1.0 and mended["nll"] < raw["nll"]
            assert raw["spread_over_error"] < 0.4
            assert mended["rank_correlation"] == pytest.approx(raw["rank_correlation"])
            assert mended["rank_correlation"] > 0.2 > abs(moved["rank_correlation"])
            assert step["rank_correlation"] is None and step["over_step_index"] is None
        everything = [rows[group, None, s]["rank_correlation"] for s in names]
        assert everything[1] > everything[2] > 0.2 and everything[1] > everything[0]
    text = (out / "table.md").read_text()
    assert text.count("\n| ") == 1 + 1 + len(rows) and "| all | step index |" in text
    assert (out / "figure.png").read_bytes()[:4] == b"\x89PNG"


def test_a_baseline_of_distance_ranks_by_how_far_the_mean_moves(tmp_path: Path) -> None:
    """Here a window errs in proportion to its speed, and the ensemble does not know."""
    given = arrays()
    for name in ("validation", "test"):
        moved = np.abs(given[f"{name}.members"].mean(axis=0))
        given[f"{name}.error"] = moved * np.random.default_rng(1).normal(size=moved.shape)
        given[f"{name}.deviation"] = np.ones_like(moved)
    write_arrays(tmp_path / "f.npz", given)
    held, test, groups, hz = read(tmp_path / "f.npz")
    assert (groups, hz) == (GROUPS, 50.0)
    by_spread = spreads(held.of([0, 1]), test.of([0, 1]))
    deviation = by_spread[MOVED].deviation
    size = np.sqrt(np.square(test.members.mean(axis=0)[..., :2]).mean(axis=2))
    order = np.argsort(size[:, 20])
    assert (np.diff(deviation[order, 20, 0]) >= 0).all() and np.ptp(deviation[:, 20, 0]) > 0
    np.testing.assert_array_equal(deviation[..., 0], deviation[..., 1])
    assert (np.ptp(by_spread[STEP].deviation, axis=0) == 0).all()
    np.testing.assert_array_equal(by_spread[RAW].deviation, given["test.deviation"][..., :2])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"test.scored": None}, "has no array 'test.scored'; did you mean"),
        ({"groups": np.array(["joints"] * 3)}, "group 'joints' is none of position_m,"),
        ({"groups": np.array(["joint_rad"] * 2)}, "2 groups differ"),
        ({"test.scored": np.ones((3, HORIZON))}, "test.scored does not fit test.error"),
        ({"test.error": np.full((160, HORIZON, 3), np.nan)}, "leave out members that diverge"),
        ({"validation.members": np.ones((5, 3, HORIZON, 3))}, "validation.members does not fit"),
    ],
)
def test_another_file_is_refused(
    change: dict[str, np.ndarray | None], message: str, tmp_path: Path
) -> None:
    given = {k: v for k, v in (arrays() | change).items() if v is not None}
    write_arrays(tmp_path / "f.npz", given)
    with pytest.raises(InputError, match=message):
        read(tmp_path / "f.npz")


def test_what_is_no_archive_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none.npz cannot be read as .npz: No such file"):
        read(tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("error")
    with pytest.raises(InputError, match=r"text.npz cannot be read"):
        read(tmp_path / "text.npz")


def test_a_group_that_never_moves_is_left_out_by_name(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    given = arrays()
    given["validation.members"][..., 2] = 0.0
    write_arrays(tmp_path / "f.npz", given)
    assert main(Args(tmp_path / "f.npz", tmp_path / "out", horizons=(5,))) == 0
    assert "group joint_rad is left out: no forecast moves" in capfd.readouterr().err
    table = json.loads((tmp_path / "out" / "table.json").read_text())
    assert {row["group"] for row in table["rows"]} == {"position_m"}
    given["validation.members"][:] = 0.0
    write_arrays(tmp_path / "f.npz", given)
    with pytest.raises(InputError, match="no group is left"):
        main(Args(tmp_path / "f.npz", tmp_path / "out"))


SCENE = """<mujoco><worldbody><body><freejoint/><geom size=".1" mass="1"/></body>
<body pos="1 0 0"><joint name="rail" type="slide" axis="1 0 0"/><geom size=".1" mass="1"/>
<body><joint name="turn" axis="0 0 1"/><geom size=".1" pos=".2 0 0" mass="1"/></body></body>
</worldbody></mujoco>"""


def test_a_models_forecasts_are_read_as_they_are_written(tmp_path: Path) -> None:
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
    seen = dataclasses.replace(windows, measured=measured)
    parameters = shaken(init(world, jax.random.key(1)))
    doubled = {"widening": 2.0 * parameters["network"]["widening"]}
    mended = parameters | {"network": parameters["network"] | doubled}
    write(tmp_path / "f.npz", world, mended, windows, seen)
    held, test, groups, hz = read(tmp_path / "f.npz")
    assert groups == ["position_m"] * 3 + ["rotation_rad"] * 3 + ["position_m", "joint_rad"]
    assert hz == 50.0 and held.members.shape == (2, len(windows), 5, 8)
    assert test.start.tolist() == [1, 4, 1, 4] and test.forecasts.episode.tolist() == [0, 0, 1, 1]
    recorded = (np.asarray(windows.target) - windows.qpos[:, None])[..., [0, 1, 2, 7]]
    again = (held.mean + held.forecasts.error)[..., [0, 1, 2, 6]]
    np.testing.assert_allclose(again, recorded, atol=1e-6)
    # Without the model's own multipliers.
    plain = make_forecaster(world, len(windows))(parameters, windows)
    np.testing.assert_allclose(held.forecasts.deviation, plain.deviation, rtol=1e-5)
    assert held.forecasts.counts.all()
    whole = measured[..., 3:7].all(axis=-1)
    np.testing.assert_array_equal(test.forecasts.counts[..., 4], whole)
    np.testing.assert_array_equal(test.forecasts.counts[..., 7], measured[..., 8])
