"""Report and figure of the gradient benchmark, from its rows alone."""

from pathlib import Path
from typing import Any

import numpy as np

from experiments.gradients.errors import AGREE
from experiments.recordings.film import BLUE, GREEN, GREY, ORANGE, caption, pyplot, save

TARGETS = {  # what the benchmark is to show: limit, whether it is an upper one, description
    "gradient_over_forward": (3.0, True, "gradient / forward, float64, worst scene and batch"),
    "compile_over_forward": (2.5, True, "compile of the gradient / of the forward, worst row"),
    "memory_over_remembered": (0.2, True, "peak memory / unrolled, worst horizon or iterations"),
    "memory_over_unrolled": (
        0.2,
        True,
        "the same / unrolled with this project's checkpoint per step",
    ),
    "memory_growth": (1.05, True, "peak memory, most solver iterations / fewest"),
    "error_64": (1e-6, True, "one-step error, float64, worst scene"),
    "error_32": (1e-4, True, "one-step error, float32, worst scene"),
    "hopper_cosine": (0.9999, False, "cosine of the 32-step hopper gradient, float64"),
    "differences_over_gradient": (
        10.0,
        False,
        "one-sided MJX differences / gradient in ≥ 64 numbers (physics, start, control), least",
    ),
    "c_differences_over_gradient": (
        10.0,
        False,
        "the same of C MuJoCo, from its forward time, without recompiling it / gradient, least",
    ),
    "first_cold_s": (60.0, True, "start of Python to the first elbow gradient, cold cache [s]"),
    "first_cached_s": (10.0, True, "start of Python to the first elbow gradient, cached [s]"),
}


def _find(rows: list[dict], **wanted: Any) -> list[dict]:
    return [r for r in rows if all(r.get(k) == v for k, v in wanted.items())]


def _speed(rows: list[dict], dtype: str = "float64") -> list[dict]:
    """Per scene and batch: seconds of every variant."""
    rows = [r for r in rows if r["dtype"] == dtype and "seconds" in r and "cache" not in r]
    out = []
    for scene in dict.fromkeys(r["scene"] for r in rows):
        for batch in sorted({r["batch"] for r in _find(rows, scene=scene)}):
            here = {r["variant"]: r for r in _find(rows, scene=scene, batch=batch)}
            if "forward" in here:
                out.append({"scene": scene, "batch": batch, **here})
    return out


def summary_of(rows: list[dict]) -> dict[str, float]:
    """The numbers of the targets; one whose rows were not measured is absent."""
    out: dict[str, float] = {}
    if every := _speed(rows):
        ratios = [s["gradient"]["seconds"] / s["forward"]["seconds"] for s in every]
        out["gradient_over_forward"] = max(ratios)
        whole = lambda r: r["trace_s"] + r["compile_s"]  # noqa: E731
        out["compile_over_forward"] = max(
            whole(s["gradient"]) / whole(s["forward"])
            for dtype in ("float64", "float32")
            for s in _speed(rows, dtype)
        )
    counts = {r["scene"]: r["numbers"] for r in _find(rows, variant="error")}
    many = [s for s in every if "differences" in s and counts.get(s["scene"], 0) >= 64]
    if many:
        out["differences_over_gradient"] = min(
            s["differences"]["seconds"] / s["gradient"]["seconds"] for s in many
        )
        out["c_differences_over_gradient"] = min(
            (counts[s["scene"]] + 1) * s["c"]["seconds"] / s["gradient"]["seconds"] for s in many
        )
    memory = [r for r in rows if r.get("memory")]
    ours = _find(memory, variant="gradient")
    for variant in ("remembered", "unrolled"):
        shares = [r["temporary_bytes"] / _temporary_bytes(memory, r, variant) for r in ours]
        if shares:
            out[f"memory_over_{variant}"] = max(shares)
    if ours:
        rising = sorted(_find(ours, horizon=32), key=lambda r: r["iterations"])
        out["memory_growth"] = rising[-1]["temporary_bytes"] / rising[0]["temporary_bytes"]
    for name, dtype in (("error_64", "float64"), ("error_32", "float32")):
        known = [r for r in _find(rows, variant="error", dtype=dtype, horizon=1) if _known(r)]
        if known:
            out[name] = max(r["relative"] for r in known)
    hopper = _find(rows, variant="error", scene="hopper", dtype="float64", horizon=32)
    if hopper and _known(hopper[0]):
        out["hopper_cosine"] = hopper[0]["cosine"]
    for row in _find(rows, variant="first"):
        out[f"first_{row['cache']}_s"] = row["first_s"]
    return out


def _temporary_bytes(memory: list[dict], row: dict, variant: str) -> int:
    """Bytes of a variant's temporaries at a row's horizon and iterations."""
    same = {k: row[k] for k in ("horizon", "iterations")}
    return _find(memory, variant=variant, **same)[0]["temporary_bytes"]


def _known(row: dict) -> bool:
    """Whether the differences of an error row agree with each other; a row of one width counts."""
    return row.get("disagreement", 0.0) <= AGREE


def _reached(name: str, value: float) -> bool:
    limit, upper, _ = TARGETS[name]
    return value <= limit if upper else value >= limit


def markdown(
    rows: list[dict], provenance: dict, command: str, absent: int = 0
) -> tuple[str, dict[str, Any]]:
    """gradients.md as text, and the numbers of the targets with those that are missed.

    Args:
      absent: jobs of the command that have no rows because it was stopped.
    """
    summary = summary_of(rows)
    missed = [name for name, value in summary.items() if not _reached(name, value)]
    versions = ", ".join(f"{k} {v}" for k, v in provenance["versions"].items())
    commits = []
    for commit in dict.fromkeys(r["commit"] for r in rows):
        scenes = dict.fromkeys(r["scene"] for r in _find(rows, commit=commit))
        commits.append(f"{commit} ({', '.join(scenes)})")
    lines = [
        "# The gradient through contact, measured",
        "",
        f"`{command}`",
        "",
        f"Commits {', '.join(commits)}; {provenance['date']}, {provenance['cpu']} "
        f"({provenance['cores']} cores), {', '.join(provenance['devices'])}; {versions}. "
        "Generated from gradients.json. 32 steps of 2 ms, 10 solver iterations; medians of five "
        "calls or more; ratios within one process.",
        *([] if not absent else ["", f"Stopped before its end: {absent} jobs have no rows."]),
        "",
        "| wanted | limit | measured | |",
        "|---|---|---|---|",
    ]
    for name, (limit, upper, description) in TARGETS.items():
        if name in summary:
            value = summary[name]
            sign, verdict = "≤" if upper else "≥", "reached" if _reached(name, value) else "MISSED"
            lines.append(f"| {description} | {sign} {limit:g} | {value:.6g} | {verdict} |")
    for dtype in ("float64", "float32"):
        if not _speed(rows, dtype):
            continue
        lines += [
            "",
            f"## Speed, {dtype}",
            "",
            "| scene | numbers | batch | forward [steps/s] | with gradient [steps/s] | C MuJoCo "
            "[steps/s] | gradient / forward | unrolled / forward | one iteration / forward | "
            "differences / forward | compile: forward | gradient | unrolled |",
            "|---|---|---|---|---|---|---|---|---|---|---|---|---|",
        ]
        for s in _speed(rows, dtype):
            base = s["forward"]["seconds"]

            def over(variant: str, s: dict = s, base: float = base) -> str:
                if variant not in s:
                    return "–"
                finite = "" if s[variant]["finite"] else " (not finite)"
                return f"{s[variant]['seconds'] / base:.2f}{finite}"

            def built(variant: str, s: dict = s) -> str:
                row = s.get(variant)
                return f"{row['trace_s'] + row['compile_s']:.0f} s" if row else "–"

            lines.append(
                f"| {s['scene']} | {s['forward']['parameters']} | {s['batch']} | "
                f"{s['forward']['steps_per_s']:.0f} | {s['gradient']['steps_per_s']:.0f} | "
                f"{s['c']['steps_per_s']:.0f} | "
                f"{over('gradient')} | {over('unrolled')} | {over('one')} | "
                f"{over('differences')} | "
                f"{built('forward')} | {built('gradient')} | {built('unrolled')} |"
            )
    if bare := [s for s in _speed(rows, "float32") if "bare" in s]:
        lines += [
            "",
            "## What of the time is not the solver, float32",
            "",
            "Both again without the solver's iterations; its problem is still set up.",
            "",
            "| scene | batch | of the forward | of the gradient |",
            "|---|---|---|---|",
        ]
        for s in bare:
            forward = s["bare"]["seconds"] / s["forward"]["seconds"]
            gradient = s["bare_gradient"]["seconds"] / s["gradient"]["seconds"]
            lines.append(f"| {s['scene']} | {s['batch']} | {forward:.2f} | {gradient:.2f} |")
    if errors := _find(rows, variant="error"):
        lines += [
            "",
            "## Error against C MuJoCo (float64, recompiled models, fourth-order differences)",
            "",
            "| scene | precision | steps | numbers | relative error | cosine | loss, MJX | C |",
            "|---|---|---|---|---|---|---|---|",
        ]
    for r in errors:
        error = f"{r['relative']:.1e} | {r['cosine']:.8f}"
        if not _known(r):
            error = "differences disagree with each other: a touch within their width | –"
        lines.append(
            f"| {r['scene']} | {r['dtype']} | {r['horizon']} | {r['numbers']} | {error} | "
            + (f"{r['value']:.7g} | {r['value_of_c']:.7g} |" if "value" in r else "– | – |")
        )
    memory = [r for r in rows if r.get("memory")]
    if memory:
        lines += [
            "",
            f"## Memory of one rollout's gradient ({memory[0]['scene']}, temporaries)",
            "",
            "| steps | iterations | implicit | unrolled, checkpoint per step | unrolled |",
            "|---|---|---|---|---|",
        ]
        for r in _find(memory, variant="gradient"):
            variants = ("gradient", "unrolled", "remembered")
            sizes = [_temporary_bytes(memory, r, variant) for variant in variants]
            shown = " | ".join(f"{size / 1e6:.2f} MB" for size in sizes)
            lines.append(f"| {r['horizon']} | {r['iterations']} | {shown} |")
    return "\n".join(lines) + "\n", summary | {"missed": missed}


def draw(rows: list[dict], provenance: dict, command: str, path: Path) -> None:
    """Speed against batch, the variants' cost, and memory, in one picture."""
    memory = [r for r in rows if r.get("memory") and r["horizon"] == 32]
    panels = 3 if memory else 2
    figure, axes = pyplot.subplots(1, panels, figsize=(4 * panels, 4.2), layout="constrained")
    single = [s for s in _speed(rows, "float32") if "gradient" in s]
    speed = _speed(rows)
    dtype = "float32" if len(single) > len(speed) else "float64"
    speed = single if dtype == "float32" else speed
    marks = dict(zip(dict.fromkeys(s["scene"] for s in speed), "osD^v", strict=False))
    for scene, mark in marks.items():
        here = [s for s in speed if s["scene"] == scene]
        batch = [s["batch"] for s in here]
        for variant, colour, style in (("forward", BLUE, "-"), ("gradient", ORANGE, "--")):
            rate = [s[variant]["steps_per_s"] for s in here]
            axes[0].plot(batch, rate, style, color=colour, marker=mark, ms=4, lw=1)
    axes[0].set(xscale="log", yscale="log", xlabel="batch", ylabel="steps/s")
    axes[0].set_title("forward (solid), with gradient (dashed)", fontsize=9)
    for scene, mark in marks.items():
        axes[0].plot([], [], "k", marker=mark, ls="", ms=4, label=scene)
    axes[0].legend(fontsize=7, frameon=False)

    compared = [s for s in _speed(rows) if "unrolled" in s]
    where = np.arange(len(compared))
    bars = (("gradient", ORANGE, ""), ("unrolled", GREY, "//"), ("one", GREEN, ".."))
    for k, (variant, colour, hatch) in enumerate(bars):
        height = [s[variant]["seconds"] / s["forward"]["seconds"] for s in compared]
        label = {"gradient": "implicit (this)", "one": "MJX, 1 iteration (wrong)"}.get(variant)
        axes[1].bar(
            where + 0.27 * (k - 1), height, 0.27, color=colour, hatch=hatch, label=label or variant
        )
    axes[1].set_xticks(where, [s["scene"] for s in compared], fontsize=8)
    axes[1].set(ylabel="time / forward")
    axes[1].set_title("cost of a gradient", fontsize=9)
    axes[1].legend(fontsize=7, frameon=False)

    for variant, colour, style in (("gradient", ORANGE, "o--"), ("unrolled", GREY, "s-")):
        if not memory:
            break
        here = sorted(_find(memory, variant=variant), key=lambda r: r["iterations"])
        axes[2].plot(
            [r["iterations"] for r in here],
            [r["temporary_bytes"] / 1e6 for r in here],
            style,
            color=colour,
            ms=4,
            label="implicit (this)" if variant == "gradient" else "unrolled, same checkpoint",
        )
    if memory:
        axes[2].set(xlabel="solver iterations", ylabel="memory [MB]", ylim=(0, None))
        axes[2].set_title("temporaries of one 32-step gradient", fontsize=9)
        axes[2].legend(fontsize=7, frameon=False)
    caption(
        figure,
        {"command": command, "provenance": provenance},
        f"{dtype} (bars: float64), {provenance['cpu']} ({provenance['cores']} cores), "
        f"{', '.join(provenance['devices'])}; 32 steps, 10 solver iterations.",
    )
    save(figure, path, dpi=110, bbox_inches="tight")
