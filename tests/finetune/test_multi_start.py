"""Physics from several starts over growing windows: seeds agree, a stopped fit goes on."""

import dataclasses
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.helpers.planted_parameters import SWING, recorded, swing
from worldmodel import runtime
from worldmodel.episodes.windows import Windows
from worldmodel.errors import InputError
from worldmodel.finetune import multi_start
from worldmodel.finetune.least_squares import IdentifyConfig, IdentifyError
from worldmodel.finetune.multi_start import PhysicsConfig, first_frames, fit_physics, starts_of
from worldmodel.model import WorldModel

TRUE = np.array([0.8, -0.5, 0.6, 0.4])
CONFIG = PhysicsConfig(identify=IdentifyConfig(engine="c"), starts=2, stages=(0.5, 1.0))


@pytest.fixture(scope="module")
def world() -> WorldModel:
    return WorldModel(swing(), SWING)


@pytest.fixture(scope="module")
def windows(world: WorldModel) -> tuple[Windows, Windows]:
    """Of training and of other episodes."""
    rng = np.random.default_rng(6)
    return recorded(world, TRUE, rng), recorded(world, TRUE, rng, windows=4)


def test_seeds_end_at_the_same_numbers(
    world: WorldModel, windows: tuple[Windows, Windows], tmp_path: Path
) -> None:
    ends = []
    for seed in range(2):
        config = dataclasses.replace(CONFIG, seed=seed)
        out = fit_physics(world, *windows, config, tmp_path / str(seed), config_hash="")
        assert out.identified.converged and (out.validation < 0.2).all()
        assert out.best == np.argmin(out.validation)
        u = np.array([n.u for n in out.identified.numbers])
        assert (np.abs(u - TRUE) < 4 * np.sqrt(np.diag(out.identified.covariance))).all()
        ends.append(u)
    np.testing.assert_allclose(ends[0], ends[1], atol=2e-2)
    assert (starts_of(world, CONFIG)[0] == 0).all()
    assert (starts_of(world, CONFIG)[1] != starts_of(world, config)[1]).all()


def test_a_start_that_fails_is_left_out_and_all_that_fail_are_an_error(
    world: WorldModel,
    windows: tuple[Windows, Windows],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """The second fit fails, that of the first start to whole windows; the second start goes on."""
    fails, asked = [2], 0

    def identify(*args: Any, **kwargs: Any) -> Any:
        nonlocal asked
        asked += 1
        if asked in fails:
            raise IdentifyError("13 of 64 windows are far beyond the median")
        return whole_identify(*args, **kwargs)

    whole_identify = multi_start.identify
    monkeypatch.setattr(multi_start, "identify", identify)
    config = dataclasses.replace(CONFIG, finalists=2)
    out = fit_physics(world, *windows, config, tmp_path / "one", config_hash="a")
    assert "start 1 is left out: 13 of 64" in capfd.readouterr().err
    assert np.isinf(out.validation[0]) and out.validation[1] < 0.2 and out.best == 1
    fails.clear()
    again = fit_physics(world, *windows, config, tmp_path / "one", config_hash="a")
    assert [n.u for n in again.identified.numbers] == [n.u for n in out.identified.numbers]
    np.testing.assert_array_equal(again.validation, out.validation)
    fails.append(asked + 5)  # the best start, once it is fitted to all windows
    out = fit_physics(world, *windows, CONFIG, tmp_path / "last", config_hash="a")
    assert out.best == np.argmax(out.validation) and out.identified.converged
    fails.extend(range(asked + 1, asked + 3))
    with pytest.raises(IdentifyError, match="13 of 64"):
        fit_physics(world, *windows, config, tmp_path / "none", config_hash="a")
    later = fit_physics(world, *windows, config, tmp_path / "none", config_hash="a")
    assert np.isfinite(later.validation).all()


def test_a_stopped_fit_goes_on_to_the_same_numbers(
    world: WorldModel,
    windows: tuple[Windows, Windows],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    config = dataclasses.replace(CONFIG, finalists=2, agreement=0.0)
    whole = fit_physics(world, *windows, config, tmp_path / "whole", config_hash="a")
    ended = re.findall(r"start (\d), fitted to all \D*([\d.]+)", capfd.readouterr().err)
    assert sorted(start for start, _ in ended) == ["1", "2"]
    assert whole.best + 1 == int(min(ended, key=lambda end: float(end[1]))[0])
    asked = 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        return asked % 6 == 0

    stopped = tmp_path / "stopped"
    for _ in range(20):
        try:
            rest = fit_physics(world, *windows, config, stopped, config_hash="a", stop=stop)
            break
        except runtime.Interrupted:
            continue
    assert asked > 6
    again = fit_physics(world, *windows, config, stopped, config_hash="a")  # has finished
    for out in (rest, again):
        assert [n.u for n in out.identified.numbers] == [n.u for n in whole.identified.numbers]
        np.testing.assert_array_equal(out.identified.covariance, whole.identified.covariance)
        np.testing.assert_array_equal(out.validation, whole.validation)
    with pytest.raises(InputError, match="belongs to other settings"):
        fit_physics(world, *windows, config, stopped, config_hash="b")


@pytest.mark.parametrize(
    "wrong",
    [{"starts": 0}, {"finalists": 0}, {"stages": ()}, {"stages": (0.0, 1.0)}, {"stages": (2.0,)}],
)
def test_settings_that_fit_nothing_are_refused(
    world: WorldModel, windows: tuple[Windows, Windows], tmp_path: Path, wrong: dict
) -> None:
    config = dataclasses.replace(CONFIG, **wrong)
    with pytest.raises(InputError, match="at least one start"):
        fit_physics(world, *windows, config, tmp_path, config_hash="")


def test_first_frames_are_cut_or_masked(windows: tuple[Windows, Windows]) -> None:
    cut, masked = (first_frames(windows[0], 5, engine) for engine in ("c", "mjx"))
    assert cut.target.shape[1] == cut.ctrl.shape[1] == 5 and cut.scored.all()
    assert masked.target.shape == windows[0].target.shape and masked.scored.sum() == 5 * 8
