"""The gate of planted corrections, and the widths of forecasts of planted noise."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.helpers.doors import MASS, door, door_windows
from tests.helpers.learned_models import answering
from worldmodel.episodes.errors import Angle, Channels
from worldmodel.episodes.forecasts import LEVELS, Forecasts, scores
from worldmodel.episodes.windows import Windows
from worldmodel.finetune import gate
from worldmodel.finetune.gate import gated
from worldmodel.model import (
    Correction,
    Displacement,
    Force,
    Network,
    Parameters,
    WorldModel,
    init,
)
from worldmodel.model.ensemble import Forecast, along, joined, make_forecaster, members
from worldmodel.model.network import GATE_STEPS
from worldmodel.scene import load_scene

CHANNELS = Channels(joints=(Angle("hinge", 0),))
NETWORK = Network(latent=2, width=4, members=2)
SHOWN = WorldModel(door(), correction=Displacement(), network=NETWORK)
MOVED = WorldModel.latent(door(), NETWORK)
TWO_DOORS = """<mujoco model="doors"><worldbody>
<body><joint name="first" axis="0 1 0"/><geom size=".1" pos="0 0 .3"/></body>
<body pos="2 0 0"><joint name="second" axis="0 1 0"/><geom size=".1" pos="0 0 .3"/></body>
</worldbody><actuator><motor joint="first"/><motor joint="second"/></actuator></mujoco>"""
COUNT, HORIZON = 40, 16
WINDOWS = door_windows(COUNT, HORIZON)
FRAME = np.arange(1, HORIZON + 1)
SIGN = np.where(np.arange(COUNT) % 2, 1.0, -1.0)[:, None, None]


def pushing(world: WorldModel, *units: float) -> Parameters:
    """Two members, each with one answer everywhere, whose steps leave little open."""
    origin = init(world, jax.random.key(0))
    origin["network"]["norm"]["spread"] = jnp.array([0.01])
    pairs = zip(members(origin), units, strict=True)
    return joined(origin, [answering(m, jnp.array([g])) for m, g in pairs])


def at(
    world: WorldModel, parameters: Parameters, share: float, windows: Windows = WINDOWS
) -> np.ndarray:
    """What a model predicts at one share of its corrections everywhere."""
    network = parameters["network"] | {"gate": jnp.full(len(GATE_STEPS), share)}
    return forecaster(world)(parameters | {"network": network}, windows).mean


def forecaster(world: WorldModel) -> Callable[[Parameters, Windows], Forecast]:
    return make_forecaster(world, COUNT)


def recorded(target: np.ndarray) -> Windows:
    return dataclasses.replace(WINDOWS, target=target)


def gate_of(world: WorldModel, parameters: Parameters, target: np.ndarray) -> np.ndarray:
    fitted = gated(world, parameters, CHANNELS, recorded(target))
    return np.asarray(fitted["network"]["gate"])


@pytest.fixture(scope="module")
def shown() -> Parameters:
    return pushing(SHOWN, 0.01, 0.03)


def error(predicted: np.ndarray, target: np.ndarray) -> np.ndarray:
    """(frames,) over the windows."""
    return np.abs(predicted - target).mean((0, 2))


def test_a_displacement_counts_by_what_it_explains_at_each_horizon(shown: Parameters) -> None:
    off, on = at(SHOWN, shown, 0.0), at(SHOWN, shown, 1.0)
    np.testing.assert_allclose(on - off, np.broadcast_to(0.02 * FRAME[:, None], off.shape))
    falling = np.select([FRAME < 3, FRAME < 7, FRAME < 15], [1.0, 0.5, 0.2], 0.0)[:, None]
    shares = gate_of(SHOWN, shown, off + falling * (on - off))
    wanted = np.zeros(len(GATE_STEPS))
    wanted[:4] = [1.0, 1.0, 0.5, 0.2]
    np.testing.assert_allclose(shares, wanted)  # and nothing from frame 15 on

    # It may open with the horizon, and then counts what was summed before.
    opening = np.array([0.0, 0.0, 0.5, 1.0, 1.0])
    rising = along(np.pad(opening, (0, len(GATE_STEPS) - 5), "edge")[:, None], HORIZON)
    target = off + rising * (on - off)
    fitted = gated(SHOWN, shown, CHANNELS, recorded(target))
    np.testing.assert_allclose(fitted["network"]["gate"][1:5], [0.3, 0.3, 1, 1])
    mean = forecaster(SHOWN)(fitted, WINDOWS).mean
    late = (FRAME >= 7) & (FRAME <= 15)
    np.testing.assert_allclose(mean[:, late], target[:, late], atol=1e-9)
    assert not shares[GATE_STEPS > HORIZON].any()  # beyond what was validated

    # Once it has closed, it stays closed: what was summed is lost.
    again = np.select([FRAME < 3, FRAME < 7], [1.0, 0.0], 1.0)[:, None]
    shares = gate_of(SHOWN, shown, off + again * (on - off))
    np.testing.assert_allclose(shares[:2], 1.0)
    assert not shares[2:].any()


def test_frames_that_nobody_scored_open_no_gate(shown: Parameters) -> None:
    off, on = at(SHOWN, shown, 0.0), at(SHOWN, shown, 1.0)
    fitted = gated(SHOWN, shown, CHANNELS, recorded(on).shortened(8))
    np.testing.assert_allclose(fitted["network"]["gate"][:4], 1.0)
    assert not np.asarray(fitted["network"]["gate"])[4:].any()
    mean = forecaster(SHOWN)(fitted, WINDOWS).mean
    np.testing.assert_array_equal(mean[:, FRAME >= 15], off[:, FRAME >= 15])


def test_on_noise_a_displacement_is_its_physics(shown: Parameters) -> None:
    off = at(SHOWN, shown, 0.0)
    noise = 0.3 * SIGN * np.random.default_rng(0).uniform(0.5, 1.0, (1, HORIZON, 1))
    fitted = gated(SHOWN, shown, CHANNELS, recorded(off + noise))
    assert not np.asarray(fitted["network"]["gate"]).any()
    np.testing.assert_array_equal(forecaster(SHOWN)(fitted, WINDOWS).mean, off)


@pytest.mark.parametrize("seed", range(4))
def test_no_stretch_of_validation_is_worse_than_physics(shown: Parameters, seed: int) -> None:
    """Of windows whose errors have little to do with the network, and share a drift with it."""
    off, generator = at(SHOWN, shown, 0.0), np.random.default_rng(seed)
    drift = generator.normal(0.0, 0.02, (1, HORIZON, 1)).cumsum(1)
    target = off + drift + generator.normal(0.0, 0.05, off.shape).cumsum(1)
    fitted = gated(SHOWN, shown, CHANNELS, recorded(target))
    mean = forecaster(SHOWN)(fitted, WINDOWS).mean
    for first, last in ((1, 3), (3, 7), (7, 15), (15, 17)):
        near = (first <= FRAME) & (last > FRAME)
        assert error(mean, target)[near].mean() <= gate.EQUAL * error(off, target)[near].mean()


@pytest.mark.parametrize(
    "share",
    [
        pytest.param(np.select([FRAME < 3, FRAME < 7], [0.0, 0.5], 1.0), id="opens at once"),
        pytest.param(np.where(FRAME < 7, 0.0, 1.0), id="late"),
        pytest.param(np.where(FRAME < 7, -0.2, 1.0), id="wrong before"),
        pytest.param(np.select([FRAME < 11, FRAME < 15], [0.0, 1.0], -1.0), id="closes at once"),
    ],
)
def test_a_gate_is_judged_as_it_is_interpolated(share: np.ndarray) -> None:
    """It must not reach into frames that it is of no use for; nor is the physics to blame."""
    world = WorldModel(door(), MASS, correction=Displacement(), network=NETWORK)
    parameters = with_masses(pushing(world, 0.01, 0.03), -0.02, 0.02)
    middle = with_masses(parameters, 0.0, 0.0)
    off, on = (at(world, middle, s, PUSHED) for s in (0.0, 1.0))
    target = off + share[:, None] * (on - off) + 0.004 * SIGN
    fitted = gated(world, parameters, CHANNELS, dataclasses.replace(PUSHED, target=target))
    np.testing.assert_allclose(fitted["network"]["physics"]["door.mass"][:, 0], [-0.02, 0.02])
    mean = forecaster(world)(fitted, PUSHED).mean
    for first, last in ((1, 3), (3, 7), (7, 15), (15, 17)):
        near = (first <= FRAME) & (last > FRAME)
        assert error(mean, target)[near].mean() <= gate.EQUAL * error(off, target)[near].mean()


@pytest.mark.parametrize("share", [1.0, 0.5, 0.0])
def test_a_state_has_the_share_that_explains_it(share: float) -> None:
    parameters = pushing(MOVED, 0.1, 0.3)
    target = at(MOVED, parameters, share) + 1e-3 * SIGN
    np.testing.assert_array_equal(gate_of(MOVED, parameters, target), share)


def test_a_state_is_left_alone_where_one_horizon_is_worse_or_not_finite() -> None:
    parameters = pushing(MOVED, 0.1, 0.3)
    off, on = at(MOVED, parameters, 0.0), at(MOVED, parameters, 1.0)
    late = np.where(FRAME < 15, 1.0, -0.2)[:, None]
    assert not gate_of(MOVED, parameters, off + late * (on - off)).any()
    assert not gate_of(MOVED, pushing(MOVED, 1e308, 1e308), off + 0.1 * SIGN).any()


def drawn(correction: Correction, *masses: float) -> tuple[WorldModel, Parameters]:
    """Two members whose corrections are 0, the logarithms of their door's mass apart from 0."""
    world = WorldModel(door(), MASS, correction=correction, network=NETWORK)
    parameters = pushing(world, 0.0, 0.0)
    return world, with_masses(parameters, *masses)


def with_masses(parameters: Parameters, *masses: float) -> Parameters:
    physics = {"door.mass": jnp.array(masses)[:, None]}
    return parameters | {"network": parameters["network"] | {"physics": physics}}


PUSHED = dataclasses.replace(WINDOWS, ctrl=np.ones_like(WINDOWS.ctrl))


def masses_of(
    world: WorldModel, parameters: Parameters, target: np.ndarray, **changed: np.ndarray
) -> np.ndarray:
    """Of the members, after validation on the windows with this target."""
    windows = dataclasses.replace(PUSHED, target=target, **changed)
    fitted = gated(world, parameters, CHANNELS, windows)["network"]["physics"]
    return np.asarray(fitted["door.mass"])[:, 0]


CORRECTIONS = pytest.mark.parametrize("correction", [Displacement(), Force()])
EPISODES = pytest.mark.parametrize("episodes", [1, 2, COUNT])


@CORRECTIONS
@EPISODES
def test_members_have_the_fitted_physics_in_their_middle_where_they_lie_to_one_side(
    correction: Correction, episodes: int
) -> None:
    """The fitted physics errs to both sides alike, so that the members' mean is worse from where it
    is further away than the error: there they are shifted, and stay as far apart."""
    world, parameters = drawn(correction, 0.2, 0.3)
    off = forecaster(world)(with_masses(parameters, 0.0, 0.0), PUSHED).mean
    away = np.abs(forecaster(world)(parameters, PUSHED).mean - off)
    episode = {"episode": np.arange(COUNT) % episodes}
    for error, wanted in ((1.5, [0.2, 0.3]), (0.7, [-0.05, 0.05])):
        masses = masses_of(world, parameters, off + error * SIGN * away, **episode)
        np.testing.assert_allclose(masses, wanted, rtol=1e-9)


@CORRECTIONS
def test_one_ruined_episode_weighs_as_much_as_it_errs(correction: Correction) -> None:
    world, parameters = drawn(correction, 0.2, 0.3)
    off = forecaster(world)(with_masses(parameters, 0.0, 0.0), PUSHED).mean
    away = np.abs(forecaster(world)(parameters, PUSHED).mean - off)
    episode = np.arange(COUNT) // 14  # of three, the first is predicted well
    error = np.where(episode == 0, 0.01, 1.5)[:, None, None] * SIGN
    masses = masses_of(world, parameters, off + error * away, episode=episode)
    np.testing.assert_allclose(masses, [-0.05, 0.05], rtol=1e-9)


@CORRECTIONS
def test_members_alone_may_not_be_far_worse_than_the_fitted_physics(correction: Correction) -> None:
    """Their mean is the fitted physics, each of them is not: they are drawn nearer to it."""
    world, parameters = drawn(correction, -0.02, 0.02)
    off = forecaster(world)(with_masses(parameters, 0.0, 0.0), PUSHED).mean
    one = np.abs(forecaster(world)(with_masses(parameters, 0.02, 0.02), PUSHED).mean - off)
    for error, spread in ((0.6, 1.0), (0.2, 0.5), (0.1, 0.25), (0.01, 0.0)):
        masses = masses_of(world, parameters, off + error * SIGN * one)
        np.testing.assert_allclose(masses, [-0.02 * spread, 0.02 * spread], atol=1e-12)


@CORRECTIONS
def test_a_network_that_spoils_a_member_is_shut_off_and_not_its_physics(
    correction: Correction,
) -> None:
    """The mean of the members is right, each of them is far off."""
    world, parameters = drawn(correction, -0.02, 0.02)
    pairs = zip(members(parameters), (-0.8, 1.2), strict=True)
    parameters = joined(parameters, [answering(m, jnp.array([g])) for m, g in pairs])
    target = at(world, with_masses(parameters, 0.0, 0.0), 1.0, PUSHED) + 1e-3 * SIGN
    fitted = gated(world, parameters, CHANNELS, dataclasses.replace(PUSHED, target=target))
    assert not np.asarray(fitted["network"]["gate"]).any()
    np.testing.assert_allclose(fitted["network"]["physics"]["door.mass"][:, 0], [-0.02, 0.02])


def test_one_groups_gain_does_not_pay_for_anothers_loss() -> None:
    changes = np.full((len(GATE_STEPS), COUNT, 3), np.nan)
    changes[1:4, :, 0], changes[1:4, :, 2] = 0.1, -0.8
    assert not gate._one_share({1.0: changes}).any()
    changes[1:4, :, 0] = -0.1
    assert (gate._one_share({1.0: changes}) == 1.0).all()


def test_a_displacement_opens_where_no_group_is_the_worse_for_it() -> None:
    """It explains both doors but for the first two frames of one."""
    two = load_scene(TWO_DOORS, control_hz=100.0, substeps=1)
    world = WorldModel(two, correction=Displacement(), network=NETWORK)
    origin = init(world, jax.random.key(0))
    origin["network"]["norm"]["spread"] = jnp.array([0.01, 0.01])
    pairs = zip(members(origin), (0.01, 0.03), strict=True)
    parameters = joined(origin, [answering(m, jnp.array([g, g])) for m, g in pairs])
    windows = jax.tree.map(lambda x: np.repeat(x, 2, -1) if np.ndim(x) == 3 else x, WINDOWS)
    off, on = (at(world, parameters, share, windows) for share in (0.0, 1.0))
    share = np.stack([np.ones(HORIZON), np.where(FRAME < 3, -0.3, 1.0)], axis=1)
    windows = dataclasses.replace(windows, target=off + share * (on - off) + 1e-3 * SIGN)
    groups = Channels(rotation=(Angle("first", 0),), joints=(Angle("second", 1),))
    fitted = gated(world, parameters, groups, windows)
    np.testing.assert_allclose(fitted["network"]["gate"][3:5], 1.0)
    mean = forecaster(world)(fitted, windows).mean
    ratio = gate._worst(gate._changes(mean, off, windows, groups))
    assert np.nanmax(ratio) <= gate.EQUAL and ratio[3] < 0.1


def test_a_state_is_left_alone_where_nothing_says_that_it_gains() -> None:
    parameters = pushing(MOVED, 0.1, 0.3)
    nothing = np.zeros(WINDOWS.target.shape, bool)
    windows = dataclasses.replace(recorded(np.full(nothing.shape, np.nan)), measured=nothing)
    with np.errstate(invalid="ignore"):
        fitted = gated(MOVED, parameters, CHANNELS, windows)
    assert not np.asarray(fitted["network"]["gate"]).any()


def test_errors_are_of_what_was_measured_alone(shown: Parameters) -> None:
    off = at(SHOWN, shown, 0.0)
    target, measured = off + 0.1 * SIGN, np.ones(off.shape, bool)
    measured[::2, 5:] = False
    target[::2, 5:] = np.nan
    windows = dataclasses.replace(recorded(target), measured=measured)
    poses = off + np.where(FRAME < 6, 0.05, -0.02)[:, None] * SIGN
    changes = gate._changes(poses, off, windows, CHANNELS)
    late = np.asarray(GATE_STEPS) == 7
    np.testing.assert_allclose(np.nanmean(changes[late]), 0.2, rtol=1e-2)
    assert np.isnan(changes[late][:, ::2]).all() and np.isnan(changes[..., :2]).all()


def test_intervals_hold_as_much_noise_as_they_say(shown: Parameters) -> None:
    """Of a random walk three times as wide as the network has it, in windows not yet seen."""
    off, generator = at(SHOWN, shown, 0.0), np.random.default_rng(3)

    def noisy() -> np.ndarray:
        return off + generator.normal(0.0, 0.03, off.shape).cumsum(1)

    def covered(parameters: Parameters, target: np.ndarray) -> list[bool]:
        forecast = forecaster(SHOWN)(parameters, WINDOWS)
        held = Forecasts(
            target - forecast.mean,
            forecast.deviation,
            np.asarray(WINDOWS.episode),
            np.ones(off.shape, bool),
            forecast.freedom,
        )
        return [scores(held)["coverage"][str(level)]["right"] for level in LEVELS]

    fitted = gated(SHOWN, shown, CHANNELS, recorded(noisy()))
    narrow = init(SHOWN, jax.random.key(0))["network"]
    names = ("floor", "widening", "freedom")
    network = fitted["network"] | {name: narrow[name] for name in names}
    later = noisy()
    assert covered(fitted, later) == [True] * len(LEVELS)
    assert covered(fitted | {"network": network}, later) == [False] * len(LEVELS)
