"""Sentences of the page of ``measure``, from measurement.json alone.

Each is there only where its condition holds; what a document does not have is "not recorded".
"""

from collections.abc import Iterable
from typing import Any

import numpy as np

from worldmodel.trust.phrases import CONTROL, covers_one, listed, number

Document = dict[str, Any]
NOTES_ON_BASELINE = (
    "The models are fitted on their K tosses alone, not on n + K, which a mixture's learner has: "
    "the baseline is weaker than it could be.",
    "A version's best cell is chosen by its error on the test tosses: it looks better than it is.",
)
UNKNOWN = "not recorded"
LAST = 3  # iterations of a fit whose costs are compared
BALLISTIC = 1e-6  # an error this near to the ballistic one is that of the untrained weights


def commits_of(parts: Iterable[Document]) -> list[str]:
    """The distinct commits of a run's parts, each with its own ``provenance``."""
    return sorted({(one.get("provenance") or {}).get("commit", UNKNOWN) for one in parts})


def provenance(document: Document) -> str:
    """The commits of every part, and the machine that published."""
    here = document["provenance"]
    commits = document.get("commits") or {}
    learner = listed(commits.get("learner") or [UNKNOWN])
    versions = listed(commits.get("versions") or commits_of(document["about"]))
    return (
        f"Commits: the learner's replicates {learner}; the versions {versions}; published "
        f"{here['commit']}, {here['date']}, {here['cpu']} ({here['cores']} cores), "
        + ", ".join(f"{k} {v}" for k, v in here["versions"].items())
        + ". Generated from measurement.json."
    )


def convergence(abouts: list[Document]) -> str:
    """How far the fits of all versions and replicates converged, and what v2's network added."""
    fits = [fit for about in abouts for fit in (about.get("fits") or {}).values()]
    unrecorded = sum(not about.get("fits") for about in abouts)
    text = f"Convergence of the fits: {UNKNOWN}."
    if fits:
        ends = [np.array(fit["costs"][-1 - LAST :]) for fit in fits]
        moved = [100 * (end.max() - end.min()) / end[-1] for end in ends]
        windows = sum(fit["left_out"] for fit in fits)
        text = (
            f"{sum(fit['converged'] for fit in fits)} of {len(fits)} fits of physics converged by "
            f"the tolerance. Over the last {LAST} iterations a fit's cost varies by "
            f"{number(float(np.median(moved)))} % (median), {number(max(moved))} % at most; its "
            "last undamped step would have moved a parameter by up to "
            f"{number(max(f['to_go'] for f in fits), 1)} of its standard deviations. "
            f"Windows left out, in all fits: {windows}."
        )
        if unrecorded:
            text += f" Of {unrecorded} of {len(abouts)} replicates this was {UNKNOWN}."
    ratios = [about["regression"] for about in abouts if about.get("regression") is not None]
    if not ratios:
        return text
    nothing = sum(ratio >= 1 for ratio in ratios)
    text += (
        " The network of v2 leaves, at its best on the held-out corrections, "
        f"{number(min(ratios))} to {number(max(ratios))} of what physics leaves"
    )
    if nothing:
        text += f"; 1 or above, so that it added nothing, in {nothing} of {len(ratios)} replicates"
    return text + "."


def notes_on_versions(document: Document) -> list[str]:
    """Notes on the table of versions."""
    task, study = document["tasks"][0], document["study"]
    notes = []
    if not covers_one(task["versions"][CONTROL]):
        notes.append(
            "The control fails: the words are what the intervals say, and not to be believed yet."
        )
    if "v1-worst" in task["versions"]:
        notes.append(
            f"v1-worst takes its starts and tracking noise from all {study['second']} of K2, not "
            f"from the {study['first']} that it is fitted on."
        )
    return [
        *notes,
        f"The {study['validation']} validation tosses are charged to nobody, in every arm alike.",
    ]


def notes_on_oracles(document: Document) -> list[str]:
    """Notes on the oracles."""
    models, oracles = (task["versions"] for task in document["tasks"])
    known = {(cell["n"], cell["m"]) for cell in models[CONTROL]["cells"]}
    notes = []
    for name in (name for name in oracles if name.startswith("thin")):
        for cell in oracles[name]["cells"]:
            n, fresh = cell["n"], round(int(name[4:]) / 100 * cell["m"])
            if (n, fresh) in known:
                notes.append(
                    f"{name} ({n}, {cell['m']}) holds the same {fresh} fresh tosses as the cell "
                    f"{CONTROL} ({n}, {fresh}), in another order of draws: it is no second sample."
                )
    floor = [
        name
        for name, version in oracles.items()
        if all(
            cell[end] is not None and abs(cell[end] - 1) < BALLISTIC
            for cell in version["cells"]
            for end in ("error", "error_low", "error_high")
        )
    ]
    if floor and abs(document["tasks"][1]["curve"]["error"][0]["value"] - 1) < BALLISTIC:
        notes.append(
            f"The error of {listed(floor)} is the ballistic one in every replicate: no training "
            "beat the untrained weights on the validation tosses, and these were kept. The "
            "real-only curve has no lower place, so harm cannot show as an α below 0."
        )
    return notes


def bullets(notes: Iterable[str]) -> str:
    """Notes as a Markdown list."""
    return "\n".join(f"- {note}" for note in notes)
