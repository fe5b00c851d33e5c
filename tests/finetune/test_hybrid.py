"""An ensemble's members: what each has of its own, that a fit goes on, and who is not in it."""

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from tests.helpers.doors import MASS, door_windows
from tests.helpers.planted_arm import ARM, drag, equal, recorded, scene_of
from worldmodel import runtime
from worldmodel.episodes.errors import Angle, Channels
from worldmodel.episodes.windows import WindowGrid
from worldmodel.finetune import hybrid
from worldmodel.finetune.adam import FitConfig, FitState, fit
from worldmodel.finetune.hybrid import (
    FittedHybrid,
    HybridData,
    bootstrapped,
    drawn_members,
    fit_hybrid,
)
from worldmodel.finetune.regression import RegressionConfig
from worldmodel.finetune.settings import DivergedError
from worldmodel.model import Displacement, Force, Network, WorldModel, init
from worldmodel.model.ensemble import make_predictor, members
from worldmodel.scene import FreeParameter, load_scene

DAMPED = """<mujoco model="door"><worldbody><body name="door">
<joint name="hinge" axis="0 1 0" damping=".1"/><geom size=".1" pos="0 0 .3"/></body></worldbody>
<actuator><motor joint="hinge"/></actuator></mujoco>"""
MEMBERS = 4
WORLD = WorldModel.latent(scene_of(ARM), Network(latent=2, width=4, members=MEMBERS))
GRID = WindowGrid(first=1, stride=8, horizon=1)
CONFIG = FitConfig(
    steps=3, batch=8, network_learning_rate=1e-2, validate_every=1, checkpoint_every=1
)


@pytest.fixture(scope="module")
def data() -> HybridData:
    train, judged = (recorded(WORLD.scene, drag, n, seed=n) for n in (5, 2))
    return HybridData(train, judged, GRID, GRID, remember=2)


def fitted(
    data: HybridData,
    folder: Path,
    rows: list[dict[str, Any]],
    *,
    config: FitConfig = CONFIG,
    stop: Callable[[], bool] = lambda: False,
) -> FittedHybrid:
    return fit_hybrid(
        WORLD,
        {"physics": {}, "network": {}},
        Channels(joints=(Angle("arm", 0),)),
        data,
        RegressionConfig(),
        config,
        folder,
        metadata={"scene": "arm", "settings": {}},
        record=rows.append,
        stop=stop,
    )


@dataclasses.dataclass(frozen=True)
class Straight:
    """A fit that ran through."""

    folder: Path
    hybrid: FittedHybrid


@pytest.fixture(scope="module")
def straight(data: HybridData, tmp_path_factory: pytest.TempPathFactory) -> Straight:
    folder, rows = tmp_path_factory.mktemp("straight"), []
    result = fitted(data, folder, rows)
    steps = range(CONFIG.steps + 1)
    assert [(r["member"], r["step"]) for r in rows] == [(k, n) for k in range(4) for n in steps]
    assert {r["stage"] for r in rows} == {"windows"}
    return Straight(folder, result)


def weights(result: FittedHybrid) -> list[Any]:
    return [m["network"]["weights"] for m in members(result.parameters)]


def test_members_have_weights_of_their_own(straight: Straight) -> None:
    each = weights(straight.hybrid)
    assert len(each) == MEMBERS and straight.hybrid.excluded == {}
    assert straight.hybrid.world == WORLD
    for k, one in enumerate(each):
        assert not any(equal(one, other) for other in each[:k])


def test_a_seed_decides_and_a_stop_in_a_later_member_costs_no_number(
    data: HybridData, straight: Straight, tmp_path: Path
) -> None:
    rows: list[dict[str, Any]] = []

    def stop() -> bool:
        return (rows[-1]["member"], rows[-1]["step"]) == (1, 2)

    with pytest.raises(runtime.Interrupted):
        fitted(data, tmp_path, rows, stop=stop)
    rows.clear()
    again = fitted(data, tmp_path, rows)
    assert (rows[0]["member"], rows[0]["step"]) == (1, 3)  # of member 0 and two steps, nothing
    assert equal(again.parameters, straight.hybrid.parameters)


def spoiling(
    monkeypatch: pytest.MonkeyPatch, diverging: tuple[int, ...], wrong: tuple[int, ...]
) -> None:
    """Fits of which some members diverge, and some end far from the data."""

    def spoiled(*args: Any, **more: Any) -> FitState:
        member = more["metadata"]["member"]
        if member in diverging:
            raise DivergedError("step 7: 8 of 8 windows are not finite")
        state = fit(*args, **more)
        if member not in wrong:
            return state
        network = state.best["network"]
        far = jax.tree.map(lambda w: w + 5.0, network["weights"])
        return dataclasses.replace(state, best=state.best | {"network": network | {"weights": far}})

    monkeypatch.setattr(hybrid, "fit", spoiled)


@pytest.mark.parametrize(
    ("diverging", "wrong", "reason"),
    [((1,), (), "step 7: 8 of 8 windows are not finite"), ((), (1,), "that of the median member")],
)
def test_a_member_that_diverges_or_is_far_worse_is_not_in_the_ensemble(
    data: HybridData,
    straight: Straight,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    diverging: tuple[int, ...],
    wrong: tuple[int, ...],
    reason: str,
) -> None:
    shutil.copytree(straight.folder, tmp_path / "fit")
    spoiling(monkeypatch, diverging, wrong)
    result = fitted(data, tmp_path / "fit", [])
    assert list(result.excluded) == [1] and reason in result.excluded[1]
    assert result.world.network.members == 3
    others = [w for k, w in enumerate(weights(straight.hybrid)) if k != 1]
    assert equal(weights(result), others)
    log = capsys.readouterr().err
    assert "member 1 is not in the ensemble" in log and "3 of 4 members" in log


def test_too_few_members_are_refused(
    data: HybridData, straight: Straight, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(straight.folder, tmp_path / "fit")
    spoiling(monkeypatch, (1,), (2,))
    with pytest.raises(DivergedError, match=r"2 of 4 .* at least 3 .*member 1: .*; member 2: "):
        fitted(data, tmp_path / "fit", [])


def test_a_rate_at_which_every_member_diverges_is_refused(data: HybridData, tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, network_learning_rate=1e200)
    with pytest.raises(DivergedError, match=r"4 of 4 members .* lower the learning rate"):
        fitted(data, tmp_path, [], config=config)


def test_a_bootstrap_draws_whole_episodes_with_repetition() -> None:
    episode = np.repeat([2, 5, 6, 9], [3, 1, 4, 2])
    drawn = [bootstrapped(episode, 0, k) for k in range(400)]
    counts = np.stack([np.bincount(episode[rows], minlength=10) for rows in drawn])
    times = counts[:, [2, 5, 6, 9]] / [3, 1, 4, 2]
    assert (times == times.round()).all() and (times.sum(1) == 4).all()
    # Of four draws of one in four: mean 1, variance 3 / 4.
    np.testing.assert_allclose(times.mean(0), 1.0, atol=0.15)
    np.testing.assert_allclose(times.var(0), 0.75, atol=0.2)
    np.testing.assert_array_equal(drawn[7], bootstrapped(episode, 0, 7))
    assert any(not np.array_equal(drawn[0], rows) for rows in drawn[1:])
    for k in range(20):  # of two episodes, a draw could be one of them twice
        np.testing.assert_array_equal(bootstrapped(np.array([3, 3, 8]), 0, k), [0, 1, 2])


def test_members_draw_their_physics_from_what_the_data_leave_open() -> None:
    free = (*MASS, FreeParameter("damping", "hinge"), FreeParameter("joint_zero", "hinge"))
    scene, network = load_scene(DAMPED, control_hz=100.0, substeps=1), Network(1, 1, members=60)
    world = WorldModel(scene, free, correction=Displacement(), network=network)
    origin = init(world, jax.random.key(0))
    middle = {"door.mass": 0.4, "hinge.damping": -0.2, "hinge.joint_zero": 0.1}
    origin["physics"] = {name: np.array([middle[name]]) for name in origin["physics"]}
    covariance = 1e-6 * np.array([[4.0, 1.8, 0.0], [1.8, 1.0, 0.0], [0.0, 0.0, 9.0]])
    windows = door_windows(4, 2)  # too short to tell such draws apart

    def numbers(given: np.ndarray | None) -> np.ndarray:
        each = drawn_members(world, origin, given, windows, seed=0)
        return np.array([[float(m["physics"][name][0]) for name in middle] for m in each])

    drawn = numbers(covariance)
    np.testing.assert_allclose(drawn[:, :2].mean(0), [0.4, -0.2], atol=8e-4)
    # The standard error of a variance of 60 draws is 18 %.
    np.testing.assert_allclose(np.cov(drawn[:, :2].T), covariance[:2, :2], rtol=0.5)
    np.testing.assert_array_equal(drawn[:, 2], 0.1)  # the log's zero is one for all
    np.testing.assert_array_equal(drawn, numbers(covariance))
    np.testing.assert_array_equal(numbers(None), np.tile([0.4, -0.2, 0.1], (60, 1)))


def test_members_learn_a_planted_force_in_the_linearisation_of_c_mujoco(tmp_path: Path) -> None:
    scene = scene_of(ARM)
    network = Network(latent=2, width=16, members=1)
    world = WorldModel(scene, correction=Force(), network=network)
    train, judged = (recorded(scene, drag, n, seed=n) for n in (8, 3))
    grid = WindowGrid(first=1, stride=4, horizon=10)
    config = dataclasses.replace(CONFIG, steps=120, batch=32, validate_every=20, patience=10)
    result = fit_hybrid(
        world,
        {"physics": {}, "network": {}},
        Channels(joints=(Angle("arm", 0),)),
        HybridData(train, judged, grid, grid, remember=2),
        RegressionConfig(),
        config,
        tmp_path,
        metadata={"scene": "arm", "settings": {}},
        record=lambda row: None,
        stop=lambda: False,
        engine="c",
    )
    windows = grid.cut(recorded(scene, drag, 4, seed=9))[0]
    alone = {"physics": {}, "network": {}}
    error = [
        np.abs(make_predictor(w, 64, "c")(p, windows) - np.asarray(windows.target)).mean()
        for w, p in ((result.world, result.parameters), (world.without_network(), alone))
    ]
    assert error[0] < 0.5 * error[1]
