"""What ``measure`` publishes from its replicates: tables, measurement, page and text.

Question: what do the replicates show, in sentences that follow from the numbers?
Command:  python -m experiments.tosses_alpha.report DIR/measurement.json --out DIR
Runtime:  seconds
Expected: alpha.md and report.html again, the same to the byte
"""

import collections
import dataclasses
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from experiments.recordings.problems import Problem
from experiments.records import plain
from experiments.slide.measurement import table_rows
from experiments.slide.replicate_cells import Oracle
from experiments.slide.replicate_report import (
    DIFFERENCES,
    answers,
    difference_rows,
    mean_alpha,
    oracle_verdict,
)
from experiments.slide.report import COLUMNS, between, markdown_table, row_of
from experiments.tosses_alpha.report_text import (
    NOTES_ON_BASELINE,
    bullets,
    commits_of,
    convergence,
    notes_on_oracles,
    notes_on_versions,
    provenance,
)
from experiments.tosses_alpha.study import CONTROLS, MODELS, Study
from worldmodel import runtime, trust
from worldmodel.runtime import files
from worldmodel.trust.figures import cells_of, order
from worldmodel.trust.intervals import ends
from worldmodel.trust.phrases import CONTROL, covers_one, interval, listed, number, verdict
from worldmodel.trust.report import report

CHANNELS = {"position": "position", "rotation": "rotation", "joints": "hinge"}  # labels
ORACLES = {
    "thin25": Oracle(0.25, "a quarter of the tosses are fresh real ones, the rest empty"),
    "thin75": Oracle(0.75, "three quarters of the tosses are fresh real ones, the rest empty"),
    "copies": Oracle(0.0, "the n real tosses over again"),
    "dealt": Oracle(None, "real tosses whose futures are dealt to other starts"),
}
LABELS = {
    "v0": "the sources' parameters",
    "v1": "physics fitted on K1",
    "v2": "physics and network fitted on K2",
    CONTROL: "reality itself, the control",
    "v1-sham": "physics fitted on K1 tosses that v0 made",
    "v1-worst": "physics fitted on the K1 of K2 that v0 predicts worst",
    "v1-quiet": "v1 without tracking noise",
    "v1-loud": "v1 with twice the tracking noise",
    "v1-leak": "v1 from starts of the whole pool: a leak",
}
CHANGES = (
    "After a first whole replicate of the cube: a training had kept the weights of the lowest "
    "*loss* on its validation tosses, for small sets the untrained ones even where the primary "
    "error fell by a third; it keeps those of the lowest primary error.",
    "After all replicates of both recordings: in single precision that error was not a number "
    "where a predicted pose equalled the recorded one, and its rotation then did not count; it is "
    "computed without cancellation, and one that is not finite ends the run. The windows of the "
    "oracles are shuffled: with the draws of every other cell, `copies` had been the n real tosses "
    "to the bit, and `thin25` a cell of v*.",
)
PAIRS = (("v1", "v0"), ("v2", "v1"), ("v2", "v0"), *((name, "v1") for name in CONTROLS))
Document = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Args:
    """Command line."""

    measurement: tyro.conf.Positional[Path]  # measurement.json
    out: Path  # folder of the page and the text


def rows_of(
    problem: Problem, study: Study, results: list[Document], names: Iterable[str], channel: str = ""
) -> list[trust.Row]:
    """The trust table of one error: of ``channel``, or the primary one where that is empty."""
    spent = collections.defaultdict(int, v0=study.first, v1=study.first, v2=study.second)
    spent |= {f"v1-{name}": study.first for name in ("sham", "quiet", "loud", "leak")}
    spent |= {"v1-worst": study.second}
    column = list(CHANNELS).index(channel) if channel else None
    rows = []
    for seed, result in enumerate(results):
        for cell in result["cells"]:
            if cell["version"] in ("", *names):
                ratios = cell["errors"]
                error = np.exp(np.log(ratios).mean()) if column is None else ratios[column]
                rows.append(cell | {"seed": seed, "error": float(error)})
    return table_rows(
        rows,
        spent,
        task=problem.name,
        recipe="latent model, weight 1",
        evaluations=study.test,
        steps=study.recipe.steps,
    )


def publish(
    out: Path,
    problem: Problem,
    study: Study,
    results: list[Document],
    pool: int,
    simulated: bool,
    command: str,
) -> Document:
    """Measures, writes every file atomically, returns the summary.

    Args:
      results: per replicate, see ``measure.result_of``.
      pool: tosses that the learner's sets are drawn from.
    """
    name = problem.name
    models = rows_of(problem, study, results, (*MODELS, *CONTROLS, CONTROL))
    oracles = rows_of(problem, study, results, ORACLES)
    oracles = [dataclasses.replace(row, task=f"{name}, oracles") for row in oracles]
    apart = {}
    for channel in list(CHANNELS)[: len(results[0]["ballistic"])]:
        rows = rows_of(problem, study, results, (*MODELS, CONTROL), channel)
        apart[channel] = trust.to_json(trust.measure(rows, pool=pool)[0])
    measured = [m for rows in (models, oracles) for m in trust.measure(rows, pool=pool)]
    here = runtime.provenance()
    document = trust.document(measured) | {
        "recording": name,
        "simulated": simulated,
        "command": command,
        "study": plain(study),
        "pool": pool,
        "provenance": here,
        "commits": {
            "learner": commits_of(results),
            "versions": commits_of(result["about"] for result in results),
            "published": here["commit"],
        },
        "apart": apart,
        "ballistic": [result["ballistic"] for result in results],
        "about": [result["about"] for result in results],
        "seconds": [result["seconds"] for result in results],
    }
    trust.write_csv(out / "rows.csv", [*models, *oracles])
    files.write_json(out / "measurement.json", document)
    write(document, out)
    alphas = {
        key: {end: version[f"alpha{end}"] for end in ("", "_low", "_high")}
        for key, version in document["tasks"][0]["versions"].items()
    }
    return {
        "recording": name,
        "simulated": simulated,
        "control_holds": covers_one(document["tasks"][0]["versions"][CONTROL]),
        "alpha": alphas,
        "out": str(out),
    }


def write(document: Document, out: Path) -> None:
    """alpha.md and report.html, from measurement.json alone."""
    files.write_text(out / "alpha.md", page(document))
    files.write_text(out / "report.html", report(document))


def page(document: Document) -> str:
    """alpha.md as text."""
    models, oracles = document["tasks"]
    study = document["study"]
    errors = listed([CHANNELS[name] for name in document["apart"]])
    data = "SIMULATED tosses" if document["simulated"] else "real tosses"
    lines = [
        f"# {document['recording']}: what a synthetic toss is worth in real ones",
        f"`{document['command']}`",
        f"{models['seeds']} replicates on {data}. Each splits all tosses anew: {study['test']} to "
        f"test on, {study['validation']} that stop every training, {study['second']} corrections, "
        f"{document['pool']} in the learner's pool. Each fits its own versions on its corrections "
        f"alone (K1 = {study['first']}, K2 = {study['second']}), makes its own tosses, and trains "
        f"the latent model anew in every cell, {study['recipe']['steps']} steps each. Error: the "
        f"geometric mean of {errors} error over the ballistic ones at 16 frames. 95 % intervals "
        "over the replicates.",
        "## Does α rise?",
        bullets(answers(models)),
        "## The versions",
        markdown_table(
            ("version", "what", "K", "mean α", "p one α", *document["apart"], "in words"),
            (_version(document, name) for name in order(models)),
        ),
        "Mean α over the version's cells, gross; then of each error apart. Controls have the one "
        f"cell n = {study['n'][0]}, m = {study['m'][-1]}.",
        bullets(notes_on_versions(document)),
        convergence(document["about"]),
        "## The oracles, through the same stack",
        bullets(
            oracle_verdict(name, oracle, oracles["versions"][name])
            for name, oracle in ORACLES.items()
        ),
        bullets(notes_on_oracles(document)),
        "## The strong baseline: predict with the model itself",
        markdown_table(("model", "real tosses spent", "error / ballistic"), _direct(document)),
        bullets(NOTES_ON_BASELINE),
        "## All cells",
        markdown_table(
            [name.replace("miss [cm]", "error [%]") for name in COLUMNS],
            map(row_of, [*cells_of(models), *cells_of(oracles)]),
        ),
        "Errors are in per cent of the ballistic one. v0 is charged with K1 too: its starts and "
        "its tracking noise come from there.",
        "## From version to version",
        markdown_table(DIFFERENCES, difference_rows(models, PAIRS)),
        "## Real only",
        markdown_table(("n", "primary", *document["apart"]), _curve(document)),
        bullets(models["notes"]),
        "## What was changed after a look",
        bullets(CHANGES),
        provenance(document),
    ]
    return "\n\n".join(filter(None, lines)) + "\n"


def _version(document: Document, name: str) -> list[str]:
    version = document["tasks"][0]["versions"][name]
    apart = (task["versions"].get(name) for task in document["apart"].values())
    control = f"the control: it {'holds' if covers_one(version) else 'fails'}"
    return [
        *(name, LABELS[name], str(version["cells"][0]["k"]), mean_alpha(version)),
        number(version["homogeneity_p"], 3),
        *("–" if entry is None else mean_alpha(entry) for entry in apart),
        control if name == CONTROL else verdict(version),
    ]


def _direct(document: Document) -> Iterable[list[str]]:
    """Rows of the models' own errors, and of the best mixture of each, over the replicates."""
    spent = {"v0": 0, "v1": document["study"]["first"]}
    for name in document["about"][0]["direct"]:
        errors = [np.exp(np.log(about["direct"][name]).mean()) for about in document["about"]]
        shown = _mean(np.array(errors))
        yield [f"{name}, open loop", str(spent.get(name, document["study"]["second"])), shown]
    for name in (*MODELS, CONTROL):
        cells = document["tasks"][0]["versions"][name]["cells"]
        best = min(cells, key=lambda cell: cell["error"])
        real = best["n"] + best["k"] + (best["m"] if name == CONTROL else 0)
        label = f"learner, best cell of {name}: n = {best['n']}, m = {best['m']}"
        yield [label, str(real), interval(best, "error", 3)]


def _mean(values: np.ndarray) -> str:
    """A mean over replicates and its 95 % interval, as text."""
    rest = [np.delete(values, i).mean() for i in range(len(values))]
    low, high = map(float, ends(np.array([values.mean(), *rest]), 0.95))
    return between({"mean": values.mean(), "low": low, "high": high}, "mean")


def _curve(document: Document) -> Iterable[list[str]]:
    curves = [document["tasks"][0]["curve"], *(t["curve"] for t in document["apart"].values())]
    for i, n in enumerate(curves[0]["n"]):
        yield [str(n), *(between(curve["error"][i], "value") for curve in curves)]


def main(args: Args) -> int:
    """Generates page and text again from their numbers."""
    write(json.loads(args.measurement.read_text()), args.out)
    runtime.log(f"wrote alpha.md and report.html in {args.out}")
    return 0


if __name__ == "__main__":
    sys.exit(runtime.run(main, tyro.cli(Args, description=__doc__)))
