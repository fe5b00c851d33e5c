"""The task's strokes against kinematics, the planner against a simulator, and cloning."""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from experiments.slide.study import study as slide
from worldmodel._mujoco import mujoco
from worldmodel.runtime.checkpoint import CheckpointError
from worldmodel.tasks.slide import clone as cloning
from worldmodel.tasks.slide import expert as demonstrator
from worldmodel.tasks.slide import task
from worldmodel.tasks.slide.clone import CloneConfig, act, clone, restore, save
from worldmodel.tasks.slide.expert import Noise, Table, demonstrate, make_table, plan
from worldmodel.reality import HiddenPhysics
from worldmodel.scene import ASSETS
from worldmodel.errors import InputError

SHORT = CloneConfig(width=8, steps=60, learning_rate=1e-2, weight_decay=0.03)
Data = tuple[np.ndarray, np.ndarray]


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
    model = mujoco.MjModel.from_xml_path(str(ASSETS / "slide.xml"))
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
    _, contact = slide.run_policy(
        slide.robot(HiddenPhysics()),
        lambda t, seen: seen.qpos[:2],
        task.initial_qpos(start, strokes)[7],
        3,
        0,
    )
    assert not contact.any()


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
    fast = np.log(speed) - np.log(demonstrator.SPEEDS[0])
    return np.stack([0.1 + 0.6 * fast, 0.5 * start + 0.7 * fast * direction], axis=-1)


def test_planning_inverts_the_table() -> None:
    grid = np.meshgrid(
        demonstrator.STARTS, demonstrator.SPEEDS, demonstrator.DIRECTIONS, indexing="ij"
    )
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
    assert stroke[0] == pytest.approx(demonstrator.SPEEDS[-1], rel=1e-9)
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


def rule(rows: int, seed: int) -> Data:
    """Contexts, and a smooth map of them to strokes."""
    contexts = task.draw_contexts(rows, np.random.default_rng(seed)).table
    start, distance, direction = contexts.T
    speed = np.exp(-0.2 + 0.6 * distance + 0.5 * direction**2 - start)
    aside = 0.08 * np.sin(2.0 * direction) - 0.4 * start
    return contexts, np.column_stack([speed, direction + aside])


def strokes_of(weights: Any, contexts: np.ndarray, config: CloneConfig) -> np.ndarray:
    return act(weights, task.Contexts(*contexts.T), config)


def test_a_policy_learns_a_smooth_map() -> None:
    config = CloneConfig(width=32, steps=2000, learning_rate=5e-3, weight_decay=0.0)
    (weights,) = clone([rule(200, 0)], [0], config)
    contexts, wanted = rule(200, 1)
    answered = strokes_of(weights, contexts, config)
    speed, turn = np.log(answered[:, 0] / wanted[:, 0]), answered[:, 1] - wanted[:, 1]
    # Without noise or weight decay only the optimiser is in the way: 3 and 2 per cent of how much
    # the answers vary are left.
    assert np.std(speed) < 0.1 * np.std(np.log(wanted[:, 0]))
    assert np.std(turn) < 0.1 * np.std(wanted[:, 1] - contexts[:, 2])
    assert abs(speed.mean()) < 0.01 and abs(turn.mean()) < 0.01


@pytest.fixture(scope="module")
def together() -> tuple[list[Data], list[Any]]:
    """Data sets of different sizes, cloned in one call."""
    data = [rule(5, 2), rule(30, 3), rule(12, 4)]
    return data, clone(data, [7, 8, 9], SHORT)


def close(ours: Any, theirs: Any) -> None:
    """Equal to float32 rounding, which Adam, dividing by the gradient's size, can enlarge."""
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_each_policy_is_as_if_cloned_alone(together: tuple[list[Data], list[Any]]) -> None:
    data, policies = together
    for i in (0, 1):
        (alone,) = clone([data[i]], [7 + i], SHORT)
        close(policies[i], alone)
    contexts = data[1][0]
    answers = [strokes_of(p, contexts, SHORT) for p in policies]
    assert np.abs(answers[0] - answers[1]).max() > 0.02  # they are different policies


def test_every_row_weighs_the_same(together: tuple[list[Data], list[Any]]) -> None:
    data, policies = together
    contexts, strokes = data[2]
    # Without decay, which counts rows: a prior that more of them outweigh.
    free = dataclasses.replace(SHORT, weight_decay=0.0)
    doubled = np.tile(contexts, (2, 1)), np.tile(strokes, (2, 1))
    (once,), (twice,) = clone([(contexts, strokes)], [9], free), clone([doubled], [9], free)
    close(once, twice)
    half = np.r_[0:12, 0:6]
    (weighted,) = clone([(contexts[half], strokes[half])], [9], SHORT)
    moved = strokes_of(weighted, contexts, SHORT) - strokes_of(policies[2], contexts, SHORT)
    assert np.abs(moved).max() > 0.01  # half of the rows counted twice


def test_a_seed_makes_one_policy(together: tuple[list[Data], list[Any]]) -> None:
    data, policies = together
    same, other = clone(data, [7, 8, 9], SHORT), clone(data, [7, 8, 10], SHORT)
    for a, b in zip(jax.tree.leaves(policies), jax.tree.leaves(same), strict=True):
        np.testing.assert_array_equal(a, b)
    close(other[0], policies[0])
    contexts = data[2][0]
    changed = strokes_of(other[2], contexts, SHORT) - strokes_of(policies[2], contexts, SHORT)
    assert np.abs(changed).max() > 1e-3


def test_data_that_cannot_be_cloned_are_refused() -> None:
    contexts, strokes = rule(4, 0)
    bad = contexts.copy()
    bad[2, 1] = np.nan
    for data in (
        (contexts[:0], strokes[:0]),
        (bad, strokes),
        (contexts, np.where(strokes == strokes[1, 1], np.inf, strokes)),
        (contexts, strokes * [0.0, 1.0]),
        (contexts, strokes[:3]),
    ):
        with pytest.raises(InputError, match="data set 1 of 2 is empty, not finite"):
            clone([(contexts, strokes), data], [0, 1], SHORT)


def test_policies_are_kept_and_anothers_width_is_refused(
    together: tuple[list[Data], list[Any]], tmp_path: Path
) -> None:
    data, policies = together
    save(tmp_path / "policy", policies[1], SHORT, {"recipe": "test"})
    back = restore(tmp_path / "policy", SHORT)
    contexts = data[1][0]
    np.testing.assert_array_equal(
        strokes_of(back, contexts, SHORT), strokes_of(policies[1], contexts, SHORT)
    )
    described = cloning.checkpoint.read_metadata(tmp_path / "policy")
    assert described["recipe"] == "test"
    assert described["clone"] == dataclasses.asdict(SHORT)
    with pytest.raises(CheckpointError, match="leaf"):
        restore(tmp_path / "policy", dataclasses.replace(SHORT, width=9))
    with pytest.raises(CheckpointError, match="no checkpoint in"):
        restore(tmp_path / "nothing", SHORT)
