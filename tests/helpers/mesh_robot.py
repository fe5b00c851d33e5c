"""A robot in the manner of strangers': files of one name in several folders, included and attached
parts."""

import struct
import zlib
from pathlib import Path

import numpy as np

ROBOT = """<mujoco model="mesh_robot">
  <compiler meshdir="meshes" texturedir="images"/>
  <asset>
    <mesh file="link.obj"/>
    <mesh name="flat" file="thin/link.obj" scale="1 .3333333333 1" refpos=".0123456789 0 0"/>
    <mesh name="same" file="copy/link.obj"/>
    <mesh name="far" file="{absolute}"/>
    <texture name="wood" type="2d" file="wood.png"/>
    <texture name="sky" type="cube" fileright="r.png" fileleft="l.png" fileup="u.png"
      filedown="d.png" filefront="f.png" fileback="b.png"/>
    <material name="wood" texture="wood"/>
    <hfield name="hills" file="../images/hills.png" size="1 1 .3333333333 .1"/>
    <model name="hand" file="hand/hand.xml"/>
  </asset>
  <worldbody>
    <geom name="hills" type="hfield" hfield="hills" pos="0 0 -1"/>
    <include file="arm.xml"/>
    <frame euler="10 20 30"><attach model="hand" body="palm" prefix="left_"/></frame>
  </worldbody>
  <keyframe><key name="start" qpos=".1 .2"/></keyframe>
</mujoco>"""
ARM = """<mujocoinclude>
  <body name="arm"><joint name="pan"/>
    <geom name="arm" type="mesh" mesh="link" material="wood" euler="0 30 0"/>
    <geom name="fin" type="mesh" mesh="flat" pos=".0123456789 0 0"/>
    <geom name="copy" type="mesh" mesh="same"/><geom name="far" type="mesh" mesh="far"/></body>
</mujocoinclude>"""
HAND = """<mujoco><compiler meshdir="parts"/><asset><mesh name="palm" file="link.obj"/></asset>
  <worldbody><body name="palm" pos="1 0 0"><joint name="turn"/>
    <geom type="mesh" mesh="palm"/></body></worldbody></mujoco>"""


def write(folder: Path) -> Path:
    """Writes the robot and its files; returns the path of its MJCF."""
    sizes = {"meshes/link": 0.1, "meshes/thin/link": 0.2, "meshes/copy/link": 0.1}
    sizes |= {"hand/parts/link": 0.3, "elsewhere/far": 0.4}
    for name, size in sizes.items():
        _write(folder / f"{name}.obj", wedge(size))
    for seed, name in enumerate(("wood", "hills", "r", "l", "u", "d", "f", "b")):
        _write(folder / "images" / f"{name}.png", png(seed))
    _write(folder / "arm.xml", ARM.encode())
    _write(folder / "hand" / "hand.xml", HAND.encode())
    robot = ROBOT.format(absolute=folder / "elsewhere" / "far.obj")
    _write(folder / "robot.xml", robot.encode())
    return folder / "robot.xml"


def wedge(size: float) -> bytes:
    """An OBJ of a tetrahedron."""
    return (
        f"v 0 0 0\nv {size} 0 0\nv 0 .1 0\nv 0 0 .1\nf 1 3 2\nf 1 2 4\nf 1 4 3\nf 2 3 4\n"
    ).encode()


def png(seed: int) -> bytes:
    """A grey picture of 4 by 4."""
    rows = np.random.default_rng(seed).integers(0, 256, (4, 4), np.uint8)
    raw = b"".join(b"\0" + row.tobytes() for row in rows)
    header = struct.pack(">IIBBBBB", 4, 4, 8, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(raw)), (b"IEND", b"")]
    parts = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
