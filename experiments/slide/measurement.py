"""The measured part of the loop: every policy of every cell, and the results from them."""

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

from experiments.records import plain
from experiments.slide import study as slide
from experiments.slide.replicate_cells import cells_of
from experiments.slide.turn import clone_policies, strokes_of
from worldmodel import loop, runtime, trust
from worldmodel.reality import HiddenPhysics
from worldmodel.runtime.files import write_json
from worldmodel.tasks.slide import task
from worldmodel.tasks.slide.expert import Table, make_table, plan
from worldmodel.trust.phrases import CONTROL
from worldmodel.types import Episode


def players() -> ProcessPoolExecutor:
    """Processes that play policies in reality (``slide.final_places``), one per available core.

    They ignore Ctrl-C at the terminal: it is for the process that started them.
    """
    affinity = getattr(os, "sched_getaffinity", None)
    return ProcessPoolExecutor(
        max_workers=len(affinity(0)) if affinity else os.cpu_count(),
        mp_context=get_context("spawn"),
        initializer=signal.signal,
        initargs=(signal.SIGINT, signal.SIG_IGN),
    )


def score(contexts: task.Contexts, places: np.ndarray) -> dict[str, float]:
    """A policy's mean miss [m] and its share of successes."""
    miss = task.distance_to_target(contexts, places)
    return {"error": float(miss.mean()), "success": float((miss < task.SUCCESS).mean())}


def play_policies(
    out: Path,
    study: slide.Study,
    hidden: HiddenPhysics,
    demos: list[Episode],
    pools: dict[str, list[Episode]],
    versions: Mapping[str, loop.Version],
    seed: int,
    stop: Callable[[], bool],
) -> dict[str, Any]:
    """Every policy of every cell and replicate: {"rows": [...], "contexts": ...}.

    Real-only sizes are nested within a replicate; nothing is shared between replicates.
    """
    contexts = task.draw_contexts(study.contexts, np.random.default_rng([seed, 5]))
    cells = cells_of(study, [*versions, CONTROL])
    each, most = max(study.real), max(study.m)
    folder = out / "replicates"
    folder.mkdir(exist_ok=True)
    todo = [s for s in range(study.seeds) if not (folder / f"{s:03d}.json").is_file()]
    if todo:
        data, seeds = [], []
        for s in todo:
            real = demos[s * each : (s + 1) * each]
            for version, n, m in cells:
                synthetic = pools[version][s * most : (s + 1) * most] if m else []
                data.append(task.examples(real[:n] + synthetic[:m]))
                seeds.append(s)
        with runtime.compiling(f"and training {len(data)} policies in one call"):
            policies = clone_policies(data, seeds, study.recipe)
        strokes = [strokes_of(p, contexts, study.recipe) for p in policies]
        began = time.monotonic()
        with players() as workers:
            jobs = [(hidden, contexts.start, s) for s in strokes]
            places = workers.map(slide.final_places, jobs, chunksize=4)
            for done, s in enumerate(todo, 1):
                played = [
                    {"version": version, "n": n, "m": m} | score(contexts, next(places))
                    for version, n, m in cells
                ]
                write_json(folder / f"{s:03d}.json", played, indent=None)
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
    return {"rows": rows, "contexts": contexts}


def spent_on(versions: Mapping[str, loop.Version]) -> dict[str, int]:
    """Corrections that each version cost, ancestors' included; by the names that rows have."""
    return {name: v.corrections for name, v in versions.items()} | {CONTROL: 0, "": 0}


def table_rows(
    rows: Sequence[Mapping[str, Any]],
    spent: Mapping[str, int],
    *,
    task: str = "slide",
    recipe: str = "cloned, weight 1",
    evaluations: int,
    steps: int,
) -> list[trust.Row]:
    """The long table that alpha is measured from.

    Args:
      rows: version, n, m, seed and error of each.
      spent: corrections per version.
      evaluations: rollouts per row.
      steps: of each training.
    """
    return [
        trust.Row(
            task=task,
            recipe=recipe,
            **{key: row[key] for key in ("version", "n", "m", "seed", "error")},
            k=spent[row["version"]],
            split="test",
            evaluations=evaluations,
            steps=steps,
        )
        for row in rows
    ]


def loop_rows(
    study: slide.Study, versions: Mapping[str, loop.Version], rows: Sequence[Mapping[str, Any]]
) -> list[trust.Row]:
    """The long table of one turn: a row is one policy's mean over the study's contexts."""
    spent, steps = spent_on(versions), study.recipe.steps
    return table_rows(rows, spent, evaluations=study.contexts, steps=steps)


def assemble(
    study: slide.Study,
    hidden: HiddenPhysics,
    seconds: dict[str, float],
    tables: dict[str, Table],
    versions: Mapping[str, loop.Version],
    direct: loop.Version,
    measured: dict[str, Any],
    hidden_seed: int,
    *,
    smoke: bool,
) -> dict[str, Any]:
    """Alpha, and everything else that the report shows."""
    contexts, rows = measured["contexts"], measured["rows"]
    result = trust.measure(loop_rows(study, versions, rows))[0]
    reference = plan(tables[CONTROL], contexts)
    reached = slide.final_places((hidden, contexts.start, reference))
    planned = plan(make_table(loop.simulator(direct)), contexts)
    best = slide.final_places((hidden, contexts.start, planned))
    best = task.distance_to_target(contexts, best)
    half = 1.96 * best.std(ddof=1) / np.sqrt(len(best))
    described = [_described(v, contexts, reference, reached) for v in versions.values()]
    twin = {"name": CONTROL, "label": "reality itself", "parent": None, "kind": "reality"}
    return {
        "task": "slide",
        "reality": "held-out simulation",
        "hidden_seed": hidden_seed,
        "smoke": smoke,
        "config": plain(study) | {"hidden": plain(hidden)},
        "provenance": runtime.provenance(),
        "trust": trust.to_json(result),
        "versions": [*described, twin],
        "launch": _launch(hidden, versions, tables[CONTROL]),
        "learning": _learning(result, rows),
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


def _described(
    version: loop.Version, contexts: task.Contexts, strokes: np.ndarray, reached: np.ndarray
) -> dict[str, Any]:
    """A version, and how far [m] it puts the puck on average from where reality does."""
    qpos, ctrl = task.initial_qpos(contexts.start, strokes), task.play(contexts.start, strokes)
    end = loop.simulator(version)(qpos, ctrl)[:, -1, task.PUCK]
    kind = version.world.name
    label = "the MJCF's guess" if version.parent is None else f"finetuned {kind}"
    values = loop.physical_values(version)
    return {
        "name": version.name,
        "label": label,
        "parent": version.parent,
        "kind": kind,
        "corrections": version.corrections,
        "prediction_m": float(np.linalg.norm(end - reached, axis=1).mean()),
        "parameters": {name: value.tolist() for name, value in values.items()},
    }


def _launch(
    hidden: HiddenPhysics, versions: Mapping[str, loop.Version], table: Table
) -> dict[str, Any]:
    """One stroke, in reality and in every version: the puck's paths."""
    context = task.Contexts(np.array([0.05]), np.array([0.9]), np.array([0.3]))
    stroke = plan(table, context)
    qpos, ctrl = task.initial_qpos(context.start, stroke), task.play(context.start, stroke)
    paths = {"reality": slide.simulator(hidden)(qpos, ctrl)}
    paths |= {name: loop.simulator(version)(qpos, ctrl) for name, version in versions.items()}
    drawn = {name: path[0, :, task.PUCK].tolist() for name, path in paths.items()}
    return {
        "start": drawn["reality"][0],
        "target": context.target[0].tolist(),
        "reality": drawn.pop("reality"),
        "versions": drawn,
        "qpos": {name: path[0].round(5).tolist() for name, path in paths.items()},
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
            "error_m": float(np.mean([r["error"] for r in members])),
            "success": float(np.mean([r["success"] for r in members])),
        }
        for (version, n, m), members in cells.items()
    ]


def _learning(result: trust.TaskResult, rows: list[dict[str, Any]]) -> dict[str, Any]:
    curve = result.curve
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
    generated = [s for name, s in seconds.items() if name.endswith(": synthetic episodes")]
    count = max(study.seeds * max(study.m), study.deployed)
    fits = sum(s for name, s in seconds.items() if ": finetune" in name)
    return {
        "synthetic_episode_s": min(generated) / count,
        "synthetic_first_s": max(generated) + fits,
        "real_episode_s": task.FRAMES / task.CONTROL_HZ,
        "operator_low_usd": 22.0 * 0.5 / 60.0,
        "operator_high_usd": 48.0 * 2.0 / 60.0,
        "note": "synthetic: measured here, first includes compiling and finetuning; real: the "
        "robot's own seconds, and an operator at $22-48 an hour who needs half a minute to two "
        "minutes per episode, resetting included (an assumption, not measured)",
    }
