"""The held-out reality of task grasp: its prior, and that a grip that holds in the model slips."""

import jax
import jax.numpy as jnp
import numpy as np

from experiments.manipulation.reality import PILOT_SEED, SEEDS, draw_hidden, robot
from worldmodel import loop
from worldmodel.reality.disturbances import Backlash, CurrentLimit, Friction, Mass
from worldmodel.reality.simulated import simulate
from worldmodel.tasks.grasp.expert import EXPERT
from worldmodel.tasks.grasp.task import Grasp
from worldmodel.tasks.play import episodes
from worldmodel.tasks.play_c import simulate_in_c


def test_hidden_physics_follows_its_prior() -> None:
    drawn = [draw_hidden(seed) for seed in range(60)]
    assert drawn[1] == draw_hidden(1) != drawn[2] and PILOT_SEED not in SEEDS

    def of(kind: type, name: str) -> np.ndarray:
        return np.array([getattr(d, name) for hidden in drawn for d in hidden if type(d) is kind])

    # Of 60 draws the standard error of a mean is an eighth of the deviation.
    assert abs(np.log(of(Friction, "factor")).mean() + 0.43) < 0.05
    assert abs(np.log(of(Mass, "factor")).mean() - 0.22) < 0.04
    force, play = of(CurrentLimit, "force"), of(Backlash, "width")
    assert 4.5 <= force.min() < force.max() <= 5.5 and 1e-3 <= play.min() < play.max() <= 2e-3


def test_a_grip_that_holds_in_the_model_slips_in_reality() -> None:
    task = Grasp()
    starts, goals = loop.draw(task, jax.random.key(0), 4)
    squeeze = jnp.array([0.010, 0.010, 0.024, 0.024])
    parameters = jnp.stack([squeeze, *np.tile([[0.25], [0.0], [0.005]], 4)], axis=1)
    policy = jax.vmap(EXPERT.policy)(parameters, goals)
    holds = {}
    for name, world in (
        ("model", simulate_in_c(task, task.scene.mj_model)),
        ("reality", simulate(task, lambda: robot(task, PILOT_SEED))),
    ):
        played = world(policy, starts, goals, jax.random.key(1))
        assert np.isfinite(played.measured.joints).all()
        holds[name] = [e.success for e in episodes(task, played, goals, source=name)]
    assert holds == {"model": [True] * 4, "reality": [False, False, True, True]}
