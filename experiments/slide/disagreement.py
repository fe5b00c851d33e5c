"""Is it worth knowing where the members of an ensemble disagree?

Question: do policies get better where synthetic episodes are thinned by disagreement, and a model
          where corrections are asked for by it?
Command:  python -m experiments.slide.disagreement --run runs/full
          --out experiments/results/slide/disagreement
Runtime:  half an hour on 2 cores: a refit, physics and network, per way of asking and repeat
Expected: one JSON line: ratios of misses, to a penalty of 0 and to asking at random

RUN is a finished ``close_the_loop --full``, whose "v1-hybrid" is an ensemble on six corrections.

*Penalty*: one pool of its episodes, each kept with a probability that falls with the members'
disagreement (``loop.thinned``). Every replicate clones a policy from as many of those that are
left, in an order of its own that all penalties share, and plays it in reality.

*Asking*: the version's policy plays ASKED further contexts in reality, at random or those of
``CANDIDATES`` times as many that members disagree most about. Physics, then a network, are
finetuned on them and the six before; a policy cloned from the new version's episodes is played in
reality, and strokes drawn at random are predicted.

OUT gets table.json and table.md.
"""

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments.recordings.statistics import ratio_t_interval
from experiments.records import plain, write
from experiments.slide.measurement import places_of, score
from experiments.slide.reality import Hidden, draw_hidden, robot, simulator, slide_task
from experiments.slide.study import FULL
from experiments.slide.turn import draw, hybrid, key, physics, player
from experiments.slide.workers import Workers
from worldmodel import loop, runtime
from worldmodel.commands.version import version_of
from worldmodel.policies.clone import Cloned, clone
from worldmodel.reality import capture
from worldmodel.rollout import Constant
from worldmodel.runtime.files import write_json
from worldmodel.runtime.settings import claim
from worldmodel.tasks import data_set
from worldmodel.tasks.play import episodes, repeated
from worldmodel.tasks.slide.expert import make_table
from worldmodel.tasks.slide.task import PUCK
from worldmodel.types import Episode, Goal, Trial

PENALTIES = (0.0, 0.5, 1.0, 2.0, 4.0)
CANDIDATES = 16  # contexts drawn per correction that is asked for
POOL, ASKING, JUDGED, PREDICTED = 50, 51, 52, 53  # streams of random numbers
COLUMNS = {
    "part": "part",
    "choice": "choice",
    "replicates": "replicates",
    "miss [mm]": lambda row: f"{1e3 * row['error']:.1f}",
    "of the first": lambda row: _interval(row["ratio"]),
    "success": "success:.3f",
    "prediction [mm]": lambda row: _millimetres(row["prediction"]),
    "of the first, prediction": lambda row: _interval(row["prediction_ratio"]),
}


@dataclasses.dataclass(frozen=True)
class Args:
    """Command line."""

    run: Path  # folder of a finished close_the_loop --full
    out: Path
    pool: int = 640  # episodes that penalties thin
    episodes: int = 26  # synthetic ones per policy
    replicates: int = 48  # policies per penalty
    contexts: int = 50  # rollouts of every policy in reality
    asked: int = 6  # corrections
    repeats: int = 5  # of asking, each in contexts of its own


def main(args: Args) -> int:
    """Measures, writes OUT, prints one JSON line."""
    runtime.configure()
    config = json.loads((args.run / "table.json").read_text())
    seed = int(config["hidden_seed"])
    settings = {k: v for k, v in plain(args).items() if k not in ("run", "out")}
    claim(args.out, {"experiment": "disagreement", "hidden_seed": seed} | settings)
    version = version_of(slide_task(), args.run / "versions" / "v1-hybrid")
    hidden = draw_hidden(seed)
    _, goal = draw(args.contexts, key(seed, JUDGED))
    with Workers() as workers:
        rows = penalised(args, version, hidden, goal, seed, workers)
        rows += asked(args, version, hidden, goal, seed, workers)
    shown = [*summary(rows, "penalty"), *summary(rows, "asking")]
    title = f"Where members disagree: slide, held-out simulation {seed}"
    write(args.out, title, shown, COLUMNS, note=NOTE, hidden_seed=seed, config=settings, each=rows)
    line = {f"{r['part']} {r['choice']}": [round(x, 3) for x in r["ratio"]] for r in shown}
    print(json.dumps({"hidden_seed": seed, "ratio": line, "out": str(args.out)}))
    return 0


NOTE = (
    "Ratios of mean misses to the first row of their part, with 95 % t-intervals paired over "
    "replicates, which share their contexts."
)


def penalised(
    args: Args,
    version: loop.Version,
    hidden: Hidden,
    goal: Goal,
    seed: int,
    workers: Workers,
) -> list[dict[str, Any]]:
    """The rows of the penalties."""
    pool, doubt = _pool(args, version, seed)
    task, data, labels = slide_task(), [], []
    for penalty in PENALTIES:
        for replicate in range(args.replicates):
            stream = key(seed, POOL, replicate)
            kept = loop.thinned(doubt, penalty, stream)
            order = np.random.default_rng([seed, replicate]).permutation(len(pool))
            rows = order[np.isin(order, kept)][: args.episodes]
            if len(rows) < args.episodes:
                raise loop.LoopError(
                    f"a penalty of {penalty} keeps {len(rows)} of {len(pool)} episodes, and "
                    f"{args.episodes} are needed; raise --pool"
                )
            data.append([pool[i] for i in rows])
            labels.append({"part": "penalty", "choice": penalty, "replicate": replicate})
    with runtime.compiling(f"and training {len(data)} policies in one call"):
        policies = clone(task, data, [row["replicate"] for row in labels], FULL.recipe)
    places = places_of(hidden, policies, [goal] * len(policies), workers)
    return [
        row | score(goal, place) | {"prediction": None}
        for row, place in zip(labels, places, strict=True)
    ]


def _pool(args: Args, version: loop.Version, seed: int) -> tuple[list[Episode], np.ndarray]:
    """Episodes of the demonstrator in a version whose members take turns, and the disagreement."""
    task, stream = slide_task(), key(seed, POOL)
    table = make_table(player(version, FULL))
    start, goal = draw(args.pool, stream)
    policy = FULL.person.act(table, goal, stream)
    doubt = loop.disagreement(version, task, policy, start, goal, stream)
    played = loop.simulator(version, task, in_turn=True)(policy, start, goal, stream)
    return episodes(task, played, goal, source=version.name), doubt


def asked(
    args: Args,
    version: loop.Version,
    hidden: Hidden,
    goal: Goal,
    seed: int,
    workers: Workers,
) -> list[dict[str, Any]]:
    """The rows of asking for corrections; each is kept as soon as it is there."""
    task = slide_task()
    first = data_set.read(args.run / "data" / "corrections_v0", task)
    policy, rows = None, []
    for repeat in range(args.repeats):
        for choice in ("random", "disagreement"):
            folder = args.out / "asking" / f"{choice}{repeat}"
            path = folder / "row.json"
            if not path.is_file():
                policy = policy or _cloned(version, seed)
                runtime.log(f"── asking by {choice}, repeat {repeat}")
                start, goals = draw(CANDIDATES * args.asked, key(seed, ASKING, repeat))
                picked = np.arange(args.asked)
                if choice == "disagreement":
                    many = repeated(policy, CANDIDATES * args.asked)
                    doubt = loop.disagreement(version, task, many, start, goals, key(seed))
                    picked = loop.most_doubtful(doubt, args.asked)
                trials = [
                    Trial(*jax.tree.map(lambda x, i=i: x[i], (start, goals)), policy=policy)
                    for i in picked
                ]
                machine = robot(hidden, seed, 100 + repeat)
                new = capture(folder / "captured", machine, task, trials, key(0))
                following = _refit(folder / "versions", [*first, *new])
                (place,) = places_of(hidden, [_cloned(following, seed)], [goal], workers)
                row = {"part": "asking", "choice": choice, "replicate": repeat}
                row |= score(goal, place)
                row["prediction"] = _prediction(following, hidden, seed, args.contexts, workers)
                write_json(path, row)
            rows.append(json.loads(path.read_text()))
    return rows


def _cloned(version: loop.Version, seed: int) -> Cloned:
    """A policy, cloned from as many episodes of a version as a deployed one is."""
    task, stream = slide_task(), key(seed, POOL, 1)
    start, goal = draw(FULL.deployed, stream)
    policy = FULL.person.act(make_table(player(version, FULL)), goal, stream)
    played = loop.simulator(version, task, in_turn=True)(policy, start, goal, stream)
    data = episodes(task, played, goal, source=version.name)
    return clone(task, [data], [0], FULL.recipe)[0]


def _refit(directory: Path, corrections: list[Episode]) -> loop.Version:
    """Physics from version 0, then a network on it, both on these corrections."""
    options: dict[str, Any] = {
        "channels": slide_task().channels,
        "held_out": len(corrections) // FULL.held_out,
        "spent": len(corrections),
        "record": lambda row: None,
        "stop": lambda: False,
    }
    v0 = loop.first_version(directory, physics(FULL))
    fitted = loop.finetune(
        directory, v0, "physics", v0.world, corrections, config=FULL.physics, **options
    )
    world = hybrid(v0.world)
    return loop.finetune(
        directory, fitted, "hybrid", world, corrections, config=FULL.hybrid, **options
    )


def _prediction(
    version: loop.Version, hidden: Hidden, seed: int, count: int, workers: Workers
) -> float:
    """[m] the mean miss of where a version says that the puck comes to rest, of random strokes."""
    start, goal = draw(count, key(seed, PREDICTED))
    generator = np.random.default_rng([seed, PREDICTED])
    strokes = Constant(generator.uniform(-0.8, 0.8, (count, 2)))
    ends = []
    model = loop.simulator(version, slide_task(), in_turn=True)
    for play in (simulator(hidden, workers=workers), model):
        played = play(strokes, start, goal, key(seed))
        ends.append(np.asarray(played.measured.joints)[:, -1, PUCK])
    return float(np.linalg.norm(ends[0] - ends[1], axis=1).mean())


def summary(rows: list[dict[str, Any]], part: str) -> list[dict[str, Any]]:
    """Means of one part over replicates, and ratios to its first choice."""
    own = [row for row in rows if row["part"] == part]
    choices = dict.fromkeys(row["choice"] for row in own)
    errors, predictions = (
        {c: np.array([r[name] for r in own if r["choice"] == c], float) for c in choices}
        for name in ("error", "prediction")
    )
    first, out = next(iter(choices)), []
    for choice in choices:
        row = {"part": part, "choice": choice, "replicates": len(errors[choice])}
        row["error"] = float(errors[choice].mean())
        row["ratio"] = [float(x) for x in ratio_t_interval(errors[choice], errors[first])]
        row["success"] = float(np.mean([r["success"] for r in own if r["choice"] == choice]))
        row |= {"prediction": None, "prediction_ratio": None}
        if part == "asking":
            ratio = ratio_t_interval(predictions[choice], predictions[first])
            row["prediction"] = float(predictions[choice].mean())
            row["prediction_ratio"] = [float(x) for x in ratio]
        out.append(row)
    return out


def _millimetres(value: float | None) -> str | None:
    return None if value is None else f"{1e3 * value:.1f}"


def _interval(ratio: list[float] | None) -> str | None:
    return None if ratio is None else "{:.3f} [{:.3f}, {:.3f}]".format(*ratio)


if __name__ == "__main__":
    sys.exit(runtime.command(main, __doc__))
