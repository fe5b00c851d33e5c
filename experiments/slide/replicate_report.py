"""The results of the whole-loop replicates as Markdown, worded from measurement.json alone.

Question: did alpha rise, did the control hold, did the oracles come out as theory has them?
Command:  python -m experiments.slide.replicate_report DIR/measurement.json --out cells.md
Runtime:  one second
Expected: one page; no sentence is fixed where a number decides
"""

import dataclasses
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from experiments.slide.replicate_cells import ORACLES, Oracle
from experiments.slide.report import COLUMNS, between, markdown_table, row_of
from worldmodel import runtime
from worldmodel.runtime.files import write_text
from worldmodel.trust.figures import cells_of, order
from worldmodel.trust.law import REFUSED
from worldmodel.trust.phrases import (
    CONTROL,
    HALF_WIDTH,
    PHRASES,
    change,
    control_alpha,
    covers_one,
    doubt,
    interval,
    number,
    share,
    verdict,
)

LABELS = {
    "v0": "the MJCF's guess",
    "v1": "physics refit on 6 corrections",
    "v1-sham": "physics refit on what v0 predicts of the same 6",
    "v2": "hybrid refit on 12 corrections",
    CONTROL: "reality itself, the control",
}
STEPS = (("v1", "v0"), ("v2", "v1"), ("v2", "v0"))  # to, from
SHAM = (("v1-sham", "v0"), ("v1", "v1-sham"))
DIFFERENCES = ("versions", "n", "m", "α gross", "net gain", "net gain …")
NEGLIGIBLE = 0.1  # of n: a net gain that is surely below refutes that alpha rose
Document = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Args:
    """Command line."""

    measurement: tyro.conf.Positional[Path]  # measurement.json
    out: Path  # the page


def page(document: Document) -> str:
    """The whole page as text."""
    versions, oracles = document["tasks"]
    smoke = "**This was a smoke run: its sizes are tiny and its numbers mean nothing.**"
    count, each = versions["seeds"], document["config"]["trainings"]
    measured = cells_of(versions) + [cell for cell in cells_of(oracles) if cell[0] != CONTROL]
    lines = [
        f"# Task slide, {count} whole-loop replicates, {document['reality']} "
        f"{document['hidden_seed']}",
        *([smoke] if document["smoke"] else []),
        "Every replicate captured its own corrections, refit its own versions, made its own "
        "synthetic episodes, drew its own demonstrations and trained its own policies; its error "
        f"in a cell is the mean over {each} trainings. Intervals: "
        f"{100 * versions['level']:.0f} %, over the replicates. The reality, version 0 and the "
        "prior are the same for all.",
        "## Does α rise?",
        "\n".join(f"- {text}" for text in answers(versions)),
        "## The versions",
        markdown_table(
            ("version", "what", "K", "mean α gross", "mean α net", "p one α", "in words"),
            (_version(versions, name) for name in order(versions)),
        ),
        "Mean over the cells; net pays for the K corrections. p one α: probability of cells as "
        "unlike if all had one α (Hotelling); below 0.05 no single α fits.",
        "## The oracles, through the same stack",
        "\n".join(f"- {text}" for text in verdicts(oracles)),
        "## All cells",
        markdown_table(COLUMNS, map(row_of, measured)),
        "## From version to version",
        markdown_table(DIFFERENCES, difference_rows(versions, [*STEPS, *SHAM])),
        "## Real only",
        markdown_table(("n", "miss [cm]"), _curve(versions)),
        "## What the refits found",
        markdown_table(
            ("version", "parameter", "mean", "sd over the replicates"), _physics(document)
        ),
        _hidden(document["config"]["hidden"]),
        f"Again: `{document['command']}`; this page alone: `python -m "
        "experiments.slide.replicate_report DIR/measurement.json --out cells.md`. Commit "
        f"{document['provenance'].get('commit', 'unknown')}; the design stands in the header of "
        "experiments/slide/replicates.py.",
    ]
    return "\n\n".join(lines) + "\n"


def answers(task: Document) -> list[str]:
    """Whether alpha rises: the control, each step net and gross, and the sham turn."""
    control = task["versions"][CONTROL]
    low, high = control["alpha_low"], control["alpha_high"]
    half = None if low is None or high is None else (high - low) / 2
    holds = "holds" if covers_one(control) else "does not hold"
    lines = [
        f"The control {CONTROL} {holds}: its mean α is {control_alpha(control)}, half-width "
        f"{number(half)}; it must cover 1 within ±{HALF_WIDTH}."
    ]
    if text := doubt(task):
        lines.append(text)
    return [*lines, *(_step(task, *pair) for pair in STEPS), _sham(task)]


def _step(task: Document, to: str, since: str) -> str:
    pairs = _pairs(task, to, since)
    rises = sum(d["verdict"] == "RISES" for d in pairs)
    small = sum(_below(d["gain_net_high"], NEGLIGIBLE * d["n"]) for d in pairs)
    gross = sum(_below(0, d["alpha_avg_low"]) for d in pairs)
    answer = "yes" if rises == len(pairs) else f"in {share(rises, len(pairs))}"
    if not covers_one(task["versions"][CONTROL]):
        answer = "not to be answered without the control"
    return (
        f"{since} → {to}: {answer}; {change(task, to, since)}; gross α rises in "
        f"{share(gross, len(pairs))}; a net rise of {100 * NEGLIGIBLE:.0f} % of n is refuted in "
        f"{share(small, len(pairs))}."
    )


def _sham(task: Document) -> str:
    """Whether a turn without reality raises alpha as the real one does (gross)."""

    def above(a: str, b: str) -> str:
        pairs = _pairs(task, a, b)
        return share(sum(_below(0, d["alpha_avg_low"]) for d in pairs), len(pairs))

    return (
        f"The sham turn: gross α of v1-sham is above v0's in {above('v1-sham', 'v0')}, that of v1 "
        f"above v1-sham's in {above('v1', 'v1-sham')}."
    )


def _pairs(task: Document, a: str, b: str) -> list[Document]:
    """The differences of version ``a`` less ``b``, a cell each."""
    return [d for d in task["differences"] if (d["a"], d["b"]) == (a, b)]


def _below(a: float | None, b: float | None) -> bool:
    """Whether a < b, both known."""
    return a is not None and b is not None and a < b


def verdicts(task: Document) -> list[str]:
    """Each oracle against its theory."""
    return [
        oracle_verdict(name, oracle, task["versions"][name]) for name, oracle in ORACLES.items()
    ]


def oracle_verdict(name: str, oracle: Oracle, version: Document) -> str:
    """An oracle's alpha against its theory: as theory has it, not, or undecided, where an end of an
    interval lies off the curve and the known ends refute nothing."""
    cells = version["cells"]
    measured = f"mean α {interval(version, 'alpha')}"
    highest = [c["alpha_avg_high"] for c in cells if c["alpha_avg_high"] is not None]
    if version["alpha"] is None and highest:
        measured = f"no mean α; in some cell only a bound, at most {number(max(highest))}"
    if oracle.alpha is None:
        under = sum(_below(c["alpha_avg_high"], 0) for c in cells)
        expected, agrees = "below 0", under == len(cells)
        counted = f"α is surely below 0 in {share(under, len(cells))}"
        # Both ends known and not below 0: not shown where it could have been, and so a failure.
        above = (c for c in cells if not _below(c["alpha_avg_high"], 0))
        refuted = any(None not in (c["alpha_avg_low"], c["alpha_avg_high"]) for c in above)
        refuted = refuted or any(_below(0, c["alpha_avg_low"]) for c in cells)
    else:
        covered = sum(covers(c, "alpha_avg", oracle.alpha) for c in cells)
        expected, agrees = f"= {number(oracle.alpha)}", covers(version, "alpha", oracle.alpha)
        counted = f"covered in {share(covered, len(cells))}"
        known = None not in (version["alpha_low"], version["alpha_high"])
        ends = [(version, "alpha"), *((c, "alpha_avg") for c in cells)]
        refuted = known or any(_excludes(entry, kind, oracle.alpha) for entry, kind in ends)
    word = "as theory has it" if agrees else "NOT as theory has it"
    if not agrees and not refuted:
        word = f"cannot be told: {_undecided(cells)}"
    return f"**{name}** ({oracle.why}): theory α {expected}; {measured}; {counted}: {word}."


def _excludes(entry: Document, kind: str, value: float) -> bool:
    """Whether an end that is known refutes a value."""
    return _below(value, entry[f"{kind}_low"]) or _below(entry[f"{kind}_high"], value)


def _undecided(cells: list[Document]) -> str:
    """Why an alpha is undecided: of the cells with an open end, each reason once."""
    why = []
    for cell in cells:
        if None in (cell["alpha_avg_low"], cell["alpha_avg_high"]):
            open_end = "the interval has an end off the real-only curve"
            why.append(open_end if cell["verdict"] == "OK" else PHRASES[cell["verdict"]])
    return "; ".join(dict.fromkeys(why))


def covers(entry: Document, kind: str, value: float) -> bool:
    """Whether the interval's both ends are known and hold the value."""
    low, high = entry[f"{kind}_low"], entry[f"{kind}_high"]
    return None not in (low, high) and low <= value <= high


def mean_alpha(version: Document) -> str:
    """A version's mean alpha; marked where its cells refuse to have one."""
    p = version["homogeneity_p"]
    many = version["verdict"] == "HETEROGENEOUS" or _below(p, REFUSED)
    many = many and version["alpha"] is not None
    return interval(version, "alpha") + " (not one α)" * many


def _version(task: Document, name: str) -> list[str]:
    version = task["versions"][name]
    cells = version["cells"]
    # Per cell, net is K/m below gross; so is their mean, with the same interval.
    paid = float(np.mean([c["k"] / c["m"] for c in cells]))
    ends = ("alpha", "alpha_low", "alpha_high")
    net = {end: None if version[end] is None else version[end] - paid for end in ends}
    judgement = "the control" if name == CONTROL else verdict(version)
    return [
        *(name, LABELS[name], str(cells[0]["k"]), mean_alpha(version)),
        *(interval(net, "alpha"), number(version["homogeneity_p"], 3), judgement),
    ]


def difference_rows(task: Document, pairs: Sequence[tuple[str, str]]) -> Iterable[list[str]]:
    """The differences between two versions each, a cell per row, under ``DIFFERENCES``."""
    for d in (d for pair in pairs for d in _pairs(task, *pair)):
        gains = [interval(d, "alpha_avg"), interval(d, "gain_net", 1)]
        sizes = [str(d["n"]), str(d["m"])]
        yield [f"{d['a']} − {d['b']}", *sizes, *gains, d["verdict"].lower()]


def _curve(task: Document) -> Iterable[list[str]]:
    for n, error in zip(task["curve"]["n"], task["curve"]["error"], strict=True):
        yield [str(n), between(error, "value", 1, 100)]


def _physics(document: Document) -> Iterable[list[str]]:
    """Physical parameters of each version over the replicates, and what reality has."""
    fits = document["physics"]
    for version in fits[0]:
        for name, first in fits[0][version].items():
            values = np.array([f[version][name] for f in fits]).reshape(len(fits), -1)
            for i in range(values.shape[1]):
                label = name if np.size(first) == 1 else f"{name}[{i}]"
                mean, spread = values[:, i].mean(), values[:, i].std(ddof=1)
                yield [version, label, f"{mean:.4g}", f"{spread:.2g}"]


def _hidden(hidden: Document) -> str:
    kept = (f"{name} × {hidden[name]:.3g}" for name in ("friction", "mass", "damping"))
    return (
        f"Reality's own, over version 0's: {', '.join(kept)}. No parameter of a version "
        "can express the rest: friction by place and speed, lag, delay, noise."
    )


def main(args: Args) -> int:
    """Writes the page again from its numbers."""
    write_text(args.out, page(json.loads(args.measurement.read_text())))
    runtime.log(f"wrote {args.out}")
    return 0


if __name__ == "__main__":
    sys.exit(runtime.run(main, tyro.cli(Args, description=__doc__)))
