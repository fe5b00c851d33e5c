"""What ``trust_recording`` publishes: tables, measurement, text and page, from its replicates."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from experiments.fit_recording import plain, write
from experiments.problems import Problem
from experiments.toss_study import Study
from worldmodel import runtime, trust


def rows_of(
    problem: Problem, study: Study, results: list[dict[str, Any]], error: str = ""
) -> list[trust.Row]:
    """The trust table; ``error`` names one channel, or empty for the primary error."""
    spent = {"": 0, "v0": study.first, "v1": study.first, "v2": study.second}
    spent |= {"sham": study.first, "worst": study.second, "quiet": study.first}
    spent |= {"loud": study.first, "leak": study.first}
    channels = ("position", "rotation", "joints")
    rows = []
    for seed, result in enumerate(results):
        for cell in result["cells"]:
            ratios = cell["errors"]
            value = ratios[channels.index(error)] if error else np.exp(np.mean(np.log(ratios)))
            rows.append(
                trust.Row(
                    task=problem.recording.name,
                    version=cell["version"],
                    recipe="latent model, weight 1",
                    n=cell["n"],
                    m=cell["m"],
                    k=spent.get(cell["version"], 0),
                    seed=seed,
                    split="test",
                    error=float(value),
                    evaluations=study.test,
                    steps=study.recipe.steps,
                )
            )
    return rows


def publish(
    out: Path,
    problem: Problem,
    study: Study,
    results: list[dict[str, Any]],
    pool: int,
    simulated: bool,
    command: str,
) -> dict[str, Any]:
    """Writes everything; returns the summary."""
    rows = rows_of(problem, study, results)
    trust.write_csv(out / "rows.csv", rows)
    measured = trust.measure(rows, pool=pool)[0]
    document = {
        "command": command,
        "provenance": runtime.provenance(),
        "simulated": simulated,
        "study": plain(study),
        "trust": trust.to_json(measured),
    }
    write(out / "measurement.json", json.dumps(document, indent=1, allow_nan=False) + "\n")
    return {"recording": problem.recording.name, "cells": len(measured.cells)}
