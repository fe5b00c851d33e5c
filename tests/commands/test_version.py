"""The version that a command plays a task in: which models fit a task, and which are refused."""

from pathlib import Path

import pytest

from tests.helpers.learned_models import SMALL
from tests.helpers.small_tasks import GRIPPER, Lift
from worldmodel import loop
from worldmodel.commands.version import version_of
from worldmodel.errors import InputError
from worldmodel.model import Displacement, WorldModel
from worldmodel.scene import load_scene

BOX = '<body name="box" pos="0 0 -.4"><freejoint/><geom name="box" size=".05"/></body>'
FIRST = GRIPPER.replace(BOX, "").replace("<worldbody>", f"<worldbody>{BOX}")


@pytest.mark.parametrize(
    ("mjcf", "hz", "refusal"),
    [
        (GRIPPER, 20.0, ""),
        (GRIPPER, 40.0, r"its control_hz 40\.0 are not those of task 'lift', 20\.0"),
        (GRIPPER.replace('"lift"', '"raise"'), 20.0, r"its sensors .*'raise'"),
        (FIRST, 20.0, r"the joints that task 'lift' measures in another order than the task's"),
    ],
    ids=["its own", "rate", "names", "order"],
)
def test_a_model_of_another_robot_is_refused(
    tmp_path: Path, mjcf: str, hz: float, refusal: str
) -> None:
    loop.first_version(tmp_path, WorldModel(load_scene(mjcf, control_hz=hz, substeps=2)))
    if not refusal:
        assert version_of(Lift(), tmp_path / "v0").name == "v0"
        return
    with pytest.raises(InputError, match=refusal):
        version_of(Lift(), tmp_path / "v0")


def test_a_model_that_only_predicts_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    world = WorldModel(Lift().scene, correction=Displacement(), network=SMALL)
    loop.first_version(tmp_path, world)
    with pytest.raises(InputError, match=r"--model .*v0 has a Displacement, which moves the pose"):
        version_of(Lift(), tmp_path / "v0")
