"""What the gradient of 64 rollouts costs, and what finishing broken-off solves adds to it.

Question: is a gradient at most 2.5 × the forward simulation, and its compilation 3 ×?
Command:  python -m experiments.gradients.cost --out experiments/results/gradients/cost
Runtime:  ten minutes on 2 idle cores
Expected: ratios ≤ 2.5 of the run and ≤ 3 of the compilation; what missed is listed

Every scene is measured in a process of its own (``measure``); ratios are within one process.
"""

import dataclasses
import json
import sys
from pathlib import Path

import tyro

from experiments.gradients.bench import COMPARE, measured
from worldmodel import runtime
from worldmodel.runtime import files

RUN, COMPILE = 2.5, 3.0  # times the forward
SCENES = ("cube", "elbow", "hopper", "quadruped")
VARIANTS = ("step", "gradient", "unfinished", "packed")


@dataclasses.dataclass(frozen=True)
class Args:
    """Command line."""

    out: Path
    scenes: tuple[str, ...] = SCENES
    batch: int = COMPARE


def ratios(rows: list[dict]) -> dict[str, dict[str, float]]:
    """Variant → its seconds and compilation (tracing included), times those of ``mjx.step``."""
    by_variant = {row["variant"]: row for row in rows}
    forward = by_variant["forward"]

    def compilation(row: dict) -> float:
        return row["trace_s"] + row["compile_s"]

    return {
        name: {
            "run": by_variant[name]["seconds"] / forward["seconds"],
            "compile": compilation(by_variant[name]) / compilation(forward),
        }
        for name in VARIANTS
    }


def markdown(table: dict) -> str:
    """The table as a page."""
    provenance = table["provenance"]
    lines = [
        "# What a gradient costs",
        "",
        f"{table['batch']} rollouts of 32 steps, float64, 10 solver iterations (the MJCF's for the "
        "solver's value; Newton's method finishes what is left). Every number is a multiple of the "
        "same rollouts by `mjx.step`, in one process.",
        "",
        "| scene | `mjx.step` [s] | compile [s] | "
        + " | ".join(f"{name}, run | compile" for name in VARIANTS)
        + " |",
        "|---|" + "---|" * (2 + 2 * len(VARIANTS)),
    ]
    for scene, rows in table["scenes"].items():
        (forward,) = (row for row in rows if row["variant"] == "forward")
        cells = [f"{r['run']:.2f} | {r['compile']:.1f}" for r in ratios(rows).values()]
        compilation = forward["trace_s"] + forward["compile_s"]
        lines.append(
            f"| {scene} | {forward['seconds']:.3f} | {compilation:.0f} | {' | '.join(cells)} |"
        )
    missed = [
        f"{scene}: {kind} {ratios(rows)['gradient'][kind]:.2f} (limit {limit})"
        for scene, rows in table["scenes"].items()
        for kind, limit in (("run", RUN), ("compile", COMPILE))
        if ratios(rows)["gradient"][kind] > limit
    ]
    lines += [
        "",
        "*step*: `physics.step` without a gradient. *gradient*: reverse mode. *unfinished*: at the "
        "point where the solver stopped (`Backward(finish=False)`). *packed*: the scan carries one "
        "array in place of three.",
        "",
        f"Missed: {'; '.join(missed) or 'nothing'}.",
        "",
        f"{provenance['cpu']}, commit {provenance['commit']}, {provenance['versions']}.",
        "",
        f"```bash\n{table['command']}\n```",
        "",
    ]
    return "\n".join(lines)


def main(args: Args) -> int:
    """Measures scene after scene; prints one JSON line at the end."""
    command = f"python -m experiments.gradients.cost --out {args.out}"
    if args.scenes != SCENES:
        command += f" --scenes {' '.join(args.scenes)}"
    table = {"command": command, "provenance": runtime.provenance(), "batch": args.batch}
    table["scenes"] = {}
    args.out.mkdir(parents=True, exist_ok=True)
    for scene in args.scenes:
        runtime.log(f"{scene}, {len(table['scenes'])}/{len(args.scenes)} done")
        job = {"scene": scene, "batches": [str(args.batch)], "cost": True}
        table["scenes"][scene] = measured(job, None)
        files.write_json(args.out / "table.json", table)
    files.write_text(args.out / "table.md", markdown(table))
    print(json.dumps({scene: ratios(rows) for scene, rows in table["scenes"].items()}))
    return 0


if __name__ == "__main__":
    sys.exit(runtime.run(main, tyro.cli(Args, description=__doc__)))
