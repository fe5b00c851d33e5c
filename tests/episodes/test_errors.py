"""The error convention: values by hand, every body and joint counted, losses that can be fitted."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from worldmodel.episodes.errors import (
    Angle,
    Channels,
    Position,
    Rotation,
    episode_errors,
    errors,
    named_episode_errors,
    over_episodes,
    squared_errors,
)
from worldmodel.episodes.windows import cut_windows
from worldmodel.scene import Scene, SceneError, load_scene
from worldmodel.types import Episode

FREE_BODY = '<body name="{0}"><freejoint name="{0}"/><geom size=".1"/></body>'
SQUARE = """<body name="square"><joint name="x" type="slide" axis="1 0 0"/>
<joint name="z" type="slide" axis="0 0 1"/><joint name="theta" axis="0 1 0"/>
<geom type="box" size=".1 .1 .1"/></body>"""


def scene_of(*bodies: str) -> Scene:
    text = f'<mujoco model="things"><worldbody>{"".join(bodies)}</worldbody></mujoco>'
    return load_scene(text, control_hz=100.0, substeps=1)


def two_bodies() -> Scene:
    return scene_of(FREE_BODY.format("cup"), FREE_BODY.format("lid"))


def each_error(predicted: np.ndarray, recorded: np.ndarray, channels: Channels) -> dict:
    """Of every channel alone, by its name."""
    named = channels.named.items()
    return {name: float(channel.error(predicted, recorded)) for name, (channel,) in named}


def turned_lid() -> tuple[np.ndarray, np.ndarray]:
    """(predicted, recorded) of ``two_bodies``: the second body is a quarter turn off."""
    recorded = np.array([0, 0, 0, 1.0, 0, 0, 0, 1, 2, 3, 1.0, 0, 0, 0])
    predicted = recorded.copy()
    predicted[10:14] = np.cos(np.pi / 4), 0.0, np.sin(np.pi / 4), 0.0
    return predicted, recorded


def test_errors_by_hand() -> None:
    channels = Channels(
        (Position("body", (0, 1, 2)),),
        (Rotation("body", (3, 4, 5, 6)),),
        (Angle("knee", 7), Angle("ankle", 8)),
    )
    recorded = np.array([0, 0, 0, 1.0, 0, 0, 0, 0.1, 3.0])
    half = np.radians(40) / 2
    predicted = np.array([3.0, 4.0, 0, np.cos(half), 0, np.sin(half), 0, 0.4, -3.0])
    out = errors(predicted, recorded, channels)
    assert out["position_m"] == pytest.approx(5.0)
    assert out["rotation_rad"] == pytest.approx(np.radians(40))
    assert out["joint_rad"] == pytest.approx((0.3 + (2 * np.pi - 6.0)) / 2)
    flipped = predicted * np.where(np.isin(np.arange(9), (3, 4, 5, 6)), -1, 1)
    flipped[7] += 2 * np.pi
    again = errors(flipped, recorded, channels)
    for name, value in out.items():
        assert again[name] == pytest.approx(value)
    square = Channels((Position("square", (0, 1)),), (Angle("square", 2, turns=True),))
    planar = errors(np.array([0, 0, 2.0]), np.array([0, 0, 0.5]), square)
    assert planar["rotation_rad"] == pytest.approx(1.5)
    assert planar["joint_rad"] is None


def test_the_second_of_two_bodies_counts() -> None:
    predicted, recorded = turned_lid()
    channels = Channels.of(two_bodies())
    named = each_error(predicted, recorded, channels)
    bodies = ("cup", "lid")
    assert list(named) == [
        f"{body}.{group}" for group in ("position_m", "rotation_rad") for body in bodies
    ]
    assert named["lid.rotation_rad"] == pytest.approx(np.pi / 2, rel=1e-12)
    assert named["cup.rotation_rad"] == 0.0
    out = errors(predicted, recorded, channels)
    assert out["rotation_rad"] == pytest.approx(np.pi / 4, rel=1e-12)  # the mean over the bodies
    assert out["position_m"] == 0.0 and out["joint_rad"] is None
    moved = recorded.copy()
    moved[7:10] += (0.0, 0.3, 0.4)
    assert errors(moved, recorded, channels)["position_m"] == pytest.approx(0.25)


def test_the_loss_of_two_bodies_is_finite_and_pulls_at_both() -> None:
    predicted, recorded = turned_lid()
    channels = Channels.of(two_bodies())
    squared = squared_errors(predicted, recorded, channels)
    np.testing.assert_allclose(squared, [0.0, 0.5 * (2 * np.sin(np.pi / 4)) ** 2, 0.0], atol=1e-15)

    def loss(qpos: jax.Array) -> jax.Array:
        return jnp.sum(squared_errors(qpos, recorded, channels))

    slope = jax.grad(loss)(jnp.asarray(predicted))
    assert np.isfinite(slope).all() and np.abs(slope[10:14]).max() > 0.1
    at_rest = jax.grad(loss)(jnp.asarray(recorded))  # where nothing is wrong it is 0, not NaN
    np.testing.assert_allclose(at_rest, 0.0, atol=1e-12)
    moved = jax.grad(loss)(jnp.asarray(recorded).at[:3].add(0.1))
    np.testing.assert_allclose(moved[:3], 0.1)  # half of 2 · 0.1: the mean over two bodies


def test_any_number_of_bodies_and_every_kind_of_joint_is_a_channel() -> None:
    scene = scene_of(
        *(FREE_BODY.format(f"cube{i}") for i in range(3)),
        '<body name="wrist"><joint name="wrist" type="ball"/><geom size=".1"/></body>',
        '<body name="drawer"><joint name="rail" type="slide"/><geom size=".1"/></body>',
        '<body name="door"><joint name="hinge"/><geom size=".1" pos=".3 0 0"/></body>',
        '<body><joint/><geom size=".1" pos=".3 0 0"/></body>',
    )
    channels = Channels.of(scene)
    assert [c.name for c in channels.position] == ["cube0", "cube1", "cube2", "rail"]
    assert [c.name for c in channels.rotation] == ["cube0", "cube1", "cube2", "wrist"]
    assert [c.name for c in channels.joints] == ["hinge", "joint6"]
    m = scene.mj_model
    recorded = m.qpos0
    predicted = recorded.copy()
    predicted[21:25] = np.cos(0.1), np.sin(0.1), 0.0, 0.0  # the wrist by 0.2 rad
    predicted[25:] = 0.3, 0.4, 2 * np.pi + 0.1
    named = each_error(predicted, recorded, channels)
    assert named["wrist.rotation_rad"] == pytest.approx(0.2)
    assert named["rail.position_m"] == pytest.approx(0.3)
    assert named["hinge.joint_rad"] == pytest.approx(0.4)
    assert named["joint6.joint_rad"] == pytest.approx(0.1)
    out = errors(predicted, recorded, channels)
    assert out["position_m"] == pytest.approx(0.3 / 4)
    assert out["rotation_rad"] == pytest.approx(0.2 / 4)
    assert out["joint_rad"] == pytest.approx(0.25)
    fewer = Channels.of(scene, leave_out=("cube1", "hinge"))
    assert [c.name for c in fewer.position] == ["cube0", "cube2", "rail"]
    assert [c.name for c in fewer.joints] == ["joint6"]


def test_a_body_in_a_plane_is_one_position_and_one_rotation_that_counts_turns() -> None:
    channels = Channels.of(scene_of(SQUARE), planar={"square": ("x", "z", "theta")})
    predicted, recorded = np.array([3.0, 4.0, 7.0]), np.zeros(3)
    named = each_error(predicted, recorded, channels)
    assert named == {
        "square.position_m": pytest.approx(5.0),
        "square.rotation_rad": pytest.approx(7.0),
    }
    alone = each_error(predicted, recorded, Channels.of(scene_of(SQUARE)))
    assert alone == {
        "x.position_m": pytest.approx(3.0),
        "z.position_m": pytest.approx(4.0),
        "theta.joint_rad": pytest.approx(7.0 - 2 * np.pi),
    }


@pytest.mark.parametrize("given", [{"planar": {"square": ("x", "y")}}, {"leave_out": ("y",)}])
def test_an_unknown_joint_is_refused_by_name(given: dict) -> None:
    with pytest.raises(
        SceneError, match=r"'things' has no joint 'y'; it has \['x', 'z', 'theta'\]"
    ):
        Channels.of(scene_of(SQUARE), **given)


@pytest.mark.parametrize("convert", [np.asarray, jnp.asarray], ids=["numpy", "jax"])
def test_the_formulas_are_those_of_the_protocol(convert) -> None:
    """2·acos|⟨q, q̂⟩|, ‖Δx‖, |Δθ| modulo 2π; squares of the chord and of 2 sin(Δ / 2)."""
    scene = scene_of(
        '<body name="arm"><freejoint name="arm"/><geom size=".1"/><body name="tip">'
        '<joint name="knee"/><geom size=".1" pos=".3 0 0"/></body></body>'
    )
    rng = np.random.default_rng(0)
    predicted, recorded = rng.normal(size=(2, 5, 4, 8))
    for poses in (predicted, recorded):
        poses[..., 3:7] /= np.linalg.norm(poses[..., 3:7], axis=-1, keepdims=True)
    given = convert(predicted), convert(recorded), Channels.of(scene)
    out, squared = errors(*given), np.asarray(squared_errors(*given))
    moved = np.linalg.norm(predicted[..., :3] - recorded[..., :3], axis=-1)
    cosine = np.abs(np.sum(predicted[..., 3:7] * recorded[..., 3:7], axis=-1))
    turned = 2.0 * np.arccos(np.minimum(cosine, 1.0))
    swung = np.abs((predicted[..., 7] - recorded[..., 7] + np.pi) % (2 * np.pi) - np.pi)
    for name, wanted in {"position_m": moved, "rotation_rad": turned, "joint_rad": swung}.items():
        np.testing.assert_allclose(
            np.asarray(out[name]), wanted, rtol=1e-12, atol=1e-12, err_msg=name
        )
    wanted = moved**2, (2 * np.sin(turned / 2)) ** 2, (2 * np.sin(swung / 2)) ** 2
    np.testing.assert_allclose(squared, np.stack(wanted, axis=-1), rtol=1e-12, atol=1e-12)


def test_episodes_weigh_the_same_and_unscored_frames_nothing() -> None:
    scene = scene_of('<body name="door"><joint name="hinge"/><geom size=".1" pos=".3 0 0"/></body>')
    rows = np.zeros((6, 1))
    episode = Episode.regular("a", 100.0, qpos=rows, qvel=rows, ctrl=rows[:, :0])
    starts = [np.array([0, 4]), np.array([0])]
    windows = cut_windows([episode, episode], starts, 2)
    assert windows.scored.tolist() == [[True, True], [True, False], [True, True]]
    predicted = np.array([0.1, 0.3, 0.6, 9.0, 0.5, 0.7])[:, None].reshape(3, 2, 1)
    channels = Channels.of(scene)
    out = episode_errors(predicted, windows, channels)
    np.testing.assert_allclose(out[:, 2], [(0.2 + 0.6) / 2, 0.6])
    assert np.isnan(out[:, :2]).all()
    named = named_episode_errors(predicted, windows, channels)
    np.testing.assert_allclose(named["hinge.joint_rad"], out[:, 2])


def test_channels_of_one_name_and_planes_of_other_joints_are_refused() -> None:
    free = '<body name="a"><freejoint/><geom size=".1"/></body>'
    slide = '<body name="b"><joint name="a" type="slide"/><geom size=".1"/></body>'
    with pytest.raises(SceneError, match=r"two channels are called \{'a'\}"):
        Channels.of(scene_of(free, slide))
    with pytest.raises(SceneError, match="joint 'a' of a plane is neither"):
        Channels.of(scene_of(FREE_BODY.format("a")), planar={"a": ("a",)})


def partly_seen() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(predicted, recorded, measured) of ``two_bodies`` in three frames: both seen, the lid's
    rotation lost, the lid unknown; the cup is 0.3 m off, the lid 0.1 m and a quarter turn."""
    one, recorded = turned_lid()
    one = one.copy()
    one[:3] += (0.3, 0.0, 0.0)
    one[7:10] += (0.0, 0.1, 0.0)
    predicted, recorded = np.tile(one, (3, 1)), np.tile(recorded, (3, 1))
    measured = np.ones((3, 14), bool)
    measured[1, 11] = False  # a quaternion that is known in part is no rotation
    measured[2, 7:] = False
    return predicted, np.where(measured, recorded, np.nan), measured


@pytest.mark.parametrize("convert", [np.asarray, jnp.asarray], ids=["numpy", "jax"])
def test_means_are_over_what_was_measured(convert) -> None:
    predicted, recorded, measured = map(convert, partly_seen())
    channels = Channels.of(two_bodies())
    out = errors(predicted, recorded, channels, measured)
    np.testing.assert_allclose(np.asarray(out["position_m"]), [0.2, 0.2, 0.3], rtol=1e-12)
    np.testing.assert_allclose(np.asarray(out["rotation_rad"]), [np.pi / 4, 0, 0], atol=1e-7)
    lid = errors(predicted, recorded, Channels(channels.position[1:]), measured)["position_m"]
    np.testing.assert_allclose(np.asarray(lid), [0.1, 0.1, 0.0], atol=1e-12)
    chord = (2 * np.sin(np.pi / 4)) ** 2
    squared = squared_errors(predicted, recorded, channels, measured)
    wanted = [[0.05, chord / 2, 0.0], [0.05, 0.0, 0.0], [0.09, 0.0, 0.0]]
    np.testing.assert_allclose(np.asarray(squared), wanted, atol=1e-12)


def test_what_is_unknown_enters_no_gradient() -> None:
    predicted, recorded, measured = map(jnp.asarray, partly_seen())
    channels = Channels.of(two_bodies())

    def loss(qpos: jax.Array) -> jax.Array:
        return jnp.sum(squared_errors(qpos, recorded, channels, measured))

    slope = np.asarray(jax.grad(loss)(predicted))
    assert np.isfinite(slope).all()
    np.testing.assert_allclose(slope[:, 0], [0.3, 0.3, 0.6])  # of two bodies, two, one
    np.testing.assert_allclose(slope[:, 8], [0.1, 0.1, 0.0])
    assert np.abs(slope[0, 10:]).max() > 0.1 and not slope[1:, 10:].any()


def test_episodes_are_averaged_over_the_frames_and_windows_that_were_measured() -> None:
    predicted, recorded, measured = partly_seen()
    channels, still = Channels.of(two_bodies()), np.zeros((4, 12))
    first = np.concatenate([recorded[:1], recorded])
    seen = np.concatenate([measured[:1], measured])
    episode = Episode.regular("a", 1.0, qpos=first, qvel=still, ctrl=still[:, :0], measured=seen)
    blind = seen & (np.arange(14) < 3)  # where the cup stands alone
    other = dataclasses.replace(episode, measured=blind)
    windows = cut_windows([episode, other], [np.array([0])] * 2, 3)
    out = episode_errors(np.stack([predicted] * 2), windows, channels)
    np.testing.assert_allclose(out[:, 0], [(0.2 + 0.2 + 0.3) / 3, 0.3], rtol=1e-12)
    # The cup's rotation is right in all three frames, the lid's wrong in the first, seen in it.
    np.testing.assert_allclose(out[:, 1], [np.pi / 4 / 3, np.nan], rtol=1e-6)
    assert np.isnan(out[:, 2]).all()
    named = named_episode_errors(np.stack([predicted] * 2), windows, channels)
    np.testing.assert_allclose(named["lid.rotation_rad"], [np.pi / 2, np.nan])
    np.testing.assert_allclose(named["lid.position_m"], [0.1, np.nan])
    np.testing.assert_allclose(over_episodes(out)[:2], [np.mean(out[:, 0]), out[0, 1]])
    # What explodes is no lack of measurements.
    predicted[1] = np.nan
    diverged = episode_errors(np.stack([predicted] * 2), windows, channels)
    assert np.isinf(diverged[:, 0]).all() and np.isinf(over_episodes(diverged)[0])


def test_everything_measured_changes_no_number() -> None:
    rng = np.random.default_rng(0)
    channels, scene = Channels.of(two_bodies()), two_bodies()
    qpos = rng.normal(size=(40, scene.mj_model.nq))
    for at in (3, 10):
        qpos[:, at : at + 4] /= np.linalg.norm(qpos[:, at : at + 4], axis=1, keepdims=True)
    still = np.zeros((40, scene.mj_model.nv))
    episode = Episode.regular("a", 1.0, qpos=qpos, qvel=still, ctrl=still[:, :0])
    whole = dataclasses.replace(episode, measured=np.ones_like(qpos, bool))
    starts = [np.arange(0, 36, 3)] * 2
    plain, masked = (cut_windows([e, e], starts, 5) for e in (episode, whole))
    assert plain.measured is None and masked.measured is not None and masked.measured.all()
    predicted = np.roll(np.asarray(plain.target), 1, axis=0)
    one, other = (episode_errors(predicted, w, channels) for w in (plain, masked))
    np.testing.assert_array_equal(one, other)


LIMITED = """<body name="{0}"><joint name="{0}" range="{1}" limited="{2}"/>
<geom size=".1" pos=".3 0 0"/></body>"""


def test_a_whole_turn_of_a_joint_between_limits_is_an_error() -> None:
    scene = scene_of(
        LIMITED.format("knee", "-175 175", "true"),
        LIMITED.format("wheel", "-180 180", "true"),
        LIMITED.format("free", "-10 10", "false"),
    )
    channels = Channels.of(scene)
    kinds = [Angle("knee", 0, limited=True), Angle("wheel", 1), Angle("free", 2)]
    assert list(channels.joints) == kinds
    off = np.radians([350.0, 350.0, 350.0])
    named = each_error(off, np.zeros(3), channels)
    wanted = {"knee": 350.0, "wheel": 10.0, "free": 10.0}
    for name, degrees in wanted.items():
        assert named[f"{name}.joint_rad"] == pytest.approx(np.radians(degrees)), name
    slope = jax.grad(lambda q: jnp.sum(squared_errors(q, jnp.zeros(3), channels)))(jnp.asarray(off))
    assert slope[0] == pytest.approx(2 * off[0] / 3)  # back, not on to the next turn
    assert float(slope[1]) < 0
