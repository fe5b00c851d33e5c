"""A task's data set gives back what was written, and is refused where it is another task's."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.helpers.small_tasks import Lift, Reach, wandering
from worldmodel.episodes import lerobot
from worldmodel.errors import InputError
from worldmodel.policies.clone import CloneConfig, clone, examples
from worldmodel.tasks import data_set
from worldmodel.tasks.errors import TaskError
from worldmodel.types import Episode

LIFT, REACH = Lift(), Reach()


def equal(ours: Episode, theirs: Episode) -> None:
    for field in dataclasses.fields(Episode):
        a, b = getattr(ours, field.name), getattr(theirs, field.name)
        if field.name == "goal":
            assert a.keys() == b.keys()
            assert all(a[n].dtype == b[n].dtype and a[n].shape == b[n].shape for n in a)
            a, b = list(a.values()), list(b.values())
        for x, y in zip(*(v if isinstance(v, list) else [v] for v in (a, b)), strict=True):
            assert type(x) is type(y), field.name
            np.testing.assert_array_equal(x, y, err_msg=field.name)


def test_successes_of_numpy_are_written(tmp_path: Path) -> None:
    class Judged(Reach):
        def success(self, episode: Episode) -> bool:
            return np.bool_(True)  # pyright: ignore[reportReturnType]

    task = Judged()
    data_set.write(tmp_path / "set", task, wandering(task, 2, seed=0), {})
    assert [e.success for e in data_set.read(tmp_path / "set", task)] == [True, True]


@pytest.fixture(scope="module")
def lifts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Episode]]:
    """Of a gripper over a free box: a frame in which the box was not seen; none; no action."""
    episodes = wandering(LIFT, 3, seed=0, source="v1")
    seen = np.ones_like(episodes[0].qpos, bool)
    seen[3, 2:] = False
    hidden = np.where(seen, episodes[0].qpos, np.nan)
    valid = np.arange(9) != 5
    episodes = [
        dataclasses.replace(episodes[0], id="a", qpos=hidden, measured=seen, success=True),
        dataclasses.replace(episodes[1], valid=valid, fresh=valid, success=False),
        dataclasses.replace(episodes[2], action=None, source="real"),
    ]
    folder = tmp_path_factory.mktemp("sets") / "lifts"
    data_set.write(folder, LIFT, episodes, {"seed": 3})
    return folder, episodes


@pytest.mark.parametrize("place", range(3))
def test_what_is_written_is_read_back(lifts: tuple, place: int) -> None:
    folder, episodes = lifts
    assert LIFT.scene.mj_model.nq != LIFT.scene.mj_model.nv
    equal(data_set.read(folder, LIFT)[place], episodes[place])


def test_any_lerobot_policy_has_its_columns(lifts: tuple) -> None:
    folder, episodes = lifts
    data = lerobot.read(folder)
    row, first = data.episodes[0], episodes[0]
    assert data.fps == 20 and data.tasks == ["lift"] * 3 and data.provenance["seed"] == 3
    assert data.features["observation.state"].names == ("lift", "jaw")
    assert data.features["action"].names == ("lift", "jaw")
    single: dict[str, Any] = {"rtol": 1e-6, "atol": 1e-7}
    np.testing.assert_allclose(row["observation.state"], first.qpos[:, :2], **single)
    np.testing.assert_allclose(row["observation.object.box"], first.qpos[:, 2:], **single)
    np.testing.assert_array_equal(row["contact.jaw_on_box"], first.contact[:, 0])
    np.testing.assert_allclose(row["action"], first.ctrl, **single)
    np.testing.assert_array_equal(row["goal.place"], np.tile(first.goal["place"], (9, 1)))
    np.testing.assert_array_equal(row["next.done"], np.arange(9) == 8)
    np.testing.assert_array_equal(row["next.success"], np.arange(9) == 8)
    assert not data.episodes[1]["next.success"].any()
    np.testing.assert_array_equal(row["intervention"], first.intervention)


def test_a_task_without_goal_objects_or_touch_keeps_its_numbers(tmp_path: Path) -> None:
    episodes = [dataclasses.replace(e, goal={}) for e in wandering(REACH, 2, seed=1)]
    episodes[1] = dataclasses.replace(episodes[1], contact=None)
    data_set.write(tmp_path / "set", REACH, episodes, {})
    back = data_set.read(tmp_path / "set", REACH)
    equal(back[0], episodes[0])
    assert back[1].contact is not None and back[1].contact.shape == (21, 0)


def test_a_set_read_back_clones_to_the_same_policy(tmp_path: Path) -> None:
    episodes = wandering(REACH, 3, seed=2)
    data_set.write(tmp_path / "set", REACH, episodes, {})
    config = CloneConfig(width=4, steps=5, history=2)
    for a, b in zip(episodes, data_set.read(tmp_path / "set", REACH), strict=True):
        for ours, theirs in zip(
            examples(REACH, a, config), examples(REACH, b, config), strict=True
        ):
            np.testing.assert_array_equal(ours, theirs)
    assert len(clone(REACH, [data_set.read(tmp_path / "set", REACH)], [0], config)) == 1


def test_sets_of_another_task_or_robot_are_refused(lifts: tuple, tmp_path: Path) -> None:
    folder, episodes = lifts
    with pytest.raises(TaskError, match="task 'lift', not of 'reach'"):
        data_set.read(folder, REACH)
    other = Lift()
    other.sensors = dataclasses.replace(LIFT.sensors, touch=(("palm", "box"),))
    with pytest.raises(TaskError, match=r"'contact\.\w+' is (absent|1 numbers) there"):
        data_set.read(folder, other)
    foreign = lerobot.read(folder)
    lerobot.write(tmp_path / "foreign", dataclasses.replace(foreign, provenance={}))
    with pytest.raises(TaskError, match="it was not written for a task"):
        data_set.read(tmp_path / "foreign", LIFT)
    late = dataclasses.replace(episodes[1], time=episodes[1].time * 1.01)
    with pytest.raises(TaskError, match="episode 1 is not sampled at 20 Hz"):
        data_set.write(tmp_path / "late", LIFT, [late], {})
    bare = dataclasses.replace(episodes[1], goal={})
    with pytest.raises(TaskError, match=r"has the goal \[\], the first of the set"):
        data_set.write(tmp_path / "bare", LIFT, [episodes[0], bare], {})
    blind = dataclasses.replace(episodes[1], contact=None)
    with pytest.raises(TaskError, match="0 touch sensors, the task 1"):
        data_set.write(tmp_path / "blind", LIFT, [blind], {})
    with pytest.raises(InputError, match="at least one feature and one episode"):
        data_set.write(tmp_path / "empty", LIFT, [], {})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["foreign"]


def test_a_damaged_set_is_refused(tmp_path: Path) -> None:
    data_set.write(tmp_path / "set", REACH, wandering(REACH, 2, seed=3), {})
    info = tmp_path / "set" / "meta" / "info.json"
    info.write_text(json.dumps(json.loads(info.read_text()) | {"total_episodes": 5}))
    with pytest.raises(lerobot.DatasetError, match="counts 5 episodes, but 2 were saved"):
        data_set.read(tmp_path / "set", REACH)
