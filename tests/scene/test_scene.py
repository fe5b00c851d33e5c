"""Scenes: compiled at the control rate, or refused with the element and the remedy."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from tests.helpers import scenes
from worldmodel import physics
from worldmodel._mujoco import mujoco
from worldmodel.physics import oracle
from worldmodel.scene import Scene, SceneError, load_scene

ASSETS = Path(__file__).resolve().parents[2] / "experiments" / "recordings"
BODY = "<body name='b'><freejoint/><geom name='{0}' type='{1}' size='.1 .1 .1'/></body>"


def scene(worldbody: str = "", rest: str = "", option: str = "") -> str:
    return f"<mujoco><option {option}/><worldbody>{worldbody}</worldbody>{rest}</mujoco>"


@pytest.mark.parametrize(
    ("mjcf", "message"),
    [
        ("<mujoco><worldbody><bod/></worldbody></mujoco>", "broken MJCF.*bod"),
        ("<mujoco", "broken MJCF"),
        (scene("<body><joint type='hinge'/></body>"), "broken MJCF.*mass"),
        (scene(option="integrator='implicit'"), "'implicit' is not in MJX.*RK4"),
        (scene(option="solver='PGS'"), "PGS.*Newton"),
        (
            scene(
                BODY.format("puck", "cylinder") + "<geom name='pusher' type='box' size='.1 .1 .1'/>"
            ),
            r"cylinder–box: geom 'puck' \(body 'b'\) against geom 'pusher' \(world\); replace one",
        ),
        (
            scene(
                BODY.format("ball", "sphere"),
                "<actuator><adhesion name='glue' body='b' ctrlrange='0 1'/></actuator>",
            ),
            "actuator 'glue'.*mjTRN_BODY.*remove or replace",
        ),
        (
            scene(
                BODY.format("ball", "sphere").replace("size", "condim='1' size")
                + "<geom name='table' type='plane' size='1 1 1' condim='1'/>",
                option="cone='elliptic'",
            ),
            r"condim=1.*'table' \(world\) against geom 'ball' \(body 'b'\).*pyramidal",
        ),
        (
            scene(
                "<geom name='table' type='plane' size='1 1 1'/><body><freejoint/>"
                "<geom name='lump' type='mesh' mesh='lump' margin='.01'/></body>",
                "<asset><mesh name='lump' vertex='0 0 0 1 0 0 0 1 0 0 0 1'/></asset>",
            ),
            r"margin at meshes.*'table' \(world\) against geom 'lump'.*set margin=0 on geom 'lump'",
        ),
        (
            scene(
                BODY.format("ball", "sphere"),
                "<sensor><user name='odd' dim='1'/></sensor>",
            ),
            "sensor 'odd'.*mjSENS_USER.*remove or replace",
        ),
        (
            scene(
                "<flexcomp name='cloth' type='grid' count='3 3 1' spacing='.1 .1 .1' dim='2' "
                "radius='.01' mass='1'/>"
            ),
            "flex 'cloth'.*rigid",
        ),
    ],
)
def test_what_mjx_cannot_run_is_refused_by_name(mjcf: str, message: str) -> None:
    with pytest.raises(SceneError, match=f"(?s){message}"):
        load_scene(mjcf, control_hz=100.0, substeps=1)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SceneError, match=r"no MJCF file .*absent\.xml"):
        load_scene(tmp_path / "absent.xml", control_hz=100.0, substeps=1)


@pytest.mark.parametrize(
    ("hz", "substeps"), [(0.0, 1), (float("nan"), 1), (100.0, 0), (100.0, 2.5)]
)
def test_rates_are_checked(hz: float, substeps: Any) -> None:
    with pytest.raises(SceneError, match="substeps"):
        load_scene(scene(), control_hz=hz, substeps=substeps)


def test_the_timestep_follows_the_control_rate() -> None:
    loaded = load_scene(ASSETS / "elbow_toss.xml", control_hz=148.0, substeps=4)
    assert loaded.mj_model.opt.timestep == 1 / (148.0 * 4)
    assert loaded.name == "elbow_toss"


@pytest.mark.parametrize("path", sorted(ASSETS.glob("*.xml")), ids=lambda p: p.stem)
def test_the_mjcf_of_a_scene_compiles_to_the_same_numbers(path: Path) -> None:
    loaded = load_scene(path, control_hz=100.0, substeps=2)
    again = mujoco.MjModel.from_xml_string(loaded.mjcf)
    for field in ("body_mass", "body_inertia", "body_ipos", "geom_size", "geom_pos", "geom_quat"):
        assert (getattr(again, field) == getattr(loaded.mj_model, field)).all(), field
    assert again.opt.timestep == loaded.mj_model.opt.timestep


@pytest.mark.parametrize("make", [scenes.box, scenes.finger, scenes.mechanism])
def test_a_written_scene_runs_as_the_scene_to_the_last_bit(make: Callable[[], Scene]) -> None:
    loaded = make()
    again = mujoco.MjModel.from_xml_string(loaded.mjcf)
    ctrl = np.full((50, again.nu), 0.3)
    qpos, qvel = loaded.mj_model.qpos0, np.linspace(-1.0, 1.0, again.nv)
    before, after = (oracle.trajectory(m, qpos, qvel, ctrl, 1) for m in (loaded.mj_model, again))
    np.testing.assert_array_equal(before[0], after[0])
    np.testing.assert_array_equal(before[1], after[1])
    assert np.abs(before[1] - qvel).max() > 0.01


def test_constraints_that_are_switched_off_leave_no_contact() -> None:
    option = "<option cone='{}'><flag constraint='disable'/></option>"
    ground = "<geom name='ground' type='plane' size='1 1 1'/>"
    for cone in ("pyramidal", "elliptic"):
        text = scene(ground + BODY.format("ball", "sphere"), option.format(cone))
        falling = load_scene(text, control_hz=100.0, substeps=1)
        start = physics.initial_state(falling, falling.mj_model.qpos0, np.zeros(6))
        step = jax.jit(functools.partial(physics.control_step, falling, falling.mjx_model()))
        state = step(start, np.zeros(0))
        assert state.qvel[2] == pytest.approx(-9.81 * 0.01, rel=1e-12)
        assert state.contacts.active.tolist() == [False]


def test_a_scene_in_which_nothing_moves_is_refused() -> None:
    with pytest.raises(SceneError, match="nothing in this scene moves"):
        load_scene(scene("<geom size='.1'/>"), control_hz=100.0, substeps=1)
