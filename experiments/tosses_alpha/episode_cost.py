"""What a synthetic episode costs its device: seconds, and energy where the device counts it.

Question: what do whole tosses of the cube and the elbow cost by the batch, states on the host?
Command:  python -m experiments.tosses_alpha.episode_cost --out runs/episode_cost
Runtime:  two minutes per scene and batch on 2 cores; half a minute on a GPU
Expected: one JSON line; OUT.json and OUT.md; on a GPU far below the 58 s of a video model's clip

Each scene plays tosses with the sources' parameters from random poses above the table, batch after
batch for SECONDS, after a first batch that is not counted because it compiles. Energy is the
difference of the GPU's own counter; its idle power is measured too. Rows of other devices in
OUT.json are kept, so that the page compares devices.
"""

import dataclasses
import json
import sys
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tyro

from experiments.recordings.problems import Problem, find_problem
from experiments.slide.report import markdown_table
from worldmodel import runtime
from worldmodel.model import WorldModel, init
from worldmodel.model.simulate import make_simulator
from worldmodel.runtime import files
from worldmodel.trust.cost import SCALE

FRAMES = 121  # of a recorded elbow toss; the cube's have 80 to 442, median 101


@dataclasses.dataclass(frozen=True)
class Args:
    """Command line."""

    out: Path  # OUT.json and OUT.md
    recordings: tuple[str, ...] = ("cube_toss", "elbow_toss")
    batches: tuple[int, ...] = (64, 1024)
    seconds: float = 10.0  # of every measurement, at least
    x64: bool = False


def starts(problem: Problem, size: int) -> tuple[np.ndarray, np.ndarray]:
    """(size, nq) poses of any rotation, 0.1 to 0.3 m above the table; (size, nv) velocities."""
    model = problem.scene().mj_model
    rng = np.random.default_rng(0)
    qpos = np.tile(model.qpos0, (size, 1))
    qpos[:, 2] = rng.uniform(0.1, 0.3, size)
    quat = rng.normal(size=(size, 4))
    qpos[:, 3:7] = quat / np.linalg.norm(quat, axis=1, keepdims=True)
    return qpos, rng.normal(size=(size, model.nv))


def measure(problem: Problem, batch: int, seconds: float) -> dict[str, Any]:
    """A row: the cost of each of ``batch`` tosses played at once for ``seconds`` or more."""
    world = WorldModel(problem.scene(), problem.free)
    simulate = make_simulator(world, batch)
    parameters = init(world, jax.random.key(0))
    qpos, qvel = starts(problem, batch)
    ctrl = np.zeros((batch, FRAMES, world.scene.mj_model.nu))
    began = time.monotonic()
    simulate(parameters, qpos, ctrl, qvel)
    compiled = time.monotonic() - began
    idle = power(seconds / 2)
    before, began, calls, finite = runtime.energy_joules(), time.monotonic(), 0, True
    while time.monotonic() - began < seconds:
        states = simulate(parameters, qpos, ctrl, qvel)
        finite &= bool(np.isfinite(states.qpos).all())
        calls += 1
    spent = time.monotonic() - began
    after, episodes = runtime.energy_joules(), calls * batch
    energy = None if before is None or after is None else (after - before) / episodes
    return {
        "recording": problem.name,
        "batch": batch,
        "frames": FRAMES,
        "seconds_of_motion": FRAMES / problem.control_hz,
        "substeps": problem.substeps,
        "episodes": episodes,
        "finite": finite,
        "first_batch_s": compiled,
        "episode_seconds": spent / episodes,
        "energy_joules": energy,
        "idle_watts": idle,
        "dtype": "float64" if jax.config.values["jax_enable_x64"] else "float32",
    }


def power(seconds: float) -> float | None:
    """Mean power of the idle device over ``seconds`` [W]; None without a counter."""
    before = runtime.energy_joules()
    if before is None:
        return None
    time.sleep(seconds)
    after = runtime.energy_joules()
    return None if after is None else (after - before) / seconds


def page(document: dict[str, Any]) -> str:
    """OUT.md as text."""
    header = ("recording", "tosses at once", "device", "precision", "one toss [ms]", "tosses/s")
    header += ("of real time", "energy of one [J]", "idle [W]", "first batch [s]")
    lines = [
        "# What a synthetic toss costs its device",
        f"`{document['command']}`",
        f"Whole tosses of {FRAMES} frames with the sources' parameters, their states on the host. "
        f"For scale: {SCALE['what']} takes {SCALE['episode_seconds']:g} s.",
        markdown_table(header, map(_row, document["rows"])),
        "Energy is the GPU's own counter's (the idle power included); a CPU's was not read. The "
        "first batch compiles.",
        "\n".join(f"- {_provenance(entry)}" for entry in document["provenance"].values()),
        "Generated from the JSON of the same name.",
    ]
    return "\n\n".join(lines) + "\n"


def _row(row: dict[str, Any]) -> list[str]:
    energy, idle = row["energy_joules"], row["idle_watts"]
    return [
        row["recording"],
        str(row["batch"]),
        row["device"],
        row["dtype"] + ("" if row["finite"] else " (NOT FINITE)"),
        f"{1e3 * row['episode_seconds']:.3g}",
        f"{1 / row['episode_seconds']:.3g}",
        f"{row['seconds_of_motion'] / row['episode_seconds']:.3g}×",
        "–" if energy is None else f"{energy:.3g}",
        "–" if idle is None else f"{idle:.0f}",
        f"{row['first_batch_s']:.0f}",
    ]


def _provenance(entry: dict[str, Any]) -> str:
    versions = ", ".join(f"{k} {v}" for k, v in entry["versions"].items() if "orbax" not in k)
    devices = ", ".join(entry["devices"])
    return f"{devices}: commit {entry['commit']}, {entry['date']}, {entry['cpu']}, {versions}"


def main(args: Args) -> int:
    """Measures this device; prints one JSON line at the end."""
    runtime.configure(x64=args.x64)
    provenance = runtime.provenance()
    device = provenance["devices"][0]
    if device.startswith("cpu"):
        device = f"{provenance['cpu']}, {provenance['cores']} cores"
    path = args.out.with_suffix(".json")
    path.parent.mkdir(parents=True, exist_ok=True)
    kept = json.loads(path.read_text()) if path.is_file() else {"rows": [], "provenance": {}}
    rows = [row for row in kept["rows"] if row["device"] != device]
    for name in args.recordings:
        for batch in args.batches:
            runtime.log(f"{name}, {batch} at once")
            rows.append(measure(find_problem(name), batch, args.seconds) | {"device": device})
    document = {
        "command": f"python -m experiments.tosses_alpha.episode_cost --out {args.out}",
        "provenance": kept["provenance"] | {device: provenance},
        "rows": rows,
    }
    files.write_json(path, document)
    files.write_text(args.out.with_suffix(".md"), page(document))
    print(json.dumps({"rows": [row for row in rows if row["device"] == device]}))
    return 0


if __name__ == "__main__":
    sys.exit(runtime.run(main, tyro.cli(Args, description=__doc__)))
