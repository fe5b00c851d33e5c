"""The command new: its task is about what the robot can move."""

import json
import sys
from pathlib import Path

import jax
import pytest

from worldmodel.__main__ import main
from worldmodel.commands import named
from worldmodel.tasks.check import check_task

PUSHER = """<mujoco model="pusher"><worldbody>
<body name="puck" pos=".2 0 0"><joint name="puck_x" type="slide" axis="1 0 0"/>
<geom name="puck" size=".02" contype="0" conaffinity="0"/></body>
<body name="cart"><joint name="rail" type="slide" axis="1 0 0" range="-.3 .6"/>
<geom name="cart" size=".02" contype="0" conaffinity="0"/></body></worldbody>
<actuator><position name="drive" joint="rail" kp="50" ctrlrange="-.3 .6"/></actuator></mujoco>"""


def test_goals_are_of_driven_joints_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    Path("pusher.xml").write_text(PUSHER)
    assert main(["new", "reaching", "--mjcf", "pusher.xml"]) == 0
    assert "task.py" in json.loads(capsys.readouterr().out)["files"]
    monkeypatch.delitem(sys.modules, "task", raising=False)
    task = named.task("reaching/task.py:task")
    monkeypatch.delitem(sys.modules, "task", raising=False)
    assert dict(check_task(task))["reward"] == "finite"
    keys = jax.random.split(jax.random.key(0), 20)
    goals = [float(g) for key in keys for g in task.reset(key)[1]["target"]]
    assert len(goals) == 20 and min(goals) >= -0.1 and max(goals) <= 0.2


@pytest.mark.parametrize("given", [("--substeps", "0"), ("--control-hz", "0")])
def test_a_rate_that_steps_nothing_is_named(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    given: tuple[str, str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("pusher.xml").write_text(PUSHER)
    assert main(["new", "reaching", "--mjcf", "pusher.xml", *given]) == 2
    assert given[0] in capsys.readouterr().err
    assert not Path("reaching").exists()


UNDAMPED = """<mujoco model="arm"><worldbody>
  <body name="upper"><joint name="a"{damping}/><geom size=".1"/>
    <body name="lower" pos=".3 0 0"><joint name="b"/><geom size=".1"/></body></body>
</worldbody><actuator>
  <motor name="a" joint="a" ctrlrange="-1 1"/><motor name="b" joint="b" ctrlrange="-1 1"/>
</actuator></mujoco>"""


@pytest.mark.parametrize(
    ("damping", "free"), [("", ["lower.mass"]), (' damping=".1"', ["a.damping"])]
)
def test_a_joint_without_damping_has_none_to_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damping: str, free: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    Path("arm.xml").write_text(UNDAMPED.format(damping=damping))
    assert main(["new", "waving", "--mjcf", "arm.xml"]) == 0
    monkeypatch.delitem(sys.modules, "task", raising=False)
    assert main(["check", "waving/task.py:task"]) == 0
    assert [f.name for f in named.task("waving/task.py:task").free] == free
    monkeypatch.delitem(sys.modules, "task", raising=False)
