"""The learned half on an own arm: what drives and a network add, from a few recorded episodes.

Question: how far is fitted physics from where the arm of docs/examples/my_arm is at the end of an
          episode, without and with the numbers of its drives, and with a network on top of each?
Command:  python -m experiments.learned.held_out --fits runs/held_out
          --out experiments/results/learned/held_out/my_arm
Runtime:  ten minutes of a core for each size and seed
Expected: one JSON line; no model with a network above its physics beyond the interval

A cell, a number of training episodes and a seed, is a recording of its own and two fits by
``worldmodel fit --network``, with and without --drives; their physics alone is scored too. Test
episodes are recorded apart, and predicted whole from the first frame that has a full history.
*Reality* is the held-out arm itself, begun at the same recorded frames with its play at rest in the
middle: what nobody predicts better who sees no more. *True numbers* is the scene with drives given
the arm's own numbers, of no fit. OUT gets table.json, table.md and figure.png after every fit, of
what is scored by then; the same command goes on after Ctrl-C or a kill. ``held_out_slide`` and
``held_out_push`` ask the same of a puck and of a T.
"""

import dataclasses
import itertools
import json
import runpy
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from experiments.recordings.statistics import mean_interval, ratio_t_interval
from experiments.records import (
    BLUE,
    GREY,
    ORANGE,
    Columns,
    with_interval,
    write,
    write_figure,
)
from worldmodel import runtime
from worldmodel._mujoco import mujoco
from worldmodel.commands.fit import FitOptions, fit
from worldmodel.commands.reading import read_log
from worldmodel.commands.scores import predicted
from worldmodel.commands.version import restored
from worldmodel.episodes.reading import read_episodes
from worldmodel.episodes.split import split_episodes
from worldmodel.episodes.windows import HISTORY, WindowGrid, Windows
from worldmodel.model import saved
from worldmodel.scene import drives
from worldmodel.scene.replay import replayed
from worldmodel.types import Episode

ARM = Path(__file__).parents[2] / "docs" / "examples" / "my_arm"
TEST, TEST_SEED = 24, 99  # episodes, and the seed, of the recording that nothing is fitted to
SUBSTEPS = 8  # of a frame, 4.2 ms each
FRAME = HISTORY - 1  # from which an episode is predicted: the first with a full history
TITLE = "my_arm: errors of whole episodes on a held-out simulation"
NOTE = (
    "Mean joint error of test episodes, means over seeds, with 95 % intervals over the episodes; "
    "ratios are paired over them."
)


def columns(unit: str) -> Columns:
    """Those of table.md, of errors in ``unit``."""
    return {
        "training episodes": "episodes",
        "model": "model",
        "seeds": lambda row: ", ".join(map(str, row["seeds"])),
        f"at the end [{unit}]": lambda row: with_interval(row["end"]),
        "/ physics": lambda row: with_interval(row["over_physics"]),
        "/ physics with drives": lambda row: with_interval(row["over_drives"]),
        f"whole episode [{unit}]": lambda row: with_interval(row["whole"]),
    }


COLUMNS = columns("°")
STYLES = {
    "physics": (GREY, "--"),
    "hybrid": (GREY, "-"),
    "physics with drives": (BLUE, "--"),
    "hybrid with drives": (BLUE, "-"),
    "true numbers": (ORANGE, "--"),
    "reality without drives": (ORANGE, "-."),
    "reality": (ORANGE, ":"),
}
Errors = dict[str, np.ndarray]  # model → (2, test episodes) at the end, and over the episode


@dataclasses.dataclass(frozen=True)
class Args:
    """Command line."""

    out: Path  # folder for the table and the figure
    fits: Path  # folder for the recordings and the fits
    episodes: tuple[int, ...] = (12,)  # training episodes; those that validate come on top
    seeds: tuple[int, ...] = (0, 1, 2)  # of the recording and of the fit


@dataclasses.dataclass(frozen=True)
class Problem:
    """A held-out simulation: how it is recorded, and how predictions of it are scored."""

    title: str
    note: str
    columns: Columns
    label: str  # of the figure's axis
    scene: Path
    frame: int  # of a test episode, from which it is predicted
    record: Callable[[Path, int, int], None]  # into a folder, so many episodes of a seed
    errors: Callable[[np.ndarray, Windows], np.ndarray]  # of predictions, (2, windows)
    known: Callable[[Path], Errors]  # on the test episodes in a folder, of what is not fitted
    options: Mapping[str, Any]  # of every fit
    free: tuple[str, ...] = ()  # what is fitted; those that the data identify when absent
    drives: tuple[str, ...] = ()  # what is fitted with --drives beside it


def record(folder: Path, count: int, seed: int) -> None:
    """A recording of the held-out arm, made where it is absent."""
    if not folder.exists():
        script = [sys.executable, str(ARM / "record.py"), "--out", str(folder)]
        more = ["--episodes", str(count), "--seed", str(seed)]
        subprocess.run([*script, *more], check=True, stdout=sys.stderr)


def count_of(training: int) -> int:
    """How many episodes to record, so that ``worldmodel fit`` trains on so many of them."""
    parts = (split_episodes(range(n)).values() for n in range(training + 2, 2 * training + 9))
    return next(len(p) for p in parts if list(p).count("train") == training)


def fitted(
    problem: Problem, cell: Path, data: Path, seed: int, driven: bool, stop: Callable[[], bool]
) -> Path:
    """The folder of a fit, made or gone on with where it is not complete."""
    out = cell / ("drives" if driven else "plain")
    options = FitOptions(
        scene=problem.scene,
        data=data,
        out=out,
        network=True,
        free=problem.free + (problem.drives if driven else ()),
        drives=driven,
        seed=seed,
        starts=1,
        **problem.options,
    )
    fit(options, stop)
    return out


def scored(problem: Problem, folder: Path, test: Path, suffix: str) -> Errors:
    """The errors of a fit's physics, and of its hybrid where it has one, on the test episodes."""
    world, parameters, metadata = restored(folder)
    protocol = saved.protocol_of(folder, metadata)
    model, hz = world.scene.mj_model, world.scene.control_hz
    episodes = read_episodes(test, protocol.columns, model, control_hz=hz).episodes
    windows = whole(episodes, problem.frame)
    alone = {"physics": parameters["physics"], "network": {}}
    rows = {f"physics{suffix}": predicted(world.without_network(), alone, windows, HISTORY, "c")}
    if world.learns:
        rows[f"hybrid{suffix}"] = predicted(world, parameters, windows, protocol.remember, "c")
    return {name: problem.errors(qpos, windows) for name, qpos in rows.items()}


def whole(episodes: Sequence[Episode], frame: int) -> Windows:
    """Episodes from a frame on, as far as the shortest reaches."""
    shortest = min(len(e.qpos) for e in episodes)
    return WindowGrid(frame, shortest, shortest - 1 - frame).cut(episodes)[0]


def joint_errors(qpos: np.ndarray, windows: Windows) -> np.ndarray:
    """(2, windows) [°] of predictions, the mean over joints: at the end, and over the frames."""
    each = np.degrees(np.abs(qpos - np.asarray(windows.target)).mean(-1))
    return np.stack([each[:, -1], each.mean(1)])


def reality_again(test: Path) -> np.ndarray:
    """``joint_errors`` of the held-out arm itself, begun where the test episodes are."""
    arm = mujoco.MjModel.from_xml_path(str(ARM / "my_arm.xml"))
    windows = whole(read_log(test, None, arm, None).reading.episodes, FRAME)
    script = runpy.run_path(str(ARM / "record.py"))
    model, out = script["hidden_arm"](ARM / "my_arm.xml"), []
    names = [model.actuator(i).name for i in range(model.nu)]
    qpos = [model.joint(name).qposadr[0] for name in names]
    qvel = [model.joint(name).dofadr[0] for name in names]
    ctrl, before = np.asarray(windows.ctrl), np.asarray(windows.history.ctrl)[:, 1]
    for row in range(len(windows)):
        data = mujoco.MjData(model)
        data.qpos[qpos] = np.asarray(windows.qpos)[row] - script["ZERO"]
        data.qvel[qvel] = np.asarray(windows.qvel)[row]
        played = np.concatenate([ctrl[row], ctrl[row, -1:]]) - script["ZERO"]
        out.append(script["follow"](model, data, played, before[row] - script["ZERO"])[1:])
    return joint_errors(np.stack(out) + script["ZERO"], windows)


def true_numbers(test: Path, substeps: int) -> np.ndarray:
    """``joint_errors`` of the scene that is fitted, given the held-out arm's own numbers: its
    gains, damping, friction, masses and zeros, and its lag, play and stiction as drives."""
    model = mujoco.MjModel.from_xml_path(str(ARM / "my_arm.xml"))
    windows = whole(read_log(test, None, model, None).reading.episodes, FRAME)
    script = runpy.run_path(str(ARM / "record.py"))
    hidden, zero = script["hidden_arm"](ARM / "my_arm.xml"), script["ZERO"]
    model.opt.timestep = 1.0 / (script["FPS"] * substeps)
    dofs = [hidden.joint(model.actuator(i).name).dofadr[0] for i in range(model.nu)]
    model.dof_damping[:], model.dof_frictionloss[:] = (
        x[dofs] for x in (hidden.dof_damping, hidden.dof_frictionloss)
    )
    for field in ("actuator_gainprm", "actuator_biasprm", "body_mass", "body_inertia"):
        getattr(model, field)[:] = getattr(hidden, field)
    drive = {"lag": script["LAG"], "backlash": 2 * script["PLAY"] * (np.arange(model.nu) < 5)}
    drive["stiction"] = script["STRIBECK"] * model.dof_frictionloss
    drive["stribeck_speed"] = script["SLOW"]
    for name, values in drive.items():
        model.actuator_gainprm[:, drives.FIRST + drives.COLUMNS.index(name)] = values
    mujoco.mj_setConst(model, mujoco.MjData(model))
    ctrl, known = windows.past
    past = np.asarray(ctrl) - zero, np.asarray(known)
    begin = np.asarray(windows.qpos) - zero, np.asarray(windows.qvel)
    return joint_errors(
        replayed(model, substeps, *begin, np.asarray(windows.ctrl) - zero, past) + zero, windows
    )


def summary(episodes: int, cells: Mapping[int, Errors]) -> list[dict[str, Any]]:
    """A row per model of one size: errors, and their ratios to both physics."""
    rows = []
    for model in STYLES:
        seeds = sorted(seed for seed, cell in cells.items() if model in cell)
        if not seeds:
            continue
        end, whole = np.mean([cells[s][model] for s in seeds], axis=0)
        row = {"episodes": episodes, "model": model, "seeds": seeds}
        row |= {"end": mean_interval(end), "whole": mean_interval(whole)}
        for name, reference in (("physics", "physics"), ("drives", "physics with drives")):
            row[f"over_{name}"] = None
            both = [s for s in seeds if reference in cells[s]]
            if both and model != reference:
                pair = (np.mean([cells[s][m][0] for s in both], axis=0) for m in (model, reference))
                row[f"over_{name}"] = ratio_t_interval(*pair)
        row["by_seed"] = [cells[s][model][0].mean() for s in seeds]
        rows.append(row)
    return rows


def draw(rows: list[dict[str, Any]], label: str) -> Figure:
    """The error at the end against the number of training episodes."""
    figure = Figure(figsize=(5.0, 3.2), layout="constrained")
    axes = figure.subplots()
    sizes = sorted({row["episodes"] for row in rows})
    for k, (model, (colour, line)) in enumerate(STYLES.items()):
        mine = [row for row in rows if row["model"] == model]
        if not mine:
            continue
        # Side by side at each size, physics hollow and hybrids filled.
        x = [sizes.index(r["episodes"]) + 0.12 * (k - 0.5 * (len(STYLES) - 1)) for r in mine]
        mean, low, high = np.array([r["end"] for r in mine]).T
        face = "white" if line == "--" else colour
        bars = [mean - low, high - mean]
        axes.errorbar(x, mean, bars, color=colour, ls=line, marker="o", mfc=face, label=model)
    axes.set_xticks(range(len(sizes)), [str(size) for size in sizes])
    axes.set(xlabel="training episodes", ylabel=label, ylim=(0.0, None))
    axes.set_xlim(-0.5, len(sizes) - 0.5)
    figure.legend(loc="outside upper center", ncols=3, frameon=False, fontsize=8)
    return figure


def main(args: Args, stop: Callable[[], bool]) -> int:
    """Fits and scores every cell, writes OUT after each, prints one JSON line."""
    return run(MY_ARM, args, stop)


def run(problem: Problem, args: Args, stop: Callable[[], bool]) -> int:
    """``main`` of any held-out simulation."""
    runtime.configure()
    cells: dict[int, dict[int, Errors]] = {}
    rows: list[dict[str, Any]] = []
    test = args.fits / "test"
    problem.record(test, TEST, TEST_SEED)
    known = problem.known(test)
    for seed, episodes in itertools.product(args.seeds, args.episodes):
        cell, folder = dict(known), args.fits / f"{episodes}_{seed}"
        cells.setdefault(episodes, {})[seed] = cell
        problem.record(folder / "data", count_of(episodes), seed)
        for driven, suffix in ((False, ""), (True, " with drives")):
            of = fitted(problem, folder, folder / "data", seed, driven, stop)
            cell |= scored(problem, of, test, suffix)
            rows = [r for n in sorted(cells) for r in summary(n, cells[n])]
            write(args.out, problem.title, rows, problem.columns, note=problem.note)
            write_figure(args.out / "figure.png", draw(rows, problem.label))
    line = {f"{r['episodes']} {r['model']}": r["end"][0] for r in rows}
    print(json.dumps(line | {"out": str(args.out)}))
    return 0


MY_ARM = Problem(
    title=TITLE,
    note=NOTE,
    columns=COLUMNS,
    label="joint error at the end [°]",
    scene=ARM / "my_arm.xml",
    frame=FRAME,
    record=record,
    errors=joint_errors,
    known=lambda test: {
        "reality": reality_again(test),
        "true numbers": true_numbers(test, SUBSTEPS),
    },
    options={"substeps": SUBSTEPS, "iterations": 5, "steps": 300, "members": 3},
)

if __name__ == "__main__":
    sys.exit(runtime.command(main, __doc__))
