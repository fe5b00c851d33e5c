"""Parameters: what they mean, what is refused, and that they survive leaving as MJCF."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers import scenes
from tests.helpers.gradient_cases import BOX_FREE, box_case, drives_case, finger_case
from worldmodel import physics
from worldmodel._mujoco import mujoco
from worldmodel.physics import oracle, parameters
from worldmodel.physics.parameters import ParameterError
from worldmodel.rollout import Replay, rollout
from worldmodel.scene import FreeParameter, load_scene

DERIVED = (
    "body_subtreemass",
    "body_invweight0",
    "dof_invweight0",
    "tendon_invweight0",
    "actuator_acc0",
)


def random(free: tuple[FreeParameter, ...], seed: int, size: float = 1.0) -> dict[str, jax.Array]:
    generator = np.random.default_rng(seed)
    zeros = parameters.zeros(free)
    return {k: jnp.asarray(size * generator.normal(size=u.shape)) for k, u in zeros.items()}


def test_zero_is_the_mjcf() -> None:
    scene = scenes.box()
    moved = parameters.apply(scene, scene.mjx_model(), BOX_FREE, parameters.zeros(BOX_FREE))
    for field in (*DERIVED, "body_mass", "body_inertia", "geom_solimp", "geom_size"):
        truth = getattr(scene.mj_model, field)
        np.testing.assert_allclose(getattr(moved, field), truth, rtol=1e-11, err_msg=field)


CASES = {"box": box_case, "finger": finger_case, "drives": drives_case}


@pytest.mark.parametrize("make", CASES)
def test_derived_constants_are_those_of_the_compiler(make: str) -> None:
    case = CASES[make]()
    moved = case.apply(random(case.free, 3))
    model = mujoco.MjModel.from_xml_string(
        parameters.to_mjcf(case.scene, case.free, random(case.free, 3))
    )
    for field in DERIVED:
        ours, truth = np.asarray(getattr(moved, field)), getattr(model, field)
        np.testing.assert_allclose(ours, truth, rtol=1e-9, atol=1e-12, err_msg=field)


def test_wheels_and_sliders_have_the_compilers_constants() -> None:
    """A body that only turns or only slides weighs nothing in the other; simple sliders differ."""
    scene = load_scene(
        """<mujoco><worldbody>
        <body name="wheel"><joint type="hinge" axis="0 1 0"/><geom size=".1"/></body>
        <body name="top" pos="1 0 0"><joint type="ball"/><geom size=".1"/></body>
        <body name="plain" pos="2 0 0"><joint type="slide" axis="1 0 0"/><geom size=".1"/></body>
        <body name="moved" pos="3 0 0"><joint type="slide" axis="1 0 0"/><geom size=".1"/></body>
        <body name="oblique" pos="4 0 0"><joint name="oblique" type="slide" axis="1 0 0"/>
        <geom size=".1"/></body></worldbody></mujoco>""",
        control_hz=100.0,
        substeps=1,
    )
    free = (
        *(FreeParameter("mass", body) for body in ("wheel", "top", "plain", "moved", "oblique")),
        FreeParameter("com", "moved"),
        FreeParameter("joint_axis", "oblique"),
    )
    u = random(free, 0)
    moved = parameters.apply(scene, scene.mjx_model(), free, u)
    model = mujoco.MjModel.from_xml_string(parameters.to_mjcf(scene, free, u))
    assert model.body_simple[3:6].tolist() == [2, 0, 0]
    for field in DERIVED:
        ours, truth = np.asarray(getattr(moved, field)), getattr(model, field)
        np.testing.assert_allclose(ours, truth, rtol=1e-9, atol=1e-12, err_msg=field)


def test_a_tendon_and_a_ball_joint_have_the_compilers_constants_too() -> None:
    scene = load_scene(
        """<mujoco><worldbody>
        <body name="ball" pos="0 0 1"><joint type="ball"/><geom name="a" size=".1" pos=".1 0 0"/>
          <body pos="0 0 .3"><joint name="hinge" type="hinge" axis="1 0 0"/>
          <geom name="b" size=".05" pos="0 .1 0"/></body></body>
        <body pos="1 0 1"><joint name="slide" type="slide" axis="0 0 1"/><geom name="c" size=".1"/>
        </body></worldbody>
        <tendon><fixed name="t"><joint joint="hinge" coef="2"/><joint joint="slide" coef="-1"/>
        </fixed></tendon>
        <actuator><motor tendon="t" gear="3"/></actuator></mujoco>""",
        control_hz=100.0,
        substeps=1,
    )
    free = (
        FreeParameter("mass", "ball"),
        FreeParameter("com", "ball"),
        FreeParameter("inertia", "ball"),
    )
    u = random(free, 0)
    moved = parameters.apply(scene, scene.mjx_model(), free, u)
    model = mujoco.MjModel.from_xml_string(parameters.to_mjcf(scene, free, u))
    for field in DERIVED:
        ours, truth = np.asarray(getattr(moved, field)), getattr(model, field)
        np.testing.assert_allclose(ours, truth, rtol=1e-9, err_msg=field)


@pytest.mark.parametrize("make", CASES)
def test_fitted_mjcf_gives_the_same_trajectory_in_c(make: str) -> None:
    case = CASES[make]()
    qpos, qvel = np.asarray(case.at["qpos"]), np.asarray(case.at["qvel"])
    ctrl = np.tile(case.ctrl, (25, 1))
    model = case.scene.mjx_model()

    @jax.jit
    def trajectory(u: dict) -> jax.Array:
        moved = parameters.apply(case.scene, model, case.free, u)
        step = functools.partial(physics.control_step, case.scene, moved)
        state = physics.initial_state(case.scene, qpos, qvel)
        return rollout(step, Replay(jnp.asarray(ctrl)), state, 25, jax.random.key(0))[0].qpos

    for seed in range(3):
        # Not wider: pushed in deeper than 1 mm, a box on a plane is another problem in MJX,
        # which keeps only the corners within 1 mm of the deepest one (MuJoCo keeps all).
        u = random(case.free, seed, 0.15)
        text = parameters.to_mjcf(case.scene, case.free, u)
        truth, _ = oracle.trajectory(
            mujoco.MjModel.from_xml_string(text), qpos, qvel, ctrl, case.scene.substeps
        )
        # Converged to 1e-13 per step; 25 steps in contact multiply it.
        np.testing.assert_allclose(trajectory(u), truth, atol=1e-7)


def test_an_impedance_that_would_fall_with_depth_is_held_constant() -> None:
    """dmin above dmax: MJX clips to dmax, C would interpolate; the exported MJCF holds dmax."""
    scene, free = scenes.box(), (FreeParameter("solimp", "box"),)
    u = {"box.solimp": jnp.array([2.0, -2.0, 0.0, 0.0])}
    dmin, dmax = parameters.values(scene, free, u)["box.solimp"][:2]
    assert dmin == dmax == pytest.approx(1 / (1 + np.exp(-(np.log(0.93 / 0.07) - 2))))
    moved = parameters.apply(scene, scene.mjx_model(), free, u)
    step = jax.jit(functools.partial(physics.control_step, scene))
    state = physics.initial_state(scene, scenes.BOX_QPOS, scenes.BOX_QVEL)
    for _ in range(5):
        state = step(moved, state, jnp.zeros(0))
    model = mujoco.MjModel.from_xml_string(parameters.to_mjcf(scene, free, u))
    truth, _ = oracle.trajectory(
        model, scenes.BOX_QPOS, scenes.BOX_QVEL, np.zeros((5, 0)), scene.substeps
    )
    np.testing.assert_allclose(state.qpos, truth[-1], atol=1e-9)


def test_a_simple_body_becomes_general_when_its_centre_of_mass_moves() -> None:
    """Compiled as "simple", MuJoCo would drop the coupling and the parameter its effect."""
    text = """<mujoco><worldbody><body name="cube" pos="0 0 1"><freejoint/>
    <geom name="cube" type="box" size=".05 .05 .05" mass=".4"/></body></worldbody></mujoco>"""
    scene = load_scene(text, control_hz=500.0, substeps=1)
    assert scene.mj_model.body_simple[1] == 0
    assert (scene.mj_model.body_ipos[1] == 0).all()  # and yet at its own value
    plain = mujoco.MjModel.from_xml_string(text)
    assert plain.body_simple[1] == 1
    np.testing.assert_allclose(scene.mj_model.body_invweight0, plain.body_invweight0)

    free = (FreeParameter("com", "cube"),)
    u = {"cube.com": jnp.array([1.0, -0.5, 0.3])}
    qpos, qvel = np.array([0, 0, 1.0, 1, 0, 0, 0]), np.array([0, 0, 0, 5.0, 6.0, 7.0])
    moved = parameters.apply(scene, scene.mjx_model(), free, u)
    step = jax.jit(functools.partial(physics.control_step, scene))
    state = physics.initial_state(scene, qpos, qvel)
    for _ in range(5):
        state = step(moved, state, jnp.zeros(0))
    model = mujoco.MjModel.from_xml_string(parameters.to_mjcf(scene, free, u))
    _, truth = oracle.trajectory(model, qpos, qvel, np.zeros((5, 0)), 1)
    np.testing.assert_allclose(state.qvel, truth[-1], atol=1e-10)
    assert np.abs(truth[-1] - qvel).max() > 0.05


@settings(deadline=None, max_examples=25)
@given(st.lists(st.floats(-4, 4), min_size=6, max_size=6))
def test_inertia_stays_physical(u: list[float]) -> None:
    scene = scenes.box()
    moved = parameters.KINDS["inertia"].move(
        scene.mjx_model(),
        np.array([1]),
        jnp.asarray(parameters.KINDS["inertia"].width) * jnp.array(u),
    )
    inertia = np.sort(np.asarray(moved.body_inertia[1]))
    assert inertia[0] > 0
    assert inertia[0] + inertia[1] >= inertia[2] * (1 - 1e-12)
    assert np.linalg.norm(moved.body_iquat[1]) == pytest.approx(1.0)


def test_values_are_in_physical_units() -> None:
    scene, free = scenes.box(), (FreeParameter("mass", "box"), FreeParameter("solref", "box"))
    u = {"box.mass": jnp.array([1.0]), "box.solref": jnp.array([0.0, 1.0])}
    values = parameters.values(scene, free, u)
    assert values["box.mass"] == pytest.approx([0.4 * np.exp(0.2)])
    assert values["box.solref"] == pytest.approx([0.012, 0.9 * np.exp(0.5)])


@pytest.mark.parametrize(
    ("free", "message"),
    [
        ((FreeParameter("mass", "cube"),), "no body 'cube'.*it has world, box"),
        ((FreeParameter("weight", "box"),), "unknown kind 'weight'.*mass"),
        ((FreeParameter("mass", "box"), FreeParameter("mass", "box")), "named twice"),
        ((FreeParameter("damping", "box"),), "moves in log space.*positive"),
        ((FreeParameter("geom_size", "table"),), "plane"),
        ((FreeParameter("joint_pos", "box"),), "motion of a free joint does not depend"),
        ((FreeParameter("joint_axis", "box"),), "motion of a free joint does not depend"),
    ],
)
def test_what_cannot_be_fitted_is_refused(free: tuple[FreeParameter, ...], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        parameters.check(scenes.box(), free)


def test_contact_numbers_of_geoms_in_pairs_alone_are_refused() -> None:
    scene = load_scene(
        """<mujoco><worldbody><geom name="floor" type="plane" size="1 1 1" conaffinity="0"/>
        <body name="leg"><freejoint/><geom name="foot" size=".1" contype="0" conaffinity="0"/>
        <geom name="heel" size=".1" pos="1 0 0"/></body></worldbody>
        <contact><pair geom1="floor" geom2="foot"/></contact></mujoco>""",
        control_hz=100.0,
        substeps=1,
    )
    for kind in ("friction", "friction_torsional", "friction_rolling", "solref", "solimp"):
        own = kind.split("_")[0]
        for geoms in (("foot",), ("heel", "foot")):
            free = FreeParameter(kind, geoms[0], also=geoms[1:])
            message = f"geom 'foot' touches in a <pair> alone, which has its own {own}; let contype"
            with pytest.raises(ParameterError, match=message):
                parameters.check(scene, (free,))
    # The floor touches the heel without a pair.
    parameters.check(scene, (FreeParameter("friction", "floor"), FreeParameter("mass", "leg")))


@pytest.mark.parametrize("kind", ["geom_size", "geom_pos", "geom_rotation"])
def test_the_size_and_pose_of_a_mesh_are_refused(kind: str) -> None:
    mjcf = """<mujoco><asset><mesh name="lump" vertex="0 0 0 1 0 0 0 1 0 0 0 1"/></asset>
      <worldbody><body><freejoint/><geom name="lump" type="mesh" mesh="lump"/></body></worldbody>
      </mujoco>"""
    scene = load_scene(mjcf, control_hz=100.0, substeps=1)
    with pytest.raises(parameters.ParameterError, match="size and pose of meshes are baked in"):
        parameters.check(scene, (FreeParameter(kind, "lump"),))


ARM = """
<mujoco model="arm">
  <worldbody>
    <geom name="floor" type="plane" size="0 0 .1" solimp="0.9 1 0.001"/>
    <body name="arm" pos="0 0 1">
      <joint name="turn" type="hinge" axis="0 1 0"/>
      <geom name="arm" type="capsule" fromto="0 0 0 0 0 -0.3" size="0.02"/>
      <body name="hand" pos="0 0 -.3">
        <joint name="reach" type="slide" axis="0 0 1"/>
        <geom name="hand" size="0.03"/>
      </body>
    </body>
  </worldbody>
  <actuator>
    <velocity name="speed" joint="turn" kv="3"/>
    <position name="place" joint="reach" kp="7" kv="7"/>
    <motor name="push" joint="reach" gear="2"/>
  </actuator>
</mujoco>
"""


@pytest.mark.parametrize(
    ("free", "message"),
    [
        (FreeParameter("joint_pos", "reach"), "reach.joint_pos: the motion of a slide joint"),
        (FreeParameter("solimp", "floor"), "floor.solimp.*MuJoCo holds at 0.9999"),
    ],
)
def test_what_no_motion_depends_on_is_refused(free: FreeParameter, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        parameters.check(load_scene(ARM, control_hz=100.0, substeps=1), (free,))


def test_a_servos_feedback_moves_with_its_gain() -> None:
    """A velocity servo's kv and a position servo's kp, but not the latter's damping."""
    scene = load_scene(ARM, control_hz=100.0, substeps=1)
    free = tuple(FreeParameter("gain", name) for name in ("speed", "place", "push"))
    moved = parameters.apply(scene, scene.mjx_model(), free, {f.name: jnp.ones(1) for f in free})
    factor = np.exp(0.7)
    np.testing.assert_allclose(moved.actuator_gainprm[:, 0], [3 * factor, 7 * factor, factor])
    wanted = [[0, 0, -3 * factor], [0, -7 * factor, -7], [0, 0, 0]]
    np.testing.assert_allclose(moved.actuator_biasprm[:, :3], wanted)


def test_a_held_number_stays() -> None:
    scene, free = scenes.box(), (FreeParameter("com", "box", (1.0, 0.0, 1.0)),)
    u = {"box.com": jnp.ones(3)}
    before, after = scene.mj_model.body_ipos[1], parameters.values(scene, free, u)["box.com"]
    np.testing.assert_allclose(after - before, [0.01, 0.0, 0.01])


def test_one_number_moves_every_element_that_shares_it() -> None:
    scene = load_scene(
        """<mujoco><worldbody><body><freejoint/><geom name="a" size=".1" friction=".4 .1 .1"/>
        <geom name="b" size=".1" pos="1 0 0"/><geom name="c" size=".1" pos="2 0 0"/></body>
        </worldbody></mujoco>""",
        control_hz=100.0,
        substeps=1,
    )
    free = (FreeParameter("friction", "a", 1.0, ("c",)),)
    values = {"a.friction": jnp.array([2.0 * np.log(1.5)])}  # in prior widths of a half
    moved = parameters.apply(scene, scene.mjx_model(), free, values)
    np.testing.assert_allclose(moved.geom_friction[:, 0], [0.6, 1.0, 1.5])
    np.testing.assert_array_equal(moved.geom_friction[:, 1:], scene.mj_model.geom_friction[:, 1:])
    written = mujoco.MjModel.from_xml_string(parameters.to_mjcf(scene, free, values))
    np.testing.assert_allclose(written.geom_friction[:, 0], [0.6, 1.0, 1.5])
    with pytest.raises(ParameterError, match=r"no geom 'd' for a\.friction"):
        parameters.check(scene, (FreeParameter("friction", "a", 1.0, ("d",)),))
