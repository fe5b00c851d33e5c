"""The task's strokes against kinematics, the planner against a simulator."""

import numpy as np
import pytest

from experiments.slide import study as slide
from worldmodel._mujoco import mujoco
from worldmodel.errors import InputError
from worldmodel.reality import HiddenPhysics, deploy
from worldmodel.tasks.slide import expert, task
from worldmodel.tasks.slide.expert import Noise, Table, demonstrate, make_table, plan


@pytest.fixture(scope="module")
def table() -> Table:
    return make_table(slide.simulator(HiddenPhysics()))


def tip_of(qpos: np.ndarray) -> np.ndarray:
    """Forward kinematics: (…, 2) shoulder and elbow → (…, 2) fingertip."""
    first, second = qpos[..., 0], qpos[..., 0] + qpos[..., 1]
    return np.stack(
        [
            task.LINKS[0] * np.cos(first) + task.LINKS[1] * np.cos(second),
            task.LINKS[0] * np.sin(first) + task.LINKS[1] * np.sin(second),
        ],
        axis=-1,
    )


def fan() -> tuple[np.ndarray, np.ndarray]:
    """Starts and strokes over the whole range that the arm plays."""
    start, speed, direction = np.meshgrid(
        [-0.15, 0.0, 0.15], np.linspace(*task.SPEED, 4), np.linspace(*task.DIRECTION, 5)
    )
    return start.reshape(-1), np.stack([speed.reshape(-1), direction.reshape(-1)], axis=1)


def along(strokes: np.ndarray) -> np.ndarray:
    return np.stack([np.cos(strokes[:, 1]), np.sin(strokes[:, 1])], axis=1)


def test_inverse_kinematics_inverts_the_scenes_arm() -> None:
    rng = np.random.default_rng(0)
    bearing, radius = rng.uniform(-np.pi, np.pi, 50), rng.uniform(0.05, 0.69, 50)
    tip = radius[:, None] * np.stack([np.cos(bearing), np.sin(bearing)], axis=1)
    joints = task.inverse_kinematics(tip)
    np.testing.assert_allclose(tip_of(joints), tip, atol=1e-12)
    assert (joints[:, 1] >= 0).all()  # one of the two elbows, always the same
    model = mujoco.MjModel.from_xml_path(str(task.MJCF))
    data = mujoco.MjData(model)
    for q, place in zip(joints[:5], tip, strict=False):
        data.qpos[:2] = q
        mujoco.mj_kinematics(model, data)
        np.testing.assert_allclose(data.geom("finger").xpos[:2], place, atol=1e-12)


def test_out_of_reach_is_approached_as_far_as_the_arm_goes() -> None:
    tip = np.array([[3.0, 4.0], [0.6, -0.8]])
    reached = tip_of(task.inverse_kinematics(tip))
    nearest = sum(task.LINKS) * tip / np.linalg.norm(tip, axis=1, keepdims=True)
    np.testing.assert_allclose(reached, nearest, atol=1e-12)


def test_the_tip_goes_through_the_puck_along_the_stroke_at_its_speed() -> None:
    start, strokes = fan()
    commands = task.play(start, strokes)
    assert commands.shape == (len(start), task.FRAMES, 2)
    behind = tip_of(task.initial_qpos(start, strokes)[:, :2])
    np.testing.assert_allclose(
        behind, task.puck_place(start) - task.REACH * along(strokes), atol=1e-12
    )
    way = np.concatenate([behind[:, None], tip_of(commands)], axis=1) - behind[:, None]
    gone = np.einsum("efk,ek->ef", way, along(strokes))
    np.testing.assert_allclose(way, gone[..., None] * along(strokes)[:, None], atol=1e-12)
    assert (np.diff(gone, axis=1) > -1e-12).all()
    np.testing.assert_allclose(gone[:, -1], task.RUN_UP + task.RUN_OUT, atol=1e-12)
    assert task.REACH < task.RUN_UP  # the puck's place lies on the run-up

    # Under even acceleration central differences are exact: v² = 2 a s on the way up, and
    # likewise from the end on the way out; a is such that v is the stroke's at the run-up's end.
    speed = (gone[:, 2:] - gone[:, :-2]) * task.CONTROL_HZ / 2
    wanted = strokes[:, :1]
    for run, distance in ((task.RUN_UP, gone), (task.RUN_OUT, gone[:, -1:] - gone)):
        inside = (distance <= run + 1e-12) & (distance > 1e-9)
        inside = inside[:, 1:-1] & inside[:, 2:] & (inside[:, :-2] | (distance[:, :-2] == 0))
        exact = wanted * np.sqrt(np.maximum(distance[:, 1:-1], 0.0) / run)
        np.testing.assert_allclose(speed[inside], exact[inside], rtol=1e-6)
        assert inside.any(axis=1)[strokes[:, 0] < 2.0].all()  # faster ones take two frames
    assert (speed < wanted + 1e-9).all()


def test_the_arm_starts_at_rest_behind_the_puck_and_does_not_touch_it() -> None:
    start, strokes = fan()
    episode = deploy(
        slide.robot(HiddenPhysics()),
        lambda observation, t, key: observation.qpos[:2],
        task.scene(),
        task.initial_qpos(start, strokes)[7],
        3,
        0,
    )
    assert episode.contact is not None and not episode.contact.any()


def test_strokes_are_held_within_what_the_arm_can_play() -> None:
    start = np.zeros(2)
    wild = np.array([[99.0, 3.0], [0.0, -3.0]])
    held = np.array([[task.SPEED[1], task.DIRECTION[1]], [task.SPEED[0], task.DIRECTION[0]]])
    np.testing.assert_array_equal(task.play(start, wild), task.play(start, held))
    np.testing.assert_array_equal(task.initial_qpos(start, wild), task.initial_qpos(start, held))
    for bad in (np.nan, np.inf):
        with pytest.raises(InputError, match="stroke 1 is not finite; the policy diverged"):
            task.play(start, np.array([[1.0, 0.0], [1.0, bad]]))


def test_contexts_and_targets() -> None:
    contexts = task.draw_contexts(500, np.random.default_rng(1))
    again = task.draw_contexts(500, np.random.default_rng(1))
    np.testing.assert_array_equal(contexts.table, again.table)
    assert len(contexts) == 500 and contexts.table.shape == (500, 3)
    offset = contexts.target - task.puck_place(contexts.start)
    np.testing.assert_allclose(np.linalg.norm(offset, axis=1), contexts.distance)
    np.testing.assert_allclose(np.arctan2(offset[:, 1], offset[:, 0]), contexts.direction)
    assert not task.distance_to_target(contexts, contexts.target).any()
    aside = contexts.target + np.array([0.03, 0.04])
    np.testing.assert_allclose(task.distance_to_target(contexts, aside), 0.05)


def test_plans_reach_their_targets_in_the_simulator_they_came_from(table: Table) -> None:
    simulate = slide.simulator(HiddenPhysics())
    contexts = task.draw_contexts(40, np.random.default_rng(2))

    def missed(plans: np.ndarray) -> float:
        final = simulate(
            task.initial_qpos(contexts.start, plans), task.play(contexts.start, plans)
        )[:, -1, task.PUCK]
        return float(task.distance_to_target(contexts, final).mean())

    own = missed(plan(table, contexts))
    # The grid is coarse, and linear between its nodes: one to two centimetres.
    assert own < 0.03
    other = make_table(slide.simulator(HiddenPhysics(friction=1.3)))
    # Distance goes as 1/friction: 30 % of some 0.8 m.
    assert missed(plan(other, contexts)) > max(4 * own, 0.1)


def bilinear(start: np.ndarray, speed: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """A mechanics that the table's interpolation represents exactly."""
    fast = np.log(speed) - np.log(expert.SPEEDS[0])
    return np.stack([0.1 + 0.6 * fast, 0.5 * start + 0.7 * fast * direction], axis=-1)


def test_planning_inverts_the_table() -> None:
    grid = np.meshgrid(expert.STARTS, expert.SPEEDS, expert.DIRECTIONS, indexing="ij")
    table = Table(bilinear(*grid))
    rng = np.random.default_rng(3)
    start, speed, direction = (
        rng.uniform(low, high, 100) for low, high in ((-0.15, 0.15), (0.6, 4.0), (-0.6, 0.6))
    )
    moved = bilinear(start, speed, direction)
    contexts = task.Contexts(start, np.hypot(*moved.T), np.arctan2(moved[:, 1], moved[:, 0]))
    # Newton's last step is quadratic: from 1e-4 of numerical Jacobian to far below a micrometre.
    np.testing.assert_allclose(
        plan(table, contexts), np.column_stack([speed, direction]), atol=1e-6
    )

    far = task.Contexts(np.zeros(1), np.array([50.0]), np.zeros(1))
    (stroke,) = plan(table, far)
    assert stroke[0] == pytest.approx(expert.SPEEDS[-1], rel=1e-9)
    assert abs(stroke[1]) < 0.2


def test_a_simulator_that_diverges_is_named_by_its_stroke() -> None:
    def diverging(qpos: np.ndarray, ctrl: np.ndarray) -> np.ndarray:
        out = np.repeat(qpos[:, None], 2, axis=1)
        out[5, -1, task.PUCK] = np.nan
        return out

    with pytest.raises(InputError, match=r"diverges on the stroke \[.*\] from -0.16 m"):
        make_table(diverging)


def test_demonstrations_are_plans_with_a_persons_noise(table: Table) -> None:
    contexts = task.draw_contexts(3000, np.random.default_rng(4))
    planned = plan(table, contexts)
    exact = demonstrate(table, contexts, Noise(0.0, 0.0), np.random.default_rng(5))
    np.testing.assert_array_equal(exact, planned)
    noise = Noise()
    one, two = (demonstrate(table, contexts, noise, np.random.default_rng(5)) for _ in range(2))
    np.testing.assert_array_equal(one, two)
    for column, limits in enumerate((task.SPEED, task.DIRECTION)):
        assert (one[:, column] >= limits[0]).all() and (one[:, column] <= limits[1]).all()
    speed, turn = np.log(one[:, 0] / planned[:, 0]), one[:, 1] - planned[:, 1]
    for error, width in ((speed, noise.speed), (turn, noise.direction)):
        # 3000 samples: the standard error of a deviation is 1.3 %; hardly one is clipped.
        assert error.std() == pytest.approx(width, rel=0.05)
        assert abs(error.mean()) < 4 * width / np.sqrt(3000)
    assert abs(np.corrcoef(speed, turn)[0, 1]) < 0.08


def test_answers_are_the_inverse_of_strokes() -> None:
    contexts = task.draw_contexts(20, np.random.default_rng(6)).table
    strokes = np.stack([np.linspace(*task.SPEED, 20), np.linspace(*task.DIRECTION, 20)], axis=1)
    answers = task.encode(contexts, strokes)
    assert answers.shape == (20, task.ANSWERED) and answers.dtype == np.float32
    assert task.observe(contexts).shape == (20, task.OBSERVED)
    np.testing.assert_allclose(task.decode(contexts, answers), strokes, rtol=1e-6, atol=1e-6)
    for speed in (0.0, -1.0, np.nan):
        strokes[3, 0] = speed
        with pytest.raises(InputError, match="stroke 3 has the speed"):
            task.encode(contexts, strokes)
