"""A task that keeps its contract passes; every breach is refused by its name."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from tests.helpers.small_tasks import Lift, Reach
from worldmodel.scene import load_scene
from worldmodel.tasks.check import CHECKS, check_task
from worldmodel.tasks.errors import TaskError
from worldmodel.tasks.sensors import all_sensors
from worldmodel.tasks.task import Task
from worldmodel.types import Names, Start


@pytest.mark.parametrize("task", [Reach(), Lift()], ids=lambda t: t.name)
def test_a_sound_task_passes(task: Task) -> None:
    seen = dict(check_task(task))
    assert [*seen] == [*CHECKS]
    assert seen["observe"] == {"reach": "3 numbers", "lift": "16 numbers"}[task.name]
    assert seen["action"] == "is the inverse of the command"
    assert seen["reward"] == "finite" or "gives no reward" in seen["reward"]


def broken(**methods: Any) -> Task:
    return type("Reach", (Reach,), methods)()


def unstable(self: Any, measured: Any, goal: Any) -> Any:
    size = 2 if measured.joints[0] > 0.2 else 3
    return jnp.zeros(size)


def drifting(self: Any, measured: Any, goal: Any) -> Any:
    self.calls = getattr(self, "calls", 0) + 1
    return jnp.append(measured.joints, float(self.calls))


BREACHES: dict[str, tuple[Task, str]] = {
    "horizon": (broken(horizon=20.0), "has the horizon 20.0; set the number"),
    "start": (
        broken(reset=lambda self, key: (Start(jnp.zeros(2), jnp.zeros(1)), {})),
        r"qpos of the shape \(2,\).* takes \(1,\)",
    ),
    "goal": (
        broken(reset=lambda self, key: (Start(jnp.zeros(1), jnp.zeros(1)), {"to": jnp.nan})),
        "the goal 'to' is nan",
    ),
    "key": (
        broken(
            reset=lambda self, key: (
                Start(jnp.asarray(np.random.default_rng().uniform(size=1)), jnp.zeros(1)),
                {"target": jnp.zeros(())},
            )
        ),
        "two starts for one key",
    ),
    "size": (broken(observe=unstable), r"returns \([23],\) .* and \([23],\) .* in another"),
    "type": (broken(observe=lambda self, m, g: jnp.zeros(3, int)), "of int64; return floats"),
    "pure": (broken(observe=drifting), "other numbers when compiled"),
    "python": (
        broken(observe=lambda self, m, g: jnp.zeros(3) + float(m.joints[0] * 0 + 1)),
        "'observe' cannot be compiled .* write it in jax.numpy",
    ),
    "finite": (broken(observe=lambda self, m, g: m.joints / 0.0), "not all finite"),
    "command": (
        broken(command=lambda self, m, a, g: jnp.concatenate([a, a])),
        r"'command' returns \[.* takes 1 finite numbers",
    ),
    "inverse": (
        broken(command=lambda self, m, a, g: 0.5 * a),
        "make it the inverse of 'command'",
    ),
    "reward": (
        broken(reward=lambda self, b, a, m, g: jnp.nan * m.joints[0]),
        "'reward' returns nan; return one finite number",
    ),
    "host": (
        broken(reward=lambda self, b, a, m, g: float(np.asarray(m.joints)[0])),
        r"'reward' cannot be compiled .*test_check.py, line \d+\); write it in jax.numpy",
    ),
    "hosts": (
        broken(action=lambda self, m, c, g: np.asarray(c)),
        r"raises TracerArrayConversionError: .* \(.*test_check.py, line \d+\)$",
    ),
    "dict": (
        broken(reset=lambda self, key: ({"qpos": jnp.zeros(1)}, {})),
        r"'reset' returns dict and dict; return Start\(qpos, qvel\)",
    ),
    "failed": (broken(failed=lambda self, m, g: m.joints[0]), "return one bool"),
    "error": (broken(error=lambda self, e: -1.0), "'error' returns -1.0"),
    "errors": (broken(error=lambda self, e: np.zeros(2)), r"'error' returns array\(\[0"),
    "raises": (
        broken(error=lambda self, e: e.goal["place"]),
        r"'error' raises KeyError: 'place' \(.*test_check.py, line \d+\)",
    ),
    "success": (broken(success=lambda self, e: "yes"), "'success' returns 'yes'"),
    "sense": (
        broken(sense=lambda self, s, k: s.qpos),
        "'sense' returns other shapes or types than its sensors have",
    ),
}


@pytest.mark.parametrize("breach", BREACHES)
def test_a_breach_is_named(breach: str) -> None:
    task, message = BREACHES[breach]
    with pytest.raises(TaskError, match=message):
        check_task(task)


def test_a_goal_that_is_no_array_is_named() -> None:
    start = Start(np.zeros(1), np.zeros(1))
    task = broken(reset=lambda self, key: (start, {"target": 0.1}))
    with pytest.raises(TaskError, match=r"the goal 'target' is 0\.1; give an array"):
        check_task(task)


def test_sensors_that_the_scene_lacks_and_missing_ranges_are_named() -> None:
    task = Reach()
    task.sensors = Names(("x", "elbow"), (), (), ("x",))
    with pytest.raises(TaskError, match=r"scene 'cart' has no joints \['elbow'\]"):
        check_task(task)
    task = Reach()
    task.scene = load_scene(
        """<mujoco model="cart"><worldbody><body><joint name="x" type="slide"/><geom size=".1"/>
        </body></worldbody><actuator><motor name="push" joint="x"/></actuator></mujoco>""",
        control_hz=20.0,
        substeps=2,
    )
    task.sensors = all_sensors(task.scene)
    with pytest.raises(TaskError, match=r"actuators \['push'\] .* have no ctrlrange"):
        check_task(task)


def test_an_observation_that_no_episode_holds_is_named() -> None:
    task = broken(observe=lambda self, m, g: jnp.concatenate([m.joints, m.age]))
    with pytest.raises(TaskError, match="of the same frame read back from disk; observe joints"):
        check_task(task)


def test_an_action_that_no_command_shows_is_noted() -> None:
    def hidden(self: Any, measured: Any, ctrl: Any, goal: Any) -> Any:
        raise TaskError("the stroke is the policy's")

    task = broken(action=hidden, action_size=1)
    assert "episodes must carry it" in dict(check_task(task))["action"]
