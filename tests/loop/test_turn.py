"""The loop, turned twice round a cart: what each stage leaves, what is resumed, what is refused."""

import dataclasses
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.helpers.small_tasks import Going, LaggingCart, Lift, Reach, Straight, wandering
from worldmodel import loop, runtime
from worldmodel.episodes.windows import WindowGrid
from worldmodel.errors import InputError
from worldmodel.finetune.adam import FitConfig
from worldmodel.finetune.least_squares import IdentifyConfig
from worldmodel.loop.next_version import _untouched
from worldmodel.loop.turn import ancestors
from worldmodel.loop.versions import save_version
from worldmodel.model import Displacement, Network, Velocity, WorldModel, init
from worldmodel.policies.clone import Clone, CloneConfig
from worldmodel.reality import capture
from worldmodel.tasks import data_set
from worldmodel.types import Episode, Trial

TASK = Reach()
METHOD = loop.Method(IdentifyConfig(engine="c"))
CLONE = Clone(CloneConfig(width=16, steps=400, weight_decay=0.0))


@dataclasses.dataclass
class Counted:
    """The parts of a turn, and how often each was called."""

    calls: list[str] = dataclasses.field(default_factory=list)
    stop_at: str = ""

    def plan(self, simulate: Any, starts: Any, goals: Any, key: Any) -> Going:
        self.calls.append("plan")
        return Straight().plan(simulate, starts, goals, key)

    def train(self, task: Any, episodes: Any, seed: int) -> Any:
        self.calls.append("train")
        return CLONE(task, episodes, seed)

    def deploy(self, folder: Path, trials: Sequence[Trial], key: jax.Array) -> list:
        self.calls.append("deploy")
        stop = iter([False, True]) if self.stop_at == "deploy" else iter([False] * 99)
        robot = LaggingCart(TASK)
        return capture(folder, robot, TASK, trials, key, stop=lambda: next(stop))

    def turn(self, folder: Path, version: loop.Version, **changes: Any) -> loop.Version:
        method = changes.pop("method", METHOD)
        options = {"generated": 12, "deployed": 3, "seed": 1, "engine": "c"} | changes
        parts = self.deploy, self, self.train
        return loop.turn(folder, TASK, version, *parts, method, **options)


def first(folder: Path) -> loop.Version:
    return loop.first_version(folder / "versions", WorldModel(TASK.scene, TASK.free))


@pytest.fixture(scope="module")
def turned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[loop.Version], Counted]:
    """Two turns, the first of which was stopped on the robot."""
    folder, parts = tmp_path_factory.mktemp("loop"), Counted()
    v0 = first(folder)
    parts.stop_at = "deploy"
    with pytest.raises(runtime.Interrupted):
        parts.turn(folder, v0)
    parts.stop_at = ""
    v1 = parts.turn(folder, v0)
    return folder, [v0, v1, parts.turn(folder, v1)], parts


def test_two_turns_go_on_where_they_were_stopped(turned: tuple) -> None:
    _, versions, parts = turned
    first_turn = ["plan", "train", "deploy", "deploy"]
    assert parts.calls == [*first_turn, "plan", "train", "deploy"]
    assert [v.name for v in versions] == ["v0", "v1", "v2"]
    assert [v.parent for v in versions] == [None, "v0", "v1"]
    assert [v.corrections for v in versions] == [0, 3, 6]


def test_finetuning_moves_the_damping_to_the_robots(turned: tuple) -> None:
    _, versions, _ = turned
    damping = [float(loop.physical_values(v)["x.damping"].squeeze()) for v in versions]
    assert damping[0] == pytest.approx(1.0)
    # The model's cart swings about its target, the robot's does not: more damping.
    assert damping[1] > 1.5 and damping[2] > 1.5


def test_every_stage_leaves_its_result(turned: tuple) -> None:
    folder, _, _ = turned
    for name in ("v0", "v1"):
        synthetic = data_set.read(folder / name / "synthetic", TASK)
        assert len(synthetic) == 12 and {e.source for e in synthetic} == {name}
        corrected = data_set.read(folder / name / "corrections", TASK)
        assert len(corrected) == 3 and {e.source for e in corrected} == {"real"}
        assert all("target" in e.goal and e.intervention is not None for e in corrected)
        outcome = json.loads((folder / name / "outcome.json").read_text())
        assert outcome["robot"]["error"] == pytest.approx(np.mean([*map(TASK.error, corrected)]))
        assert outcome["robot"]["success"] == np.mean([bool(e.success) for e in corrected])
        assert outcome["expert"]["episodes"] == 12 and outcome["expert"]["diverged"] == 0
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert {row["version"] for row in rows} == {"v1", "v2"}


def test_a_finished_turn_is_read_and_nothing_is_played(turned: tuple) -> None:
    folder, versions, _ = turned
    parts = Counted()
    again = parts.turn(folder, versions[0])
    assert parts.calls == []
    for a, b in zip(*map(jax.tree.leaves, (again.parameters, versions[1].parameters)), strict=True):
        np.testing.assert_array_equal(a, b)


def test_other_settings_and_lost_parents_are_refused(turned: tuple, tmp_path: Path) -> None:
    folder, versions, _ = turned
    with pytest.raises(InputError, match="seed was 1 and is 2"):
        Counted().turn(folder, versions[0], seed=2)
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    shutil.rmtree(copy / "v0" / "corrections")
    with pytest.raises(loop.LoopError, match="the corrections of v0 are not in"):
        Counted().turn(copy, versions[1])
    shutil.rmtree(copy / "versions" / "v0")
    with pytest.raises(loop.LoopError, match="v1 needs v0, which is not in"):
        Counted().turn(copy, versions[1])
    displaced = dataclasses.replace(METHOD, correction=Displacement())
    with pytest.raises(loop.LoopError, match="v1 has a Displacement"):
        Counted().turn(tmp_path / "network", first(tmp_path / "network"), method=displaced)
    assert not (tmp_path / "network" / "v0").exists()  # nothing was played
    bare = loop.first_version(tmp_path / "bare" / "versions", WorldModel(TASK.scene))
    with pytest.raises(loop.LoopError, match="names no free parameter"):
        Counted().turn(tmp_path / "bare", bare)


def test_a_policy_of_another_kind_keeps_its_numbers(tmp_path: Path) -> None:
    v0, parts = first(tmp_path), Counted()
    numbers = iter([0.3, 0.9])
    parts.train = lambda task, episodes, seed: Going(jnp.asarray(next(numbers)))
    stopped = iter([False, False, True])
    with pytest.raises(runtime.Interrupted, match="before 'deploy'"):
        parts.turn(tmp_path, v0, stop=lambda: next(stopped))
    parts.turn(tmp_path, v0)
    (first_correction, *_) = data_set.read(tmp_path / "v0" / "corrections", TASK)
    assert first_correction.action is not None
    np.testing.assert_allclose(first_correction.action, 0.3)


@pytest.mark.parametrize("plan", [None, Going(jnp.zeros(3)), Going(jnp.zeros(()))])
def test_an_expert_without_a_policy_per_context_is_named(plan: Any) -> None:
    class Wrong:
        def plan(self, simulate: Any, starts: Any, goals: Any, key: Any) -> Any:
            return plan

    world = WorldModel(TASK.scene, TASK.free)
    version = loop.Version("v0", None, world, init(world, jax.random.key(0)), 0)
    drawn = loop.draw(TASK, jax.random.key(0), 2)
    with pytest.raises(loop.LoopError, match=r"a Wrong, plans a \w+ for 2 contexts; return"):
        loop.demonstrate(version, TASK, Wrong(), *drawn, jax.random.key(0), engine="c")


def test_scores_count_what_they_omit() -> None:
    class Blind(Reach):
        def error(self, episode: Episode) -> float:
            return np.nan if episode.id == 1 else 0.25

        def success(self, episode: Episode) -> bool | None:
            return None

    played = wandering(Reach(), 3, seed=0)
    judged = [dataclasses.replace(e, success=None if e.id == 2 else e.id == 0) for e in played]
    assert loop.scores(Blind(), judged) == {
        "episodes": 3,
        "error": 0.25,
        "success": 0.5,
        "unmeasured": 1,
        "unjudged": 1,
    }
    nothing = loop.scores(Blind(), judged[1:2])
    assert nothing["error"] is None and nothing["unmeasured"] == 1


def test_the_physics_of_a_turn_are_finetuned_before_its_network() -> None:
    physics = WorldModel(TASK.scene, TASK.free)
    hybrid = dataclasses.replace(physics, correction=Velocity(), network=Network(members=5))
    learns = dataclasses.replace(METHOD, correction=Velocity())
    bare = WorldModel(TASK.scene)

    def stages(method: loop.Method, parent: WorldModel) -> list[WorldModel]:
        return [world for world, _ in method.stages(parent, seed=3)]

    assert stages(METHOD, physics) == [physics] and stages(METHOD, bare) == []
    seeded = dataclasses.replace(FitConfig(), seed=5)
    assert loop.Method().stages(physics, 5) == [(physics, seeded)]
    for parent in (physics, hybrid):
        assert [w.name for w in stages(learns, parent)] == ["physics", "hybrid"]
    assert stages(METHOD, hybrid) == [hybrid]  # its network goes on
    assert [w.name for w in stages(learns, bare)] == ["hybrid"]
    assert [config for _, config in learns.stages(physics, 3)] == [
        METHOD.config,
        dataclasses.replace(learns.learning, seed=3),
    ]


def test_physics_under_a_network_are_no_ancestor(tmp_path: Path) -> None:
    """Their policy is not deployed, so they have no corrections of their own."""
    version = first(tmp_path)
    for name, fitted_to in (("v1-physics", "ab"), ("v1", "ab"), ("v2", "abcd")):
        version = dataclasses.replace(version, name=name, parent=version.name)
        save_version(tmp_path / "versions", version, {"corrections": [*fitted_to]})
        before = ["v0"] if name.startswith("v1") else ["v0", "v1"]
        assert ancestors(tmp_path, version) == before


def test_windows_start_where_nothing_touches() -> None:
    episodes = wandering(Lift(), 3, seed=0)
    grid = WindowGrid(first=0, stride=1, horizon=2)
    windows, _ = grid.cut(_untouched(episodes))
    for episode, frame in zip(np.asarray(windows.episode), np.asarray(windows.frame), strict=True):
        contact = episodes[episode].contact
        assert contact is not None and not contact[frame].any()
    assert 0 < len(windows) < len(grid.cut(episodes)[0])
