"""The comparison of policies: its task without a derivative, and its figure."""

import dataclasses
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib import image

from experiments.papers.result import RESULTS, ROOT
from experiments.policies.compare import Stairs, draw
from experiments.records import write_figure
from worldmodel.tasks import sensors
from worldmodel.tasks.swing_up.task import SwingUp


def test_the_reward_in_stairs_is_the_tasks_within_an_eighth_and_has_no_derivative() -> None:
    stairs, task = Stairs(), SwingUp()
    blank = sensors.blank(task.sensors)

    def reward(of: SwingUp, angle: jax.Array) -> jax.Array:
        after = dataclasses.replace(blank, joints=jnp.stack([0.1, angle]), velocities=jnp.zeros(2))
        return of.reward(blank, jnp.array([0.3]), after, {})

    angles = jnp.linspace(0.1, 3.1, 40)
    rough, smooth = (jax.vmap(lambda a, of=of: reward(of, a))(angles) for of in (stairs, task))
    assert ((rough <= smooth) & (rough > smooth - 0.125)).all()
    assert len(np.unique(rough)) == 8
    slopes = [jax.vmap(jax.grad(lambda a, of=of: reward(of, a)))(angles) for of in (stairs, task)]
    assert not slopes[0].any() and np.abs(slopes[1]).max() > 0.3


def test_the_figure_has_a_row_per_task(tmp_path: Path) -> None:
    rows = json.loads((ROOT / RESULTS / "policies" / "table.json").read_text())["rows"]
    for count in (1, 2):
        tasks = [*dict.fromkeys(row["task"] for row in rows)][:count]
        figure = draw([row for row in rows if row["task"] in tasks])
        write_figure(tmp_path / f"{count}.png", figure)
    one, two = (image.imread(tmp_path / f"{count}.png").shape for count in (1, 2))
    assert two[1] == one[1] and two[0] == 2 * one[0]
