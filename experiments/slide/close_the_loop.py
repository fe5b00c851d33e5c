"""The whole loop once, and how many real episodes its synthetic ones replace.

Question: how many real demonstrations is one synthetic demonstration worth, before and after the
          world model learned from a few real corrections?
Command:  python -m experiments.slide.close_the_loop --out runs/loop
          python -m experiments.slide.close_the_loop --full --out runs/full
          python -m experiments.slide.close_the_loop --halves --hidden-seed 31 --out runs/31
Runtime:  at most 6 minutes on 2 idle cores, 3 where everything is compiled; --full 15
Expected: one JSON line: alpha of v0, v1 and of the self-model control v*, which covers 1

Reality is a held-out simulation: C MuJoCo with hidden physics (experiments/slide/reality.py).
Version 0 is 20 % wrong in friction; its policy is deployed, K1 corrections come back, version 1 is
its physics finetuned on them. ``--full`` goes on, with twice the replicates: version 1's policy
brings K2 more, version 2 is physics finetuned on both and a network on top. Versions with and
without the network, of the same corrections, tell the halves apart.
``--halves`` has the sizes of ``--full``, and ends with version 1, with and without a network.
Alpha is measured by worldmodel.trust. OUT gets report.html, table.json, table.md, figure.png,
rows.csv, the versions and, under data, LeRobot sets. The same command resumes after Ctrl-C,
SIGTERM or a kill; corrections are never played again.
"""

import dataclasses
import json
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

from experiments.alpha import CONTROL, publish, summary
from experiments.slide import reality, turn
from experiments.slide import study as slide
from experiments.slide.measurement import described, loop_rows, play_policies
from experiments.slide.workers import make_workers
from worldmodel import loop, runtime, trust
from worldmodel.episodes import lerobot
from worldmodel.errors import InputError
from worldmodel.model import Velocity, WorldModel
from worldmodel.reality import RobotError
from worldmodel.runtime.files import write_text
from worldmodel.runtime.records import config_hash
from worldmodel.runtime.settings import claim
from worldmodel.tasks import data_set
from worldmodel.tasks.slide.expert import make_table
from worldmodel.trust.report import report
from worldmodel.types import Episode

# Whose differences are kept.
PAIRS = (("v1", "v0"), ("v2", "v1"), ("v2", "v0"), ("v1-hybrid", "v1"), ("v2", "v2-physics"))


@dataclasses.dataclass(frozen=True)
class Args:
    """Command line."""

    out: Path  # folder for everything
    hidden_seed: int = slide.HIDDEN_SEEDS[0]  # which reality
    full: bool = False  # the published study: all six versions, 64 replicates
    halves: bool = False  # physics and hybrid of the same corrections, at the published sizes
    smoke: bool = False  # tiny sizes, to see that it runs; its numbers mean nothing

    @property
    def study(self) -> slide.Study:
        """What it measures."""
        study = slide.FULL if self.full else slide.HALVES if self.halves else slide.STUDY
        return slide.smoke(study) if self.smoke else study


def main(args: Args, stop: Callable[[], bool]) -> int:
    """Runs or resumes one turn; prints one JSON line; returns the exit status."""
    runtime.configure()
    claim(args.out, {"hidden_seed": args.hidden_seed, "study": args.study})
    try:
        with make_workers() as workers:
            table = run(args, workers, stop)
    except RobotError as error:
        raise InputError(str(error)) from error
    print(json.dumps({"task": "slide", "hidden_seed": args.hidden_seed, "alpha": summary(table)}))
    return 0


def run(args: Args, workers: Executor, stop: Callable[[], bool]) -> dict[str, Any]:
    """All stages in order; each is taken from its folder where an earlier run finished it."""
    out, seed, study = args.out, args.hidden_seed, args.study
    hidden = reality.draw_hidden(seed)
    each, most = max(study.real), max(study.m)
    runtime.log("the operator learns reality's table")
    table = make_table(reality.simulator(hidden, workers=workers))
    one = turn.Turn(out, study, seed, hidden, table, workers, stop)
    one.stage("reality: demonstrations")
    demos = one.real(study.seeds * each, turn.DEMONSTRATIONS)
    one.stage("reality as its own world model")
    twin = one.real(study.seeds * most, turn.TWIN)

    def add(parent: str, name: str, world: WorldModel, episodes: list[Episode]) -> None:
        one.add(one.refit(parent, name, world, episodes))

    def deploy(name: str, count: int) -> list[Episode]:
        corrections = one.deploy(name, count)
        _write_data_set(out / "data" / f"corrections_{name}", corrections, args)
        return corrections

    physics = turn.physics(study)
    one.add(loop.first_version(out / "versions", physics))
    first = deploy("v0", study.first)
    add("v0", "v1", physics, first)
    direct = one.versions["v1"], one.players["v1"]
    hybrid = dataclasses.replace(physics, correction=Velocity())
    if study.halves:
        add("v1", "v1-hybrid", hybrid, first)
    if study.second:
        both = first + deploy("v1", study.second)
        add("v1", "v2-physics", physics, both)
        add("v2-physics", "v2", hybrid, both)
        planned_in = one.refit("v1", "direct", physics, first + demos[: study.n[0]])
        direct = planned_in, turn.player(planned_in, study)

    one.stage("data sets")
    _write_data_set(out / "data" / "real", demos[:each], args)
    for name, pool in one.pools.items():
        _write_data_set(out / "data" / f"synthetic_{name}", pool[:each], args)
    one.stage("train every policy and play it in reality")
    rows = loop_rows(one, play_policies(one, demos, one.pools | {CONTROL: twin}))
    result = publish(
        out,
        f"Task slide, held-out simulation {seed}" + " (SMOKE: means nothing)" * args.smoke,
        rows,
        pairs=PAIRS,
        unit=("miss [cm]", 100.0),
        hidden_seed=seed,
        config={
            "study": study,
            "hidden": {type(disturbance).__name__: disturbance for disturbance in hidden},
            "smoke": args.smoke,
        },
        **described(one, *direct),
    )
    write_text(out / "report.html", report(trust.document(trust.measure(rows))))
    return result


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


if __name__ == "__main__":
    sys.exit(runtime.command(main, __doc__))
