"""The learned half's table: controls, pairing of fits, groups, refusals, text and figures."""

import dataclasses
from pathlib import Path
from typing import Any, cast

import jax
import numpy as np
import pytest

from experiments.recordings import hybrid_predictions
from experiments.recordings.fitted import Fitted, restore_fitted
from experiments.recordings.hybrid_predictions import (
    Corrections,
    controls,
    deal,
    make_replay,
    predict,
)
from experiments.recordings.hybrid_table import (
    describe,
    parse_ablations,
    read_learned,
)
from experiments.recordings.problems import ELBOW, PENDULUM
from experiments.recordings.tables import Fit, keep_checkpoints, read_fits
from tests.helpers.servos import servos
from tests.helpers.still_episodes import still_episodes
from worldmodel.episodes.windows import Windows, cut_windows
from worldmodel.errors import InputError
from worldmodel.model import (
    Correction,
    Displacement,
    Network,
    Velocity,
    WorldModel,
    init,
    saved,
)
from worldmodel.model.ensemble import make_predictor, members
from worldmodel.runtime.checkpoint import CheckpointError
from worldmodel.scene import FreeParameter, load_scene
from worldmodel.types import Episode

ARM = """<mujoco model="arm"><worldbody><body>
<joint name="a" type="hinge" axis="0 1 0" damping=".02"/>
<geom size=".02" pos="0 0 -.2" mass="1"/></body></worldbody></mujoco>"""
SMALL = Network(latent=3, width=4, members=2)


def test_dealt_corrections_go_to_other_windows_each_once() -> None:
    source = deal(50, 0)
    assert (source != np.arange(50)).all()
    np.testing.assert_array_equal(np.sort(source), np.arange(50))
    np.testing.assert_array_equal(source, deal(50, 0))
    assert (source != deal(50, 1)).any()
    with pytest.raises(InputError, match="at least two"):
        deal(1, 0)


def swinging(weight: float, correction: Correction) -> Fitted:
    """A hybrid of an arm with drives and an encoder's zero, its network random."""
    scene = servos()
    free = (FreeParameter("damping", "shoulder"), FreeParameter("joint_zero", "elbow"))
    world = WorldModel(scene, free, correction=correction, network=SMALL)
    parameters = init(world, jax.random.key(0))
    leaves, tree = jax.tree.flatten(parameters["network"]["weights"])
    keys = jax.random.split(jax.random.key(1), len(leaves))
    moved = [x + weight * jax.random.normal(k, x.shape) for x, k in zip(leaves, keys, strict=True)]
    parameters["network"]["weights"] = jax.tree.unflatten(tree, moved)
    parameters["physics"] = {f.name: np.ones(1) for f in free}
    parameters["network"]["physics"] = {f.name: np.array([[1.0], [2.0]]) for f in free}
    return Fitted(PENDULUM, world, parameters, {"remember": 2})


@pytest.mark.parametrize("correction", [Displacement(), Velocity()], ids=str)
def test_a_hybrids_own_corrections_replay_it_and_dealt_ones_do_not(correction: Correction) -> None:
    fitted = swinging(0.2, correction)
    angle = np.linspace(0.2, 1.4, 12)[:, None] * np.array([1.0, -0.5])
    ctrl = np.cos(np.arange(12))[:, None] * np.array([0.6, 0.3])
    episode = Episode.regular(0, 50.0, qpos=angle, qvel=angle**2, ctrl=ctrl)
    windows = cut_windows([episode], [np.arange(5, 8)], 4)
    predicted, own = predict(fitted, windows, 2)  # three: the last batch is filled up
    assert own is not None
    assert all(np.abs(c.first).min() > 1e-4 and np.abs(c.steps).min() > 1e-4 for c in own)
    replay = make_replay(fitted.world, 2)

    def replayed(corrections: list[Corrections]) -> np.ndarray:
        pairs = zip(members(fitted.parameters), corrections, strict=True)
        poses = np.stack([replay(one, windows, c) for one, c in pairs])
        assert np.abs(poses[0] - poses[1]).max() > 1e-4
        return poses.mean(0)  # of hinges

    np.testing.assert_allclose(replayed(own), predicted, atol=1e-12)
    seen = windows.remembering(2)
    by_model = make_predictor(fitted.world, 3)(fitted.parameters, seen)
    np.testing.assert_allclose(predicted, by_model, atol=1e-12)
    played = controls(fitted, windows, own, 2)
    assert set(played) == {"dealt", "start_only", "network_off"}
    dealt = [c.take(deal(3, 0)) for c in own]
    np.testing.assert_allclose(played["dealt"], replayed(dealt), atol=1e-12)
    none = [Corrections(np.zeros_like(c.first), np.zeros_like(c.steps)) for c in own]
    np.testing.assert_allclose(played["network_off"], replayed(none), atol=1e-12)
    for predicted_by in played.values():
        assert np.abs(predicted_by - predicted).max() > 1e-4


def test_models_see_the_past_they_were_fitted_with_and_seeds_share_a_program(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compiled, known = [], []

    def stub(world: WorldModel, batch: int) -> Any:
        compiled.append((world.name, batch))

        def predictor(parameters: Any, windows: Windows) -> np.ndarray:
            known.append(np.asarray(windows.history.seen).sum(axis=1).tolist())
            return np.asarray(windows.target)

        return predictor

    monkeypatch.setattr(hybrid_predictions, "make_predictor", stub)
    windows = cut_windows(still_episodes(PENDULUM, 1, 20), [np.array([2, 12])], 3)
    hybrid_predictions._predictor.cache_clear()
    for make, about in (
        (WorldModel, {}),
        (lambda scene: WorldModel.latent(scene, SMALL), {"remember": 5}),
        (lambda scene: WorldModel.latent(scene, SMALL), {"remember": 1}),
    ):
        world = make(load_scene(ARM, control_hz=50.0, substeps=1))
        predict(Fitted(PENDULUM, world, {}, about), windows, 2)
    assert compiled == [("physics", 2), ("latent", 2)]
    assert known == [[3, 9], [3, 5], [1, 1]]


def test_starting_frames_are_those_of_the_windows() -> None:
    episodes = still_episodes(ELBOW, 2, 50)
    valid = np.ones(50, bool)
    valid[20] = False
    episodes[1] = dataclasses.replace(episodes[1], valid=valid)
    grid = ELBOW.windows
    windows, _ = grid.cut(episodes)
    starts = np.concatenate([grid.starts(e)[0] for e in episodes])
    np.testing.assert_array_equal(starts, np.asarray(windows.qpos)[:, 0])
    assert starts.tolist() == [8, 16, 24, 32, 24, 32]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("no_history",), "give NAME=DIR"),
        (("=runs/a",), "give NAME=DIR"),
        (("a=,",), "give NAME=DIR"),
        (("a=b", "a=c"), "given twice"),
        (("dealt=runs/a",), "a row of the table already"),
    ],
)
def test_ablations_of_another_form_are_refused(given: tuple[str, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_ablations(given)


def by_seed(fits: list[Fit]) -> dict[int, Fit]:
    """Fits of the physics by their seed."""
    return {fit.seed: fit for fit in fits}


def save_fit(folder: Path, seed: int, world: WorldModel, **changes: Any) -> None:
    """A checkpoint as the fits write them, of the arm called a double pendulum."""
    settings: dict[str, Any] = {"data": "d", "config": {"seed": seed}}
    about: dict[str, Any] = {}
    if world.learns:
        args = {"remember": 9, "fit": {"seed": seed, "steps": 1}, "regression": {"seed": 0}}
        settings = {"data": "d", "args": args, "physics": changes.pop("physics")}
        about = {"remember": 9}
    metadata = {
        "recording": "double_pendulum",
        "simulated": False,
        "settings": settings,
        "config_hash": f"physics{seed}",
        "result": {"validation": 0.5 + 0.1 * seed},
    }
    parameters = init(world, jax.random.key(0))
    saved.save(folder / "checkpoint", 1, world, parameters, metadata | about | changes)


@pytest.fixture(scope="module")
def fits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fits of two seeds, and one each of what is refused."""
    root = tmp_path_factory.mktemp("fits")
    scene = load_scene(ARM, control_hz=50.0, substeps=1)
    one = (FreeParameter("damping", "a"),)
    hybrid = WorldModel(scene, one, correction=Velocity(), network=SMALL)
    for seed in (0, 1):
        save_fit(root / f"physics{seed}", seed, hybrid.without_network())
        save_fit(root / f"hybrid{seed}", seed, hybrid, physics=f"physics{seed}")
    save_fit(root / "latent", 0, WorldModel.latent(scene, SMALL), physics="physics0")
    save_fit(root / "foreign", 0, hybrid, physics="physics7")
    save_fit(root / "simulated", 0, hybrid, physics="physics0", simulated=True)
    save_fit(root / "shorter", 1, hybrid, physics="physics1", remember=1)
    return root


def test_fits_are_paired_by_the_physics_they_started_from(fits: Path) -> None:
    physics = by_seed(read_fits([fits / "physics1", fits / "physics0"], "double_pendulum"))
    hybrids = [fits / "hybrid1", fits / "hybrid0"]
    group = read_learned("hybrid", hybrids, "double_pendulum", physics)
    assert {s: f.folder.name for s, f in group.items()} == {0: "hybrid0", 1: "hybrid1"}
    np.testing.assert_allclose([f.validation for f in group.values()], [0.25, 0.36])
    assert describe(group[0])["args"]["remember"] == 9
    assert set(describe(physics[0])) == {"seed", "validation", "result"}
    latent = read_learned("latent", [fits / "latent"], "double_pendulum", physics)
    assert latent[0].validation == 0.5  # relative to no physics


@pytest.mark.parametrize(
    ("name", "folders", "message"),
    [
        ("hybrid", ["latent"], "kind latent"),
        ("latent", ["hybrid0"], "kind hybrid"),
        ("x", ["physics0"], "kind physics"),
        ("hybrid", ["foreign"], "did not start from any"),
        ("hybrid", ["simulated"], "a simulated double_pendulum"),
        ("hybrid", ["hybrid0", "hybrid0"], "started from the same physics"),
        ("x", ["hybrid0", "shorter"], "more than their seeds"),
        ("hybrid", ["nothing"], "no checkpoint"),
    ],
)
def test_fits_that_do_not_belong_are_refused(
    fits: Path, name: str, folders: list[str], message: str
) -> None:
    physics = by_seed(read_fits([fits / "physics0", fits / "physics1"], "double_pendulum"))
    with pytest.raises(CheckpointError, match=message):
        read_learned(name, [fits / f for f in folders], "double_pendulum", physics)


def test_a_hybrid_is_no_physics(fits: Path) -> None:
    with pytest.raises(CheckpointError, match="has a network"):
        read_fits([fits / "hybrid0"], "double_pendulum")


def test_a_model_of_no_recording_is_refused(tmp_path: Path) -> None:
    world = swinging(0.0, Velocity()).world
    saved.save(tmp_path, 1, world, init(world, jax.random.key(0)), {"config_hash": "c"})
    with pytest.raises(CheckpointError, match="not of a recording"):
        restore_fitted(tmp_path)


def test_the_best_checkpoint_and_those_of_the_other_seeds_are_kept(tmp_path: Path) -> None:
    out, nothing = tmp_path / "out", cast(Fitted, None)
    for seed in range(3):
        (tmp_path / str(seed) / "checkpoint").mkdir(parents=True)
        (tmp_path / str(seed) / "checkpoint" / "of").write_text(str(seed))
    for scores in ((0.9, 0.7, 0.8), (0.9, 0.7, 0.6)):  # then another one is best
        fits = [Fit(s, score, tmp_path / str(s), nothing) for s, score in enumerate(scores)]
        keep_checkpoints(fits, out)
        best = int(np.argmin(scores))
        kept = {path.parent.parent.name: path.read_text() for path in out.rglob("of")}
        others = {f"seed{s}": str(s) for s in range(3) if s != best}
        assert kept == {"out": str(best)} | others
    with pytest.raises(InputError, match="would be overwritten"):
        keep_checkpoints([Fit(0, 0.5, out / "seed0", nothing)], out)
    assert (out / "seed0" / "checkpoint" / "of").read_text() == "0"
