"""How many recorded episodes do physics and a network on it need?

Question: what do fitted physics, and a network on it, predict of unseen episodes, by the number of
          episodes that both were fitted to?
Command:  python -m experiments.learned.learning_curve --recording double_pendulum
          --fits runs/learning_curve
          --out experiments/results/learned/learning_curve/double_pendulum
Runtime:  eight to fifteen minutes of a core for each size and seed, five more for the table
Expected: one JSON line; double_pendulum: the network lowers the error of its physics at 0.5 s

Every size and seed is a fit of its own, of physics first and of three members on it while it stands
still (``experiments.recordings.fit_physics`` and ``fit_hybrid``); a larger size has the smaller
one's episodes and more. A fit that is refused, such as one of windows that are chaotic, is named in
table.json and left out. The same command goes on after Ctrl-C or a kill.
"""

import contextlib
import dataclasses
import itertools
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from experiments.recordings import fit_hybrid, fit_physics
from experiments.recordings.fitted import Group, read_fits
from experiments.recordings.source import read_recording
from experiments.recordings.statistics import BySeed
from experiments.recordings.tables import SHORTER, interval, publish
from experiments.records import BLUE, GREEN, Row, with_interval
from worldmodel import runtime
from worldmodel.episodes.windows import Windows
from worldmodel.errors import InputError
from worldmodel.finetune.least_squares import IdentifyError
from worldmodel.model import Network

DASHES = ((0, (1, 1.5)), (0, (5, 2)), "-")  # of the sizes, in turn


@dataclasses.dataclass(frozen=True)
class Args:
    """Command line."""

    recording: str  # elbow_toss, cube_toss, square_drop or double_pendulum
    out: Path  # folder for the table and the figure
    fits: Path  # folder for the fits
    episodes: tuple[int, ...] = (6, 12, 24)  # sizes: training episodes
    seeds: tuple[int, ...] = (0, 1, 2)  # of the episodes that are drawn, and of the fit


def fitted(args: Args, episodes: int, seed: int, stop: Callable[[], bool]) -> None:
    """One size and seed: physics and a hybrid, made or gone on with where they are not complete."""
    cell, name = args.fits / f"{episodes}_{seed}", args.recording
    physics, hybrid = cell / "physics", cell / "hybrid"
    if not (physics / "checkpoint").is_dir():
        fit_physics.main(fit_physics.Args(name, physics, episodes=episodes, seed=seed), stop)
    if not (hybrid / "checkpoint").is_dir():
        of = fit_hybrid.Args(
            name,
            physics / "checkpoint",
            hybrid,
            correction="force",
            episodes=episodes,
            engine="c",
            network=Network(members=3),
        )
        fit = dataclasses.replace(of.fit, seed=seed)
        fit_hybrid.main(dataclasses.replace(of, fit=fit), stop)


def read(args: Args) -> dict[str, Group]:
    """The fits by model: "physics 6", "hybrid 6", ..., from the smallest size on; those that were
    refused are not there."""
    groups: dict[str, Group] = {}
    for episodes in sorted(args.episodes):
        cells = [args.fits / f"{episodes}_{seed}" for seed in args.seeds]
        cells = [cell for cell in cells if (cell / "hybrid" / "checkpoint").is_dir()]
        if not cells:
            continue
        physics = read_fits([cell / "physics" for cell in cells], args.recording)
        hybrids = [cell / "hybrid" for cell in cells]
        groups[f"physics {episodes}"] = physics
        groups[f"hybrid {episodes}"] = read_fits(hybrids, args.recording, physics=physics)
    return groups


def gained(rows: Sequence[Row], frames: int | None) -> list[str]:
    """What the hybrid's errors are of its own physics', size by size."""
    shown = []
    for row in (r for r in rows if r["frames"] == frames and r["model"].startswith("hybrid")):
        reference = row["model"].replace("hybrid", "physics")
        for channel, compared in row["over"].get(reference, {}).items():
            ratio = with_interval((compared["ratio"], *compared[interval(row)]))
            shown.append(f"{row['model']} / {reference}, {channel}: {ratio}")
    return shown


def main(args: Args, stop: Callable[[], bool]) -> int:
    """Fits what is not there, scores it, writes OUT, prints one JSON line."""
    runtime.configure()
    recording = read_recording(args.recording)
    refused = {}
    with contextlib.redirect_stdout(sys.stderr):  # of the fits
        for seed, episodes in itertools.product(args.seeds, sorted(args.episodes)):
            try:
                fitted(args, episodes, seed, stop)
            except IdentifyError as error:
                runtime.log(f"{episodes} episodes, seed {seed}: {error}")
                refused[f"{episodes} episodes, seed {seed}"] = str(error)
    groups = read(args)
    if not groups:
        raise InputError(f"every fit was refused: {refused}")
    frames = recording.problem.windows.horizon

    def predictions(windows: Windows) -> dict[str, BySeed]:
        return {
            model: {seed: one.predict(windows) for seed, one in group.items()}
            for model, group in groups.items()
        }

    first = next(iter(groups))
    pairs = [(m, m.replace("hybrid", "physics")) for m in groups if m.startswith("hybrid")]
    styles = {
        model: (GREEN if model.startswith("hybrid") else BLUE, DASHES[i // 2 % 3], model)
        for i, model in enumerate(groups)
    }
    table = publish(
        args.out,
        recording,
        "test",
        next(iter(groups[first].values())),
        predictions,
        [*pairs, *((m, first) for m in groups if m != first and (m, first) not in pairs)],
        styles,
        shorter=SHORTER,
        remark=lambda rows: f"At {frames} frames: {'; '.join(gained(rows, frames))}.",
        refused=refused,
    )
    print(json.dumps({"gained": gained(table["rows"], frames), "out": str(args.out)}))
    return 0


if __name__ == "__main__":
    sys.exit(runtime.command(main, __doc__))
