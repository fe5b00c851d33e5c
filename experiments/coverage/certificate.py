"""The certificate of the coverage study: a table in Markdown from the rows of coverage.json.

The page and the JSON call a scenario an arm.
"""

import math
from typing import Any

from experiments.coverage.scenarios import COVERS, FAILS, LAW_RANGE, RANGE

BAND = (0.929, 0.971)  # of a share of 95 % in 400 replications, with probability 0.95


def shares(row: dict[str, Any]) -> tuple[float, float]:
    """The shares of tables covered: of those with a value (NaN if none has one) and of all."""
    valued = row["covered_valued"] / row["valued"] if row["valued"] else math.nan
    return valued, row["covered"] / row["replications"]


def verdict(row: dict[str, Any]) -> str:
    """Whether both shares of a scenario lie within the band, or on which side of it."""
    both = shares(row)
    if min(both) < BAND[0]:
        return "too short"
    return "covers" if max(both) <= BAND[1] else "too wide"


def reached(row: dict[str, Any]) -> bool | None:
    """Whether a scenario has the wanted verdict; None if none is wanted."""
    if row["wanted"] == COVERS:
        return verdict(row) == "covers"
    return verdict(row) == "too short" if row["wanted"] == FAILS else None


def missed(result: dict[str, Any]) -> list[str]:
    """The scenarios without the wanted verdict."""
    return [
        f"{row['group']}: {row['design']}, S = {row['seeds']}: {row['figure']}"
        for row in result["arms"]
        if reached(row) is False
    ]


def wilson(share: float, count: int) -> tuple[float, float]:
    """The 95 % Monte-Carlo interval of a share (Wilson 1927)."""
    z = 1.96
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(share * (1 - share) / count + (z / (2 * count)) ** 2)
    return middle - half, middle + half


def markdown(result: dict[str, Any]) -> str:
    """The certificate.

    Args:
      result: the content of coverage.json.
    """
    run, rows = result["provenance"], result["arms"]
    wanted = [row for row in rows if reached(row) is not None]
    good = sum(bool(reached(row)) for row in wanted)
    versions = ", ".join(f"{name} {run['versions'][name]}" for name in ("numpy", "scipy"))
    lines = [
        "# Coverage of the trust tool's 95 % intervals",
        "",
        f"`{result['command']}`",
        "",
        f"Commit {run['commit'][:12]}; {run['date']}, {run['cpu']} ({run['cores']} cores), "
        f"{result['seconds']} s; {versions}. Generated from coverage.json.",
        "",
        f"{good} of {len(wanted)} arms do what is wanted: an arm *covers* if the interval holds "
        f"the truth in {BAND[0]}–{BAND[1]} of its tables, both of those with a value and of all "
        "(an open end claims its known end, a table without a value nothing else); one that *must "
        "fail* falls below. The Monte-Carlo interval beside the share of all is 95 % (Wilson).",
        "",
        f"Claimed is the range in which one mean error leaves log D_eff to ± {RANGE} or less "
        f"(t(S − 1) · cv / (slope · √S), the column ±), to ± {LAW_RANGE} for what is fitted to "
        "several cells. *Outside* it the table shows what happens; *proposed* intervals are not "
        "offered.",
    ]
    if any(reached(row) is False for row in wanted):
        lines += ["", "MISSED:", "", *(f"- {name}" for name in missed(result))]
    for group in dict.fromkeys(row["group"] for row in rows):
        lines += [
            *("", f"## {group[0].upper()}{group[1:]}", ""),
            "| design | S | cv | slope | ± | figure | no value | covers, given a value | of all "
            "(Monte-Carlo) | wanted | found |",
            "|---|---|---|---|---|---|---|---|---|---|---|",
        ]
        for row in (row for row in rows if row["group"] == group):
            valued, every = shares(row)
            low, high = wilson(every, row["replications"])
            outcome = f"MISSED: {verdict(row)}" if reached(row) is False else verdict(row)
            lines.append(
                f"| {row['design']} | {row['seeds']} | {row['cv']:.2f} | {row['slope']:g} | "
                f"{row['spread']:.2f} | {row['figure']} | "
                f"{1 - row['valued'] / row['replications']:.3f} | {valued:.3f} | {every:.3f} "
                f"({low:.3f}–{high:.3f}) | {row['wanted']} | {outcome} |"
            )
    return "\n".join(lines) + "\n"
