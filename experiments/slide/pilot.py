"""The pilot of task "slide": real only, on a reality that is then discarded.

Question: does the error fall enough with real demonstrations, how noisy is it, how many
          replicates does alpha need, and does the best in-family physics leave something to gain?
Command:  python -m experiments.slide.pilot --out experiments/results/slide
Runtime:  about three minutes on 2 cores
Expected: pilot.json; the error falls at least twofold, the planner asks for 20 replicates or fewer

It reads no world model and runs no mixture: the grid, the recipe and the hidden physics in
experiments/slide/study.py were settled on it.
"""

import dataclasses
import json
import sys
from pathlib import Path

import numpy as np
import tyro

from experiments.records import plain
from experiments.slide import study as slide
from experiments.slide.measurement import CONTEXTS, loop_rows, places_of, players, qpos_of, score
from experiments.slide.reality import (
    Hidden,
    commands,
    draw_hidden,
    final_places,
    simulator,
    slide_task,
)
from experiments.slide.turn import demonstrate, draw, key
from worldmodel import runtime, trust
from worldmodel.policies.clone import clone
from worldmodel.runtime.files import write_json
from worldmodel.tasks.slide.expert import EXACT, Demonstrator, make_table

FRICTIONS = np.geomspace(0.6, 1.5, 13)  # factors tried for the best in-family physics


@dataclasses.dataclass(frozen=True)
class Args:
    """Command line."""

    out: Path  # folder for pilot.json
    seeds: int = 10  # replicates
    half_width: float = 0.25  # wanted of alpha's interval, at alpha = 1


def main(args: Args) -> int:
    """Runs the pilot; prints its JSON line."""
    runtime.configure()
    study, seed = slide.FULL, slide.PILOT_SEED
    hidden, task = draw_hidden(seed), slide_task()
    _, goal = draw(study.contexts, key(seed, CONTEXTS))
    with players() as workers:
        true = simulator(hidden, workers=workers)
        table, most = make_table(true), max(study.real)
        demos = demonstrate(true, study, table, args.seeds * most, key(seed, 1), "real")
        data = [demos[s * most :][:n] for s in range(args.seeds) for n in study.real]
        seeds = [s for s in range(args.seeds) for _ in study.real]
        policies = clone(task, data, seeds, study.recipe)
        places = places_of(hidden, policies, [goal] * len(policies), workers)
        errors = [score(goal, place)["error"] for place in places]

        def missed(person: Demonstrator, table: np.ndarray) -> float:
            action = person.act(table, goal, key(0)).action
            places = final_places((hidden, qpos_of(goal), commands(action, goal)))
            return score(goal, places)["error"]

        # The best that a fit could do with each friction.
        in_family = []
        for friction in FRICTIONS:
            member = Hidden(friction, mass=hidden.mass, damping=hidden.damping)
            in_family.append(missed(EXACT, make_table(simulator(member, workers=workers))))
    measured = [
        {"version": "", "n": n, "m": 0, "seed": s, "error": error}
        for n, s, error in zip(study.real * args.seeds, seeds, errors, strict=True)
    ]
    rows = loop_rows(study, {}, measured)
    means = {n: [r.error for r in rows if r.n == n] for n in study.real}
    plans = {
        f"n={n} m={m}": dataclasses.asdict(
            trust.seeds_needed(rows, n, m, half_width=args.half_width, cells=len(study.m) * 2)
        )
        for n in study.n
        for m in study.m
    }
    result = {
        "hidden": plain(hidden),
        "error_m": {n: float(np.mean(e)) for n, e in means.items()},
        "seed_cv": {n: float(np.std(e, ddof=1) / np.mean(e)) for n, e in means.items()},
        "falls": float(np.mean(means[study.real[0]]) / np.mean(means[study.real[-1]])),
        "demonstrator_m": missed(study.person, table),
        "planned_in_reality_m": missed(EXACT, table),
        "planned_in_family_m": dict(zip(FRICTIONS.round(3).tolist(), in_family, strict=True)),
        "best_in_family_m": min(in_family),
        "plans": plans,
        "study": plain(study),
        "provenance": runtime.provenance(),
    }
    args.out.mkdir(parents=True, exist_ok=True)
    write_json(args.out / "pilot.json", result)
    kept = ("falls", "planned_in_reality_m", "best_in_family_m")
    seeds_wanted = {name: p["seeds"] for name, p in plans.items()}
    print(json.dumps({k: result[k] for k in kept} | {"seeds": seeds_wanted}))
    return 0


if __name__ == "__main__":
    sys.exit(runtime.run(main, tyro.cli(Args, description=__doc__)))
