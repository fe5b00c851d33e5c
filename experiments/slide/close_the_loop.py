"""The whole loop once, and how many real episodes its synthetic ones replace.

Question: how many real demonstrations is one synthetic demonstration worth, before and after the
          world model learned from a few real corrections?
Command:  python -m experiments.slide.close_the_loop --out runs/loop
Runtime:  at most 15 minutes on 2 cores, a third of them compiling (precompile.py)
Expected: one JSON line: alpha of v0, v1, v2 and of the self-model control v*, which covers 1

Reality is a held-out simulation: C MuJoCo with hidden physics (experiments/slide/study.py). Version
0 is 20 % wrong in friction; its policy is deployed, K1 corrections come back, version 1 is its
physics finetuned on them; version 1's policy brings K2 more, version 2 is physics and network on
both. Alpha is measured by worldmodel.trust. The same command resumes after Ctrl-C, SIGTERM or a
kill; captured episodes are never played again.
"""

import dataclasses
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from experiments.records import plain
from experiments.slide import study as slide
from experiments.slide import turn
from experiments.slide.measurement import assemble, loop_rows, play_policies
from experiments.slide.precompile import Precompilation
from experiments.slide.report import markdown, page
from worldmodel import loop, runtime, trust
from worldmodel.episodes import lerobot
from worldmodel.model import WorldModel
from worldmodel.reality import RobotError
from worldmodel.runtime.checkpoint import config_hash
from worldmodel.runtime.files import write_json, write_text
from worldmodel.tasks.slide import task
from worldmodel.tasks.slide.data_set import data_set
from worldmodel.tasks.slide.expert import Table, make_table
from worldmodel.trust.phrases import CONTROL
from worldmodel.types import Episode


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
    turn.claim(args.out, {"hidden_seed": args.hidden_seed, "study": plain(study)})
    with runtime.Interrupt() as interrupt, Precompilation(smoke=args.smoke) as compilation:
        try:
            results = run(args, study, compilation, lambda: interrupt.requested)
        except (runtime.Interrupted, RobotError) as stopped:
            runtime.log(str(stopped))
            return interrupt.exit_status if isinstance(stopped, runtime.Interrupted) else 2
    print(json.dumps(headline(results)))
    return 0


def run(
    args: Args, study: slide.Study, compilation: Precompilation, stop: Callable[[], bool]
) -> dict[str, Any]:
    """All stages in order; each is taken from its folder where an earlier run finished it."""
    out, seed = args.out, args.hidden_seed
    hidden = slide.draw_hidden(seed)
    clock = turn.Clock(out / "seconds.json")

    def go_on() -> None:
        if stop():
            raise runtime.Interrupted("stopped between two stages; run the same command to go on")

    def rng(*stream: int) -> np.random.Generator:
        return np.random.default_rng([seed, *stream])

    def demonstrate(folder: str, count: int, stream: int) -> list[Episode]:
        machine, noise = slide.robot(hidden, stream), study.noise
        return turn.real_demonstrations(
            out / folder, machine, tables[CONTROL], count, noise, rng(stream), stop
        )

    each, most = max(study.real), max(study.m)
    with clock.stage("reality: the operator learns the table"):
        tables: dict[str, Table] = {CONTROL: make_table(slide.simulator(hidden))}
    with clock.stage("reality: demonstrations"):
        demos = demonstrate("real", study.seeds * each, 1)
    with clock.stage("reality as its own world model"):
        pools: dict[str, list[Episode]] = {CONTROL: demonstrate("twin", study.seeds * most, 2)}
    versions: dict[str, loop.Version] = {}

    def add(version: loop.Version, stream: int) -> None:
        go_on()
        versions[version.name] = version
        with clock.stage(f"{version.name}: synthetic episodes"):
            compilation.wait(f"{version.world.name} simulator", go_on)
            count = max(study.seeds * most, study.deployed)
            tables[version.name], pools[version.name] = turn.synthetic_demonstrations(
                version, count, study.noise, rng(3, stream)
            )

    def deploy(name: str, count: int, stream: int) -> list[Episode]:
        go_on()
        with clock.stage(f"{name}: train its policy, deploy it, capture {count} corrections"):
            contexts = task.draw_contexts(count, rng(4, stream))
            machine = slide.robot(hidden, 10 + stream)
            corrections = turn.deploy(out, name, pools[name], contexts, machine, study, stop)
            folder = out / "data" / f"corrections_{name}"
            _write_data_set(folder, corrections, args, intervention=True)
        return corrections

    def refit(parent: str, name: str, world: WorldModel, episodes: list[Episode]) -> loop.Version:
        go_on()
        what = f"finetune {world.name} from {parent} on {len(episodes)} corrections"
        with clock.stage(f"{name}: {what}"):
            compilation.wait(f"{world.name} fit", go_on)
            return turn.refit(out, versions[parent], name, world, episodes, study, stop)

    physics = turn.physics(study)
    hybrid = turn.hybrid(physics)
    add(loop.first_version(out / "versions", physics), 0)
    first = deploy("v0", study.first, 0)
    add(refit("v0", "v1", physics, first), 1)
    both = first + deploy("v1", study.second, 1)
    add(refit("v1", "v2", hybrid, both), 2)
    add(refit("v0", "v1-hybrid", hybrid, first), 3)
    add(refit("v1", "v2-physics", physics, both), 4)
    direct = refit("v1", "direct", physics, first + demos[: study.n[0]])

    with clock.stage("data sets"):
        _write_data_set(out / "data" / "real", demos[:each], args, intervention=False)
        for name in versions:
            folder = out / "data" / f"synthetic_{name}"
            _write_data_set(folder, pools[name][:each], args, intervention=False)
    go_on()
    with clock.stage("train every policy and play it in reality"):
        measured = play_policies(out, study, hidden, demos, pools, versions, seed, stop)
    results = assemble(
        study, hidden, clock.seconds, tables, versions, direct, measured, seed, smoke=args.smoke
    )
    data_sets = sorted((out / "data").iterdir())
    results["data_sets"] = {p.name: str(p.relative_to(out)) for p in data_sets}
    trust.write_csv(out / "rows.csv", loop_rows(study, versions, measured["rows"]))
    write_json(out / "results.json", results)
    write_text(out / "cells.md", markdown(results))
    write_text(out / "report.html", page(results))
    return results


def _write_data_set(
    path: Path, episodes: Sequence[Episode], args: Args, *, intervention: bool
) -> None:
    if path.is_dir():
        if damaged := lerobot.read(path).damaged:
            raise lerobot.DatasetError("; ".join(damaged))
        return
    provenance = runtime.provenance() | {
        "reality": "held-out simulation",
        "hidden_seed": args.hidden_seed,
        "smoke": args.smoke,
        "mjcf_sha256": config_hash(task.scene().mjcf),
    }
    lerobot.write(path, data_set(episodes, provenance, intervention=intervention))


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
