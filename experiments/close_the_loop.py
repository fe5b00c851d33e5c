"""The whole picture once round, and what its synthetic episodes are worth.

Question: how many real demonstrations is one synthetic demonstration worth, before and after the
          world model learned from a few real corrections?
Command:  python -m experiments.close_the_loop --out runs/loop
Runtime:  at most 15 minutes on 2 cores, a third of them compiling
Expected: one JSON line: alpha of v0, v1, v2 and of the self-model control v*, which covers 1

Reality is a held-out simulation: C MuJoCo with hidden physics (experiments/slide.py). Version 0
is 20 % wrong in friction; its policy is deployed, K1 corrections come back, version 1 is its
physics finetuned on them; version 1's policy brings K2 more, version 2 is physics and network on
both. Alpha is measured as worldmodel.trust says. The same command resumes after Ctrl-C, SIGTERM
or a kill; what was captured is never played again.
"""

import dataclasses
import json
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from experiments import slide
from experiments.fit_recording import append_row, plain
from experiments.loop_report import write_markdown, write_report
from worldmodel import capture, checkpoint, loop, runtime, trust
from worldmodel.dynamics import WorldModel
from worldmodel.episodes import lerobot
from worldmodel.finetune import FitConfig
from worldmodel.policies import clone
from worldmodel.policies import stroke as task
from worldmodel.policies.demonstrator import Noise, Table, demonstrate, make_table, plan
from worldmodel.reality import HiddenPhysics, RobotError

SELF = "v*"  # reality itself as the world model


@dataclasses.dataclass(frozen=True)
class Args:
    """Command line."""

    out: Path  # folder for everything
    hidden_seed: int = slide.HIDDEN_SEEDS[0]  # which reality
    smoke: bool = False  # tiny sizes, to see that it runs; its numbers mean nothing


@dataclasses.dataclass(frozen=True)
class Operator:
    """The person at the real robot: the demonstrator program with reality's own table."""

    table: Table
    noise: Noise

    def demonstrate(self, contexts: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """(episodes, 3) contexts → (episodes, 2) strokes."""
        return demonstrate(self.table, task.Contexts(*contexts.T), self.noise, rng)


class Clock:
    """Seconds per stage, and a line when one begins."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.seconds: dict[str, float] = json.loads(path.read_text()) if path.is_file() else {}
        self._began = time.monotonic()

    def start(self, stage: str) -> None:
        """Says that a stage begins."""
        runtime.log(f"── {stage} ({time.monotonic() - self._began:.0f} s so far)")
        self._stage, self._at = stage, time.monotonic()

    def done(self) -> None:
        """Adds the stage's time; a resumed stage counts all its parts."""
        spent = self.seconds.get(self._stage, 0.0) + time.monotonic() - self._at
        self.seconds[self._stage] = round(spent, 2)
        capture.write_whole(self._path, json.dumps(self.seconds).encode())


def main(args: Args) -> int:
    """Runs or resumes one turn; prints one JSON line; returns the exit status."""
    runtime.configure()
    study = slide.SMOKE if args.smoke else slide.STUDY
    args.out.mkdir(parents=True, exist_ok=True)
    _claim(args, study)
    with runtime.Interrupt() as interrupt:
        try:
            results = run(args, study, lambda: interrupt.requested)
        except (runtime.Interrupted, RobotError) as stopped:
            runtime.log(str(stopped))
            return interrupt.exit_status if isinstance(stopped, runtime.Interrupted) else 2
    print(json.dumps(headline(results)))
    return 0


def _claim(args: Args, study: slide.Study) -> None:
    """One folder, one study: refuses a folder that another one's results lie in."""
    settings = {"hidden_seed": args.hidden_seed, "study": plain(study)}
    path, wanted = args.out / "study.json", json.dumps(settings, indent=1)
    if path.is_file() and path.read_text() != wanted:
        raise loop.LoopError(f"{path} is of another study; give another --out")
    capture.write_whole(path, wanted.encode())


def run(args: Args, study: slide.Study, stop: Callable[[], bool]) -> dict[str, Any]:
    """All stages in order; each is taken from its folder where an earlier run finished it."""
    out, seed = args.out, args.hidden_seed
    hidden = slide.draw_hidden(seed)
    clock = Clock(out / "seconds.json")
    versions = out / "versions"
    rows = out / "metrics.jsonl"

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
        count = max(study.seeds * most, study.deployed)
        tables[version.name], pools[version.name] = loop.generate(
            version, count, study.noise, rng(3, stream)
        )
        clock.done()

    def deploy(name: str, count: int, stream: int) -> list[capture.Captured]:
        go_on()
        clock.start(f"{name}: train its policy, deploy it, capture {count} corrections")
        contexts, strokes = _examples(pools[name][: study.deployed])
        weights = clone.clone([(contexts, strokes)], [0], study.recipe)[0]
        clone.save(out / "policies" / name, weights, study.recipe, {"version": name})
        asked = task.draw_contexts(count, rng(4, stream))
        played = clone.act(weights, asked, study.recipe)
        machine = slide.robot(hidden, 10 + stream)
        captured = capture.capture(out / "corrections" / name, machine, asked, played, stop=stop)
        _write_data_set(out / "data" / f"corrections_{name}", captured, args, intervention=True)
        clock.done()
        return captured

    def finetune(
        parent: str, name: str, kind: str, captured: list[capture.Captured], config: FitConfig
    ) -> loop.Version:
        go_on()
        clock.start(f"{name}: finetune {kind} from {parent} on {len(captured)} corrections")
        version = loop.finetune(
            versions,
            made[parent],
            name,
            kind,
            captured,
            config,
            held_out=study.held_out,
            spent=len(captured),
            record=lambda row: append_row(rows, {"version": name} | row),
            stop=stop,
        )
        clock.done()
        return version

    world = WorldModel(slide.scene(), slide.FREE, network=study.network)
    add(loop.first_version(versions, world), 0)
    first = deploy("v0", study.first, 0)
    add(finetune("v0", "v1", "physics", first, study.physics), 1)
    both = first + deploy("v1", study.second, 1)
    add(finetune("v1", "v2", "hybrid", both, study.hybrid), 2)
    add(finetune("v0", "v1-hybrid", "hybrid", first, study.hybrid), 3)
    add(finetune("v1", "v2-physics", "physics", both, study.physics), 4)
    spent = first + demos[: study.n[0]]
    direct = finetune("v1", "direct", "physics", spent, study.physics)

    clock.start("data sets")
    _write_data_set(out / "data" / "real", demos[:each], args, intervention=False)
    for name in made:
        _write_data_set(
            out / "data" / f"synthetic_{name}", pools[name][:each], args, intervention=False
        )
    clock.done()
    go_on()
    clock.start("train every policy and play it in reality")
    measured = _play_policies(out, study, hidden, demos, pools, made, seed, stop)
    clock.done()
    return _results(args, study, hidden, clock, tables, made, direct, measured)


def _examples(captured: list[capture.Captured]) -> tuple[np.ndarray, np.ndarray]:
    return np.stack([c.context for c in captured]), np.stack([c.stroke for c in captured])


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


def _cells(study: slide.Study, names: list[str]) -> list[tuple[str, int, int]]:
    real = [("", n, 0) for n in sorted({*study.real, *study.n})]
    return real + [(v, n, m) for v in names for n in study.n for m in study.m]


def _play_policies(
    out: Path,
    study: slide.Study,
    hidden: HiddenPhysics,
    demos: list[capture.Captured],
    pools: dict[str, list[capture.Captured]],
    made: dict[str, loop.Version],
    seed: int,
    stop: Callable[[], bool],
) -> dict[str, Any]:
    """Every policy of every cell and replicate: {"rows": [...], "pure": [...]}.

    Real-only sizes are nested within a replicate; nothing is shared between replicates.
    """
    asked = task.draw_contexts(study.contexts, np.random.default_rng([seed, 5]))
    cells = _cells(study, [*made, SELF])
    each, most = max(study.real), max(study.m)
    folder = out / "replicates"
    folder.mkdir(exist_ok=True)
    todo = [s for s in range(study.seeds) if not (folder / f"{s:03d}.json").is_file()]
    if todo:
        data, seeds = [], []
        for s in todo:
            real = _examples(demos[s * each : (s + 1) * each])
            for version, n, m in cells:
                made_up = _examples(pools[version][s * most : (s + 1) * most]) if m else None
                data.append(
                    tuple(
                        np.concatenate([r[:n], made_up[i][:m]]) if made_up else r[:n]
                        for i, r in enumerate(real)
                    )
                )
                seeds.append(s)
        with runtime.compiling(f"and training {len(data)} policies in one call"):
            policies = clone.clone(data, seeds, study.recipe)
        strokes = [clone.act(p, asked, study.recipe) for p in policies]
        began = time.monotonic()
        with ProcessPoolExecutor(mp_context=get_context("spawn")) as workers:
            jobs = [(hidden, asked.start, s) for s in strokes]
            places = workers.map(slide.final_places, jobs, chunksize=4)
            for done, s in enumerate(todo, 1):
                played = []
                for version, n, m in cells:
                    miss = task.distance_to_target(asked, next(places))
                    played.append(
                        {
                            "version": version,
                            "n": n,
                            "m": m,
                            "error": float(miss.mean()),
                            "success": float((miss < task.SUCCESS).mean()),
                        }
                    )
                capture.write_whole(folder / f"{s:03d}.json", json.dumps(played).encode())
                rate = done / (time.monotonic() - began)
                runtime.log(
                    f"replicate {done}/{len(todo)}  {rate * len(cells):.1f} policies/s  "
                    f"{(len(todo) - done) / rate:.0f} s left"
                )
                if stop():
                    workers.shutdown(cancel_futures=True)
                    raise runtime.Interrupted(
                        "stopped between two replicates; run the same command"
                    )
    rows = []
    for s in range(study.seeds):
        for row in json.loads((folder / f"{s:03d}.json").read_text()):
            rows.append(row | {"seed": s})
    return {"rows": rows, "contexts": asked}


def _results(
    args: Args,
    study: slide.Study,
    hidden: HiddenPhysics,
    clock: Clock,
    tables: dict[str, Table],
    made: dict[str, loop.Version],
    direct: loop.Version,
    measured: dict[str, Any],
) -> dict[str, Any]:
    """Measures alpha; writes rows.csv, results.json, cells.md and report.html."""
    out, asked = args.out, measured["contexts"]
    spent = {name: v.corrections for name, v in made.items()} | {SELF: 0, "": 0}
    table = [
        trust.Row(
            task="slide",
            version=row["version"],
            recipe="cloned, weight 1",
            n=row["n"],
            m=row["m"],
            k=spent[row["version"]],
            seed=row["seed"],
            split="test",
            error=row["error"],
            evaluations=study.contexts,
            steps=study.recipe.steps,
        )
        for row in measured["rows"]
    ]
    trust.write_csv(out / "rows.csv", table)
    measurement = trust.measure(table)[0]
    place = lambda strokes: slide.final_places((hidden, asked.start, strokes))  # noqa: E731
    reference = plan(tables[SELF], asked)
    there = place(reference)
    best = task.distance_to_target(asked, place(plan(make_table(loop.simulator(direct)), asked)))
    half = 1.96 * best.std(ddof=1) / np.sqrt(len(best))
    results = {
        "task": "slide",
        "reality": "held-out simulation",
        "hidden_seed": args.hidden_seed,
        "smoke": args.smoke,
        "config": plain(study) | {"hidden": plain(hidden)},
        "provenance": runtime.provenance(),
        "trust": trust.to_json(measurement),
        "versions": [_described(v, _predicted(v, asked, reference, there)) for v in made.values()]
        + [{"name": SELF, "label": "reality itself", "parent": None, "kind": "reality"}],
        "launch": _launch(hidden, made, tables[SELF]),
        "learning": _learning(measurement, measured["rows"]),
        "policies": _means(measured["rows"]),
        "direct": {
            "version": "v1",
            "error_m": float(best.mean()),
            "low": float(best.mean() - half),
            "high": float(best.mean() + half),
            "success": float((best < task.SUCCESS).mean()),
            "episodes": direct.corrections,
            "note": f"physics of v1 finetuned on K1 and {study.n[0]} demonstrations, planned in "
            "without noise; interval over contexts",
        },
        "cost": _cost(clock, study),
        "seconds": clock.seconds,
        "data_sets": {p.name: str(p.relative_to(out)) for p in sorted((out / "data").iterdir())},
    }
    capture.write_whole(out / "results.json", (json.dumps(results, indent=1) + "\n").encode())
    write_markdown(results, out / "cells.md")
    write_report(results, out / "report.html")
    return results


def _predicted(
    version: loop.Version, asked: task.Contexts, strokes: np.ndarray, there: np.ndarray
) -> float:
    """Mean distance [m] between where a version and reality put the puck, same strokes."""
    qpos, ctrl = task.initial_qpos(asked.start, strokes), task.play(asked.start, strokes)
    end = loop.simulator(version)(qpos, ctrl)[:, -1, task.PUCK]
    return float(np.linalg.norm(end - there, axis=1).mean())


def _described(version: loop.Version, error: float) -> dict[str, Any]:
    label = "the MJCF's guess" if version.parent is None else f"finetuned {version.world.kind}"
    values = loop.physical_values(version)
    return {
        "name": version.name,
        "label": label,
        "parent": version.parent,
        "kind": version.world.kind,
        "corrections": version.corrections,
        "prediction_m": error,
        "parameters": {name: value.tolist() for name, value in values.items()},
    }


def _launch(hidden: HiddenPhysics, made: dict[str, loop.Version], table: Table) -> dict[str, Any]:
    """One stroke, in reality and in every version: the puck's paths."""
    context = task.Contexts(np.array([0.05]), np.array([0.9]), np.array([0.3]))
    stroke = plan(table, context)
    qpos, ctrl = task.initial_qpos(context.start, stroke), task.play(context.start, stroke)
    paths = {"reality": slide.simulator(hidden)(qpos, ctrl)}
    paths |= {name: loop.simulator(version)(qpos, ctrl) for name, version in made.items()}
    drawn = {name: path[0, :, task.PUCK].tolist() for name, path in paths.items()}
    return {
        "start": drawn["reality"][0],
        "target": context.target[0].tolist(),
        "reality": drawn.pop("reality"),
        "versions": drawn,
    }


def _means(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    cells: dict[tuple, list[dict[str, Any]]] = {}
    for row in rows:
        cells.setdefault((row["version"], row["n"], row["m"]), []).append(row)
    return [
        {
            "version": version,
            "n": n,
            "m": m,
            "error_m": float(np.mean([r["error"] for r in found])),
            "success": float(np.mean([r["success"] for r in found])),
        }
        for (version, n, m), found in cells.items()
    ]


def _learning(measurement: trust.Measurement, rows: list[dict[str, Any]]) -> dict[str, Any]:
    curve = measurement.curve
    success = {r["n"]: r["success"] for r in _means(rows) if r["version"] == ""}
    return {
        "n": list(curve.n),
        "error": [e.value for e in curve.error],
        "low": [e.low for e in curve.error],
        "high": [e.high for e in curve.error],
        "success": [success[n] for n in curve.n],
    }


def _cost(clock: Clock, study: slide.Study) -> dict[str, Any]:
    """What episodes cost: measured seconds for synthetic ones, stated assumptions for real."""
    made = [s for name, s in clock.seconds.items() if name.endswith(": synthetic episodes")]
    count = max(study.seeds * max(study.m), study.deployed)
    fits = sum(s for name, s in clock.seconds.items() if ": finetune" in name)
    return {
        "synthetic_episode_s": min(made) / count,
        "synthetic_first_s": max(made) + fits,
        "real_episode_s": task.FRAMES / task.CONTROL_HZ,
        "operator_low_usd": 22.0 * 0.5 / 60.0,
        "operator_high_usd": 48.0 * 2.0 / 60.0,
        "note": "synthetic: measured here, first includes compiling and finetuning; real: the "
        "robot's own seconds, and an operator at $22-48 an hour who needs half a minute to two "
        "minutes per episode, resetting included (an assumption, not measured)",
    }


def headline(results: dict[str, Any]) -> dict[str, Any]:
    """Alpha per version at the largest cell, for the one JSON line."""
    shown = {}
    for name, version in results["trust"]["versions"].items():
        cell = version["cells"][-1]
        kept = ("n", "m", "k", "alpha_avg", "alpha_avg_low", "alpha_avg_high", "verdict")
        shown[name] = {k: cell[k] for k in kept}
    return {"task": "slide", "hidden_seed": results["hidden_seed"], "alpha": shown}


if __name__ == "__main__":
    sys.exit(runtime.run(main, tyro.cli(Args, description=__doc__)))
