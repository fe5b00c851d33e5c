"""``worldmodel new``: a folder with a robot's MJCF, a task that runs, its columns and a test."""

from pathlib import Path
from typing import Any

import numpy as np
import tyro

from worldmodel._mujoco import mujoco
from worldmodel.commands.reading import check_stepping
from worldmodel.episodes.columns import Body, Columns, Command, Joint
from worldmodel.episodes.columns_toml import to_toml
from worldmodel.errors import InputError
from worldmodel.runtime.files import new_folder, write_text
from worldmodel.scene import compile_scene, parse_mjcf, write_mjcf
from worldmodel.scene.defaults import name_elements, stepping
from worldmodel.tasks.sensors import all_sensors

HZ = 30.0
COLUMNS = """\
# Which column of a log is which joint and command: of the sets that `generate`, `deploy` and `loop`
# write. For your own recordings `worldmodel check {name}.xml --data LOG` drafts another.
"""
TASK = '''\
"""Task "{name}": the robot's joints go to a pose. Change it into what your robot is to do."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from worldmodel import FreeParameter, Start, Task, load_scene
from worldmodel.policies.plan import knots
from worldmodel.reality import SimulatedRobot
from worldmodel.reality.disturbances import Damping, Delay

MJCF = Path(__file__).with_name("{name}.xml")
DRIVEN = {driven}
PLACES = np.array({places})  # of these joints among all that are measured
LOW = np.array({low})  # of their goals
HIGH = np.array({high})


class {title}(Task):
    scene = load_scene(MJCF, control_hz={hz:g}, substeps={substeps})
    horizon = {horizon}  # control steps of an episode
    free = {free}  # what may be fitted, of what is not 0 in the MJCF

    def reset(self, key):  # where an episode begins, and its goal
        m = self.scene.mj_model
        target = jax.random.uniform(key, LOW.shape, float, LOW, HIGH)
        return Start(jnp.asarray(m.qpos0), jnp.zeros(m.nv)), {{"target": target}}

    def reward(self, before, action, after, goal):  # smooth: a planner maximises its sum
        return -jnp.sum(jnp.square(after.joints[PLACES] - goal["target"]))

    def error(self, episode):  # of an episode that may be real: what trust counts
        joints = episode.qpos[-1, {positions}]
        return float(np.abs(joints - episode.goal["target"]).max())

    def success(self, episode):
        return self.error(episode) < 0.1


task = {title}()
expert = knots(task, 1)  # one command, held: what is searched


def robot():  # a stand-in for yours: the MJCF with another damping, and a delay
    return SimulatedRobot(task, [Damping(2.0), Delay(1)])
'''
TEST = '''\
"""The task keeps its contract."""

from task import task

from worldmodel.tasks.check import check_task


def test_the_task_keeps_its_contract():
    assert dict(check_task(task))["observation"].startswith("the same")
'''


def new(
    name: tyro.conf.Positional[str],
    mjcf: Path,
    control_hz: float | None = None,
    substeps: int | None = None,
) -> dict[str, Any]:
    """Begins a task for a robot: a folder with its MJCF, a task that runs, columns and a test.

    Args:
      name: of the folder, which is written whole or not at all, and of the task.
      mjcf: of the robot; its meshes are copied.
      control_hz: commands per second; 30 when absent.
      substeps: physics steps per command; from the fastest contact or servo when absent.

    Raises:
      InputError: a name that is no Python name, a folder that is there, a rate or substeps that
        step nothing, an MJCF that does not compile or that MJX cannot run, or one without
        actuators or with one without a ctrlrange.
    """
    if not name.isidentifier():
        raise InputError(f"NAME '{name}': letters, digits and _; it becomes a class of Python")
    folder = Path(name)
    if folder.exists():
        raise InputError(f"{folder} is there already; give another name")
    check_stepping(control_hz, substeps)
    spec = parse_mjcf(mjcf)
    name_elements(spec)
    model = spec.compile()
    hz = control_hz or HZ
    steps = substeps or stepping(model, hz).substeps
    scene = compile_scene(spec, control_hz=hz, substeps=steps)
    names = all_sensors(scene)
    limited = zip(names.actuators, model.actuator_ctrllimited, strict=True)
    unlimited = [name for name, on in limited if not on]
    if not names.actuators or unlimited:
        raise InputError(
            f"{mjcf}: actuators {unlimited or 'none'}: a task commands actuators within their "
            "ctrlrange; give each one in the MJCF (or inheritrange)"
        )
    with new_folder(folder) as place:
        write_mjcf(place / f"{name}.xml", scene.mjcf, scene.assets)
        write_text(place / "task.py", _task(name, scene, hz, steps))
        write_text(place / "columns.toml", COLUMNS.format(name=name) + to_toml(_columns(names)))
        write_text(place / f"test_{name}.py", TEST)
    files = sorted(p.name for p in folder.iterdir())
    return {"out": str(folder), "control_hz": hz, "substeps": steps, "files": files}


def _task(name: str, scene: Any, hz: float, substeps: int) -> str:
    m, names = scene.mj_model, all_sensors(scene)
    driven = [
        m.joint(int(m.actuator_trnid[a, 0])).name
        for a in range(m.nu)
        if m.actuator_trntype[a] == mujoco.mjtTrn.mjTRN_JOINT
    ]
    driven = [j for j in dict.fromkeys(driven) if j in names.joints] or [*names.joints]
    if not driven:
        raise InputError(
            "the scene has no hinge or slide joint that a task could move; write one by hand, see "
            "docs/your_task.md"
        )
    rows = [m.joint(j).id for j in driven]
    pose = m.qpos0[m.jnt_qposadr[rows], None]
    third = np.where(m.jnt_limited[rows, None], (m.jnt_range[rows] - pose) / 3, [-0.3, 0.3])
    low, high = (pose + third).round(3).T.tolist()  # around the MJCF's pose
    return TASK.format(
        name=name,
        title="".join(part.capitalize() for part in name.split("_")),
        hz=hz,
        substeps=substeps,
        low=low,
        high=high,
        horizon=max(2, round(1.5 * hz)),
        driven=driven,
        free=_free(m, driven),
        places=[names.joints.index(j) for j in driven],
        positions=[int(m.jnt_qposadr[j]) for j in rows],
    )


def _free(m: mujoco.MjModel, driven: list[str]) -> str:
    """The damping of the driven joints; where none has any, the mass of the last one's body."""
    damped = [j for j in driven if m.dof_damping[m.joint(j).dofadr[0]] > 0]
    if not damped:
        return f'(FreeParameter("mass", {m.body(m.joint(driven[-1]).bodyid[0]).name!r}),)'
    joints = "DRIVEN" if damped == driven else damped
    return f'tuple(FreeParameter("damping", joint) for joint in {joints})'


def _columns(names: Any) -> Columns:
    return Columns(
        joints=tuple(Joint(j, f"observation.state.{j}") for j in names.joints),
        commands=tuple(Command(a, f"action.{a}") for a in names.actuators),
        bodies=tuple(
            Body(
                b,
                tuple(f"observation.object.{b}.{x}" for x in ("x", "y", "z")),
                tuple(f"observation.object.{b}.q{x}" for x in "wxyz"),
            )
            for b in names.objects
        ),
    )
