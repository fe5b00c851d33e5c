"""Windows whose predictions rest on contact solves that did not converge are flagged."""

import dataclasses

import numpy as np
import pytest

from tests.helpers.doors import MASS as DOOR_MASS
from tests.helpers.doors import door
from tests.helpers.scenes import BOX_QPOS, BOX_QVEL, box
from worldmodel.episodes.windows import HISTORY, History, Windows
from worldmodel.errors import InputError
from worldmodel.finetune.engines import ENGINES, make_engine
from worldmodel.finetune.gauss_newton import IdentifyConfig, identify
from worldmodel.model import ConstantVelocity, WorldModel
from worldmodel.scene import FreeParameter

MASS = (FreeParameter("mass", "box"),)


def windows_of(qpos: np.ndarray, qvel: np.ndarray, horizon: int = 2) -> Windows:
    known = np.tile(np.arange(HISTORY) == 0, (len(qpos), 1))
    history = History(
        np.repeat(qpos[:, None], HISTORY, 1),
        np.repeat(qvel[:, None], HISTORY, 1),
        np.zeros((len(qpos), HISTORY, 0)),
        known,
        known,
    )
    target = np.repeat(qpos[:, None], horizon, 1)
    scored = np.ones((len(qpos), horizon), bool)
    ctrl = np.zeros((len(qpos), horizon, 0))
    return Windows(history, ctrl, target, scored, np.arange(len(qpos)))


def test_windows_through_broken_off_solves_are_flagged() -> None:
    def world(iterations: int) -> WorldModel:
        scene = box(substeps=2)
        scene.mj_model.opt.iterations = scene.spec.option.iterations = iterations
        return WorldModel(scene, MASS)

    up, near, falling = BOX_QPOS.copy(), BOX_QPOS.copy(), BOX_QVEL.copy()
    up[2] += 0.1
    near[2], falling[2] = 0.0437, -0.5  # 0.2 mm above the table: it touches in the second substep
    qpos, qvel = np.stack([BOX_QPOS, up, near]), np.stack([BOX_QVEL, BOX_QVEL, falling])
    windows = windows_of(qpos, qvel, horizon=1)
    held, lowered = np.zeros((3, 12)), np.zeros((3, 12))
    lowered[1, 2] = -0.1

    def flags(world: WorldModel, shift: np.ndarray) -> list[bool]:
        ours, theirs = (
            make_engine(world, name, 3).unconverged(np.zeros(1), shift, windows) for name in ENGINES
        )
        assert ours.tolist() == theirs.tolist()
        return ours.tolist()

    hasty = world(2)
    assert flags(world(50), held) == [False, False, False]
    assert flags(hasty, held) == [True, False, True]  # in flight there is nothing to solve
    assert flags(hasty, lowered) == [True, True, True]
    result = identify(hasty, windows, IdentifyConfig(engine="c", iterations=1))
    assert result.unconverged.tolist() == [0, 2]


def test_without_physics_there_is_nothing_to_identify() -> None:
    with pytest.raises(InputError, match="has no physics to identify"):
        make_engine(WorldModel(door(), base=ConstantVelocity()), "c", 4)


def test_derivatives_are_kept_between_processes(capsys: pytest.CaptureFixture[str]) -> None:
    world = WorldModel(door(), DOOR_MASS)
    qpos = np.array([[0.3]])
    windows = windows_of(qpos, np.zeros((1, 1)))
    windows = dataclasses.replace(
        windows,
        ctrl=np.zeros((1, 2, 1)),
        history=dataclasses.replace(windows.history, ctrl=np.zeros((1, HISTORY, 1))),
    )
    engine = make_engine(world, "mjx", 1)
    zero, none = np.zeros(1), np.zeros((1, 0))
    assert engine.slopes(zero, none, windows)[1].shape == (1, 2, 1, 1)
    assert engine.errors(zero, none, windows).shape == (1, 2, 1)
    assert not engine.unconverged(zero, none, windows).any()
    assert "compiled in every process" not in capsys.readouterr().err
