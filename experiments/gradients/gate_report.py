"""The gate's page from its table alone: verdicts, counts, tables."""

import dataclasses
from collections.abc import Iterable
from typing import Any

import numpy as np

from experiments.gradients.gate_cells import CLASSES, DTYPES, REFERENCES, STEPS
from experiments.gradients.gate_scenes import CONES, INTEGRATORS, JOINTS

# Relative errors that pass, per number of steps.
LIMITS = {"float64": (1e-6, 1e-5), "float32": (1e-3, 1e-2)}
REVERSE = {"float64": 1e-9, "float32": 1e-3}  # reverse mode from forward mode, relative
VALUES = 1e-8  # relative difference of MJX's own state from C's, below which C is a reference
JUMP = 1e-3  # relative jump of slope from which differences have no derivative
UNSURE = 3.0  # jumps of slope by which a difference can be off
NOTHING = {"float64": 1e-11, "float32": 1e-6}  # a Jacobian that is no larger is zero
HEADS = {"muscle control": "muscle", "friction_torsional": "torsional"}
HEADS |= {"friction_rolling": "rolling", "geom_size": "size", "geom_pos": "geom pos"}
HEADS |= {"geom_rotation": "rotation", "frictionloss": "friction loss", "gravity_tilt": "gravity"}


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What the gate says of one cell."""

    word: str  # "right", "wrong", "kink", "dead" or "refused"
    error: float | None = None  # relative, the largest over the references that count
    message: str = ""  # of a refusal

    @property
    def text(self) -> str:
        """As the tables have it."""
        if self.word in ("right", "wrong"):
            figure = "not finite" if self.error is None else f"{self.error:.0e}"
            return figure if self.word == "right" else f"**{figure}**"
        return self.word


def verdict(row: dict[str, Any], name: str, dtype: str, k: int) -> Verdict:
    """Of a row, a class, a precision, and the index of a number of steps."""
    if "refused" in row:
        return Verdict("refused", message=row["refused"])
    entry = row["classes"][name]
    if "refused" in entry:
        return Verdict("refused", message=entry["refused"])
    cell = entry[k]
    references = [cell[r] for r in REFERENCES if r == "mjx" or _values_agree(row, k)]
    counted = [c for c in references if None not in (c["size"], c["jump"])]
    mine = cell["ours"][dtype]
    if mine is None or not counted:  # not finite, at a kink too
        return Verdict("wrong")
    if all(c["size"] <= NOTHING["float64"] for c in counted):
        return Verdict("dead" if mine <= NOTHING[dtype] else "wrong", mine)
    sure = [c for c in counted if c["jump"] <= JUMP * c["size"] + NOTHING["float64"]]
    if not sure:
        return Verdict("kink")
    limit = LIMITS[dtype][k]
    beyond = [c for c in sure if c[dtype] * c["size"] > limit * c["size"] + UNSURE * c["jump"]]
    if beyond and dtype == "float32":
        # Rounding decides on which side of a kink of the scene a state in float32 is.
        others = (verdict(row, c, "float64", k).word for c in row["classes"])
        if "kink" in others:
            return Verdict("kink")
    return Verdict("wrong" if beyond else "right", max(c[dtype] for c in sure))


def _values_agree(row: dict[str, Any], k: int) -> bool:
    return row["values"][k] is not None and row["values"][k] <= VALUES


def summary(table: dict[str, Any]) -> dict[str, Any]:
    """Counts of each word, per precision and number of steps, of the rows that load."""
    every = {name: row for name, row in table["rows"].items() if "refused" not in row}
    counts: dict[str, Any] = {"rows": len(every), "refused": len(table["rows"]) - len(every)}
    for dtype in DTYPES:
        for k, steps in enumerate(STEPS):
            verdicts = [verdict(r, c, dtype, k).word for r in every.values() for c in CLASSES]
            words_of = {w: verdicts.count(w) for w in ("right", "wrong", "kink", "dead", "refused")}
            counts[f"{dtype}_{steps}"] = words_of
    return counts


def markdown(table: dict[str, Any]) -> str:
    """docs/physics.md."""
    rows, provenance = table["rows"], table["provenance"]
    measured = {name: row for name, row in rows.items() if "refused" not in row}
    versions = ", ".join(f"{k} {v}" for k, v in provenance["versions"].items() if "j" in k)
    pairs = [r for r in rows.values() if _is_base(r)]
    grouped = _grouped(measured.values())
    lines = [
        _HEAD.format(
            command=table["command"],
            commit=provenance["commit"],
            date=provenance["date"],
            cpu=provenance["cpu"],
            cores=provenance["cores"],
            versions=versions,
            rows=len(measured),
            classes=len(CLASSES),
            minutes=round(sum(r["seconds"] for r in measured.values()) / 60),
            one=LIMITS["float64"][0],
            many=LIMITS["float64"][1],
            one_32=LIMITS["float32"][0],
            many_32=LIMITS["float32"][1],
            values=VALUES,
            jump=JUMP,
            reverse=REVERSE["float64"],
            reverse_32=REVERSE["float32"],
        ),
        *_counts(table),
        *_listed(measured, "wrong", "Wrong cells"),
        *_listed(measured, "kink", "Kinks"),
        *_refusals(rows),
        _KNOWN,
    ]
    for k, steps in enumerate(STEPS):
        lines += ["", f"## Contact pairs, free joint, {_steps(steps)}, float64", ""]
        lines += _matrix([(f"{r['fixed']}–{r['moving']}", [r]) for r in pairs], "float64", k)
    for k, steps in enumerate(STEPS):
        lines += ["", f"## Joints, cones, integrators, {_steps(steps)}, float64", ""]
        lines += ["The worst of the pairs that were measured with all of them.", ""]
        lines += _matrix(list(grouped.items()), "float64", k)
    lines += ["", "## Each scene", "", *_scenes(measured)]
    return "\n".join(lines) + "\n"


def _is_base(row: dict[str, Any]) -> bool:
    generic = row["joint"] == JOINTS[0] and row["pose"] == "generic"
    return generic and (row["cone"], row["integrator"]) == (CONES[0], INTEGRATORS[0])


def _grouped(rows: Iterable[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Rows by joint, cone and integrator, of the pairs that more than one joint has."""
    rows = [r for r in rows if r["pose"] == "generic"]
    shared = {(r["fixed"], r["moving"]) for r in rows if r["joint"] != JOINTS[0]}
    groups: dict[str, list[dict[str, Any]]] = {}
    for r in rows:
        if (r["fixed"], r["moving"]) in shared:
            groups.setdefault(f"{r['joint']}, {r['cone']}, {r['integrator']}", []).append(r)
    return groups


def _steps(steps: int) -> str:
    return "one step" if steps == 1 else f"{steps} steps"


def _counts(table: dict[str, Any]) -> list[str]:
    counts = summary(table)
    lines = ["", "| | right | wrong | kink | dead | refused |", "|---|---|---|---|---|---|"]
    for dtype in DTYPES:
        for steps in STEPS:
            one = counts[f"{dtype}_{steps}"]
            shown = " | ".join(f"**{n}**" if w == "wrong" and n else f"{n}" for w, n in one.items())
            lines.append(f"| {dtype}, {_steps(steps)} | {shown} |")
    measured = [r for r in table["rows"].values() if r.get("reverse")]
    wrong = sum(_reversed(r, dtype).startswith("**") for r in measured for dtype in DTYPES)
    number = f"**{wrong}**" if wrong else "0"
    text = f"Reverse mode over one step: {len(measured)} scenes in both precisions, {number} wrong."
    return [*lines, "", text]


def _listed(rows: dict[str, dict], word: str, title: str) -> list[str]:
    """A line for each scene, precision and number of steps with cells of this word."""
    lines = []
    for name, row in rows.items():
        for dtype in DTYPES:
            for k, steps in enumerate(STEPS):
                verdicts = {c: verdict(row, c, dtype, k) for c in CLASSES}
                hits = {c: v for c, v in verdicts.items() if v.word == word}
                if hits:
                    figures = [f"{c} {v.text}".removesuffix(f" {word}") for c, v in hits.items()]
                    lines.append(f"| {name} | {dtype} | {steps} | {', '.join(figures)} |")
    head = ["", f"## {title}", ""]
    if not lines:
        return [*head, "None."]
    return [*head, "| scene | precision | steps | classes |", "|---|---|---|---|", *lines]


def _refusals(rows: dict[str, dict]) -> list[str]:
    """Each message once: of pairs without a collider, and of parameters that nothing depends on."""
    lines = ["", "## Refused", "", "| what | the error says |", "|---|---|"]
    seen: dict[str, str] = {}
    for row in rows.values():
        if "refused" in row:
            seen.setdefault(row["refused"], f"{row['fixed']}–{row['moving']}")
            continue
        for name, entry in row["classes"].items():
            if "refused" in entry:
                seen.setdefault(entry["refused"], name)
    return [*lines, *(f"| {what} | `{text}` |" for text, what in seen.items())]


def _matrix(named: list[tuple[str, list[dict]]], dtype: str, k: int) -> list[str]:
    heads = [HEADS.get(c, c).replace("_", " ") for c in CLASSES]
    lines = [f"| | {' | '.join(heads)} |", "|---" * (len(CLASSES) + 1) + "|"]
    for name, rows in named:
        cells = [_worst([verdict(r, c, dtype, k) for r in rows]).text for c in CLASSES]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def _worst(verdicts: list[Verdict]) -> Verdict:
    order = ("wrong", "right", "kink", "dead", "refused")

    def rank(v: Verdict) -> tuple[int, float]:
        return order.index(v.word), -(np.inf if v.error is None else v.error)

    return min(verdicts, key=rank)


def _scenes(rows: dict[str, dict]) -> list[str]:
    """Of every scene: MJX against C, contact, the worst classes, reverse mode."""
    lines = [
        "| scene | MJX − C | touching | float64 | float32 | reverse − forward, 64 | 32 |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, row in rows.items():
        values = ", ".join("–" if v is None else f"{v:.0e}" for v in row["values"])
        worst = []
        for dtype in DTYPES:
            both = [_worst([verdict(row, c, dtype, k) for c in CLASSES]).text for k in (0, 1)]
            worst.append(", ".join(both))
        reverse = [_reversed(row, dtype) for dtype in DTYPES]
        cells = [name, values, str(row["touching"]), *worst, *reverse]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _reversed(row: dict[str, Any], dtype: str) -> str:
    """Reverse mode's distance from forward mode, bold where it is wrong."""
    if dtype not in row["reverse"]:
        return "–"
    error = row["reverse"][dtype]
    if error is None:
        return "**not finite**"
    return f"{error:.0e}" if error <= REVERSE[dtype] else f"**{error:.0e}**"


_HEAD = """# Where the gradient is right: the gate

`worldmodel.physics.step` has the values of `mjx.step` and a derivative through contact. This page
compares that derivative, number by number, with central differences of `mjx.step` itself and of C
MuJoCo on recompiled models: {rows} scenes (a joint, two shapes that touch, a friction cone, an
integrator), {classes} classes of numbers each (the start, the control, every kind of parameter), in
double and single precision, over one step and over 32 steps of 2 ms.

**How it was made.** `{command}` at commit {commit}, {date}, on {cpu} ({cores} cores, {minutes}
minutes of processor time); {versions}; seed 0 of NumPy's generator. Every number is in
`experiments/results/gradients/gate/table.json`; this page is rendered from it.

**How to read it.** A body hangs on the joint, its geom rests and slides on a fixed geom; one servo
and one muscle act. A figure is ‖g − d‖∞ / ‖d‖∞: the largest error of a class's Jacobian of the
final positions and velocities over its largest entry, with d the fourth-order differences. It is
the larger of the errors against MJX and against C. C counts only where MJX's own values are C's
(column *MJX − C* at the end, within {values:.0e}).

- **bold** is wrong: above {one:.0e} (one step) or {many:.0e} (32 steps) in float64, above
  {one_32:.0e} or {many_32:.0e} in float32, and above three times what the differences themselves
  leave open;
- reverse mode is compared with forward mode: bold above {reverse:.0e}, {reverse_32:.0e};
- *kink*: measured one-sided differences disagree by more than {jump:.0e} at every width, so there
  is no derivative to compare with; in float32 also what is off in a scene with such a kink, whose
  side its rounding decides, unless it is not finite;
- *dead*: the gradient and the differences are both zero;
- *refused*: an error names the element, see below."""

_KNOWN = """
## Known kinks and deviations

- Two capsules side by side, a cylinder flat on its face, a box face on a face: the contact points
  jump as the shapes turn. The *aligned* scenes are such poses. A capsule touched at the end of its
  axis is one too.
- A sphere on a height field kinks where the nearest triangle changes.
- A friction loss of 0 moves in log space and is refused as a parameter; in the model's own array
  its gradient is 0 there and C's is one-sided.
- MJX integrates a free body under implicitfast otherwise than C does: only MJX counts there.
- MJX's colliders of ellipsoids and cylinders with each other, with spheres and with capsules take a
  fixed number of iterations and can stop millimetres from C's distance; those of boxes and meshes
  choose other contact points than C's. Only MJX counts where that shows.
- The derivative at a cylinder is that of the contact at which MJX's descent would end, where its
  own is not finite. MJX's values stop before that, so their differences are others: a cylinder
  against a sphere, capsule, ellipsoid or cylinder is wrong by this measure in what moves the
  contact. `load_scene` warns of such pairs.
- `connect` and `weld` have a velocity term in C that MJX lacks.
- The power of `solimp` has no gradient.
- The time of a touch has none either, unless `Backward.touch_speed` is set: over a bounce the
  derivative is that of the discretised steps, which is what this page compares.
- A muscle's control acts on its activation first: over one step its class is dead."""
