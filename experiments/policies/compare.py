"""Which way to make a policy pays, task by task?

Question: return and success in the model and in a held-out reality, steps and time, by task and
          method: the planner, a clone of it, PPO, Brax's APG, gradients through the model
Command:  python -m experiments.policies.compare --out experiments/results/policies
          python -m experiments.policies.compare --rows push-plan --seeds 0 1 --out runs/policies
Runtime:  a row by gradients 1 to 8 core-minutes with compiling, by PPO 1 to 7; seeds 0 to 4
          were run, not of all rows; the same command goes on, row by row
Expected: gradients swing the pole up and grasp on every seed, and hop with PPO's return in a
          fifteenth of its steps on most; on the stairs, whose derivative is zero, they do not; on
          push PPO is better

OUT gets table.json, table.md and figure.png. ``steps`` are control steps of the model; of a clone
they are those of the plans that it copies. Core-seconds are the processor's, of all cores, so that
a busy machine does not count; those of learning leave compiling out.
"""

import dataclasses
import functools
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from brax.training.agents.apg import networks as apg_networks
from brax.training.agents.apg import train as apg
from flax import linen
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from experiments.manipulation import push_reality
from experiments.manipulation import reality as grasp_reality
from experiments.records import BLUE, GREEN, GREY, ORANGE, once, write, write_figure
from worldmodel import loop, runtime
from worldmodel.errors import InputError
from worldmodel.loop.environment import environment
from worldmodel.model import WorldModel
from worldmodel.policies import gradient, ppo
from worldmodel.policies.clone import Clone, CloneConfig
from worldmodel.policies.epochs import actor_of, now
from worldmodel.policies.plan import Demonstrator, SearchConfig, knots, scorer
from worldmodel.reality.simulated import SimulatedRobot, simulate
from worldmodel.tasks.grasp.expert import EXPERT as GRASP
from worldmodel.tasks.grasp.task import Grasp
from worldmodel.tasks.hopper.task import Hopper
from worldmodel.tasks.play import Simulate, episodes, repeated
from worldmodel.tasks.push.expert import EXPERT as PUSH
from worldmodel.tasks.push.task import Push
from worldmodel.tasks.swing_up.task import SwingUp
from worldmodel.tasks.task import Task
from worldmodel.types import Array, Family, Goal, Measurement, Policy

COLOURS = {"ppo": BLUE, "apg": "#CC79A7", "gradient": ORANGE}
EVALUATIONS = 10  # of APG, which it counts as a part of its time
LEVELS = {"plan": GREY, "clone": GREEN}  # they have no curve: a line at their return
METHODS = ("plan", "clone", "ppo", "apg", "gradient")
ROWS = (
    *("swing_up-ppo", "swing_up-apg", "swing_up-gradient", "stairs-ppo", "stairs-gradient"),
    *("hopper-ppo", "hopper-apg", "hopper-gradient"),
    *(f"{task}-{method}" for task in ("push", "grasp") for method in METHODS),
)
TITLE = "Policies by task and method"
NOTE = (
    "Mean over the episodes of one seed. A plan is made anew for each of its episodes; the other "
    "policies are trained once. Core-seconds of learning are without compiling."
)
COLUMNS = {
    "task": "task",
    "method": "method",
    "seed": "seed",
    "steps": "steps",
    "return": "return",
    "success": "success",
    "success in reality": "reality",
    "core-seconds": lambda row: f"{row['core_seconds']:.0f}",
    "compiling": lambda row: f"{row['compiling']:.0f}" if row["compiling"] else None,
    "wall-clock [s]": lambda row: f"{row['seconds']:.0f}",
    "steps / core-second": lambda row: f"{row['steps'] / row['core_seconds']:.0f}",
}


class Stairs(SwingUp):
    """The swing-up with its reward rounded down to eighths: it is informative, and its derivative
    is zero."""

    def __init__(self) -> None:
        super().__init__()
        self.name = "stairs"

    def reward(self, before: Measurement, action: Array, after: Measurement, goal: Goal) -> Array:
        """() a multiple of 1/8."""
        return jnp.floor(8.0 * super().reward(before, action, after, goal)) / 8.0


@dataclasses.dataclass(frozen=True)
class Case:
    """A task, its planner and how it is learned."""

    task: type[Task]
    family: Callable[[Task], Family]
    search: SearchConfig
    ppo: ppo.PPOConfig
    gradient: gradient.GradientConfig
    robot: Callable[[Any, int], SimulatedRobot] | None = None  # held-out, of a task and a seed


# Of contact tasks: eight times the gradient steps per control step.
OFTEN = ppo.PPOConfig(environments=64, batch=64, passes=8, updates=40)
SWINGING = Case(
    SwingUp,
    lambda task: knots(task, 25),
    SearchConfig(512, 24, 30),
    ppo.PPOConfig(steps=2_000_000, updates=10),
    gradient.GradientConfig(),
)
CASES = {
    "swing_up": SWINGING,
    "stairs": dataclasses.replace(SWINGING, task=Stairs),
    "hopper": Case(
        Hopper,
        lambda task: knots(task, 40),
        SearchConfig(128, 12, 10),
        dataclasses.replace(OFTEN, steps=6_000_000, discount=0.99),
        # Few environments: a gradient step is worth more here than a gradient without noise.
        gradient.GradientConfig(
            steps=400_000, environments=4, updates=80, learning_rate=2e-3, discount=0.99
        ),
    ),
    "push": Case(
        Push,
        lambda task: PUSH,
        SearchConfig(32, 5, 5),
        dataclasses.replace(OFTEN, steps=2_000_000),
        gradient.GradientConfig(steps=600_000, learning_rate=2e-3),
        push_reality.robot,
    ),
    "grasp": Case(
        Grasp,
        lambda task: GRASP,
        SearchConfig(32, 5, 3),
        dataclasses.replace(OFTEN, steps=3_000_000),
        gradient.GradientConfig(steps=1_200_000, learning_rate=2e-3),
        grasp_reality.robot,
    ),
}


@dataclasses.dataclass(frozen=True)
class Args:
    """Command line."""

    out: Path
    rows: tuple[str, ...] = ROWS  # TASK-METHOD, see ``CASES`` and ``METHODS``
    seeds: tuple[int, ...] = (0,)
    episodes: int = 64  # that every policy plays in the model, and in reality
    planned: int = 16  # of a plan


class Seed:
    """One task and seed: its worlds, and the policies that are made in the model."""

    def __init__(self, args: Args, name: str, seed: int) -> None:
        self.args, self.case, self.seed, self.place = args, CASES[name], seed, args.out / "runs"
        self.name, self.task = name, self.case.task()
        world = WorldModel(self.task.scene, self.task.free)
        self.version = loop.first_version(self.place / name / "versions", world)
        self.model = loop.simulator(self.version, self.task, engine="c")

    def searched(self) -> int:
        """Steps that the planner takes per context."""
        return self.case.search.samples * self.case.search.iterations * self.task.horizon

    def plan(self, starts: Any, goals: Any) -> tuple[Policy, dict[str, Any]]:
        """Policies that the planner finds, one per episode."""
        family = self.case.family(self.task)
        expert = Demonstrator(self.task, family, self.case.search)
        best = expert.best(self.model, starts, goals, jax.random.key(self.seed))
        return jax.vmap(family.policy)(best, goals), {"steps": len(best) * self.searched()}

    def clone(self) -> tuple[Policy, dict[str, Any]]:
        """A clone of what the planner demonstrates, with a trembling hand."""
        family, planned = self.case.family(self.task), self.args.planned
        expert = Demonstrator(self.task, family, self.case.search, planned=planned, tremor=0.1)
        starts, goals = loop.draw(self.task, jax.random.key(500 + self.seed), self.args.episodes)
        policy = expert.plan(self.model, starts, goals, jax.random.key(self.seed))
        played = self.model(policy, starts, goals, jax.random.key(self.seed))
        shown = episodes(self.task, played, goals, source="plan")
        trainer = Clone(CloneConfig(width=64, steps=700, weight_decay=1.0, chunk=5))
        return trainer(self.task, shown, self.seed), {"steps": planned * self.searched()}

    def learn(self, method: str) -> tuple[Policy, dict[str, Any]]:
        """A policy of PPO or of gradients; the run goes on where it was stopped."""
        config, train = {
            "ppo": (self.case.ppo, ppo.train),
            "gradient": (self.case.gradient, gradient.train),
        }[method]
        env = environment(self.version, self.task)
        folder = self.place / self.name / f"{method}{self.seed}"
        policy, curve = train(env, config, folder, seed=self.seed)
        return policy, {"steps": curve[-1]["steps"]} | learned(curve)

    def apg(self) -> tuple[Policy, dict[str, Any]]:
        """A policy of Brax's APG: gradients of a window's rewards alone, without critics, on the
        windows, environments, networks and rate of ``gradient``. It is not resumable."""
        config, curve, began = self.case.gradient, [], now()
        updates = -(-config.steps // config.epoch) * config.updates
        steps = updates * config.environments * config.horizon

        def progress(number: int, metrics: dict[str, Any]) -> None:
            nonlocal began
            seconds, spent = np.subtract(now(), began).tolist()
            began, returned = now(), float(metrics["eval/episode_reward"])
            runtime.log(f"{number} of {EVALUATIONS} evaluations: return {returned:.4g}")
            point = {"steps": number * steps // EVALUATIONS, "core_seconds": spent}
            curve.append(point | {"seconds": seconds, "return": returned})

        _, (normaliser, weights), _ = apg.train(
            environment(self.version, self.task),
            wrap_env=False,
            max_devices_per_host=1,
            episode_length=self.task.horizon,
            policy_updates=updates,
            horizon_length=config.horizon,
            num_envs=config.environments,
            num_evals=EVALUATIONS + 1,  # one is before the first update
            num_eval_envs=self.args.episodes,
            deterministic_eval=True,
            learning_rate=config.learning_rate,
            adam_b=config.betas,
            use_schedule=False,
            max_gradient_norm=config.max_norm,
            normalize_observations=True,
            network_factory=functools.partial(
                apg_networks.make_apg_networks,
                hidden_layer_sizes=(config.width,) * config.layers,
                activation=linen.swish,
                layer_norm=False,
            ),
            seed=self.seed,
            progress_fn=progress,
        )
        return actor_of(weights, normaliser, "APG"), {"steps": steps} | learned(curve[1:])

    def judged(self, policies: Policy, starts: Any, goals: Any, world: Simulate) -> dict[str, Any]:
        """Return and success of policies in a world, an episode each."""
        played = world(policies, starts, goals, jax.random.key(self.seed))
        total = np.asarray(scorer(self.task)(played.measured, played.action, goals))
        shown = episodes(self.task, played, goals, source=self.name)
        return {"return": float(total.mean())} | loop.scores(self.task, shown)

    def row(self, method: str) -> dict[str, Any]:
        """The row of a method."""
        count = self.args.planned if method == "plan" else self.args.episodes
        starts, goals = loop.draw(self.task, jax.random.key(1000 + self.seed), count)
        began = now()
        if method == "plan":
            policies, more = self.plan(starts, goals)
        else:
            alone = {"clone": self.clone, "apg": self.apg}
            one, more = alone[method]() if method in alone else self.learn(method)
            policies = repeated(one, count)
        seconds, spent = np.subtract(now(), began).tolist()
        row = {"task": self.name, "method": method, "seed": self.seed}
        row |= {"seconds": seconds, "core_seconds": spent, "compiling": None} | more
        row |= self.judged(policies, starts, goals, self.model)
        if self.case.robot is None:
            return row | {"reality": None}
        world = simulate(self.task, functools.partial(self.case.robot, self.task, self.seed))
        return row | {"reality": self.judged(policies, starts, goals, world)["success"]}


def learned(curve: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The curve of a run, and what it took without compiling, from a row per epoch."""
    result: dict[str, Any]
    result = {"curve": [{k: r[k] for k in ("steps", "return", "core_seconds")} for r in curve]}
    for kind in ("seconds", "core_seconds"):  # the first epoch, and one that goes on, compile
        each = np.array([row[kind] for row in curve])
        result[kind] = float(np.median(each) * len(each))
        result["compiling"] = float(each.sum()) - result[kind]  # of cores, at last
    return result


def draw(rows: Sequence[dict[str, Any]]) -> Figure:
    """A row of panels per task: return over steps, and over core-seconds."""
    tasks = [*dict.fromkeys(row["task"] for row in rows)]
    figure = Figure((7.0, 2.2 * len(tasks)), layout="constrained")
    axes = figure.subplots(len(tasks), 2, squeeze=False)
    for pair, task in zip(axes, tasks, strict=True):
        for row in (r for r in rows if r["task"] == task):
            for axis, over in zip(pair, ("steps", "core_seconds"), strict=True):
                if row["method"] in LEVELS:
                    colour = LEVELS[row["method"]]
                    axis.axhline(row["return"], color=colour, lw=1, label=row["method"])
                    continue
                each = [point for point in row["curve"] if point["return"] is not None]
                at = np.array([point[over] for point in each])
                if over == "core_seconds":  # the first epoch, and one that goes on, compile
                    at = np.median(at) * np.arange(1, len(at) + 1)
                shown = [point["return"] for point in each]
                axis.plot(at, shown, color=COLOURS[row["method"]], lw=1.3, label=row["method"])
                axis.set_xscale("log")
                axis.xaxis.set_minor_formatter(NullFormatter())
        pair[0].set_ylabel(f"{task}: return")
        for axis in pair:
            lines = dict(zip(*axis.get_legend_handles_labels()[::-1], strict=True))
            axis.legend(lines.values(), lines.keys(), fontsize=7, frameon=False)
    axes[-1][0].set_xlabel("control steps of the model")
    axes[-1][1].set_xlabel("core-seconds, without compiling")
    return figure


def main(args: Args) -> int:
    """Makes the rows that are not there; prints one JSON line."""
    runtime.configure()
    for asked in args.rows:
        name, _, method = asked.partition("-")
        if name not in CASES or method not in METHODS:
            raise InputError(f"--rows {asked}: give TASK-METHOD, of {[*CASES]} and {METHODS}")
        for seed in args.seeds:
            path = args.out / "rows" / f"{asked}-{seed}.json"
            once(path, lambda n=name, s=seed, m=method: Seed(args, n, s).row(m))
    rows = [json.loads(path.read_text()) for path in (args.out / "rows").glob("*.json")]
    order = [*CASES], [*METHODS]
    rows.sort(key=lambda r: (order[0].index(r["task"]), order[1].index(r["method"]), r["seed"]))
    config = {name: CASES[name].gradient for name in CASES}
    write(args.out, TITLE, rows, COLUMNS, note=NOTE, config=config)
    write_figure(args.out / "figure.png", draw(rows))
    print(json.dumps({"rows": len(rows), "out": str(args.out)}))
    return 0


if __name__ == "__main__":
    sys.exit(runtime.command(main, __doc__))
