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
from experiments.slide.measurement import loop_rows, players
from experiments.slide.turn import clone_policies, strokes_of
from worldmodel import runtime, trust
from worldmodel.reality import HiddenPhysics
from worldmodel.runtime.files import write_json
from worldmodel.tasks.slide import task
from worldmodel.tasks.slide.expert import demonstrate, make_table, plan

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
    study, seed = slide.STUDY, slide.PILOT_SEED
    hidden = slide.draw_hidden(seed)
    table = make_table(slide.simulator(hidden))
    judged = task.draw_contexts(study.contexts, np.random.default_rng([seed, 5]))
    data = []
    for s in range(args.seeds):
        rng = np.random.default_rng([seed, 1, s])
        contexts = task.draw_contexts(max(study.real), rng)
        strokes = demonstrate(table, contexts, study.noise, rng)
        data += [(contexts.table[:n], strokes[:n]) for n in study.real]
    seeds = [s for s in range(args.seeds) for _ in study.real]
    policies = clone_policies(data, seeds, study.recipe)
    jobs = [(hidden, judged.start, strokes_of(p, judged, study.recipe)) for p in policies]
    with players() as workers:
        places = list(workers.map(slide.final_places, jobs, chunksize=4))
        # The best that a fit could do with each friction.
        family = [HiddenPhysics(f, mass=hidden.mass, damping=hidden.damping) for f in FRICTIONS]
        planned = [plan(make_table(slide.simulator(member)), judged) for member in family]
        tried = list(workers.map(slide.final_places, [(hidden, judged.start, s) for s in planned]))
    sizes = study.real * args.seeds
    errors = [float(task.distance_to_target(judged, place).mean()) for place in places]
    measured = [
        {"version": "", "n": n, "m": 0, "seed": s, "error": error}
        for n, s, error in zip(sizes, seeds, errors, strict=True)
    ]
    rows = loop_rows(study, {}, measured)
    means = {n: [r.error for r in rows if r.n == n] for n in study.real}
    in_family = [float(task.distance_to_target(judged, p).mean()) for p in tried]
    true = slide.final_places((hidden, judged.start, plan(table, judged)))
    shown = slide.final_places(
        (hidden, judged.start, demonstrate(table, judged, study.noise, np.random.default_rng(0)))
    )
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
        "demonstrator_m": float(task.distance_to_target(judged, shown).mean()),
        "planned_in_reality_m": float(task.distance_to_target(judged, true).mean()),
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
