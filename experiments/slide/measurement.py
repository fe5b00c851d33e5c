"""The measured part of the loop: every policy of every cell, and the results that come of it."""

import json
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from experiments.slide.study import study as slide
from experiments.recordings.fit_physics import plain
from experiments.slide.study.turn import examples
from worldmodel.reality import capture
from worldmodel import loop, runtime, trust
from worldmodel.tasks.slide import clone
from worldmodel.tasks.slide import task
from worldmodel.tasks.slide.expert import Table, make_table, plan
from worldmodel.reality import HiddenPhysics
from worldmodel.trust.words import SELF


def players() -> ProcessPoolExecutor:
    """Processes that play policies in reality (``slide.final_places``), one per core given to us.

    A Ctrl-C at the terminal is for the process that asked them.
    """
    given = getattr(os, "sched_getaffinity", None)
    return ProcessPoolExecutor(
        max_workers=len(given(0)) if given else os.cpu_count(),
        mp_context=get_context("spawn"),
        initializer=signal.signal,
        initargs=(signal.SIGINT, signal.SIG_IGN),
    )


def score(asked: task.Contexts, places: np.ndarray) -> dict[str, float]:
    """How a policy did: its mean miss [m] and its share of successes."""
    miss = task.distance_to_target(asked, places)
    return {"error": float(miss.mean()), "success": float((miss < task.SUCCESS).mean())}


def _cells(study: slide.Study, names: list[str]) -> list[tuple[str, int, int]]:
    real = [("", n, 0) for n in sorted({*study.real, *study.n})]
    return real + [(v, n, m) for v in names for n in study.n for m in study.m]


def play_policies(
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
            real = examples(demos[s * each : (s + 1) * each])
            for version, n, m in cells:
                made_up = examples(pools[version][s * most : (s + 1) * most]) if m else None
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
        with players() as workers:
            jobs = [(hidden, asked.start, s) for s in strokes]
            places = workers.map(slide.final_places, jobs, chunksize=4)
            for done, s in enumerate(todo, 1):
                played = []
                for version, n, m in cells:
                    found = score(asked, next(places))
                    played.append({"version": version, "n": n, "m": m} | found)
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


def spent_on(made: Mapping[str, loop.Version]) -> dict[str, int]:
    """Corrections that each version cost, ancestors' included; by the names that rows have."""
    return {name: v.corrections for name, v in made.items()} | {SELF: 0, "": 0}


def table_rows(
    study: slide.Study,
    spent: Mapping[str, int],
    rows: Sequence[Mapping[str, Any]],
    *,
    name: str = "slide",
    recipe: str = "cloned, weight 1",
    evaluations: int | None = None,
) -> list[trust.Row]:
    """The long table that alpha is measured from.

    Args:
      spent: corrections per version.
      rows: version, n, m, seed and error of each.
      name: of the task.
      evaluations: rollouts per row; by default one policy's.
    """
    return [
        trust.Row(
            task=name,
            version=row["version"],
            recipe=recipe,
            n=row["n"],
            m=row["m"],
            k=spent[row["version"]],
            seed=row["seed"],
            split="test",
            error=row["error"],
            evaluations=evaluations or study.contexts,
            steps=study.recipe.steps,
        )
        for row in rows
    ]


def assemble(
    study: slide.Study,
    hidden: HiddenPhysics,
    seconds: dict[str, float],
    tables: dict[str, Table],
    made: dict[str, loop.Version],
    direct: loop.Version,
    measured: dict[str, Any],
    hidden_seed: int,
    *,
    smoke: bool,
) -> dict[str, Any]:
    """Measures alpha, and everything else that the report shows."""
    asked, rows = measured["contexts"], measured["rows"]
    measurement = trust.measure(table_rows(study, spent_on(made), rows))[0]
    reference = plan(tables[SELF], asked)
    there = slide.final_places((hidden, asked.start, reference))
    planned = plan(make_table(loop.simulator(direct)), asked)
    best = task.distance_to_target(asked, slide.final_places((hidden, asked.start, planned)))
    half = 1.96 * best.std(ddof=1) / np.sqrt(len(best))
    versions = [_described(v, _predicted(v, asked, reference, there)) for v in made.values()]
    twin = {"name": SELF, "label": "reality itself", "parent": None, "kind": "reality"}
    return {
        "task": "slide",
        "reality": "held-out simulation",
        "hidden_seed": hidden_seed,
        "smoke": smoke,
        "config": plain(study) | {"hidden": plain(hidden)},
        "provenance": runtime.provenance(),
        "trust": trust.to_json(measurement),
        "versions": [*versions, twin],
        "launch": _launch(hidden, made, tables[SELF]),
        "learning": _learning(measurement, rows),
        "policies": _means(rows),
        "direct": {
            "version": "v1",
            "error_m": float(best.mean()),
            "low": float(best.mean() - half),
            "high": float(best.mean() + half),
            "success": float((best < task.SUCCESS).mean()),
            "episodes": direct.corrections,
            "note": f"its physics finetuned on K1 and {study.n[0]} demonstrations, planned in "
            "without noise; interval over contexts",
        },
        "cost": _cost(seconds, study),
        "seconds": seconds,
    }


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


def _cost(seconds: dict[str, float], study: slide.Study) -> dict[str, Any]:
    """What episodes cost: measured seconds for synthetic ones, stated assumptions for real."""
    made = [s for name, s in seconds.items() if name.endswith(": synthetic episodes")]
    count = max(study.seeds * max(study.m), study.deployed)
    fits = sum(s for name, s in seconds.items() if ": finetune" in name)
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
