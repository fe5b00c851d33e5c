"""Alpha of task "slide" for the loop: every replicate closes the whole loop for itself.

Question: does alpha rise from version to version when corrections, refits, synthetic episodes,
          demonstrations and policies are all drawn anew, and do the oracles come out through the
          same stack?
Command:  python -m experiments.slide.replicates --out runs/replicates
Runtime:  about seven minutes per replicate on one core, ten replicates; resumes where it stopped
Expected: v* covers 1 within 0.25; thinning covers its p; duplicates cover 0; permuted below 0

``close_the_loop`` measures the versions of one turn: "for these checkpoints". Here a replicate is
a turn. Version 0's policy, cloned from its own synthetic episodes, is deployed in contexts and
with sensor noise of its own and brings 6 corrections; version 1 is its physics refit on them;
version 1's policy brings 6 more; version 2 is physics and network on all 12. Refits differ in seed
as well. All replicates share reality itself (hidden seed 21), version 0's physics and the prior:
the claim is "for the loop, in this reality".

The design was fixed before any mixture was run, from the real-only curve of pilot.json (another
reality, then discarded): its error falls from 0.164 m at n = 3 to 0.045 m at 48, and by a tenth
from there to 84. So n = 6, 12 and m = 12, 18, 24, of which all n + m lie between 18 and 36;
real-only sizes are about 1.6 times apart from 3 to 48 and bracket them. No m below 12 could pay for
version 2's 12 corrections, even at alpha = 1. One policy's error varies by 0.2 to 0.4 of itself
there. A replicate's error in a cell is therefore the mean over 20 trainings, each on demonstrations
and synthetic episodes of its own and judged in 8 contexts of its own: at cv 0.08, slope 0.4, six
cells and ten replicates the planner's formula gives the control's mean alpha a half-width of 0.2.

Expectations: v* covers 1, or nothing else is believed. Thinning, of whose m episodes exactly p m
are fresh real ones and the rest empty, covers alpha = p. Duplicates of the n cover 0 (more rows
also loosen the recipe's weight decay, so a little below is no surprise). Permuted strokes, dealt to
other contexts, lie below 0. "Alpha rises" from one version to the next only where the lower bound
of the difference of net gains is above 0. The sham turn, refit on the same six contexts and strokes
with the outcomes that version 0 itself predicts, under the same sensor noise, must not raise alpha
over version 0 as version 1 does.
"""

import dataclasses
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments.alpha import CONTROL, publish, summary
from experiments.slide import reality, turn
from experiments.slide import study as slide
from experiments.slide.measurement import places_of, score, spent_on, table_rows
from experiments.slide.replicate_cells import MODELS, THEORY, cells_of, training_set
from experiments.slide.workers import Workers
from worldmodel import loop, runtime, trust
from worldmodel.policies.clone import clone
from worldmodel.reality import RobotError
from worldmodel.rollout import Constant
from worldmodel.runtime.files import write_json
from worldmodel.runtime.settings import claim
from worldmodel.tasks.play import episodes
from worldmodel.tasks.slide.expert import make_table
from worldmodel.tasks.slide.task import at_rest
from worldmodel.types import Episode, Goal

HIDDEN_SEED = 21
JUDGED, SHAM = 5, 6  # streams of random numbers, after those of a turn
PAIRS = (("v1", "v0"), ("v2", "v1"), ("v2", "v0"), ("v1-sham", "v0"), ("v1", "v1-sham"))


@dataclasses.dataclass(frozen=True)
class Args:
    """Command line."""

    out: Path  # folder for everything
    replicates: int | None = None  # how many; as designed by default. A folder can take more later
    smoke: bool = False  # tiny sizes, to see that it runs; its numbers mean nothing


@dataclasses.dataclass(frozen=True)
class Design:
    """Sizes of the measurement; ``study.seeds`` replicates are planned."""

    study: slide.Study
    trainings: int  # in each cell of a replicate; each has data, weights and contexts of its own

    @property
    def recipe(self) -> str:
        """What one row's error is."""
        return f"cloned, weight 1; mean error of {self.trainings} trainings"


DESIGN = Design(
    dataclasses.replace(
        slide.FULL, seeds=10, real=(3, 6, 12, 20, 32, 48), n=(6, 12), m=(12, 18, 24), contexts=8
    ),
    trainings=20,
)
SMOKE = Design(
    dataclasses.replace(
        slide.smoke(slide.FULL), seeds=2, real=(3, 6, 12), n=(3,), m=(3,), contexts=2
    ),
    trainings=2,
)


def main(args: Args) -> int:
    """Runs or resumes the replicates; prints one JSON line; returns the exit status."""
    runtime.configure()
    design = SMOKE if args.smoke else DESIGN
    claim(args.out, {"hidden_seed": HIDDEN_SEED, "design": design})
    with runtime.Interrupt() as interrupt:
        try:
            count = args.replicates or design.study.seeds
            done = run(args.out, count, design, lambda: interrupt.requested)
        except (runtime.Interrupted, RobotError) as stopped:
            runtime.log(str(stopped))
            return interrupt.exit_status if isinstance(stopped, runtime.Interrupted) else 2
    table = publish(
        args.out,
        f"Task slide, {count} whole loops" + " (SMOKE: means nothing)" * args.smoke,
        rows_of(design, done),
        pairs=PAIRS,
        theory=THEORY,
        unit=("miss [cm]", 100.0),
        hidden_seed=HIDDEN_SEED,
        config={"design": design, "hidden": reality.draw_hidden(HIDDEN_SEED), "smoke": args.smoke},
        physics=[result["physics"] for result in done],
        stages=[result["stages"] for result in done],
    )
    print(json.dumps({"task": "slide", "hidden_seed": HIDDEN_SEED, "alpha": summary(table)}))
    return 0


def run(out: Path, count: int, design: Design, stop: Callable[[], bool]) -> list[dict[str, Any]]:
    """``count`` replicates, each from its file where an earlier run finished it."""
    hidden = reality.draw_hidden(HIDDEN_SEED)
    with Workers() as workers:
        table = make_table(reality.simulator(hidden, workers=workers))
        done = []
        for s in range(count):
            path = out / f"replicate_{s:02d}.json"
            if not path.is_file():
                one = turn.Turn(
                    out / f"{s:02d}",
                    design.study,
                    hidden,
                    table,
                    synthetic=design.trainings * max(design.study.m),
                    seeds=(HIDDEN_SEED, s + 1),
                    streams=(HIDDEN_SEED, 8, s + 1),
                    first=1,
                    workers=workers,
                    stop=stop,
                    seed=s,
                )
                write_json(path, replicate(one, design))
                took = sum(stage.seconds for stage in one.spent.values())
                runtime.log(f"replicate {s + 1}/{count} in {took:.0f} s")
            done.append(json.loads(path.read_text()))
    return done


def replicate(one: turn.Turn, design: Design) -> dict[str, Any]:
    """One whole loop, and the errors of all its policies: rows, versions, seconds."""
    study, world = design.study, turn.physics(design.study)
    one.out.mkdir(exist_ok=True)
    with one.stage("reality: demonstrations"):
        demos = one.real(design.trainings * max(study.real), turn.DEMONSTRATIONS)
        twin = one.real(design.trainings * max(study.m), turn.TWIN)
    one.add(loop.first_version(one.out / "versions", world))
    first = one.deploy("v0", study.first)
    one.add(one.refit("v0", "v1", world, first))
    both = first + one.deploy("v1", study.second)
    one.add(one.refit("v1", "v2", turn.hybrid(world), both))
    sham = one.refit("v0", "v1-sham", world, predicted(one, first))
    one.add(dataclasses.replace(sham, corrections=0))  # no real episode was asked for

    judged = [turn.draw(study.contexts, one.key(JUDGED, r))[1] for r in range(design.trainings)]
    with one.stage("train every policy and play it in reality"):
        pools = one.pools | {CONTROL: twin}
        rows = measure_cells(one.seed, design, one.hidden, demos, pools, judged, one.workers)
    fitted = {
        name: {key: value.tolist() for key, value in loop.physical_values(version).items()}
        for name, version in one.versions.items()
    }
    spent = spent_on(one.versions) | dict.fromkeys(THEORY, 0)
    return {"rows": rows, "spent": spent, "physics": fitted, "stages": one.spent}


def predicted(one: turn.Turn, corrections: Sequence[Episode]) -> list[Episode]:
    """The same goals and strokes, with the outcomes that version 0 predicts and the noise of the
    robot's sensors."""
    goal = jax.tree.map(lambda *x: np.stack(x), *(e.goal for e in corrections))
    actions = [e.action for e in corrections if e.action is not None]
    strokes, key = Constant(np.stack([action[0] for action in actions])), one.key(SHAM)
    played = one.players["v0"](strokes, at_rest(goal["start"]), goal, key)
    joints = np.asarray(played.measured.joints)
    noise = np.array(one.hidden.noise) * np.asarray(jax.random.normal(key, joints.shape))
    measured = dataclasses.replace(played.measured, joints=joints + noise)
    played = dataclasses.replace(played, measured=measured)
    return episodes(reality.slide_task(), played, goal, source="v0")


def measure_cells(
    s: int,
    design: Design,
    hidden: reality.Hidden,
    real: Sequence[Episode],
    pools: Mapping[str, Sequence[Episode]],
    judged: Sequence[Goal],
    workers: Executor,
) -> list[dict[str, Any]]:
    """Trains and plays every policy of a replicate; a row per cell, the mean over trainings."""
    study, cells = design.study, cells_of(design.study)
    most, each = max(study.m), max(study.real)
    data, seeds = [], []
    for r in range(design.trainings):
        mine = real[r * each : (r + 1) * each]
        synthetic = {name: pool[r * most : (r + 1) * most] for name, pool in pools.items()}
        data += [training_set(*cell, mine, synthetic) for cell in cells]
        seeds += [s * design.trainings + r] * len(cells)
    runtime.log(f"training {len(data)} policies in one call")
    policies = clone(reality.slide_task(), data, seeds, study.recipe)
    goals = [judged[i // len(cells)] for i in range(len(policies))]
    places = places_of(hidden, policies, goals, workers)
    scores = [score(goal, place) for goal, place in zip(goals, places, strict=True)]
    rows = []
    for i, (version, n, m) in enumerate(cells):
        trainings = scores[i :: len(cells)]
        mean = {key: float(np.mean([x[key] for x in trainings])) for key in trainings[0]}
        rows.append({"version": version, "n": n, "m": m, "seed": s} | mean)
    return rows


def rows_of(design: Design, done: Sequence[dict[str, Any]]) -> list[trust.Row]:
    """The trust tables: the versions as task "slide", the oracles as a task of their own."""
    rows = [row for result in done for row in result["rows"]]
    tables = []
    for name, versions in (("slide", MODELS), ("slide, oracles", THEORY)):
        kept = [row for row in rows if row["version"] in ("", CONTROL, *versions)]
        tables += table_rows(
            kept,
            done[0]["spent"],
            task=name,
            recipe=design.recipe,
            evaluations=design.trainings * design.study.contexts,
            steps=design.study.recipe.steps,
        )
    return tables


if __name__ == "__main__":
    sys.exit(runtime.command(main, __doc__))
