"""The gate's verdicts on each cell, and its tables."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from experiments.gradients.gate_cells import CLASSES, DTYPES, REFERENCES, STEPS
from experiments.gradients.gate_scenes import CONES, INTEGRATORS, JOINTS, REPRESENTATIVE
from experiments.records import Columns, header, table

# Relative errors that pass, per number of steps.
LIMITS = {"float64": (1e-6, 1e-5), "float32": (1e-3, 1e-2)}
REVERSE = {"float64": 1e-9, "float32": 1e-3}  # reverse mode from forward mode, relative
VALUES = 1e-8  # relative difference of MJX's own state from C's, below which C is a reference
JUMP = 1e-3  # relative jump of slope from which differences have no derivative
UNSURE = 3.0  # jumps of slope by which a difference can be off
NOTHING = {"float64": 1e-11, "float32": 1e-6}  # a Jacobian that is no larger is zero
PLAIN = (JOINTS[0], CONES[0], INTEGRATORS[0])
KINDS = ("wrong", "right", "kink", "dead", "refused")  # of verdicts, the worst first
Row = dict[str, Any]


class Verdict(NamedTuple):
    """What the gate says of one cell."""

    kind: str  # one of ``KINDS``
    error: float | None = None  # relative, the largest over the references that count

    @property
    def text(self) -> str:
        """As the tables have it."""
        if self.kind not in ("right", "wrong"):
            return self.kind
        figure = "not finite" if self.error is None else f"{self.error:.0e}"
        return figure if self.kind == "right" else f"**{figure}**"


def verdict(row: Row, name: str, dtype: str, k: int) -> Verdict:
    """Of a row, a class, a precision, and the index of a number of steps."""
    if "refused" in row or "refused" in row["classes"][name]:
        return Verdict("refused")
    cell, away = row["classes"][name][k], row["values"][k]
    agree = away is not None and away <= VALUES
    references = [cell[r] for r in REFERENCES if r == "mjx" or agree]
    counted = [c for c in references if None not in (c["size"], c["jump"])]
    mine = cell["ours"][dtype]
    if mine is None or not counted:  # not finite, at a kink too
        return Verdict("wrong")
    if all(c["size"] <= NOTHING["float64"] for c in counted):
        return Verdict("dead" if mine <= NOTHING[dtype] else "wrong", mine)
    sure = [c for c in counted if c["jump"] <= JUMP * c["size"] + NOTHING["float64"]]
    if not sure:
        return Verdict("kink")
    limit, error = LIMITS[dtype][k], max(c[dtype] for c in sure)
    beyond = [c for c in sure if c[dtype] * c["size"] > limit * c["size"] + UNSURE * c["jump"]]
    if beyond and dtype == "float32":
        # Rounding decides on which side of a kink of the scene a state in float32 is.
        others = {verdict(row, c, "float64", k).kind for c in row["classes"]}
        return Verdict("kink") if "kink" in others else Verdict("wrong", error)
    return Verdict("wrong" if beyond else "right", error)


def worst(row: Row, dtype: str, k: int) -> Verdict:
    """The worst verdict on a class of a row."""
    verdicts = [verdict(row, name, dtype, k) for name in CLASSES]
    size = {v: -np.inf if v.error is None else -v.error for v in verdicts}
    return min(verdicts, key=lambda v: (KINDS.index(v.kind), size[v]))


def _length(steps: int) -> str:
    return "one step" if steps == 1 else f"{steps} steps"


def _of_scene(dtype: str, k: int) -> Callable[[Row], str]:
    return lambda row: worst(row, dtype, k).text


TITLE, NOTE = "The gate of the gradient", "The worst class of each scene."
COLUMNS: Columns = {
    "scene": "scene",
    **{f"{d}, {_length(n)}": _of_scene(d, k) for d in DTYPES for k, n in enumerate(STEPS)},
    "refused": lambda row: row.get("refused"),
}


def counts(rows: list[Row]) -> list[Row]:
    """Per precision and number of steps: cells of each kind, of the scenes that load."""
    loaded = [row for row in rows if "refused" not in row]
    out = []
    for dtype in DTYPES:
        for k, steps in enumerate(STEPS):
            kinds = [verdict(row, c, dtype, k).kind for row in loaded for c in CLASSES]
            cells = {kind: kinds.count(kind) for kind in KINDS}
            out.append({"cells": f"{dtype}, {_length(steps)}"} | cells)
        reverse = [row["reverse"].get(dtype, 0.0) for row in loaded]
        wrong = sum(error is None or error > REVERSE[dtype] for error in reverse)
        measured = sum(dtype in row["reverse"] for row in loaded)
        kinds = dict.fromkeys(KINDS, 0) | {"right": measured - wrong, "wrong": wrong}
        out.append({"cells": f"{dtype}, reverse against forward mode, scenes"} | kinds)
    return out


def _matrix(named: dict[str, Row], k: int) -> str:
    def column(name: str) -> Callable[[Row], str]:
        return lambda line: verdict(line["row"], name, "float64", k).text

    lines = [{"name": name, "row": row} for name, row in named.items()]
    return table(lines, {"": "name"} | {c.replace("_", " "): column(c) for c in CLASSES})


def markdown(result: Row) -> str:
    """What is measured of docs/physics.md.

    Args:
      result: the content of table.json.
    """
    rows = [row for row in result["rows"] if row["pose"] == "generic"]
    plain = [r for r in rows if (r["joint"], r["cone"], r["integrator"]) == PLAIN]
    pairs = {f"{r['fixed']}–{r['moving']}": r for r in plain}
    one_pair = [r for r in rows if (r["fixed"], r["moving"]) == REPRESENTATIVE]
    joints = {f"{r['joint']}, {r['cone']}, {r['integrator']}": r for r in one_pair}
    sections = {"Cells": table(counts(result["rows"]), {name: name for name in ("cells", *KINDS)})}
    for k, steps in enumerate(STEPS):
        length = f"{_length(steps)}, float64"
        sections[f"Contact pairs, free joint, {length}"] = _matrix(pairs, k)
        sections[f"Joints, cones, integrators, {length}"] = _matrix(joints, k)
    text = header("Measured", result).replace("# ", "## ", 1)
    return text + "\n".join(f"### {title}\n\n{body}" for title, body in sections.items())
