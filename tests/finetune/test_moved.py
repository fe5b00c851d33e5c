"""C MuJoCo's models with moved numbers are those that its compiler makes of the written MJCF."""

import copy
from pathlib import Path

import numpy as np
import pytest

from tests.helpers import mesh_robot
from worldmodel._mujoco import mujoco
from worldmodel.finetune import moved
from worldmodel.finetune.moved import applied, compiled, numbers
from worldmodel.model import WorldModel
from worldmodel.scene import FreeParameter, Scene, load_scene, to_mjcf

ARM = """
<mujoco>
  <option gravity="0 0 -9"/>
  <worldbody>
    <geom name="floor" type="plane" size="1 1 .1"/>
    <body name="upper" pos="0 0 .5">
      <joint name="shoulder" axis="0 1 0" damping=".1" armature=".01" frictionloss=".02"
        stiffness=".3" springref=".1"/>
      <geom name="upper" type="capsule" fromto="0 0 0 .3 0 0" size=".03"/>
      <body name="lower" pos=".3 0 0">
        <joint name="elbow" axis="0 1 0" range="-2 2" limited="true"/>
        <geom name="lower" type="box" size=".1 .02 .03" pos=".1 0 .01" euler="0 0 20"/>
      </body>
    </body>
    <body name="ball" pos="0 1 .1"><freejoint/><geom name="ball" type="sphere" size=".05"/></body>
  </worldbody>
  <actuator>
    <position name="servo" joint="shoulder" kp="10" kv="1"/>
    <general name="lag" joint="elbow" dyntype="filter" dynprm=".05" gainprm="2" gear="3"/>
  </actuator>
</mujoco>
"""
SETTABLE = (
    FreeParameter("mass", "lower"),
    FreeParameter("friction", "ball"),
    FreeParameter("solref", "floor"),
    FreeParameter("solimp", "lower"),
    FreeParameter("damping", "shoulder"),
    FreeParameter("frictionloss", "shoulder"),
    FreeParameter("armature", "shoulder"),
    FreeParameter("stiffness", "shoulder"),
    FreeParameter("springref", "shoulder"),
    FreeParameter("gain", "servo"),
    FreeParameter("kv", "servo"),
    FreeParameter("gear", "lag"),
    FreeParameter("time_constant", "lag"),
    FreeParameter("gravity_tilt", ""),
)
COMPILED = (
    FreeParameter("com", "lower"),
    FreeParameter("inertia", "lower"),
    FreeParameter("geom_size", "lower", (1.0, 1.0, 1.0)),
    FreeParameter("geom_pos", "upper"),
    FreeParameter("geom_rotation", "lower"),
    FreeParameter("joint_pos", "elbow", (1.0, 0.0, 1.0)),
    FreeParameter("joint_axis", "elbow"),
)


def arm() -> Scene:
    return load_scene(ARM, control_hz=50.0, substeps=5)


def arrays(model: mujoco.MjModel) -> dict[str, np.ndarray]:
    fields = {name: getattr(model, name) for name in dir(model) if not name.startswith("_")}
    kept = {name: x for name, x in fields.items() if isinstance(x, np.ndarray)}
    return kept | {"gravity": model.opt.gravity}


def assert_same(mine: mujoco.MjModel, theirs: mujoco.MjModel) -> None:
    for name, expected in arrays(theirs).items():
        np.testing.assert_array_equal(arrays(mine)[name], expected, err_msg=name)


@pytest.mark.parametrize("free", [SETTABLE, COMPILED], ids=["set", "compiled"])
def test_every_number_gives_the_compilers_model(free: tuple[FreeParameter, ...]) -> None:
    scene = arm()
    world = WorldModel(scene, free)
    at, still = compiled(world), np.zeros(len(numbers(world)))
    for (name, _), u in zip(numbers(world), 0.3 * np.eye(len(still)), strict=True):
        at(still)
        text = to_mjcf(scene.spec, applied(world)(u))
        assert_same(at(u), mujoco.MjModel.from_xml_string(text, scene.assets))
        before, after = arrays(copy.copy(at(still))), arrays(at(u))
        assert any(not np.array_equal(before[field], after[field]) for field in after), name


def test_settable_numbers_do_not_read_the_meshes_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = load_scene(mesh_robot.write(tmp_path), control_hz=50.0, substeps=5)
    world = WorldModel(scene, (FreeParameter("mass", "arm"), FreeParameter("com", "arm")))
    written = []

    def counted(*arguments: object) -> str:
        written.append(arguments)
        return to_mjcf(*arguments)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(moved, "to_mjcf", counted)
    at = compiled(world)
    for amount in np.linspace(0.0, 1.0, 5):
        at(np.array([amount, 0.0, 0.0, 0.0]))
    assert len(written) == 1
    at(np.array([0.5, 0.1, 0.0, 0.0]))
    assert len(written) == 2
