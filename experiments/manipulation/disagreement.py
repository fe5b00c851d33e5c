"""Is it worth knowing where the members of an ensemble disagree?

Question: do policies get better where synthetic episodes are thinned by disagreement, and a model
          where corrections are asked for by it?
Command:  python -m experiments.manipulation.disagreement --task push --out runs/disagreement/push
Runtime:  a quarter of an hour on a core and task; the same command goes on
Expected: one JSON line: ratios of errors, to a penalty of 0 and to asking at random

The members are five worlds of C MuJoCo, whose physics is drawn from what the corrections leave open
(``finetune.hybrid.drawn_members``): an ensemble whose gate is shut. Every repeat has a loop of its
own: version 0 is deployed, ``asked`` corrections at random come back, physics is fitted to them.

*Penalty*: the fitted version's demonstrations, each kept with a probability that falls with the
members' disagreement (``loop.thinned``); a policy is cloned from as many as the strictest penalty
keeps, and judged in reality. All penalties share the demonstrations and their order.

*Asking*: the version's policy plays ``asked`` further contexts in reality, at random or those of
``CANDIDATES`` times as many that members disagree most about. Physics is fitted to all, and a
policy cloned from the new version's demonstrations is judged in the same contexts of reality.
"""

import dataclasses
import functools
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
import pandas as pd

from experiments.manipulation import two_turns
from experiments.recordings.statistics import ratio_t_interval
from experiments.records import once, with_interval, write
from experiments.slide import reality as slide_reality
from experiments.slide.study import FULL
from worldmodel import loop, runtime
from worldmodel.episodes.errors import Channels
from worldmodel.episodes.windows import WindowGrid
from worldmodel.finetune.gauss_newton import uncertainty_at
from worldmodel.finetune.hybrid import drawn_members
from worldmodel.finetune.least_squares import IdentifyConfig
from worldmodel.loop.next_version import WHOLE
from worldmodel.loop.turn import Trainer
from worldmodel.model import Network, Velocity, WorldModel, init
from worldmodel.policies.clone import Clone
from worldmodel.policies.plan import Expert, PlanError
from worldmodel.reality.simulated import SimulatedRobot, simulate
from worldmodel.runtime.records import plain
from worldmodel.runtime.settings import claim
from worldmodel.tasks.play import Simulate, episodes, repeated
from worldmodel.tasks.task import Task
from worldmodel.types import Episode, Goal, Policy, Start

MEMBERS = 5
PENALTIES = (0.0, 0.5, 1.0, 2.0)
CANDIDATES = 16  # contexts drawn per correction that is asked for
CHOICES = ("random", "disagreement")
COLUMNS = {
    "part": "part",
    "choice": "choice",
    "repeats": "repeats",
    "error [mm]": lambda row: f"{1e3 * row['error']:.1f}",
    "of the first": lambda row: with_interval(row["ratio"]),
    "success": "success:.3f",
}
NOTE = (
    "Ratios of mean errors to the first row of their part; 95 % t-intervals, paired over repeats."
)
Row = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Args:
    """Command line."""

    out: Path
    task: Literal["push", "slide"] = "push"
    seed: int = 0  # of reality, and of every draw
    repeats: int = 8
    asked: int = 6  # corrections, each time
    generated: int = 96  # demonstrations
    rollouts: int = 100  # of every policy in reality
    fit: IdentifyConfig = two_turns.FIT


@dataclasses.dataclass(frozen=True)
class Setting:
    """A task, who demonstrates it, and its held-out reality."""

    task: Task
    robot: Callable[[], SimulatedRobot]
    expert: Expert
    trainer: Trainer
    channels: Channels
    grid: WindowGrid


def setting(args: Args) -> Setting:
    """That of a task and a reality."""
    if args.task == "slide":
        task = slide_reality.slide_task()
        hidden = slide_reality.draw_hidden(args.seed)
        robot = functools.partial(slide_reality.robot, hidden, args.seed)
        return Setting(task, robot, FULL.person, Clone(FULL.recipe), task.channels, WHOLE)
    of_turns = two_turns.Args(args.out, task=args.task)
    one = two_turns.Seed(of_turns, args.seed)
    return Setting(one.task, one.robot, one.expert, one.trainer, one.channels, one.problem.grid)


class Repeat:
    """A loop of its own: its draws, its versions."""

    def __init__(self, args: Args, own: Setting, repeat: int) -> None:
        self.args, self.own, self.folder = args, own, args.out / f"repeat{repeat}"
        self.key = jax.random.fold_in(jax.random.key(args.seed), repeat)
        self.reality = simulate(own.task, own.robot)

    def drawn(self, stream: int, count: int) -> tuple[Start, Goal]:
        """Contexts."""
        return loop.draw(self.own.task, jax.random.fold_in(self.key, stream), count)

    def played(self, policy: Policy, contexts: tuple[Start, Goal], world: Simulate) -> list:
        """Episodes of one policy."""
        count = len(np.asarray(contexts[0].qpos))
        rows = world(repeated(policy, count), *contexts, self.key)
        return episodes(self.own.task, rows, contexts[1], source="real")

    def demonstrations(self, version: loop.Version) -> tuple[Policy, list[Episode]]:
        """Of a version: who demonstrates, and the episodes."""
        own, (starts, goals) = self.own, self.drawn(1, self.args.generated)
        world = loop.simulator(version, own.task, engine="c")
        policy = own.expert.plan(world, starts, goals, self.key)
        played = world(policy, starts, goals, self.key)
        return policy, episodes(own.task, played, goals, source="model")

    def fitted(self, name: str, corrections: list[Episode]) -> loop.Version:
        """Version 0's physics, fitted to corrections."""
        world = WorldModel(self.own.task.scene, self.own.task.free)
        first = loop.first_version(self.folder / "versions", world)
        if not corrections:
            return first
        return loop.finetune(
            self.folder / "versions",
            first,
            name,
            world,
            corrections,
            self.own.channels,
            self.args.fit,
            held_out=0,
            spent=len(corrections),
            record=lambda row: None,
            stop=lambda: False,
            grid=self.own.grid,
        )

    def members(self, version: loop.Version, corrections: list[Episode]) -> list[Simulate]:
        """Worlds of what a version's corrections leave open."""
        windows = self.own.grid.cut(corrections)[0]
        doubt = uncertainty_at(version.world, version.parameters, windows, self.args.fit)
        network = Network(members=MEMBERS)
        several = dataclasses.replace(version.world, correction=Velocity(), network=network)
        origin = init(several, self.key) | {"physics": version.parameters["physics"]}
        each = drawn_members(several, origin, doubt.covariance, windows, self.args.seed)
        alone = [{"physics": member["physics"], "network": {}} for member in each]
        versions = [dataclasses.replace(version, parameters=one) for one in alone]
        return [loop.simulator(one, self.own.task, engine="c") for one in versions]

    def judged(self, policy: Policy) -> Row:
        """Error and success in reality; the same contexts for every policy of a repeat."""
        real = self.played(policy, self.drawn(2, self.args.rollouts), self.reality)
        return loop.scores(self.own.task, real)

    def run(self, repeat: int) -> list[Row]:
        """The rows of both parts."""
        own, args = self.own, self.args
        _, shown = self.demonstrations(self.fitted("v0", []))
        policy = own.trainer(own.task, shown, repeat)
        corrections = self.played(policy, self.drawn(3, args.asked), self.reality)
        version = self.fitted("v1", corrections)
        worlds = self.members(version, corrections)
        between = functools.partial(loop.disagreement_between, worlds, own.task)
        expert, shown = self.demonstrations(version)
        doubt = between(expert, *self.drawn(1, args.generated), self.key)
        rows = self.penalised(shown, doubt, repeat)
        policy = own.trainer(own.task, shown, repeat)
        starts, goals = self.drawn(4, CANDIDATES * args.asked)
        doubt = between(repeated(policy, CANDIDATES * args.asked), starts, goals, self.key)
        picks = np.arange(args.asked), loop.most_doubtful(doubt, args.asked)
        for choice, picked in zip(CHOICES, picks, strict=True):
            at = jax.tree.map(lambda x, picked=picked: np.asarray(x)[picked], (starts, goals))
            new = self.played(policy, at, self.reality)
            _, shown = self.demonstrations(self.fitted(f"v2_{choice}", [*corrections, *new]))
            row = {"part": "asking", "choice": choice, "repeat": repeat}
            rows.append(row | self.judged(own.trainer(own.task, shown, repeat)))
        return rows

    def penalised(self, shown: list[Episode], doubt: np.ndarray, repeat: int) -> list[Row]:
        """The rows of the penalties."""
        order = np.random.default_rng([self.args.seed, repeat]).permutation(len(shown))
        kept = [loop.thinned(doubt, penalty, self.key) for penalty in PENALTIES]
        most = min(map(len, kept))
        runtime.log(f"repeat {repeat}: penalties keep {[*map(len, kept)]} of {len(shown)}")
        rows = []
        for penalty, some in zip(PENALTIES, kept, strict=True):
            chosen = [shown[i] for i in order[np.isin(order, some)][:most]]
            policy = self.own.trainer(self.own.task, chosen, repeat)
            row = {"part": "penalty", "choice": penalty, "repeat": repeat, "shown": most}
            rows.append(row | self.judged(policy))
        return rows


def run(args: Args, own: Setting, repeat: int) -> list[Row]:
    """The rows of a repeat; none where no demonstration of it succeeds."""
    try:
        return Repeat(args, own, repeat).run(repeat)
    except PlanError as error:
        runtime.log(f"WARNING: repeat {repeat} is left out: {error}")
        return []


def summary(rows: list[Row], part: str) -> list[Row]:
    """Means of one part over repeats, and ratios to its first choice, paired over repeats."""
    own = pd.DataFrame([row for row in rows if row["part"] == part])
    wide, choices = own.pivot(index="repeat", columns="choice"), own["choice"].unique().tolist()
    errors = [np.asarray(wide["error"][choice]) for choice in choices]
    return [
        {
            "part": part,
            "choice": choice,
            "repeats": len(error),
            "error": float(error.mean()),
            "ratio": [float(x) for x in ratio_t_interval(error, errors[0])],
            "success": float(np.mean(wide["success"][choice])),
        }
        for choice, error in zip(choices, errors, strict=True)
    ]


def main(args: Args) -> int:
    """Runs the repeats that are not there; prints one JSON line."""
    runtime.configure()
    settings = {k: v for k, v in plain(args).items() if k not in ("out", "repeats")}
    claim(args.out, {"experiment": "disagreement"} | settings)
    own, rows = setting(args), []
    for repeat in range(args.repeats):
        path = args.out / f"repeat{repeat}" / "rows.json"
        rows += once(path, functools.partial(run, args, own, repeat))
    shown = [*summary(rows, "penalty"), *summary(rows, "asking")]
    title = f"Where members disagree: {args.task}"
    write(args.out, title, shown, COLUMNS, note=NOTE, config=settings, each=rows)
    line = {f"{r['part']} {r['choice']}": [round(x, 3) for x in r["ratio"]] for r in shown}
    print(json.dumps({"ratio": line, "out": str(args.out)}))
    return 0


if __name__ == "__main__":
    sys.exit(runtime.command(main, __doc__))
