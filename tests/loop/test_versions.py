"""Versions know their parents and corrections; what a version generates is what a robot reports."""

import dataclasses
import math
import types
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from tests.helpers.doors import MASS, door
from tests.helpers.small_tasks import Lift, Reach
from worldmodel import loop
from worldmodel.episodes.errors import Channels
from worldmodel.finetune import hybrid as ensembles
from worldmodel.finetune.adam import FitConfig, fit
from worldmodel.finetune.least_squares import IdentifyConfig
from worldmodel.finetune.settings import DivergedError
from worldmodel.loop.environment import environment
from worldmodel.loop.versions import save_version
from worldmodel.model import Displacement, Network, Velocity, WorldModel, init
from worldmodel.model.ensemble import make_forecaster, make_predictor
from worldmodel.rollout import Constant
from worldmodel.runtime.checkpoint import CheckpointError, read_metadata
from worldmodel.tasks.task import Task
from worldmodel.types import Array, Episode, Goal, Measurement, Start

DOOR = WorldModel(door(), MASS, network=Network(latent=2, width=4, members=4))
HYBRID = dataclasses.replace(DOOR, correction=Velocity())
CONFIG = FitConfig(steps=3, batch=2, learning_rate=0.1, start_spread=0.0, validate_every=1)
KEY = jax.random.key(0)


class Push(Task):
    """A door is pushed with a constant torque."""

    horizon = 12

    def __init__(self) -> None:
        self.scene = DOOR.scene

    def command(self, measured: Measurement, action: Array, goal: Goal) -> Array:
        return 0.3 * action

    def action(self, measured: Measurement, ctrl: Array, goal: Goal) -> Array:
        return ctrl / 0.3


PUSH = Push()


def untrained(world: WorldModel, mass: float = 0.0) -> loop.Version:
    """A version whose mass is so many prior widths from the MJCF's."""
    parameters = init(world, jax.random.key(0))
    parameters["physics"] = {name: u + mass for name, u in parameters["physics"].items()}
    return loop.Version("heavy", None, world, parameters, 0)


def pushes(version: loop.Version, count: int) -> list[Episode]:
    """Episodes of a version under torques of 0.1, 0.2 … N m, from 0.3 rad."""
    actions = np.arange(1, count + 1)[:, None] / 3
    start = Start(np.full((count, 1), 0.3), np.zeros((count, 1)))
    return loop.generate(version, PUSH, Constant(actions), start, {}, KEY)


@pytest.fixture(scope="module")
def corrections() -> list[Episode]:
    return pushes(untrained(DOOR, 1.0), 3)


def refit(
    directory: Path,
    parent: loop.Version,
    name: str,
    world: WorldModel,
    corrections: list[Episode],
    rows: list[dict[str, Any]],
    **changes: Any,
) -> loop.Version:
    options = {"channels": Channels.of(world.scene), "held_out": 1, "config": CONFIG} | changes
    return loop.finetune(
        directory,
        parent,
        name,
        world,
        corrections,
        spent=len(corrections),
        record=rows.append,
        stop=lambda: False,
        **options,
    )


def test_versions_know_their_parents(tmp_path: Path, corrections: list[Episode]) -> None:
    v0, again = (loop.first_version(tmp_path, DOOR) for _ in range(2))
    assert v0.name == again.name == "v0" and v0.corrections == 0 and v0.parent is None
    with pytest.raises(loop.LoopError, match="lost, which is not in"):
        lost = dataclasses.replace(v0, name="lost")
        refit(tmp_path, lost, "next", DOOR, corrections, [])
    with pytest.raises(loop.LoopError, match="no corrections"):
        refit(tmp_path, v0, "next", DOOR, [], [])

    rows: list[dict[str, Any]] = []
    v1 = refit(tmp_path, v0, "v1", DOOR, corrections, rows)
    assert v1.parent == "v0" and v1.corrections == 3 and rows
    (mass,), (heavier,) = (loop.physical_values(v).values() for v in (v0, v1))
    assert heavier[0] > mass[0]
    rows.clear()
    loaded = refit(tmp_path, v0, "v1", DOOR, corrections, rows)
    assert (loaded.parent, loaded.corrections) == (v1.parent, v1.corrections)
    jax.tree.map(np.testing.assert_array_equal, loaded.parameters, v1.parameters)
    assert not rows  # nothing was fitted again


def test_a_finetuning_begins_at_the_best_draw(tmp_path: Path, corrections: list[Episode]) -> None:
    """Three steps of 0.1 prior widths; the corrections' mass is one width away."""
    v0, ends = loop.first_version(tmp_path, DOOR), []
    for draws in (0, 8):
        after = refit(tmp_path, v0, f"drawn{draws}", DOOR, corrections, [], draws=draws)
        ends.append(float(after.parameters["physics"]["door.mass"][0]))
    assert 0.0 < ends[0] < 0.4 and abs(ends[1] - 1.0) < 0.2
    with pytest.raises(CheckpointError, match="draws"):
        refit(tmp_path, v0, "drawn8", DOOR, corrections, [], draws=16)


@pytest.fixture(scope="module")
def hybrid(
    tmp_path_factory: pytest.TempPathFactory, corrections: list[Episode]
) -> tuple[Path, loop.Version, loop.Version]:
    """A version with a network, one of whose four members diverges, and its parent."""
    folder, rows = tmp_path_factory.mktemp("hybrid"), []
    heavier = dataclasses.replace(untrained(DOOR, 0.5), name="v0")
    save_version(folder, heavier, {})

    def spoiled(*args: Any, **more: Any) -> Any:
        if more["metadata"]["member"] == 2:
            raise DivergedError("step 1: 2 of 2 windows are not finite")
        return fit(*args, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ensembles, "fit", spoiled)
        version = refit(folder, heavier, "v1", HYBRID, corrections, rows)
    assert {row["member"] for row in rows} == {0, 1, 3}
    return folder, heavier, version


def test_a_version_with_a_network_keeps_the_physics_of_its_parent(
    hybrid: tuple[Path, loop.Version, loop.Version], corrections: list[Episode]
) -> None:
    _, parent, version = hybrid
    mass = parent.parameters["physics"]["door.mass"]
    np.testing.assert_array_equal(version.parameters["physics"]["door.mass"], mass)
    own = version.parameters["network"]
    drawn = own["physics"]["door.mass"]
    assert len(np.unique(drawn)) == 3 and np.abs(drawn - mass).max() < 0.2  # the data tell it
    shut = version.parameters | {"network": own | {"gate": np.zeros_like(own["gate"])}}
    windows, _ = loop.WHOLE.cut(corrections)
    predicted = make_forecaster(version.world, 3)(shut, windows).members
    for one, member in zip(drawn, predicted, strict=True):
        physics = {"physics": {"door.mass": one}, "network": {}}
        np.testing.assert_array_equal(member, make_predictor(DOOR, 3)(physics, windows))


def test_members_that_diverge_are_kept_count_of(
    hybrid: tuple[Path, loop.Version, loop.Version], corrections: list[Episode]
) -> None:
    folder, parent, version = hybrid
    assert version.world.network.members == 3
    excluded = read_metadata(folder / "v1" / "checkpoint")["members_excluded"]
    assert list(excluded) == ["2"] and "not finite" in excluded["2"]
    rows: list[dict[str, Any]] = []
    loaded = refit(folder, parent, "v1", HYBRID, corrections, rows)
    assert not rows and loaded.world == version.world
    jax.tree.map(np.testing.assert_array_equal, loaded.parameters, version.parameters)


def test_a_network_goes_on_from_its_weights(
    hybrid: tuple[Path, loop.Version, loop.Version],
    corrections: list[Episode],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder, _, version = hybrid
    # A fit that ends where it starts.
    monkeypatch.setattr(ensembles, "fit", lambda *_, start, **__: types.SimpleNamespace(best=start))
    own = version.parameters["network"]
    moved = own | {"weights": jax.tree.map(lambda w: w + 0.1, own["weights"])}
    parent = dataclasses.replace(version, parameters=version.parameters | {"network": moved})
    further = refit(folder, parent, "v2", version.world, corrections, [])
    for name in ("weights", "physics", "norm"):
        jax.tree.map(
            np.testing.assert_array_equal, further.parameters["network"][name], moved[name]
        )
    anew = refit(folder, parent, "v3", HYBRID, corrections, [])
    assert anew.world.network.members == 4
    last = anew.parameters["network"]["weights"]["transition"]["params"]["Dense_2"]["kernel"]
    assert not np.any(last)  # its corrections are zero


def test_corrections_are_told_apart_by_their_frames(
    tmp_path: Path, corrections: list[Episode]
) -> None:
    """Positions of the same sum in another order are other corrections; so are other commands."""
    v0 = loop.first_version(tmp_path, DOOR)
    refit(tmp_path, v0, "v1", DOOR, corrections, [])
    first, *others = corrections
    order = [0, 2, 1, *range(3, len(first.qpos))]
    swapped = dataclasses.replace(first, qpos=first.qpos[order])
    assert math.fsum(swapped.qpos.flat) == math.fsum(first.qpos.flat)
    pushed = dataclasses.replace(first, ctrl=first.ctrl + 0.1)
    for other in (swapped, pushed):
        with pytest.raises(CheckpointError):
            refit(tmp_path, v0, "v1", DOOR, [other, *others], [])


def test_another_request_under_a_finished_name_is_refused(
    tmp_path: Path, corrections: list[Episode]
) -> None:
    v0 = loop.first_version(tmp_path, DOOR)
    refit(tmp_path, v0, "v1", DOOR, corrections, [])
    with pytest.raises(CheckpointError):
        refit(tmp_path, v0, "v1", DOOR, corrections, [], channels=Channels())
    with pytest.raises(CheckpointError):  # a parent of the same name with other numbers
        moved = dataclasses.replace(untrained(DOOR, 0.5), name="v0")
        refit(tmp_path, moved, "v1", DOOR, corrections, [])


def test_what_cannot_be_finetuned_is_refused(tmp_path: Path, corrections: list[Episode]) -> None:
    v0 = loop.first_version(tmp_path, DOOR)
    displaced = dataclasses.replace(DOOR, correction=Displacement())
    first, *others = corrections
    valid = np.arange(len(first.qpos)) != 4
    holed = [dataclasses.replace(first, valid=valid), *others]
    requests: list[tuple[loop.Version, WorldModel, list[Episode], dict[str, Any], str]] = [
        (v0, DOOR, holed, {}, r"corrections \[0\] have a frame that is not valid"),
        (v0, HYBRID, corrections, {"held_out": 0}, "0 of 3 corrections are held out"),
        (v0, HYBRID, corrections, {"held_out": 3}, "3 of 3 corrections are held out"),
        (v0, HYBRID, corrections, {"config": IdentifyConfig()}, "Gauss-Newton does not fit"),
        (
            v0,
            displaced,
            corrections,
            {},
            "Displacement, which moves the pose that a model predicts",
        ),
    ]
    for parent, world, episodes, changes, message in requests:
        with pytest.raises(loop.LoopError, match=message):
            refit(tmp_path, parent, "next", world, episodes, [], **changes)


def test_generated_episodes_are_those_of_their_version(corrections: list[Episode]) -> None:
    """What more torque adds is as 1 / inertia; gravity pulls in proportion to the inertia too."""
    light, heavy = pushes(untrained(DOOR), 3), corrections
    for i, (a, b) in enumerate(zip(light, heavy, strict=True)):
        assert a.source == b.source == "heavy" and a.id == i
        assert a.qpos.shape == (PUSH.horizon + 1, 1)
        np.testing.assert_allclose(a.ctrl, 0.1 * (i + 1))
        assert a.action is not None and a.action == pytest.approx((i + 1) / 3)
    pushed = [e[2].qpos[-1] - e[0].qpos[-1] for e in (light, heavy)]
    assert pushed[0] > pushed[1] > 0
    masses = [next(iter(loop.physical_values(untrained(DOOR, u)).values())) for u in (0.0, 1.0)]
    assert pushed[0] / pushed[1] == pytest.approx(masses[1] / masses[0], rel=0.02)


def test_what_moves_the_shown_pose_alone_is_not_played() -> None:
    version = untrained(dataclasses.replace(DOOR, correction=Displacement()))
    with pytest.raises(loop.LoopError, match=r"heavy has a Displacement.* force or a velocity"):
        pushes(version, 2)
    with pytest.raises(loop.LoopError, match="heavy has a Displacement"):
        environment(version, PUSH)


def test_generated_goals_and_success_are_the_tasks() -> None:
    task = Reach()
    start, goal = jax.vmap(task.reset)(jax.random.split(KEY, 4))
    version = untrained(WorldModel(task.scene))
    policy = Constant(goal["target"][:, None])  # the cart's command is its place
    episodes = loop.generate(version, task, policy, start, goal, KEY)
    for episode, target in zip(episodes, np.asarray(goal["target"]), strict=True):
        assert episode.goal["target"] == target
        assert task.error(episode) == pytest.approx(abs(episode.qpos[-1, 0] - target))
        assert episode.success == (task.error(episode) < 0.1)


def test_a_model_that_diverges_is_named() -> None:
    with pytest.raises(
        loop.LoopError, match=r"heavy diverges in 2 of 2 episodes: 0 \(hinge\), 1 \(hinge\); its"
    ):
        pushes(untrained(DOOR, np.nan), 2)


@pytest.mark.parametrize("seen", [True, False])
def test_a_free_body_that_diverges_alone_costs_its_episode(
    seen: bool, capsys: pytest.CaptureFixture
) -> None:
    task = Lift()
    if not seen:
        task.sensors = dataclasses.replace(task.sensors, objects=())
    starts, goals = loop.draw(task, KEY, 4)
    qpos, qvel = np.array(starts.qpos), np.array(starts.qvel)
    qpos[1, 4] = np.nan  # the box's height
    qvel[3, 2] = 1e6  # it is shot away
    version = untrained(WorldModel(task.scene))
    played = loop.generate(
        version, task, Constant(np.zeros((4, 2))), Start(qpos, qvel), goals, KEY, engine="c"
    )
    assert [e.id for e in played] == [0, 2]
    for episode in played:
        assert np.isfinite(episode.qpos[:, :2]).all()
        np.testing.assert_array_equal(episode.goal["place"], goals["place"][episode.id])
    log = capsys.readouterr().err
    assert "heavy diverges in 2 of 4 episodes: 1 (lift, jaw, box), 3 (box); they" in log
