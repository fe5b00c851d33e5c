"""What a moving view holds is what MuJoCo's kinematics give; its page stands alone."""

import base64
import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.helpers.html_page import whole
from worldmodel._mujoco import mujoco
from worldmodel.runtime.page import Markup, render
from worldmodel.scene import SceneError
from worldmodel.scene.triangles import coarsened
from worldmodel.scene.view3d import RATE, REACH, view, viewer

SCENE = """
<mujoco>
  <asset>
    <material name="red" rgba=".8 .2 .1 1"/>
    <mesh name="wedge" vertex="0 0 0 .2 0 0 0 .2 0 0 0 .3"/>
    <hfield name="hills" nrow="4" ncol="3" size="1 2 .5 .1" elevation="0 1 0 2 0 3 0 4 0 5 0 1"/>
  </asset>
  <worldbody>
    <geom name="floor" type="plane" size="0 0 .1"/>
    <geom name="hills" type="hfield" hfield="hills" pos="0 3 0"/>
    <body name="base" pos=".1 .2 .3" euler="10 20 30">
      <geom name="base" type="box" size=".1 .05 .02"/>
      <body name="arm" pos=".2 0 0" euler="0 90 0">
        <joint name="hinge" axis="0 1 1"/>
        <geom name="arm" type="capsule" fromto="0 0 0 .3 .1 0" size=".02" material="red"/>
        <body name="tool" pos=".3 .1 0" euler="45 0 0">
          <geom name="tool" type="mesh" mesh="wedge" pos=".1 0 0" euler="0 30 0"/>
          <geom name="guard" type="sphere" size=".1" group="3"/>
        </body>
      </body>
    </body>
    <body name="ball" pos="0 0 1">
      <freejoint/>
      <geom name="ball" type="ellipsoid" size=".1 .2 .3" rgba="0 0 1 .5"/>
      <geom name="sensor" type="box" size=".1 .1 .1" rgba="1 1 1 0"/>
    </body>
  </worldbody>
</mujoco>
"""
NODE = shutil.which("node")
CODE = Path(view.__code__.co_filename).parent / "viewer"


@pytest.fixture(scope="module")
def model() -> mujoco.MjModel:
    return mujoco.MjModel.from_xml_string(SCENE)


def tumbling(model: mujoco.MjModel, frames: int, seed: int = 0) -> np.ndarray:
    """(frames, nq) of an arm that turns and a ball that flies 20 m."""
    rng = np.random.default_rng(seed)
    qpos = rng.normal(size=(frames, model.nq)) + np.linspace(0, 20, frames)[:, None]
    for row in qpos:
        mujoco.mj_normalizeQuat(model, row)
    return qpos


def content(fragment: str) -> dict[str, Any]:
    (text,) = re.findall(r"data-scene='([^']*)'", fragment)
    return json.loads(html.unescape(text))


def numbers(text: str, kind: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), kind).astype(float)


def rotated(quaternion: np.ndarray, vector: np.ndarray) -> np.ndarray:
    out = np.zeros(3)
    mujoco.mju_rotVecQuat(out, vector, quaternion)
    return out


def shown(model: mujoco.MjModel) -> list[int]:
    return [mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_GEOM, name) for name in NAMES]


NAMES = ("floor", "hills", "base", "arm", "tool", "ball")  # neither hidden nor transparent


def test_every_geom_is_where_kinematics_put_it(model: mujoco.MjModel) -> None:
    qpos = tumbling(model, 30)
    read = content(view(model, {"a": qpos}, 20.0))
    (episode,) = read["episodes"]
    poses = numbers(episode["poses"], "<f4").reshape(30, -1, 7)
    assert poses.shape[1] == 2  # the arm, with the tool that is welded to it, and the ball
    data, identity = mujoco.MjData(model), np.array([0.0, 0, 0, 1, 0, 0, 0])
    for row, bodies in zip(qpos, poses, strict=True):
        data.qpos[:] = row
        mujoco.mj_kinematics(model, data)
        for geom, entry in zip(shown(model), read["geoms"], strict=True):
            body = bodies[entry["body"]] if entry["body"] >= 0 else identity
            place = body[:3] + rotated(body[3:], np.array(entry["position"]))
            np.testing.assert_allclose(place, data.geom_xpos[geom], atol=1e-4)
            turn, matrix = np.zeros(4), np.zeros(9)
            mujoco.mju_mulQuat(turn, body[3:], np.array(entry["turn"]))
            mujoco.mju_quat2Mat(matrix, turn / np.linalg.norm(turn))
            between = matrix.reshape(3, 3).T @ data.geom_xmat[geom].reshape(3, 3)
            assert np.arccos(np.clip((np.trace(between) - 1) / 2, -1, 1)) < 1e-3


def test_sizes_colours_and_kinds_are_the_scenes(model: mujoco.MjModel) -> None:
    read = content(view(model, {"a": tumbling(model, 2)}, 20.0))
    by_name = dict(zip(NAMES, read["geoms"], strict=True))
    assert by_name["arm"]["colour"] == [0.8, 0.2, 0.1, 1]  # of its material
    assert by_name["ball"]["colour"] == [0, 0, 1, 0.5]
    assert by_name["ball"]["size"] == [0.1, 0.2, 0.3]
    assert [by_name[n]["body"] for n in NAMES] == [-1, -1, -1, 0, 0, 1]
    assert {by_name[n]["type"] for n in ("tool", "hills")} == {7, 1}
    assert {"mesh"} == set(by_name["tool"]) - set(by_name["arm"])


def test_meshes_and_height_fields_keep_their_form(model: mujoco.MjModel) -> None:
    read = content(view(model, {"a": tumbling(model, 2)}, 20.0))
    by_name = dict(zip(NAMES, read["geoms"], strict=True))
    corners = {}
    for name in ("tool", "hills"):
        mesh = read["meshes"][by_name[name]["mesh"]]
        cells = numbers(mesh["vertices"], "<u2").reshape(-1, 3)
        faces = numbers(mesh["faces"], "<u2").astype(int)
        corners[name] = (mesh["low"] + mesh["step"] * cells)[faces].reshape(-1, 3, 3)
    assert len(corners["tool"]) == 4 and len(corners["hills"]) == 2 * 3 * 2
    sides = np.diff(corners["tool"][:, [0, 1, 2, 0]], axis=1)
    area = np.linalg.norm(np.cross(sides[:, 0], sides[:, 1]), axis=1).sum() / 2
    slanted = np.linalg.norm(np.cross([-0.2, 0.2, 0], [-0.2, 0, 0.3]))
    assert area == pytest.approx((0.2 * 0.2 + 2 * 0.2 * 0.3 + slanted) / 2, rel=1e-3)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    for x, y, z in corners["hills"].reshape(-1, 3):  # a ray falls on the field at every corner
        above, geom = np.array([0.99 * x, 3 + 0.99 * y, 9.0]), np.zeros(1, np.int32)
        fallen = mujoco.mj_ray(model, data, above, np.array([0.0, 0, -1]), None, 1, -1, geom)
        assert geom[0] == shown(model)[1] and 9 - fallen == pytest.approx(z, abs=0.03)
    assert np.ptp(corners["hills"][..., 2]) == pytest.approx(0.5, abs=1e-3)


def test_a_large_mesh_is_coarsened_to_its_share() -> None:
    """A sphere of 20 000 triangles keeps its form to a step of the grid."""
    u, v = np.meshgrid(np.linspace(0, np.pi, 101), np.linspace(0, 2 * np.pi, 101), indexing="ij")
    ball = np.stack([np.sin(u) * np.cos(v), np.sin(u) * np.sin(v), np.cos(u)], axis=-1)
    ids = np.arange(101 * 101).reshape(101, 101)
    a, b, c, d = (x.ravel() for x in (ids[:-1, :-1], ids[:-1, 1:], ids[1:, 1:], ids[1:, :-1]))
    faces = np.concatenate([np.stack([a, b, c], axis=1), np.stack([a, c, d], axis=1)])
    for most in (30_000, 2_000, 200):
        low, step, cells, kept = coarsened(ball.reshape(-1, 3), faces, most)
        assert 0.3 * min(most, len(faces)) < len(kept) <= most
        assert cells.min() >= 0 and cells.max() <= 65535
        radius = np.linalg.norm(low + step * cells[np.unique(kept)], axis=1)
        assert np.abs(radius - 1).max() <= step
        assert len(np.unique(np.sort(kept, axis=1), axis=0)) == len(kept)


def test_fast_episodes_are_thinned_and_keep_their_end(model: mujoco.MjModel) -> None:
    qpos = tumbling(model, 1000)
    read = content(view(model, {"a": qpos}, 500.0))
    times = numbers(read["episodes"][0]["times"], "<f4")
    poses = numbers(read["episodes"][0]["poses"], "<f4").reshape(len(times), 2, 7)
    assert 100 < len(times) <= 2 * RATE + 1 and times[-1] == pytest.approx(999 / 500)
    np.testing.assert_allclose(poses[-1, 1, :3], qpos[-1, 1:4], rtol=1e-6)
    np.testing.assert_allclose(poses[3, 1, :3], qpos[round(times[3] * 500), 1:4], rtol=1e-6)


def test_the_first_look_holds_what_moves_but_follows_nothing_that_flies_off(
    model: mujoco.MjModel,
) -> None:
    near = tumbling(model, 20)
    near[:, 1:4] = np.linspace(0, 1, 20)[:, None]
    alone = np.array(content(view(model, {"a": near}, 20.0))["bounds"])
    assert (alone[0] < -0.1).all() and (alone[1] > 1.1).all()
    far = near.copy()
    far[:, 1] *= 1e6
    both = np.array(content(view(model, {"a": near, "b": far}, 20.0))["bounds"])
    most = REACH * np.linalg.norm(alone[1] - alone[0])
    assert (both[0] <= alone[0] + 0.1).all() and (both[1] >= alone[1] - 0.1).all()
    assert both[1, 0] - both[0, 0] < 1.1 * most


def test_hidden_geoms_are_shown_where_nothing_else_moves() -> None:
    text = (
        "<mujoco><worldbody><geom type='box' size='1 1 1'/><body><freejoint/>"
        "<geom size='.1' group='3'/></body></worldbody></mujoco>"
    )
    model = mujoco.MjModel.from_xml_string(text)
    geoms = content(view(model, {"a": model.qpos0[None]}, 10.0))["geoms"]
    assert [g["body"] for g in geoms] == [-1, 0]


def test_a_page_of_many_views_has_one_script(model: mujoco.MjModel) -> None:
    qpos = tumbling(model, 3)
    hostile = {'it\'s <b> & "c"': qpos, "b": qpos}
    views = [view(model, hostile, 20.0, label="<i>it's</i>"), view(model, {"a": qpos}, 20.0)]
    page = render("Views", map(Markup, [*views, viewer()]))
    whole(page, scripts=1)
    assert page.count("<figure class=view3d") == 2 and "<b>" not in page and "<i>" not in page
    read = content(views[0])
    assert [e["name"] for e in read["episodes"]] == list(hostile) and read["label"] == "<i>it's</i>"


def test_colours_are_those_given(model: mujoco.MjModel) -> None:
    qpos = tumbling(model, 3)
    episodes = {"a": qpos, "b": qpos}
    read = content(view(model, episodes, 20.0, colours={"b": "var(--c1)"}))
    assert [e["colour"] for e in read["episodes"]] == [None, "var(--c1)"]


def test_a_pose_takes_few_characters(model: mujoco.MjModel) -> None:
    short, long = (len(view(model, {"a": tumbling(model, n)}, 20.0)) for n in (100, 400))
    assert (long - short) / 300 < 2 * 37.4 + 6  # two bodies; an instant is four bytes


@pytest.mark.parametrize(
    ("episodes", "hz", "names"),
    [
        ({}, 10.0, "at least one episode"),
        ({"late": np.zeros((5, 3))}, 10.0, r"'late' has shape \(5, 3\).*\(frames, 8\)"),
        ({"late": np.zeros((0, 8))}, 10.0, r"'late' has shape \(0, 8\)"),
        ({"late": np.full((3, 8), [[0], [0], [np.nan]])}, 10.0, "'late' .* not finite in frame 2"),
        ({"late": np.zeros((5, 8))}, 0.0, "control_hz 0.0"),
    ],
)
def test_what_cannot_be_shown_is_refused(
    model: mujoco.MjModel, episodes: dict[str, np.ndarray], hz: float, names: str
) -> None:
    with pytest.raises(SceneError, match=names):
        view(model, episodes, hz)


def ran(tmp_path: Path, tail: str) -> Any:
    """What the viewer's code, with one more line, prints as JSON."""
    page = "globalThis.document = {readyState: 'complete', querySelectorAll: () => [],"
    page += " createElement: () => ({getContext: () => null, addEventListener() {}})};"
    code = [page, *((CODE / n).read_text() for n in ("painter.js", "viewer.js")), tail]
    (tmp_path / "code.js").write_text("\n".join(code))
    assert NODE
    done = subprocess.run([NODE, tmp_path / "code.js"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.skipif(NODE is None, reason="no Node.js")
def test_the_script_is_javascript(tmp_path: Path) -> None:
    code = viewer().removeprefix("<script>").removesuffix("</script>")
    (tmp_path / "code.js").write_text(code)
    assert NODE
    done = subprocess.run([NODE, "--check", tmp_path / "code.js"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(NODE is None, reason="no Node.js")
def test_the_scripts_quaternions_are_mujocos(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    p, q, v = rng.normal(size=4), rng.normal(size=4), rng.normal(size=3)
    p, q = p / np.linalg.norm(p), q / np.linalg.norm(q)
    given = ", ".join(json.dumps(x.tolist()) for x in (p, q))
    line = f"console.log(JSON.stringify([product({given}), rotate({given.split('], ')[0]}], "
    product, turned = ran(tmp_path, line + f"{json.dumps(v.tolist())})]))")
    expected = np.zeros(4)
    mujoco.mju_mulQuat(expected, p, q)
    np.testing.assert_allclose(product, expected, atol=1e-12)
    np.testing.assert_allclose(turned, rotated(p, v), atol=1e-12)


@pytest.mark.skipif(NODE is None, reason="no Node.js")
def test_the_scripts_solids_are_closed_and_face_outwards(tmp_path: Path) -> None:
    """By the divergence theorem, the volumes of ball, cylinder and box."""
    solids = ran(tmp_path, "console.log(JSON.stringify([ball(), can(), cube()].map(x => [...x])))")
    for corners, volume in zip(solids, (4 / 3 * np.pi, 2 * np.pi, 8.0), strict=True):
        faces = np.reshape(corners, (-1, 3, 7))
        place, normal, end = faces[..., :3], faces[..., 3:6], faces[..., 6]
        np.testing.assert_allclose(np.linalg.norm(normal, axis=-1), 1, atol=1e-12)
        area = np.cross(place[:, 1] - place[:, 0], place[:, 2] - place[:, 0]) / 2
        out = np.sign(np.sum(area * normal.mean(axis=1), axis=1))
        around = np.sum(out[:, None] * area * place.mean(axis=1)) / 3
        assert around == pytest.approx(volume, rel=0.03)
        assert set(np.unique(end)) in ({0.0}, {-1.0, 1.0})


@pytest.mark.skipif(NODE is None, reason="no Node.js")
def test_between_frames_the_script_takes_the_shorter_way(tmp_path: Path) -> None:
    half = float(np.sqrt(0.5))
    poses = [0, 0, 0, 1, 0, 0, 0, 2, 4, 6, -half, 0, 0, -half]  # a quarter turn about z
    line = f"const e = {{times: [0, 0.5], poses: new Float32Array({poses})}}; const v = "
    line += "Viewer.prototype; console.log(JSON.stringify([-1, 0.25, 9].map(t => v.pose(e, 0, "
    line += "v.between(e, t)))))"
    before, middle, after = ran(tmp_path, line)
    np.testing.assert_allclose(np.concatenate(before), poses[:7], atol=1e-6)
    np.testing.assert_allclose(middle[0], [1, 2, 3], atol=1e-6)
    eighth = [np.cos(np.pi / 8), 0, 0, np.sin(np.pi / 8)]
    np.testing.assert_allclose(middle[1], eighth, atol=1e-6)
    np.testing.assert_allclose(np.abs(np.concatenate(after)), np.abs(poses[7:]), atol=1e-6)
