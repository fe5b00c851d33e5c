"""Versions know their parents and corrections; what a version generates is what a robot reports."""

import dataclasses
import math
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from tests.helpers import sled
from tests.helpers.doors import MASS, door
from worldmodel import loop
from worldmodel.episodes.errors import Channels
from worldmodel.finetune.adam import FitConfig
from worldmodel.model import Displacement, Network, Velocity, WorldModel, init
from worldmodel.reality import HiddenPhysics
from worldmodel.runtime.checkpoint import CheckpointError
from worldmodel.types import Episode, Trial

DOOR = WorldModel(door(), MASS, network=Network(latent=2, width=4))
CONFIG = FitConfig(steps=2, batch=2, learning_rate=0.1, start_spread=0.0, validate_every=1)
RESIDUAL = np.array([0.3])


def trials(count: int) -> list[Trial]:
    return [
        Trial(np.array([0.3]), np.full((12, 1), 0.1 * (i + 1)), {"angle": np.array(i)}, np.ones(1))
        for i in range(count)
    ]


def untrained(world: WorldModel, mass: float = 0.0) -> loop.Version:
    """A version whose mass is so many prior widths from the MJCF's."""
    parameters = init(world, jax.random.key(0))
    parameters["physics"] = {name: u + mass for name, u in parameters["physics"].items()}
    return loop.Version("heavy", None, world, parameters, 0)


@pytest.fixture(scope="module")
def corrections() -> list[Episode]:
    return loop.generate(untrained(DOOR, 1.0), trials(3), touch=())


def refit(
    directory: Path,
    parent: loop.Version,
    name: str,
    world: WorldModel,
    corrections: list[Episode],
    rows: list[dict[str, Any]],
    **changes: Any,
) -> loop.Version:
    options = {"channels": Channels.of(world.scene), "residual": RESIDUAL, "held_out": 1} | changes
    return loop.finetune(
        directory,
        parent,
        name,
        world,
        corrections,
        config=CONFIG,
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
    hybrid = dataclasses.replace(DOOR, correction=Velocity())
    v2 = refit(tmp_path, v1, "v2", hybrid, corrections, rows)
    assert v2.world.name == "hybrid"
    np.testing.assert_array_equal(v2.parameters["network"]["norm"]["residual"], RESIDUAL)

    rows.clear()
    for version, parent, world in ((v1, v0, DOOR), (v2, v1, hybrid)):
        loaded = refit(tmp_path, parent, version.name, world, corrections, rows)
        assert (loaded.parent, loaded.corrections) == (version.parent, version.corrections)
        jax.tree.map(np.testing.assert_array_equal, loaded.parameters, version.parameters)
    assert not rows  # nothing was fitted again


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
    for changes in ({"channels": Channels()}, {"residual": 2 * RESIDUAL}):
        with pytest.raises(CheckpointError):
            refit(tmp_path, v0, "v1", DOOR, corrections, [], **changes)
    with pytest.raises(CheckpointError):  # a parent of the same name with other numbers
        moved = dataclasses.replace(untrained(DOOR, 0.5), name="v0")
        refit(tmp_path, moved, "v1", DOOR, corrections, [])


def test_what_cannot_be_finetuned_is_refused(tmp_path: Path, corrections: list[Episode]) -> None:
    v0 = loop.first_version(tmp_path, DOOR)
    hybrid = dataclasses.replace(DOOR, correction=Velocity())
    learned = dataclasses.replace(untrained(hybrid), name="v0")
    displaced = dataclasses.replace(DOOR, correction=Displacement())
    first, *others = corrections
    valid = np.arange(len(first.qpos)) != 4
    holed = [dataclasses.replace(first, valid=valid), *others]
    requests: list[tuple[loop.Version, WorldModel, list[Episode], dict[str, Any], str]] = [
        (v0, DOOR, holed, {}, r"corrections \[0\] have a frame that is not valid"),
        (v0, hybrid, corrections, {"held_out": 0}, "0 of 3 corrections are held out"),
        (v0, hybrid, corrections, {"held_out": 3}, "3 of 3 corrections are held out"),
        (v0, hybrid, corrections, {"residual": np.ones(2)}, r"shape \(2,\), not \(1,\)"),
        (learned, displaced, corrections, {}, "base, correction or sizes are others"),
    ]
    for parent, world, episodes, changes, message in requests:
        with pytest.raises(loop.LoopError, match=message):
            refit(tmp_path, parent, "next", world, episodes, [], **changes)
    for some in ([], [*trials(1), dataclasses.replace(trials(1)[0], ctrl=np.zeros((5, 1)))]):
        with pytest.raises(loop.LoopError, match="trials; give one or more"):
            loop.generate(v0, some, ())


def test_generated_episodes_have_a_robots_columns() -> None:
    """The sled's physics is the robot's: the same frames, and the same touch sensor."""
    world = WorldModel(sled.scene())
    push = np.zeros((30, 1))
    push[:10] = 8.0
    start = np.array([0.0, 0.0, 0.002])  # falls on the floor
    trial = Trial(start, push, {"x": np.array(1.0)}, np.array([8.0]))
    (episode,) = loop.generate(untrained(world), [trial], sled.TOUCH)
    real = sled.play(HiddenPhysics(), push, start)
    for name in ("time", "qpos", "qvel", "ctrl", "valid", "fresh", "contact"):
        ours, theirs = getattr(episode, name), getattr(real, name)
        assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype), name
    np.testing.assert_allclose(episode.qpos, real.qpos, atol=1e-6)
    np.testing.assert_array_equal(episode.ctrl, real.ctrl)
    assert episode.goal == trial.goal and episode.action is trial.action
    assert episode.contact is not None and not episode.contact[0].any() and episode.contact.any()
    with pytest.raises(loop.LoopError, match="scene 'sled' tests no contact of sled and wall"):
        loop.generate(untrained(world), [trial], (("sled", "wall"),))


def test_a_model_that_diverges_is_named() -> None:
    with pytest.raises(loop.LoopError, match="heavy diverges on the action"):
        loop.generate(untrained(DOOR, np.nan), trials(1), ())
