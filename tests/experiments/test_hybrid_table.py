"""The learned half's table: controls, pairing of fits, groups, refusals and text."""

import dataclasses
from pathlib import Path
from typing import Any, cast

import jax
import numpy as np
import pytest

from experiments.recordings import hybrid_table
from experiments.recordings.fitted import Fitted, read_fits, restore_fitted
from experiments.recordings.hybrid_table import Args
from experiments.recordings.problems import ELBOW, PENDULUM
from experiments.recordings.tables import keep_checkpoints
from tests.helpers.servos import servos
from tests.helpers.still_episodes import still_episodes
from worldmodel.episodes.windows import cut_windows
from worldmodel.errors import InputError
from worldmodel.model import Displacement, Network, Velocity, WorldModel, init, saved
from worldmodel.model.ensemble import make_forecaster, make_predictor, members
from worldmodel.runtime.checkpoint import CheckpointError
from worldmodel.scene import FreeParameter, load_scene
from worldmodel.types import Episode

ARM = """<mujoco model="arm"><worldbody><body>
<joint name="a" type="hinge" axis="0 1 0" damping=".02"/>
<geom size=".02" pos="0 0 -.2" mass="1"/></body></worldbody></mujoco>"""
SMALL = Network(latent=3, width=4, members=2)


def test_dealt_corrections_go_to_other_windows_each_once() -> None:
    source = hybrid_table.deal(50, 0)
    assert (source != np.arange(50)).all()
    np.testing.assert_array_equal(np.sort(source), np.arange(50))
    np.testing.assert_array_equal(source, hybrid_table.deal(50, 0))
    assert (source != hybrid_table.deal(50, 1)).any()


def test_a_hybrids_own_corrections_make_it_again_and_dealt_ones_do_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An arm with drives, its network random, its two members of different physics."""
    free = (FreeParameter("damping", "shoulder"), FreeParameter("mass", "upper"))
    world = WorldModel(servos(), free, correction=Displacement(), network=SMALL)
    parameters = init(world, jax.random.key(0))
    leaves, tree = jax.tree.flatten(parameters["network"]["weights"])
    keys = jax.random.split(jax.random.key(1), len(leaves))
    moved = [x + 0.2 * jax.random.normal(k, x.shape) for x, k in zip(leaves, keys, strict=True)]
    parameters["network"]["weights"] = jax.tree.unflatten(tree, moved)
    parameters["network"]["physics"] = {f.name: np.array([[1.0], [2.0]]) for f in free}
    angle = np.linspace(0.2, 1.4, 12)[:, None] * np.array([1.0, -0.5])
    ctrl = np.cos(np.arange(12))[:, None] * np.array([0.6, 0.3])
    episode = Episode.regular(0, 50.0, qpos=angle, qvel=angle**2, ctrl=ctrl)
    windows = cut_windows([episode], [np.arange(5, 8)], 4)
    forecast = make_forecaster(world, 3)(parameters, windows)
    rows = hybrid_table.controls(world, parameters, windows, forecast.members)
    for row in rows.values():
        assert np.abs(row - forecast.mean).max() > 1e-4
    physics = make_predictor(world.without_network(), 3)
    each = [physics({"physics": m["physics"], "network": {}}, windows) for m in members(parameters)]
    assert np.abs(each[0] - each[1]).max() > 1e-4
    np.testing.assert_allclose(rows["network_off"], np.mean(each, axis=0), atol=1e-12)
    monkeypatch.setattr(hybrid_table, "deal", lambda count, seed: np.arange(count))
    rows = hybrid_table.controls(world, parameters, windows, forecast.members)
    np.testing.assert_allclose(rows["dealt"], forecast.mean, atol=1e-12)


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
        (("a=b", "a=c"), "'a' is another row"),
        (("dealt=runs/a",), "'dealt' is another row"),
    ],
)
def test_ablations_of_another_form_are_refused(given: tuple[str, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        hybrid_table.folders_of(Args("", (), (), Path(), ablations=given))


def save_fit(folder: Path, seed: int, world: WorldModel, **changes: Any) -> None:
    """A checkpoint as the fits write them, of the arm called a double pendulum."""
    settings: dict[str, Any] = {"data": "d", "config": {"seed": seed}}
    if world.learns:
        args = {"kind": "hybrid", "fit": {"seed": seed, "steps": changes.pop("steps", 1)}}
        settings = {"data": "d", "args": args, "physics": changes.pop("physics")}
    metadata = {
        "recording": "double_pendulum",
        "settings": settings,
        "config_hash": f"physics{seed}",
        "result": {"validation": 0.5 + 0.1 * seed},
    }
    parameters = init(world, jax.random.key(0))
    saved.save(folder / "checkpoint", 1, world, parameters, metadata | changes)


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
    save_fit(root / "other", 0, hybrid, physics="physics0", recording="elbow_toss")
    save_fit(root / "longer", 1, hybrid, physics="physics1", steps=2)
    return root


def test_fits_are_paired_by_the_physics_they_started_from(fits: Path) -> None:
    physics = read_fits([fits / "physics1", fits / "physics0"], "double_pendulum")
    hybrids = [fits / "hybrid1", fits / "hybrid0"]
    group = read_fits(hybrids, "double_pendulum", physics=physics)
    assert {s: f.directory.parent.name for s, f in group.items()} == {0: "hybrid0", 1: "hybrid1"}
    errors = [hybrid_table.validation(f, physics[seed]) for seed, f in group.items()]
    np.testing.assert_allclose(errors, [0.25, 0.36])
    assert hybrid_table.describe(0, group[0], physics[0])["args"]["kind"] == "hybrid"
    about = hybrid_table.describe(0, physics[0], physics[0])
    assert set(about) == {"seed", "validation", "result"} and about["validation"] == 0.5
    latent = read_fits([fits / "latent"], "double_pendulum", physics=physics)[0]
    assert hybrid_table.validation(latent, physics[0]) == 0.5  # relative to no physics


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        (["physics0"], "has no network"),
        (["foreign"], "did not start from any"),
        (["other"], "was fitted to elbow_toss"),
        (["hybrid0", "hybrid0"], "seed 0 twice"),
        (["hybrid0", "longer"], "more than their seeds"),
        (["nothing"], "no checkpoint"),
    ],
)
def test_fits_that_do_not_belong_are_refused(fits: Path, folders: list[str], message: str) -> None:
    physics = read_fits([fits / "physics0", fits / "physics1"], "double_pendulum")
    with pytest.raises(CheckpointError, match=message):
        read_fits([fits / f for f in folders], "double_pendulum", physics=physics)


def test_a_hybrid_is_no_physics(fits: Path) -> None:
    with pytest.raises(CheckpointError, match="has a network"):
        read_fits([fits / "hybrid0"], "double_pendulum")


def test_a_model_of_no_recording_is_refused(tmp_path: Path) -> None:
    world = WorldModel(servos())
    saved.save(tmp_path, 1, world, init(world, jax.random.key(0)), {"config_hash": "c"})
    with pytest.raises(CheckpointError, match="not of a recording"):
        restore_fitted(tmp_path)


def test_the_best_checkpoint_and_those_of_the_other_seeds_are_kept(tmp_path: Path) -> None:
    out, nothing = tmp_path / "out", cast(WorldModel, None)

    def fit(folder: Path) -> Fitted:
        return Fitted(folder / "checkpoint", PENDULUM, nothing, {}, {})

    for seed in range(3):
        (tmp_path / str(seed) / "checkpoint").mkdir(parents=True)
        (tmp_path / str(seed) / "checkpoint" / "of").write_text(str(seed))
    fits = {seed: fit(tmp_path / str(seed)) for seed in range(3)}
    for scores in ((0.9, 0.7, 0.8), (0.9, 0.7, 0.6)):  # then another one is best
        best = keep_checkpoints(fits, dict(enumerate(scores)), out)
        assert best == int(np.argmin(scores))
        kept = {path.parent.parent.name: path.read_text() for path in out.rglob("of")}
        others = {f"seed{s}": str(s) for s in range(3) if s != best}
        assert kept == {"out": str(best)} | others
    with pytest.raises(InputError, match="would be overwritten"):
        keep_checkpoints({0: fit(out / "seed0")}, {0: 0.5}, out)
    assert (out / "seed0" / "checkpoint" / "of").read_text() == "0"
