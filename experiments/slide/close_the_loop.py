"""The whole loop once, and how many real episodes its synthetic ones replace.

Question: how many real demonstrations is one synthetic demonstration worth, before and after the
          world model learned from a few real corrections?
Command:  python -m experiments.slide.close_the_loop --out runs/loop
          python -m experiments.slide.close_the_loop --full --out runs/full
Runtime:  at most 6 minutes on 2 idle cores, 3 where everything is compiled; --full 15
Expected: one JSON line: alpha of v0, v1 and of the self-model control v*, which covers 1

Reality is a held-out simulation: C MuJoCo with hidden physics (experiments/slide/reality.py).
Version 0 is 20 % wrong in friction; its policy is deployed, K1 corrections come back, version 1 is
its physics finetuned on them. ``--full`` goes on, with twice the replicates: version 1's policy
brings K2 more, version 2 is physics and network on both; two more versions tell the halves apart.
Alpha is measured by worldmodel.trust. The same command resumes after Ctrl-C, SIGTERM or a kill;
corrections are never played again.
"""

import dataclasses
import json
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import tyro

from experiments.records import plain
from experiments.slide import reality, turn
from experiments.slide import study as slide
from experiments.slide.measurement import assemble, loop_rows, play_policies, players
from experiments.slide.precompile import Precompilation
from experiments.slide.report import markdown, page
from worldmodel import loop, runtime, trust
from worldmodel.episodes import lerobot
from worldmodel.model import WorldModel
from worldmodel.reality import RobotError
from worldmodel.runtime.checkpoint import config_hash
from worldmodel.runtime.files import write_json, write_text
from worldmodel.tasks import data_set
from worldmodel.tasks.play import Simulate
from worldmodel.tasks.slide.expert import make_table
from worldmodel.trust.phrases import CONTROL
from worldmodel.types import Array, Episode


@dataclasses.dataclass(frozen=True)
class Args:
    """Command line."""

    out: Path  # folder for everything
    hidden_seed: int = slide.HIDDEN_SEEDS[0]  # which reality
    full: bool = False  # the published study: all six versions, 64 replicates
    smoke: bool = False  # tiny sizes, to see that it runs; its numbers mean nothing

    @property
    def study(self) -> slide.Study:
        """What it measures."""
        study = slide.FULL if self.full else slide.STUDY
        return slide.smoke(study) if self.smoke else study


def main(args: Args) -> int:
    """Runs or resumes one turn; prints one JSON line; returns the exit status."""
    runtime.configure()
    turn.claim(args.out, {"hidden_seed": args.hidden_seed, "study": plain(args.study)})
    with (
        runtime.Interrupt() as interrupt,
        Precompilation(full=args.full, smoke=args.smoke) as compilation,
        players() as workers,
    ):
        try:
            results = run(args, compilation, workers, lambda: interrupt.requested)
        except (runtime.Interrupted, RobotError) as stopped:
            runtime.log(str(stopped))
            return interrupt.exit_status if isinstance(stopped, runtime.Interrupted) else 2
    print(json.dumps(headline(results)))
    return 0


def run(
    args: Args, compilation: Precompilation, workers: Executor, stop: Callable[[], bool]
) -> dict[str, Any]:
    """All stages in order; each is taken from its folder where an earlier run finished it."""
    out, seed, study = args.out, args.hidden_seed, args.study
    hidden = reality.draw_hidden(seed)
    clock = turn.Clock(out / "seconds.json")
    each, most = max(study.real), max(study.m)
    worlds: dict[str, tuple[loop.Version, Simulate]] = {}
    pools: dict[str, list[Episode]] = {}

    def go_on() -> None:
        if stop():
            raise runtime.Interrupted("stopped between two stages; run the same command to go on")

    def key(*stream: int) -> Array:
        return turn.key(seed, *stream)

    def demonstrate(count: int, stream: int) -> list[Episode]:
        play = reality.simulator(hidden, seed, stream, workers=workers)
        return turn.demonstrate(play, study, table, count, key(stream), "real")

    def add(version: loop.Version, stream: int) -> None:
        go_on()
        with clock.stage(f"{version.name}: synthetic episodes"):
            kind = version.world.name
            compilation.wait("hybrid simulator" if version.world.learns else "prediction", go_on)
            runtime.log(f"playing the {kind} model {version.name}")
            play, count = turn.player(version, study), max(study.seeds * most, study.deployed)
            pools[version.name] = turn.demonstrate(
                play, study, make_table(play), count, key(3, stream), version.name
            )
            worlds[version.name] = version, play

    def deploy(name: str, count: int, stream: int) -> list[Episode]:
        go_on()
        with clock.stage(f"{name}: train its policy, deploy it, capture {count} corrections"):
            contexts = turn.draw(count, key(4, stream))
            machine = reality.robot(hidden, seed, 10 + stream)
            corrections = turn.deploy(out, name, pools[name], contexts, machine, study, stop)
            write(f"corrections_{name}", corrections)
        return corrections

    def refit(parent: str, name: str, world: WorldModel, episodes: list[Episode]) -> loop.Version:
        go_on()
        what = f"finetune {world.name} from {parent} on {len(episodes)} corrections"
        with clock.stage(f"{name}: {what}"):
            compilation.wait(f"{world.name} fit", go_on)
            return turn.refit(out, worlds[parent][0], name, world, episodes, study, stop)

    def write(name: str, episodes: Sequence[Episode]) -> None:
        _write_data_set(out / "data" / name, episodes, args)

    with clock.stage("reality: the operator learns the table"):
        table = make_table(reality.simulator(hidden, workers=workers))
    with clock.stage("reality: demonstrations"):
        demos = demonstrate(study.seeds * each, 1)
    with clock.stage("reality as its own world model"):
        pools[CONTROL] = demonstrate(study.seeds * most, 2)
    physics = turn.physics(study)
    add(loop.first_version(out / "versions", physics), 0)
    first = deploy("v0", study.first, 0)
    add(refit("v0", "v1", physics, first), 1)
    direct = worlds["v1"]
    if study.second:
        hybrid = turn.hybrid(physics)
        both = first + deploy("v1", study.second, 1)
        add(refit("v1", "v2", hybrid, both), 2)
        add(refit("v0", "v1-hybrid", hybrid, first), 3)
        add(refit("v1", "v2-physics", physics, both), 4)
        planned_in = refit("v1", "direct", physics, first + demos[: study.n[0]])
        direct = planned_in, turn.player(planned_in, study)

    with clock.stage("data sets"):
        write("real", demos[:each])
        for name in worlds:
            write(f"synthetic_{name}", pools[name][:each])
    go_on()
    with clock.stage("train every policy and play it in reality"):
        order = {name: pools[name] for name in (*worlds, CONTROL)}
        rows = play_policies(out, study, hidden, demos, order, workers, seed, stop)
    results = assemble(
        study, hidden, clock.seconds, table, worlds, direct, rows, seed, smoke=args.smoke
    )
    data_sets = sorted((out / "data").iterdir())
    results["full"] = args.full
    results["data_sets"] = {p.name: str(p.relative_to(out)) for p in data_sets}
    versions = {name: version for name, (version, _) in worlds.items()}
    trust.write_csv(out / "rows.csv", loop_rows(study, versions, rows))
    write_json(out / "results.json", results)
    write_text(out / "cells.md", markdown(results))
    write_text(out / "report.html", page(results))
    return results


def _write_data_set(path: Path, episodes: Sequence[Episode], args: Args) -> None:
    if path.is_dir():
        if damaged := lerobot.read(path).damaged:
            raise lerobot.DatasetError("; ".join(damaged))
        return
    task = reality.slide_task()
    provenance = runtime.provenance() | {
        "reality": "held-out simulation",
        "hidden_seed": args.hidden_seed,
        "smoke": args.smoke,
        "mjcf_sha256": config_hash(task.scene.mjcf),
    }
    data_set.write(path, task, episodes, provenance)


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
