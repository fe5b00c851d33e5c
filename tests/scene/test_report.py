"""What a scene will cost: counts equal to MJX's own, estimates of memory near to XLA's."""

import time
import warnings
from pathlib import Path

import jax
import numpy as np
import pytest

from tests.helpers import scenes
from worldmodel._mujoco import mjx, mujoco
from worldmodel.physics import _mjx
from worldmodel.scene import Scene, SceneError, SceneWarning, report
from worldmodel.scene.collisions import allocation, geom_pairs
from worldmodel.scene.report import check_size

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "experiments" / "recordings").glob("*.xml")) + [
    Path(mjx.__path__[0]) / "test_data" / path
    for path in (
        "constraints.xml",
        "convex.xml",
        "humanoid/humanoid.xml",
        "humanoid/03_humanoids.xml",  # max_geom_pairs, max_contact_points
        "barkour_v0/assets/barkour_v0_mjx.xml",
        "shadow_hand/scene_right.xml",
        "sensor/sensor.xml",
        "tendon/tendon.xml",
    )
]
FLOOR = '<geom name="floor" type="plane" size="1 1 .1"/>'


def model(worldbody: str, rest: str = "", option: str = "") -> mujoco.MjModel:
    return mujoco.MjModel.from_xml_string(
        f"<mujoco model='m'><option {option}/>{rest}<worldbody>{worldbody}</worldbody></mujoco>"
    )


def ellipsoids(*vertices: int, floor: str = "", cut: int = -1) -> mujoco.MjModel:
    """A free body for each number: a mesh whose hull has so many vertices."""
    meshes, bodies = [], []
    for i, n in enumerate(vertices):
        points = np.random.default_rng(i).standard_normal((n, 3)) * (0.1, 0.08, 0.06)
        points /= np.linalg.norm(points / (0.1, 0.08, 0.06), axis=1, keepdims=True)
        text = " ".join(f"{x:.6f}" for x in points.ravel())
        meshes.append(f'<mesh name="link{i}" maxhullvert="{cut}" vertex="{text}"/>')
        bodies.append(
            f'<body name="b{i}" pos="{i} 0 .2"><freejoint/>'
            f'<geom name="g{i}" type="mesh" mesh="link{i}"/></body>'
        )
    return model(floor + "".join(bodies), f"<asset>{''.join(meshes)}</asset>")


def quadruped(option: str = "") -> mujoco.MjModel:
    """A trunk with four legs of boxes, capsules and cylinders, each of which may touch all."""
    legs = "".join(
        f"""
        <body name="thigh{i}" pos="{x} {y} 0">
          <joint axis="0 1 0" range="-60 60"/>
          <geom type="box" size=".02 .02 .1"/><geom type="capsule" size=".03 .02"/>
          <body name="calf{i}" pos="0 0 -.2">
            <joint axis="0 1 0" range="-60 60"/>
            <geom type="box" size=".01 .01 .1"/><geom type="box" size=".02 .01 .02"/>
            <geom name="foot{i}" size=".02" pos="0 0 -.1"/>
          </body>
        </body>"""
        for i, (x, y) in enumerate(((0.2, 0.1), (0.2, -0.1), (-0.2, 0.1), (-0.2, -0.1)))
    )
    return model(
        f"{FLOOR}<body name='trunk' pos='0 0 .4'><freejoint/>"
        f"<geom name='trunk' type='box' size='.2 .1 .05'/>{legs}</body>",
        option=option,
    )


def gripper(rest: str = "") -> mujoco.MjModel:
    """Two fingers that a joint equality couples, friction loss, an exclude and a <pair>."""
    finger = (
        '<body name="{0}" pos="{1} 0 .1"><joint name="{0}" type="slide" axis="1 0 0" '
        'frictionloss=".1" range="-.1 .1"/><geom name="{0}" type="box" size=".01 .01 .03"/>'
        '<geom name="{0}_tip" size=".01" pos="0 0 -.03" condim="{2}"/></body>'
    )
    return model(
        FLOOR
        + '<body name="palm" pos="0 0 .2"><freejoint/><geom name="palm" type="capsule" '
        + 'size=".03 .02"/>'
        + finger.format("near", -0.03, 4)
        + finger.format("far", 0.03, 6)
        + "</body><body name='egg' pos='0 0 .1'><freejoint/><geom name='egg' size='.02' "
        + "condim='1' priority='1'/></body>",
        '<contact><exclude body1="near" body2="far"/>'
        '<pair geom1="near_tip" geom2="far_tip" condim="3"/>'
        '<pair geom1="floor" geom2="egg" condim="6"/></contact>'
        '<equality><joint joint1="near" joint2="far"/><weld body1="egg" body2="palm"/>'
        f"</equality>{rest}",
    )


def limited(name: str, value: int) -> str:
    return f'<custom><numeric name="{name}" data="{value}"/></custom>'


BUILT = {
    "hulls": lambda: ellipsoids(8, 20, 60, floor=FLOOR),
    "one mesh, two geoms": lambda: model(
        "<body><freejoint/><geom type='mesh' mesh='c'/></body><body pos='1 0 0'><freejoint/>"
        "<geom type='mesh' mesh='c'/><geom type='box' size='.1 .1 .1'/></body>",
        "<asset><mesh name='c' vertex='0 0 0 1 0 0 0 1 0 0 0 1'/></asset>",
    ),
    "quadruped": quadruped,
    "elliptic": lambda: quadruped("cone='elliptic'"),
    "gripper": gripper,
    "max_contact_points": lambda: gripper(limited("max_contact_points", 3)),
    "max_geom_pairs": lambda: gripper(limited("max_geom_pairs", 1)),
    "a limit of zero": lambda: gripper(limited("max_contact_points", 0)),
    "contact off": lambda: gripper("<option><flag contact='disable'/></option>"),
    "constraint off": lambda: gripper("<option><flag constraint='disable'/></option>"),
    "limits and friction off": lambda: gripper(
        "<option><flag limit='disable' frictionloss='disable' equality='disable'/></option>"
    ),
    "parents too": lambda: gripper("<option><flag filterparent='disable'/></option>"),
    "height field": lambda: model(
        "<geom type='hfield' hfield='h'/><geom type='plane' size='1 1 1' pos='0 0 -1'/>"
        "<body pos='0 0 1'><freejoint/><geom size='.1'/><geom type='box' size='.1 .1 .2'/></body>",
        "<asset><hfield name='h' nrow='9' ncol='30' size='1 1 .1 .1'/></asset>",
    ),
    "contype": lambda: model(
        FLOOR + "<body><freejoint/><geom size='.1' contype='2' conaffinity='0'/></body>"
        "<body pos='1 0 0'><freejoint/><geom type='capsule' size='.1 .1' conaffinity='2'/></body>"
    ),
}


@pytest.mark.parametrize("source", [*BUILT, *FILES], ids=lambda s: s if s in BUILT else s.stem)
def test_slots_rows_and_pairs_are_those_of_mjx(source: str | Path) -> None:
    built = isinstance(source, str)
    m = BUILT[source]() if built else mujoco.MjModel.from_xml_path(str(source))
    data, result = mjx.make_data(m), report(m)
    dims = _mjx.contact_dims(data)
    counted = {int(dim): int((dims == dim).sum()) for dim in np.unique(dims)}
    assert result.slots_by_condim == counted
    assert (result.slots, result.rows.total) == (len(dims), _mjx.constraint_rows(data))
    assert sorted(pair[:2] for pair in geom_pairs(m)) == sorted(_mjx.geom_pairs(m))
