"""The whole picture once round, and what its synthetic episodes are worth.

Question: how many real demonstrations is one synthetic demonstration worth, before and after the
          world model learned from a few real corrections?
Command:  python -m experiments.slide.close_the_loop --out runs/loop
Runtime:  at most 15 minutes on 2 cores, a third of them compiling ahead (slide_ahead)
Expected: one JSON line: alpha of v0, v1, v2 and of the self-model control v*, which covers 1

Reality is a held-out simulation: C MuJoCo with hidden physics (experiments/slide/study.py). Version 0
is 20 % wrong in friction; its policy is deployed, K1 corrections come back, version 1 is its
physics finetuned on them; version 1's policy brings K2 more, version 2 is physics and network on
both. Alpha is measured as worldmodel.trust says. The same command resumes after Ctrl-C, SIGTERM
or a kill; what was captured is never played again.
"""

import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from experiments.slide.study import turn
from experiments.slide.study import study as slide
from experiments.recordings.fit_physics import plain
from experiments.slide.study.measurement import assemble, play_policies, spent_on, table_rows
from experiments.slide.study.report import write_markdown, write_report
from experiments.slide.study.turn import Clock, Operator, claim
from experiments.slide.study.precompile import Ahead
from worldmodel.reality import capture
from worldmodel.runtime import checkpoint
from worldmodel import loop, runtime, trust
from worldmodel.model import WorldModel
from worldmodel.episodes import lerobot
from worldmodel.tasks.slide import task
from worldmodel.tasks.slide.expert import Table, make_table
from worldmodel.reality import RobotError
from worldmodel.trust.words import SELF


@dataclasses.dataclass(frozen=True)
class Args:
    """Command line."""

    out: Path  # folder for everything
    hidden_seed: int = slide.HIDDEN_SEEDS[0]  # which reality
    smoke: bool = False  # tiny sizes, to see that it runs; its numbers mean nothing


def main(args: Args) -> int:
    """Runs or resumes one turn; prints one JSON line; returns the exit status."""
    runtime.configure()
    study = slide.SMOKE if args.smoke else slide.STUDY
    claim(args.out, {"hidden_seed": args.hidden_seed, "study": plain(study)})
    with runtime.Interrupt() as interrupt, Ahead(smoke=args.smoke) as ahead:
        try:
            results = run(args, study, ahead, lambda: interrupt.requested)
        except (runtime.Interrupted, RobotError) as stopped:
            runtime.log(str(stopped))
            return interrupt.exit_status if isinstance(stopped, runtime.Interrupted) else 2
    print(json.dumps(headline(results)))
    return 0


def run(args: Args, study: slide.Study, ahead: Ahead, stop: Callable[[], bool]) -> dict[str, Any]:
    """All stages in order; each is taken from its folder where an earlier run finished it."""
    out, seed = args.out, args.hidden_seed
    hidden = slide.draw_hidden(seed)
    clock = Clock(out / "seconds.json")

    def go_on() -> None:
        if stop():
            raise runtime.Interrupted("stopped between two stages; run the same command to go on")

    def rng(*stream: int) -> np.random.Generator:
        return np.random.default_rng([seed, *stream])

    clock.start("reality: the operator learns the table")
    operator = Operator(make_table(slide.simulator(hidden)), study.noise)
    clock.done()
    clock.start("reality: demonstrations")
    each = max(study.real)
    demos = capture.demonstrations(
        out / "real", slide.robot(hidden, 1), operator, study.seeds * each, rng(1)
    )
    clock.done()
    clock.start("reality as its own world model")
    most = max(study.m)
    twin = capture.demonstrations(
        out / "twin", slide.robot(hidden, 2), operator, study.seeds * most, rng(2)
    )
    clock.done()

    pools: dict[str, list[capture.Captured]] = {SELF: twin}
    tables: dict[str, Table] = {SELF: operator.table}
    made: dict[str, loop.Version] = {}

    def add(version: loop.Version, stream: int) -> None:
        go_on()
        made[version.name] = version
        clock.start(f"{version.name}: synthetic episodes")
        ahead.wait(f"{version.world.kind} simulator", go_on)
        count = max(study.seeds * most, study.deployed)
        tables[version.name], pools[version.name] = loop.generate(
            version, count, study.noise, rng(3, stream)
        )
        clock.done()

    def deploy(name: str, count: int, stream: int) -> list[capture.Captured]:
        go_on()
        clock.start(f"{name}: train its policy, deploy it, capture {count} corrections")
        asked = task.draw_contexts(count, rng(4, stream))
        machine = slide.robot(hidden, 10 + stream)
        captured = turn.deploy(out, name, pools[name], asked, machine, study, stop)
        _write_data_set(out / "data" / f"corrections_{name}", captured, args, intervention=True)
        clock.done()
        return captured

    def refit(parent: str, name: str, kind: str, captured: list[capture.Captured]) -> loop.Version:
        go_on()
        clock.start(f"{name}: finetune {kind} from {parent} on {len(captured)} corrections")
        ahead.wait(f"{kind} fit", go_on)
        version = turn.refit(out, made[parent], name, kind, captured, study, stop)
        clock.done()
        return version

    world = WorldModel(slide.scene(), slide.FREE, network=study.network)
    add(loop.first_version(out / "versions", world), 0)
    first = deploy("v0", study.first, 0)
    add(refit("v0", "v1", "physics", first), 1)
    both = first + deploy("v1", study.second, 1)
    add(refit("v1", "v2", "hybrid", both), 2)
    add(refit("v0", "v1-hybrid", "hybrid", first), 3)
    add(refit("v1", "v2-physics", "physics", both), 4)
    spent = first + demos[: study.n[0]]
    direct = refit("v1", "direct", "physics", spent)

    clock.start("data sets")
    _write_data_set(out / "data" / "real", demos[:each], args, intervention=False)
    for name in made:
        _write_data_set(
            out / "data" / f"synthetic_{name}", pools[name][:each], args, intervention=False
        )
    clock.done()
    go_on()
    clock.start("train every policy and play it in reality")
    measured = play_policies(out, study, hidden, demos, pools, made, seed, stop)
    clock.done()
    results = assemble(
        study, hidden, clock.seconds, tables, made, direct, measured, seed, smoke=args.smoke
    )
    data_sets = sorted((out / "data").iterdir())
    results["data_sets"] = {p.name: str(p.relative_to(out)) for p in data_sets}
    trust.write_csv(out / "rows.csv", table_rows(study, spent_on(made), measured["rows"]))
    capture.write_whole(out / "results.json", (json.dumps(results, indent=1) + "\n").encode())
    write_markdown(results, out / "cells.md")
    write_report(results, out / "report.html")
    return results


def _write_data_set(
    path: Path, captured: list[capture.Captured], args: Args, *, intervention: bool
) -> None:
    if path.is_dir():
        lerobot.read(path)  # a damaged one is said by name
        return
    provenance = runtime.provenance() | {
        "reality": "held-out simulation",
        "hidden_seed": args.hidden_seed,
        "smoke": args.smoke,
        "mjcf_sha256": checkpoint.config_hash(slide.scene().mjcf),
    }
    lerobot.write(path, capture.data_set(captured, provenance, intervention=intervention))


def headline(results: dict[str, Any]) -> dict[str, Any]:
    """Alpha per version: the mean over its cells, and the largest cell; for the one JSON line."""
    shown = {}
    for name, version in results["trust"]["versions"].items():
        cell = version["cells"][-1]
        kept = ("n", "m", "k", "alpha_avg", "alpha_avg_low", "alpha_avg_high", "verdict")
        mean = {f"mean{end}": version[f"alpha{end}"] for end in ("", "_low", "_high")}
        shown[name] = mean | {k: cell[k] for k in kept}
    return {"task": "slide", "hidden_seed": results["hidden_seed"], "alpha": shown}


if __name__ == "__main__":
    sys.exit(runtime.run(main, tyro.cli(Args, description=__doc__)))
