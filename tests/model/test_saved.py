"""World models as checkpoints: what comes back is what was saved, or a refusal by name."""

import json
import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from tests.helpers import mesh_robot
from tests.helpers.doors import door
from tests.helpers.logged_arm import arm
from worldmodel.model import (
    ConstantVelocity,
    Displacement,
    Force,
    Network,
    Physics,
    Velocity,
    WorldModel,
    init,
    saved,
)
from worldmodel.physics import parameters as physical
from worldmodel.runtime.checkpoint import CheckpointError
from worldmodel.scene import FreeParameter, load_scene

FREE = (FreeParameter("com", "door", (1.0, 0.0, 0.5)), FreeParameter("mass", "door", 2.0))
NETWORK = Network(latent=3, width=5, members=2)


def worlds() -> dict[str, WorldModel]:
    parts: dict[str, Any] = {
        "physics": (Physics(), None),
        "displacement": (Physics(), Displacement()),
        "velocity": (Physics(), Velocity()),
        "force": (Physics(), Force()),
        "constant velocity": (ConstantVelocity(), None),
        "latent": (ConstantVelocity(), Velocity()),
        "without any number": (Physics(), None),
    }
    bare = ("latent", "without any number")
    return {
        name: WorldModel(door(), () if name in bare else FREE, base, correction, NETWORK)
        for name, (base, correction) in parts.items()
    }


@pytest.mark.parametrize("name", list(worlds()))
def test_every_base_and_correction_comes_back(name: str, tmp_path: Path) -> None:
    world = worlds()[name]
    parameters = jax.tree.map(lambda x: x + 0.25, init(world, jax.random.key(1)))
    saved.save(tmp_path, 3, world, parameters, {"config_hash": "abc", "note": name})
    again, same, metadata = saved.restore(tmp_path)
    assert (again.base, again.correction) == (world.base, world.correction)
    assert (again.free, again.network, again.name) == (world.free, world.network, world.name)
    assert again.scene.digest == world.scene.digest
    assert (again.scene.control_hz, again.scene.substeps) == (100.0, 1)
    assert jax.tree.structure(same) == jax.tree.structure(parameters)
    for ours, theirs in zip(jax.tree.leaves(same), jax.tree.leaves(parameters), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert (metadata["note"], metadata["step"]) == (name, 3)
    saved.restore_parameters(tmp_path, world, expected={"note": name})
    with pytest.raises(CheckpointError, match=f'note was "{name}" and is "other"'):
        saved.restore_parameters(tmp_path, world, expected={"note": "other"})


def test_a_scale_of_several_numbers_comes_back_a_tuple(tmp_path: Path) -> None:
    world = worlds()["physics"]
    saved.save(tmp_path, 0, world, init(world, jax.random.key(0)), {})
    again, _, _ = saved.restore(tmp_path)
    assert [f.scale for f in again.free] == [(1.0, 0.0, 0.5), 2.0]
    assert hash(again.free) == hash(world.free)  # static arguments must be hashable


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"base": "Magic"}, "unknown part 'Magic'"),
        ({"correction": "Spell"}, "unknown part 'Spell'"),
        ({"network": {"width": 0}}, "are damaged: .*width and members of at least 1"),
        ({"network": {"depth": 3}}, "metadata of .* are damaged: .*depth"),
        ({"base": None, "mjcf": None}, r"is not a world model: its metadata lacks mjcf, base;"),
    ],
)
def test_unknown_and_absent_parts_are_named(
    change: dict[str, Any], message: str, tmp_path: Path
) -> None:
    world = worlds()["velocity"]
    saved.save(tmp_path, 0, world, init(world, jax.random.key(0)), {})
    path = tmp_path / "step_00000000" / "metadata.json"
    metadata = json.loads(path.read_text())
    for name, value in change.items():
        if value is None:
            del metadata[name]
        else:
            metadata[name] = value
    path.write_text(json.dumps(metadata))
    with pytest.raises(CheckpointError, match=message):
        saved.restore(tmp_path)


@pytest.mark.parametrize(("stated", "scale"), [(0.35, 1.0), (None, 2.0 * 0.2 / 0.7), (0.7, 2.0)])
def test_numbers_keep_the_prior_width_of_their_checkpoint(
    stated: float | None, scale: float, tmp_path: Path
) -> None:
    """A number is in prior widths: where a kind's has changed since, the value has not. Those that
    state no width are of gains of 0.2."""
    world = WorldModel(arm(), (FreeParameter("gain", "elbow", 2.0),))
    saved.save(tmp_path, 0, world, init(world, jax.random.key(0)), {})
    path = tmp_path / "step_00000000" / "metadata.json"
    metadata = json.loads(path.read_text())
    assert metadata["free"][0].pop("width") == [0.7]
    if stated is not None:
        metadata["free"][0]["width"] = [stated]
    path.write_text(json.dumps(metadata))
    again, _, _ = saved.restore(tmp_path)
    assert again.free[0].scale == pytest.approx(scale, rel=1e-15)
    width = physical.widths(again.scene, again.free[0])  # of the logarithm: the value follows
    np.testing.assert_allclose(width, [2.0 * (0.2 if stated is None else stated)])


def test_parameters_of_another_model_are_refused(tmp_path: Path) -> None:
    world = worlds()["velocity"]
    saved.save(tmp_path, 0, world, init(world, jax.random.key(0)), {})
    with pytest.raises(CheckpointError, match="belongs to another model"):
        saved.restore_parameters(tmp_path, worlds()["physics"])
    with pytest.raises(CheckpointError, match="no checkpoint in"):
        saved.restore(tmp_path / "elsewhere")


def test_the_folder_of_a_run_is_not_its_checkpoint(tmp_path: Path) -> None:
    world = worlds()["physics"]
    saved.save(tmp_path / "checkpoint", 0, world, init(world, jax.random.key(0)), {})
    with pytest.raises(CheckpointError, match=f"itself; give {tmp_path / 'checkpoint'}$"):
        saved.restore(tmp_path)


def test_a_scene_of_meshes_comes_back_without_its_files(tmp_path: Path) -> None:
    robot = mesh_robot.write(tmp_path / "robot")
    scene = load_scene(robot, control_hz=100.0, substeps=1)
    world = WorldModel(scene, (FreeParameter("mass", "arm"),), Physics(), None, NETWORK)
    saved.save(tmp_path / "saved", 0, world, init(world, jax.random.key(0)), {})
    shutil.rmtree(robot.parent)
    shutil.move(tmp_path / "saved", tmp_path / "elsewhere")
    again, _, metadata = saved.restore(tmp_path / "elsewhere")
    assert (again.scene.digest, again.scene.assets) == (scene.digest, scene.assets)
    assert sorted(metadata["assets"]) == sorted(scene.assets)

    attached = tmp_path / "elsewhere" / "step_00000000" / "attached"
    (attached / "link_2.obj").write_bytes(mesh_robot.wedge(0.9))
    with pytest.raises(CheckpointError, match=r"attached/link_2\.obj is damaged"):
        saved.restore(tmp_path / "elsewhere")
    (attached / "link_2.obj").unlink()
    with pytest.raises(CheckpointError, match=r"attached/link_2\.obj is missing"):
        saved.restore(tmp_path / "elsewhere")


def test_elements_that_share_a_number_stay_together(tmp_path: Path) -> None:
    world = WorldModel(arm(), (FreeParameter("gain", "elbow", 2.0, ("shoulder",)),))
    saved.save(tmp_path, 0, world, init(world, jax.random.key(0)), {})
    assert saved.restore(tmp_path)[0].free == world.free
