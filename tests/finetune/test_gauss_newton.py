"""Gauss-Newton identification: what is found, how sure it is of it, and what it refuses."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from worldmodel.model import HISTORY, History, WorldModel
from worldmodel.finetune.gauss_newton import Identified, IdentifyConfig, IdentifyError, identify, intervals
from worldmodel.finetune.engines import make_engine, numbers, unpacked
from worldmodel.scene import FreeParameter
from worldmodel.physics.parameters import ParameterError
from worldmodel.model.simulate import Windows
from worldmodel.scene import Scene, load_scene
from worldmodel.errors import InputError

NOISE = 2e-3


def swing() -> Scene:
    """Two pushed hinges with friction in the bearing: smooth but for stiction."""
    return load_scene(
        """
        <mujoco model="swing">
          <option integrator="implicitfast" iterations="20" tolerance="1e-12"/>
          <worldbody>
            <body name="upper" pos="0 0 1">
              <joint name="shoulder" axis="0 1 0" damping="0.02" armature="0.001"/>
              <inertial pos="0 0 -0.2" mass="0.5" diaginertia="2e-3 2e-3 1e-3"/>
              <body name="lower" pos="0 0 -0.4">
                <joint name="elbow" axis="0 1 0" damping="0.01" frictionloss="0.02"/>
                <inertial pos="0 0 -0.15" mass="0.3" diaginertia="1e-3 1e-3 1e-3"/>
              </body>
            </body>
          </worldbody>
          <actuator><motor name="push" joint="shoulder" gear="1"/></actuator>
        </mujoco>
        """,
        control_hz=50.0,
        substeps=2,
    )


def puck() -> Scene:
    """A ball that a motor pushes over a table; it slides in the plane and presses on it."""
    return load_scene(
        """
        <mujoco model="puck">
          <option cone="elliptic" integrator="implicitfast" iterations="20" tolerance="1e-12"/>
          <worldbody>
            <geom name="table" type="plane" size="0 0 .1"/>
            <body name="puck" pos="0 0 .0199">
              <joint name="x" type="slide" axis="1 0 0" damping="0.001"/>
              <joint name="z" type="slide" axis="0 0 1"/>
              <inertial pos="0 0 0" mass="0.2" diaginertia="1e-4 1e-4 1e-4"/>
              <geom name="puck" type="sphere" size="0.02" priority="1" friction="0.2 0.005 0.0001"/>
            </body>
          </worldbody>
          <actuator><motor name="push" joint="x" gear="1"/></actuator>
        </mujoco>
        """,
        control_hz=50.0,
        substeps=2,
    )


def bob() -> Scene:
    """A pushed point mass on a string: gravity does not tell its mass, a push only mass / gain."""
    return load_scene(
        """
        <mujoco model="bob">
          <option iterations="20" tolerance="1e-12"/>
          <worldbody>
            <body name="bob" pos="0 0 1">
              <joint name="hinge" axis="0 1 0"/>
              <inertial pos="0 0 -0.3" mass="0.5" diaginertia="1e-9 1e-9 1e-9"/>
            </body>
          </worldbody>
          <actuator><motor name="push" joint="hinge" gear="1"/></actuator>
        </mujoco>
        """,
        control_hz=50.0,
        substeps=2,
    )


SWING = (
    FreeParameter("mass", "lower"),
    FreeParameter("com", "upper", (0.0, 0.0, 1.0)),
    FreeParameter("damping", "elbow"),
    FreeParameter("frictionloss", "elbow"),
)
PUCK = (FreeParameter("friction", "puck"), FreeParameter("mass", "puck"), FreeParameter("gain", "push"))


@pytest.fixture(scope="module")
def swinging() -> WorldModel:
    return WorldModel(swing(), SWING)


@pytest.fixture(scope="module")
def sliding() -> WorldModel:
    return WorldModel(puck(), PUCK)


def recorded(
    world: WorldModel,
    u: np.ndarray,
    rng: np.random.Generator,
    *,
    windows: int = 8,
    horizon: int = 20,
    noise: float = NOISE,
    start_noise: float = 0.0,
    speed: float = 3.0,
) -> Windows:
    """Windows that the C engine plays with parameters ``u``, seen through noise."""
    m = world.scene.mj_model
    qvel = (
        speed * rng.normal(size=(windows, m.nv)) * np.array([1.0, 0.0 if m.ngeom else 1.0])[: m.nv]
    )
    qpos = np.zeros((windows, m.nq)) if m.ngeom else rng.uniform(-1.5, 1.5, (windows, m.nq))
    ctrl = np.repeat(rng.normal(size=(windows, horizon // 5, m.nu)), 5, axis=1)
    history = History(
        np.repeat(qpos[:, None], HISTORY, 1),
        np.repeat(qvel[:, None], HISTORY, 1),
        np.zeros((windows, HISTORY, m.nu)),
        np.tile(np.arange(HISTORY) == 0, (windows, 1)),
    )
    still = np.zeros((windows, horizon, m.nq))
    made = Windows(history, ctrl, still, np.ones((windows, horizon), bool), np.arange(windows))
    played = make_engine(world, "c", windows).misses(u, np.zeros((windows, 0)), made)
    # From a target of zero the difference is the position itself, up to whole turns.
    target = played + noise * rng.normal(size=played.shape)
    if start_noise:
        shaken = qpos + start_noise * rng.normal(size=qpos.shape)
        history = dataclasses.replace(history, qpos=np.repeat(shaken[:, None], HISTORY, 1))
    return dataclasses.replace(made, history=history, target=target)


def deviations(found: Identified, u: np.ndarray) -> np.ndarray:
    return (np.array([n.u for n in found.numbers]) - u) / np.sqrt(np.diag(found.covariance))


C = IdentifyConfig(engine="c")


def test_numbers_that_are_held_are_no_unknowns(swinging: WorldModel) -> None:
    assert numbers(swinging) == [
        ("lower.mass", 0),
        ("upper.com", 2),
        ("elbow.damping", 0),
        ("elbow.frictionloss", 0),
    ]
    leaves = unpacked(swinging, jnp.arange(1.0, 5.0))
    np.testing.assert_array_equal(leaves["upper.com"], [0.0, 0.0, 2.0])


@pytest.mark.parametrize("scene", ["swinging", "sliding"])
def test_both_engines_say_the_same(scene: str, request: pytest.FixtureRequest) -> None:
    world: WorldModel = request.getfixturevalue(scene)
    rng = np.random.default_rng(3)
    u = 0.3 * rng.normal(size=len(numbers(world)))
    # Fast, so that no bearing comes to rest: a difference across stiction is no derivative.
    windows = recorded(world, u, rng, windows=3, horizon=5, speed=15.0)
    nv = world.scene.mj_model.nv
    shift = 1e-3 * rng.normal(size=(3, 2 * nv))
    if scene == "sliding":
        shift[:, [1, 3]] = 0.0  # stays in touch
    mine = make_engine(world, "mjx", 2).slopes(u, shift, windows)
    theirs = make_engine(world, "c", 2).slopes(u, shift, windows)
    np.testing.assert_allclose(mine[0], theirs[0], atol=1e-9)
    scale = np.abs(theirs[1]).max(axis=(0, 1, 2))
    assert (scale > 0).all()
    # The differences' own error: 1e-3 squared, times a third derivative of order one.
    assert (np.abs(mine[1] - theirs[1]).max(axis=(0, 1, 2)) < 2e-4 * scale).all()
    np.testing.assert_allclose(
        make_engine(world, "mjx", 2).misses(u, shift, windows), mine[0], atol=1e-12
    )


def test_intervals_cover_what_they_claim(swinging: WorldModel) -> None:
    """Truths from the prior, fresh noise, the noise's deviation unknown: 95 % intervals."""
    covered = []
    for seed in range(40):
        rng = np.random.default_rng([1, seed])
        u = rng.normal(size=4)
        found = identify(swinging, recorded(swinging, u, rng, windows=4), C)
        assert found.converged and not found.by_episode
        np.testing.assert_allclose(found.noise, NOISE, rtol=0.4)
        covered.append(np.abs(deviations(found, u)) < 1.96)
    # 160 numbers; a right one falls outside these limits less than once in 500 times.
    assert 0.89 <= np.mean(covered) <= 0.994


def test_what_the_data_cannot_say_is_said() -> None:
    """Mass and gain only act as their ratio: each is unknown, the pair is named; the string's
    length is known nevertheless."""
    world = WorldModel(
        bob(), (FreeParameter("com", "bob", (0, 0, 1)), FreeParameter("mass", "bob"), FreeParameter("gain", "push"))
    )
    u = np.array([0.5, 0.3, -0.4])
    found = identify(world, recorded(world, u, np.random.default_rng(0)), C)
    length, mass, gain = found.numbers
    assert found.converged
    assert length.identified and abs(deviations(found, u)[0]) < 3
    assert not mass.identified and not gain.identified
    assert [(i, j) for i, j, _ in found.together()] == [(1, 2)]
    ratio = np.array([0.0, -1.0, 1.0])
    spread = np.sqrt(ratio @ found.covariance @ ratio)
    assert spread < 0.2 and abs(ratio @ ([n.u for n in found.numbers] - u)) < 3 * spread


def test_a_start_that_is_not_known_is_found_with_the_rest(swinging: WorldModel) -> None:
    u = np.array([0.8, -0.5, 0.6, 0.4])
    worst: dict[bool, list[float]] = {False: [], True: []}
    for seed in range(4):
        windows = recorded(swinging, u, np.random.default_rng([2, seed]), start_noise=0.05)
        for free in (False, True):
            config = dataclasses.replace(C, pose_spread=0.05 * free)
            found = identify(swinging, windows, config)
            worst[free].append(float(np.abs(deviations(found, u)).max()))
            if free:
                np.testing.assert_allclose(found.noise, NOISE, rtol=0.3)
                assert (found.shift[:, 2:] == 0).all()  # velocities were not free
    assert max(worst[True]) < 4.0 < max(worst[False])


def test_starts_alone_are_found(swinging: WorldModel) -> None:
    """No number is free: the fit goes on until the starts have come to rest."""
    windows = recorded(swinging, np.zeros(4), np.random.default_rng(8), start_noise=0.05)
    held = WorldModel(swinging.scene, ())
    found = identify(held, windows, dataclasses.replace(C, pose_spread=0.05))
    assert found.converged and found.iterations > 1 and found.numbers == ()
    assert intervals(held, found) == {}
    np.testing.assert_allclose(found.noise, NOISE, rtol=0.2)  # nothing else is left over
    assert 0.02 < found.shift[:, :2].std() < 0.1


def test_episodes_that_err_together_widen_the_interval(swinging: WorldModel) -> None:
    """A shaken start makes an episode's frames err together; the sandwich knows, noise does not."""
    rng = np.random.default_rng(5)
    windows = recorded(swinging, np.zeros(4), rng, windows=24, start_noise=0.05)
    found = identify(swinging, windows, C)
    assert found.by_episode
    one = dataclasses.replace(windows, episode=np.zeros(24, int))
    naive = identify(swinging, one, C)
    assert not naive.by_episode
    np.testing.assert_allclose([n.u for n in naive.numbers], [n.u for n in found.numbers])
    assert (np.diag(found.covariance) > 2.0 * np.diag(naive.covariance)).all()
    assert np.abs(deviations(found, np.zeros(4))).max() < 4.0


def test_outliers_count_little(swinging: WorldModel) -> None:
    u = np.array([0.8, -0.5, 0.6, 0.4])
    windows = recorded(swinging, u, np.random.default_rng(6))
    target = np.array(windows.target)
    target[0, 5] += 1.0
    found = identify(swinging, dataclasses.replace(windows, target=target), C)
    assert np.abs(deviations(found, u)).max() < 4.0


def test_a_number_at_its_bound_is_not_called_identified(swinging: WorldModel) -> None:
    windows = recorded(swinging, np.array([3.0, 0.0, 0.0, 0.0]), np.random.default_rng(7))
    found = identify(swinging, windows, dataclasses.replace(C, bound=1.0))
    assert found.numbers[0].u == 1.0 and found.numbers[0].at_bound
    assert not found.numbers[0].identified


def test_intervals_are_in_physical_units(swinging: WorldModel) -> None:
    windows = recorded(swinging, np.zeros(4), np.random.default_rng(8))
    found = identify(swinging, windows, C)
    out = intervals(swinging, found)
    mass, deviation = found.numbers[0].u, found.numbers[0].deviation
    expected = 0.3 * np.exp(0.2 * (mass + 1.96 * deviation * np.array([0.0, -1.0, 1.0])))
    np.testing.assert_allclose(out["lower.mass"][0], expected, rtol=1e-5)
    assert out["upper.com"].shape == (3, 3)
    np.testing.assert_allclose(out["upper.com"][0], 0.0, atol=1e-12)  # held


def test_what_cannot_be_identified_is_refused(swinging: WorldModel) -> None:
    windows = recorded(swinging, np.zeros(4), np.random.default_rng(9), windows=4, horizon=5)
    blank = dataclasses.replace(windows, scored=np.zeros_like(windows.scored))
    with pytest.raises(IdentifyError, match="no frame"):
        identify(swinging, blank, C)
    broken = jax.tree.map(np.array, windows)
    broken.history.qvel[1] = np.nan
    with pytest.raises(IdentifyError, match=r"1 of 4 windows.*episodes \[1\]"):
        identify(swinging, broken, C)
    spared = identify(swinging, broken, dataclasses.replace(C, max_nonfinite=0.5))
    assert spared.left_out.tolist() == [1] and np.isfinite(spared.covariance).all()
    with pytest.raises(InputError, match="none of mjx, c"):
        identify(swinging, windows, dataclasses.replace(C, engine="warp"))
    with pytest.raises(InputError, match="kind='physics'"):
        identify(dataclasses.replace(swinging, kind="hybrid"), windows, C)
    unknown = dataclasses.replace(swinging, free=(FreeParameter("mass", "nobody"),))
    with pytest.raises(ParameterError, match="nobody"):
        identify(unknown, windows, C)
