"""A scene carries its files: it loads anywhere, from memory, and after they are deleted."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.helpers import mesh_robot
from worldmodel._mujoco import mujoco
from worldmodel.scene import Scene, SceneError, load_scene, write_mjcf


def load(mjcf: str | Path, **assets: dict[str, bytes]) -> Scene:
    return load_scene(mjcf, control_hz=500.0, substeps=1, **assets)


@pytest.fixture
def robot(tmp_path: Path) -> Path:
    return mesh_robot.write(tmp_path / "robot")


def test_each_file_travels_under_one_bare_name(robot: Path) -> None:
    scene = load(robot)
    assert sorted(scene.assets) == sorted(
        ["link.obj", "link_2.obj", "link_3.obj", "far.obj", "wood.png", "hills.png"]
        + [f"{side}.png" for side in "rludfb"]
    )
    folder = robot.parent
    assert scene.assets["link.obj"] == (folder / "meshes" / "link.obj").read_bytes()
    assert scene.assets["link_2.obj"] == (folder / "meshes" / "thin" / "link.obj").read_bytes()
    assert scene.assets["link_3.obj"] == (folder / "hand" / "parts" / "link.obj").read_bytes()
    plain = mujoco.MjModel.from_xml_path(str(robot))
    for field in ("mesh_vert", "mesh_pos", "hfield_data", "tex_data", "body_mass", "key_qpos"):
        np.testing.assert_array_equal(getattr(plain, field), getattr(scene.mj_model, field))
    np.testing.assert_allclose(plain.geom_pos, scene.mj_model.geom_pos, rtol=0.0, atol=1e-15)
    np.testing.assert_allclose(plain.geom_quat, scene.mj_model.geom_quat, rtol=0.0, atol=1e-14)


def test_a_scene_outlives_its_files(
    robot: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = load(robot)
    shutil.rmtree(robot.parent)
    monkeypatch.chdir(tmp_path)
    again = load(scene.mjcf, assets=dict(scene.assets))
    assert (again.digest, again.mjcf, again.assets) == (scene.digest, scene.mjcf, scene.assets)
    with pytest.raises(SceneError, match=r"no file .*link\.obj.*assets={'link\.obj'"):
        load(scene.mjcf)

    (tmp_path / "written").mkdir()
    write_mjcf(tmp_path / "written" / "scene.xml", scene.mjcf, scene.assets)
    assert len(os.listdir(tmp_path / "written")) == 1 + len(scene.assets)
    opened = mujoco.MjModel.from_xml_path(str(tmp_path / "written" / "scene.xml"))
    np.testing.assert_array_equal(opened.geom_pos, scene.mj_model.geom_pos)
    np.testing.assert_array_equal(opened.mesh_vert, scene.mj_model.mesh_vert)
    assert load(tmp_path / "written" / "scene.xml").digest == scene.digest


def test_a_texture_of_six_files_needs_no_name(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for seed, side in enumerate(("up", "down", "left", "right", "front", "back")):
        (tmp_path / "images" / f"{side}.png").write_bytes(mesh_robot.png(seed))
    text = """<mujoco><compiler texturedir="images"/><asset><texture type="2d" file="up.png"/>
        <texture type="skybox" fileup="up.png" filedown="down.png" fileleft="left.png"
        fileright="right.png" filefront="front.png" fileback="back.png"/></asset>
        <worldbody><body><joint/><geom size=".1" pos="1 0 0"/></body></worldbody></mujoco>"""
    (tmp_path / "sky.xml").write_text(text)
    scene = load(tmp_path / "sky.xml")
    plain = mujoco.MjModel.from_xml_path(str(tmp_path / "sky.xml"))
    np.testing.assert_array_equal(scene.mj_model.tex_data, plain.tex_data)
    assert load(scene.mjcf, assets=dict(scene.assets)).digest == scene.digest


def test_text_takes_its_files_from_memory(robot: Path) -> None:
    folder = robot.parent
    text = robot.read_text().replace(str(folder / "elsewhere" / "far.obj"), "far.obj")
    assets = {
        "link.obj": mesh_robot.wedge(0.1),
        "thin/link.obj": mesh_robot.wedge(0.2),
        "copy/link.obj": mesh_robot.wedge(0.1),
        "far.obj": mesh_robot.wedge(0.4),
        "arm.xml": mesh_robot.ARM.encode(),
        "../images/hills.png": mesh_robot.png(1),
        "wood.png": mesh_robot.png(0),
    } | {f"{side}.png": mesh_robot.png(seed) for seed, side in enumerate("rludfb", start=2)}
    for line in ('<model name="hand" file="hand/hand.xml"/>', '<frame euler="10 20 30">'):
        assert line in text
    text = text.replace('<model name="hand" file="hand/hand.xml"/>', "")
    begin, end = text.index("<frame"), text.index("</frame>") + len("</frame>")
    text = (text[:begin] + text[end:]).replace('qpos=".1 .2"', 'qpos=".1"')
    scene = load(text, assets=assets)
    plain = load(robot)
    shutil.rmtree(folder)
    assert load(text, assets=assets).digest == scene.digest
    vertices = scene.mj_model.nmeshvert
    np.testing.assert_array_equal(scene.mj_model.mesh_vert, plain.mj_model.mesh_vert[:vertices])
    np.testing.assert_array_equal(scene.mj_model.tex_data, plain.mj_model.tex_data)
    np.testing.assert_array_equal(scene.mj_model.hfield_data, plain.mj_model.hfield_data)


@pytest.mark.parametrize(
    ("asset", "name"),
    [
        ('<mesh name="cup" file="tea/cup.obj"/>', "tea/cup.obj"),
        ('<texture name="cup" type="2d" file="cup.png"/>', "cup.png"),
        ('<hfield name="cup" size="1 1 1 1" file="cup.png"/>', "cup.png"),
        ('<model name="cup" file="cup.xml"/>', "cup.xml"),
        ('</asset><include file="cup.xml"/><asset>', "cup.xml"),
        ('</asset><deformable><skin name="cup" file="cup.skn"/></deformable><asset>', "cup.skn"),
    ],
)
def test_a_missing_file_is_named_with_the_remedy(asset: str, name: str, tmp_path: Path) -> None:
    text = f"<mujoco><asset>{asset}</asset><worldbody/></mujoco>"
    bare = Path(name).name
    with pytest.raises(SceneError, match=rf"no file {Path.cwd() / name},.*assets={{'{bare}'"):
        load(text)
    (tmp_path / "scene.xml").write_text(text)
    with pytest.raises(SceneError, match=rf"no file {tmp_path / name},.*assets={{'{bare}'"):
        load(tmp_path / "scene.xml")


def test_an_mjcf_in_another_folder_loads_by_a_relative_path(
    robot: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert load(robot.relative_to(tmp_path)).assets == load(robot).assets
