"""What a scene will cost: counts equal to MJX's own, estimates of memory near to XLA's."""

import re
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pytest

from worldmodel import physics
from worldmodel._mujoco import mjx, mujoco
from worldmodel.physics import _mjx
from worldmodel.scene import SceneError, SceneWarning, load_scene, report
from worldmodel.scene.collisions import Hull, allocation, geom_pairs
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


def mjcf(worldbody: str, rest: str = "", option: str = "") -> str:
    head = f"<mujoco model='m'><option {option}/>{rest}"
    return f"{head}<worldbody>{worldbody}</worldbody></mujoco>"


def model(text: str) -> mujoco.MjModel:
    return mujoco.MjModel.from_xml_string(text)


def ellipsoids(*vertices: int, floor: str = "", cut: int = -1) -> str:
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
    return mjcf(floor + "".join(bodies), f"<asset>{''.join(meshes)}</asset>")


def quadruped(option: str = "", rest: str = "") -> str:
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
    return mjcf(
        f"{FLOOR}<body name='trunk' pos='0 0 .4'><freejoint/>"
        f"<geom name='trunk' type='box' size='.2 .1 .05'/>{legs}</body>",
        rest,
        option,
    )


def gripper(rest: str = "") -> str:
    """Two fingers that a joint equality couples, friction loss, an exclude and a <pair>."""
    finger = (
        '<body name="{0}" pos="{1} 0 .1"><joint name="{0}" type="slide" axis="1 0 0" '
        'frictionloss=".1" range="-.1 .1"/><geom name="{0}" type="box" size=".01 .01 .03"/>'
        '<geom name="{0}_tip" size=".01" pos="0 0 -.03" condim="{2}"/></body>'
    )
    return mjcf(
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
    "one mesh, two geoms": lambda: mjcf(
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
    "height field": lambda: mjcf(
        "<geom type='hfield' hfield='h'/><geom type='plane' size='1 1 1' pos='0 0 -1'/>"
        "<body pos='0 0 1'><freejoint/><geom size='.1'/><geom type='box' size='.1 .1 .2'/></body>",
        "<asset><hfield name='h' nrow='9' ncol='30' size='1 1 .1 .1'/></asset>",
    ),
    "contype": lambda: mjcf(
        FLOOR + "<body><freejoint/><geom size='.1' contype='2' conaffinity='0'/></body>"
        "<body pos='1 0 0'><freejoint/><geom type='capsule' size='.1 .1' conaffinity='2'/></body>"
    ),
}


@pytest.mark.parametrize("source", [*BUILT, *FILES], ids=lambda s: s if s in BUILT else s.stem)
def test_slots_rows_and_pairs_are_those_of_mjx(source: str | Path) -> None:
    built = isinstance(source, str)
    m = model(BUILT[source]()) if built else mujoco.MjModel.from_xml_path(str(source))
    data, result = mjx.make_data(m), report(m)
    dims = _mjx.contact_dims(data)
    counted = {int(dim): int((dims == dim).sum()) for dim in np.unique(dims)}
    assert result.slots_by_condim == counted
    assert (result.slots, result.rows.total) == (len(dims), _mjx.constraint_rows(data))
    assert sorted(pair[:2] for pair in geom_pairs(m)) == sorted(_mjx.geom_pairs(m))


@pytest.mark.parametrize(
    "vertices",
    [
        [(x, y, z) for x in (0, 1) for y in (0, 1) for z in (0, 1)],
        [(np.cos(a), np.sin(a), z) for a in np.arange(16) * np.pi / 8 for z in (0, 1)],
        np.random.default_rng(0).standard_normal((300, 3)),
    ],
    ids=["cube", "prism of 16 sides", "cloud"],
)
def test_hulls_are_those_that_mjx_collides(vertices: np.ndarray) -> None:
    text = " ".join(f"{x:.9f}" for x in np.ravel(vertices))
    body = "<body><freejoint/><geom type='mesh' mesh='c'/></body>"
    m = model(mjcf(FLOOR + body, f"<asset><mesh name='c' vertex='{text}'/></asset>"))
    hull, convex = allocation(m).hulls[0], mjx.put_model(m)._impl.mesh_convex[0]
    assert hull == Hull(len(convex.vert), len(convex.face), len(convex.edge))


SIZES = {
    "hulls": lambda: ellipsoids(20, 60),
    "balls": lambda: mjcf(
        FLOOR
        + "".join(f"<body pos='{i} 0 0'><freejoint/><geom size='.1'/></body>" for i in range(12))
    ),
}


def temporary_bytes(function: Callable[..., object], *arguments: object) -> int:
    """Of the compiled function, in float64."""
    memory = jax.jit(function).lower(*arguments).compile().memory_analysis()
    assert memory is not None
    return memory.temp_size_in_bytes


@pytest.mark.parametrize("name", SIZES)
def test_memory_of_a_step_is_within_twice(name: str) -> None:
    m = model(SIZES[name]())
    measured = temporary_bytes(physics.step, mjx.put_model(m), mjx.make_data(m))
    assert 0.5 < report(m).step_bytes / measured < 2


@pytest.mark.slow
@pytest.mark.parametrize("name", SIZES)
def test_memory_of_a_gradient_is_within_twice(name: str) -> None:
    m = model(SIZES[name]())
    mx, data = mjx.put_model(m), mjx.make_data(m)

    def speed(qpos: jax.Array, qvel: jax.Array) -> jax.Array:
        return physics.step(mx, data.replace(qpos=qpos, qvel=qvel)).qvel.sum()

    measured = temporary_bytes(jax.grad(speed, argnums=(0, 1)), data.qpos, data.qvel)
    assert 0.5 < report(m).gradient_bytes / measured < 2


def test_a_step_that_would_not_fit_is_refused_before_mjx_sees_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(mjx, "put_model")
    with pytest.raises(SceneError) as refusal:
        load_scene(ellipsoids(*[900] * 7, floor=FLOOR), control_hz=100, substeps=1)
    message = str(refusal.value)
    assert re.search(r"'g\d' \(.*'g\d' \(.* alone, with hulls of \d{3} and \d{3} ", message)
    assert re.search(r"maxhullvert='32' on mesh ('link\d', ){6}'link\d' ", message)


def test_its_remedy_loads_and_takes_what_the_refusal_says() -> None:
    m = model(ellipsoids(*[900] * 7, floor=FLOOR))
    cut = model(ellipsoids(*[900] * 7, floor=FLOOR, cut=32))
    check_size(cut)
    says = re.search(r"the step then takes about (\S+) MB", report(m).advice[0])
    assert says is not None
    assert report(cut).step_bytes == pytest.approx(1e6 * float(says[1]), rel=0.1)
    assert report(cut).advice == ()


def test_many_slots_are_warned_of_and_feet_alone_are_not() -> None:
    with pytest.warns(SceneWarning, match="slots are of one robot's links.*'calf0'.*<exclude>"):
        check_size(model(quadruped()))
    feet = "".join(f'<pair geom1="floor" geom2="foot{i}"/>' for i in range(4))
    alone = "<default><geom contype='0' conaffinity='0'/></default>"
    with warnings.catch_warnings():
        warnings.simplefilter("error", SceneWarning)
        check_size(m := model(quadruped(rest=f"{alone}<contact>{feet}</contact>")))
    assert (report(m).slots, report(m).rows.contact) == (4, 16)


def test_the_worst_comes_first_and_the_table_is_short_and_quick() -> None:
    text = ellipsoids(40, 2000, 300, 3000, 200, 100, floor=FLOOR)
    m = model(text)
    start = time.process_time()
    result = report(m)
    lines = str(result).splitlines()
    assert time.process_time() - start < 1
    assert next(iter(result.by_types)) == "mesh–mesh"
    sizes = [size for *_, size in result.by_types.values()]
    assert sizes == sorted(sizes, reverse=True)
    assert len(lines) <= 25
    assert any(line.split()[:3] == ["mesh–mesh", "15", "60"] for line in lines)


def test_what_the_solver_was_given_and_a_shape_without_a_collider_are_named() -> None:
    m = model(
        mjcf(
            "<geom name='can' type='cylinder' size='.1 .1'/>"
            "<body><freejoint/><geom name='crate' type='box' size='.1 .1 .1'/></body>",
            option="solver='CG' iterations='3' ls_iterations='5' cone='elliptic'",
        )
    )
    result = report(m)
    assert re.match("CG, elliptic cone, iterations 3, ls_iterations 5,", result.solver)
    assert re.match("MJX has no collision cylinder–box.*'can'.*'crate'", result.advice[0])


def test_a_coarser_height_field_is_advised_where_a_geom_covers_many_cells() -> None:
    def field(n: int) -> mujoco.MjModel:
        bodies = (
            "<geom type='hfield' hfield='h'/><body><freejoint/><geom name='b' size='.3'/></body>"
        )
        grid = f"<asset><hfield name='h' nrow='{n}' ncol='{n}' size='1 1 .1 .1'/></asset>"
        return model(mjcf(bodies, grid))

    assert report(field(9)).advice == ()
    assert "'h'" in report(field(90)).advice[0]
    assert "geom 'b'" in report(field(90)).advice[0]
