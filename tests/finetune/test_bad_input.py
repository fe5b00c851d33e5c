"""What cannot be differentiated is named, or flagged; what looks odd and is right runs."""

import dataclasses
import warnings
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.helpers.scenes import BOX_QPOS, BOX_QVEL, box
from worldmodel import physics
from worldmodel._mujoco import mujoco
from worldmodel.model import HISTORY, History, WorldModel
from worldmodel.episodes.recording import Channels
from worldmodel.finetune.adam import FitConfig, fit
from worldmodel.finetune.gauss_newton import IdentifyConfig, IdentifyError, identify
from worldmodel.finetune.engines import make_engine, unconverged
from worldmodel.physics import oracle, parameters
from worldmodel.scene import FreeParameter
from worldmodel.physics.parameters import ParameterError
from worldmodel.model.simulate import Windows, cut_windows
from worldmodel.scene import Scene, SceneError, load_scene
from worldmodel.errors import InputError

MASS = (FreeParameter("mass", "box"),)
ON_TRAY = "0.11582545 0.19308134 0.33552376"  # half a millimetre in
# A ball on a tilted tray that nothing moves, with two keyframes.
TRAY = """
<mujoco model="tray">
  <option tolerance="1e-14" iterations="50" ls_iterations="30"/>
  <worldbody>
    <body name="tray" mocap="true" pos="0.1 0.2 0.3" quat="0.97 0.1 0.2 0.05">
      <geom name="tray" type="box" size="0.1 0.1 0.02" friction="0.5 0.01 0.001"/>
    </body>
    <body name="ball" pos="0 0 1">
      <freejoint name="ball"/>
      <geom name="ball" type="sphere" size="0.02" mass="0.3"/>
    </body>
  </worldbody>
  <keyframe>
    <key name="on" time="0.5" qpos="{on} 1 0 0 0" qvel="0.1 0.2 0 1 0 0"/>
    <key name="elsewhere" qpos="0.3 0.25 0.2 1 0 0 0" mpos="1 1 1"/>
  </keyframe>
</mujoco>"""


def scene(worldbody: str, option: str = "") -> str:
    return f"<mujoco><option {option}/><worldbody>{worldbody}</worldbody></mujoco>"


def tray() -> Scene:
    return load_scene(TRAY.format(on=ON_TRAY), control_hz=250.0, substeps=2)


def windows_of(qpos: np.ndarray, qvel: np.ndarray, horizon: int = 2) -> Windows:
    known = np.tile(np.arange(HISTORY) == 0, (len(qpos), 1))
    history = History(
        np.repeat(qpos[:, None], HISTORY, 1),
        np.repeat(qvel[:, None], HISTORY, 1),
        np.zeros((len(qpos), HISTORY, 0)),
        known,
    )
    target = np.repeat(qpos[:, None], horizon, 1)
    scored = np.ones((len(qpos), horizon), bool)
    ctrl = np.zeros((len(qpos), horizon, 0))
    return Windows(history, ctrl, target, scored, np.arange(len(qpos)))


HINGE = "<joint name='{0}' type='hinge' axis='0 1 0' {1}/>"
DOOR = "<body name='door'>{0}<geom size='.1' pos='.3 0 0'/></body>"


def test_joints_that_move_no_mass_are_named() -> None:
    twice = HINGE.format("left", "") + HINGE.format("right", "")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(SceneError, match=r"singular: joints left, right .*armature"):
            load_scene(scene(DOOR.format(twice)), control_hz=100.0, substeps=1)
    armed = HINGE.format("left", "") + HINGE.format("right", "armature='.01'")
    load_scene(scene(DOOR.format(armed)), control_hz=100.0, substeps=1)


def test_a_keyframe_whose_joints_move_no_mass_is_named() -> None:
    """Cardan's joint, whose first and third axes fall together at a right angle of the second."""
    axes = "".join(
        f"<joint name='{n}' axis='{a}'/>"
        for n, a in zip("zxy", ("0 0 1", "1 0 0", "0 1 0"), strict=True)
    )
    key = f"<keyframe><key name='locked' qpos='0.3 {np.pi / 2} 0'/></keyframe>"
    text = scene(DOOR.format(axes)).replace("</mujoco>", key + "</mujoco>")
    with pytest.raises(SceneError, match=r"singular in keyframe 'locked': joints z, y can"):
        load_scene(text, control_hz=100.0, substeps=1)


def test_a_scene_in_which_nothing_moves_is_refused() -> None:
    with pytest.raises(SceneError, match="nothing in this scene moves"):
        load_scene(scene("<geom size='.1'/>"), control_hz=100.0, substeps=1)


@pytest.mark.parametrize("cone", ["pyramidal", "elliptic"])
def test_a_scene_without_contacts_is_mujocos(cone: str) -> None:
    text = scene(DOOR.format(HINGE.format("hinge", "")), option=f"cone='{cone}'")
    door = load_scene(text, control_hz=100.0, substeps=1)
    start = jnp.array([0.4]), jnp.array([0.3])
    step = jax.jit(
        lambda q, v: physics.control_step(
            door, door.mjx_model(), physics.initial_state(door, q, v), jnp.zeros(0)
        )
    )
    state = step(*start)
    at = np.asarray(start[0]), np.asarray(start[1])
    qpos, qvel = oracle.trajectory(door.mj_model, at[0], at[1], np.zeros((1, 0)), 1)
    np.testing.assert_allclose([state.qpos, state.qvel], [qpos[0], qvel[0]], rtol=1e-12)
    assert np.isfinite(jax.jit(jax.jacfwd(lambda q: step(q, start[1]).qvel))(start[0])).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_number_that_is_not_finite_is_named(bad: float, tmp_path: Path) -> None:
    world = WorldModel(box(), MASS)
    start = {"physics": {"box.mass": jnp.array([bad])}, "network": {}}
    windows = windows_of(BOX_QPOS[None], BOX_QVEL[None])
    message = rf"box.mass is \[ *{bad}\].*finite"
    with pytest.raises(ParameterError, match=message):
        parameters.to_mjcf(world.scene, MASS, start["physics"])
    with pytest.raises(ParameterError, match=message):
        identify(world, windows, IdentifyConfig(), start=start)
    given: dict[str, Any] = {"metadata": {}, "record": print, "stop": lambda: False}
    with pytest.raises(ParameterError, match=r"box\.mass is \[inf\] at \[100000\.\] prior widths"):
        parameters.to_mjcf(world.scene, MASS, {"box.mass": jnp.array([1e5])})
    good = {"physics": parameters.zeros(MASS), "network": {}}
    with pytest.raises(ParameterError, match=message):
        fit(world, good, Channels(), windows, windows, FitConfig(), tmp_path, start=start, **given)
    assert not list(tmp_path.iterdir())


def test_windows_of_no_length_and_no_windows_are_refused() -> None:
    with pytest.raises(InputError, match="0 frames predict nothing"):
        cut_windows([], [], horizon=0)
    world = WorldModel(box(), MASS)
    whole = windows_of(BOX_QPOS[None], BOX_QVEL[None])
    for empty in (whole.take(np.array([], int)), windows_of(BOX_QPOS[None], BOX_QVEL[None], 0)):
        with pytest.raises(IdentifyError, match="no frame of these windows"):
            identify(world, empty, IdentifyConfig())


def test_arrays_of_another_shape_are_named() -> None:
    made = tray()
    with pytest.raises(InputError, match=r"qpos has the shape \(3,\).*'tray' needs \(7,\)"):
        physics.initial_state(made, np.zeros(3), np.zeros(6))
    with pytest.raises(InputError, match=r"qvel has the shape \(4, 6\).*vmap"):
        physics.initial_state(made, made.mj_model.qpos0, np.zeros((4, 6)))
    state = physics.initial_state(made, made.mj_model.qpos0, np.zeros(6))
    with pytest.raises(InputError, match=r"ctrl has the shape \(2,\).*needs \(0,\)"):
        physics.control_step(made, made.mjx_model(), state, jnp.zeros(2))


def test_precisions_and_integers_may_be_mixed() -> None:
    pushed = load_scene(
        "<mujoco><worldbody><body><joint name='x' type='slide' axis='1 0 0'/>"
        "<geom size='.1'/></body></worldbody>"
        "<actuator><motor joint='x'/></actuator></mujoco>",
        control_hz=100.0,
        substeps=1,
    )

    @jax.jit
    def after(qpos: Any, qvel: Any, ctrl: Any) -> jax.Array:
        state = physics.initial_state(pushed, qpos, qvel)
        return physics.control_step(pushed, pushed.mjx_model(), state, ctrl).qpos

    whole = after(np.array([1.0]), np.array([2.0]), np.array([3.0]))
    assert whole.dtype == jnp.float64
    for kind in (np.float32, np.int32):
        mixed = after(np.array([1], kind), np.array([2.0]), np.array([3], kind))
        assert mixed.dtype == jnp.float64 and mixed == whole


def test_a_state_of_another_precision_is_named() -> None:
    made = tray()
    model = made.mjx_model()
    state = physics.initial_state(made, made.mj_model.qpos0, np.zeros(6))
    single = dataclasses.replace(state, qvel=state.qvel.astype(jnp.float32))
    with pytest.raises(InputError, match=r"state\.qvel is float32 .*float64.*initial_state"):
        physics.control_step(made, model, single, jnp.zeros(0))


def test_windows_through_broken_off_solves_are_flagged() -> None:
    def world(iterations: int) -> WorldModel:
        made = box(substeps=2)
        made.mj_model.opt.iterations = made.spec.option.iterations = iterations
        return WorldModel(made, MASS)

    up, near, falling = BOX_QPOS.copy(), BOX_QPOS.copy(), BOX_QVEL.copy()
    up[2] += 0.1
    near[2], falling[2] = 0.0437, -0.5  # 0.2 mm above the table: it touches in the second substep
    qpos, qvel = np.stack([BOX_QPOS, up, near]), np.stack([BOX_QVEL, BOX_QVEL, falling])
    windows = windows_of(qpos, qvel, horizon=1)
    zero = {"physics": parameters.zeros(MASS), "network": {}}
    held, lowered = np.zeros((3, 12)), np.zeros((3, 12))
    lowered[1, 2] = -0.1

    def flags(world: WorldModel, shift: np.ndarray) -> list[bool]:
        ours = unconverged(world, zero, windows, batch=3, shift=shift)
        theirs = make_engine(world, "c", 3).unconverged(np.zeros(1), shift, windows)
        assert ours.tolist() == theirs.tolist()
        return ours.tolist()

    hasty = world(2)
    assert flags(world(50), held) == [False, False, False]
    assert flags(hasty, held) == [True, False, True]  # in flight there is nothing to solve
    assert flags(hasty, lowered) == [True, True, True]
    found = identify(hasty, windows, IdentifyConfig(engine="c", iterations=1))
    assert found.unconverged.tolist() == [0, 2]


def test_a_keyframe_is_a_start_or_says_why_not() -> None:
    made = tray()
    state = physics.initial_state(made, **made.keyframe("on"))
    assert state.time == 0.5 and state.qvel.tolist() == [0.1, 0.2, 0, 1, 0, 0]
    with pytest.raises(SceneError, match=r"no keyframe 'in'; the scene has \['on', 'elsewhere'\]"):
        made.keyframe("in")
    with pytest.raises(SceneError, match="'elsewhere' moves mocap body 'tray'"):
        made.keyframe("elsewhere")
    assert made.keyframe_ctrl("on").shape == (0,)


def test_a_keyframes_control_is_had_apart_from_its_state() -> None:
    held = load_scene(
        "<mujoco><worldbody><body><joint name='x'/><geom size='.1'/></body></worldbody>"
        "<actuator><motor joint='x'/></actuator>"
        "<keyframe><key name='held' qpos='0.1' ctrl='0.7'/></keyframe></mujoco>",
        control_hz=100.0,
        substeps=1,
    )
    assert physics.initial_state(held, **held.keyframe("held")).qpos == 0.1
    assert held.keyframe_ctrl("held") == 0.7
    with pytest.raises(SceneError, match=r"no keyframe 'loose'; the scene has \['held'\]"):
        held.keyframe_ctrl("loose")


def test_a_mocap_body_stays_and_what_lies_on_it_slides_as_in_mujoco() -> None:
    made = tray()
    free = (FreeParameter("mass", "ball"),)
    start = made.keyframe("on")

    def final(x: jax.Array, qvel: jax.Array) -> jax.Array:
        model = parameters.apply(made, made.mjx_model(), free, {"ball.mass": x})
        state = physics.initial_state(made, **start | {"qvel": qvel})
        for _ in range(3):
            state = physics.control_step(made, model, state, jnp.zeros(0))
        return jnp.concatenate([state.qpos, state.qvel])

    def truth(qvel: np.ndarray) -> np.ndarray:
        model = mujoco.MjModel.from_xml_string(made.mjcf)
        qpos, qvel = oracle.trajectory(model, start["qpos"], qvel, np.zeros((3, 0)), made.substeps)
        return np.concatenate([qpos[-1], qvel[-1]])

    here = jnp.zeros(1), jnp.asarray(start["qvel"])
    value = jax.jit(final)(*here)
    np.testing.assert_allclose(value, truth(start["qvel"]), rtol=1e-7, atol=1e-9)
    slope = jax.jit(jax.jacfwd(final, 1))(*here)
    wanted = oracle.differences(truth, start["qvel"])
    np.testing.assert_allclose(slope, wanted, rtol=1e-5, atol=1e-6)
