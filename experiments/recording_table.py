"""Fitted physics against the sources' parameters on a real recording, on held-out episodes.

Question: how much better does a scene predict real hardware after its physics was fitted?
Command:  python -m experiments.recording_table --recording elbow_toss --fits DIR [DIR …]
          --out experiments/results/elbow_toss/physics
Runtime:  two to five minutes on 2 cores
Expected: one JSON line with the ratios fitted / sources at the recording's own horizon and their
          paired 95 % intervals; table.json, table.md and three figures in --out

Each DIR is the --out of one fit_recording, one per seed. Baselines run in C MuJoCo: the sources'
parameters at their own step, and MuJoCo's default guess; the fits run in MJX, and once more
exported to MJCF in C MuJoCo. Everyone predicts the same windows of the same *test* episodes.
"""

import dataclasses
import json
import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from experiments import recording_figures
from experiments.evaluate_recording import BATCH, Fitted, restore_fitted
from experiments.fit_recording import protocol_windows
from experiments.problems import Problem, find_problem
from worldmodel import runtime
from worldmodel._mujoco import mujoco
from worldmodel.episodes.protocol import paired_ratio, split
from worldmodel.episodes.recordings import load
from worldmodel.physics import oracle, parameters
from worldmodel.predict import Windows, episode_errors, make_predictor
from worldmodel.scene import load_scene
from worldmodel.types import InputError

CHANNELS = ("position_m", "rotation_rad", "joint_rad")


@dataclasses.dataclass(frozen=True)
class Args:
    """Command line."""

    recording: str
    fits: tuple[Path, ...]  # --out folders of fit_recording, one per seed
    out: Path
    split: str = "test"


def predict_in_c(model: mujoco.MjModel, substeps: int, windows: Windows) -> np.ndarray:
    """(windows, horizon, nq) positions predicted by C MuJoCo, a fresh start per window."""
    out = []
    for qpos, qvel, ctrl in zip(windows.qpos, windows.qvel, windows.ctrl, strict=True):
        q, v, u = np.asarray(qpos), np.asarray(qvel), np.asarray(ctrl)
        out.append(oracle.trajectory(model, q, v, u, substeps)[0])
    return np.stack(out)


def horizons(problem: Problem) -> dict[str, int | None]:
    """What is tabulated: the recording's own horizon, a long one, and whole episodes."""
    own = problem.recording.horizon
    if problem.recording.name == "double_pendulum":
        return {"0.5 s": own, "1 s": 2 * own}
    return {f"{own} frames": own, "80 frames": 80, "whole": None}


def main(args: Args) -> int:
    """Measures, writes the table and the figures, prints one JSON line."""
    runtime.configure()
    problem = find_problem(args.recording)
    data = os.environ.get("WORLDMODEL_DATA")
    if not data:
        raise InputError("the table is about real recordings: set WORLDMODEL_DATA to their folder")
    episodes = load(Path(data) / f"{args.recording}.npz", problem.recording)
    episodes = [e for e in episodes if split(e.id) == args.split]
    fits = [restore_fitted(directory / "checkpoint") for directory in args.fits]
    models = _c_models(problem, fits)
    source_scene = fits[0].scene
    predictor = make_predictor(source_scene, BATCH)

    table: dict[str, Any] = {"recording": args.recording, "split": args.split, "horizons": {}}
    predictions: dict[str, Any] = {}
    for label, horizon in horizons(problem).items():
        windows, skipped = protocol_windows(episodes, problem.recording, horizon)
        runtime.log(f"{label}: {len(windows)} windows of {len(episodes)} episodes")
        rows = {name: predict_in_c(*model, windows) for name, model in models.items()}
        rows["start"] = predictor(source_scene.mjx_model(), windows)
        for k, fitted in enumerate(fits):
            rows[f"fitted {k}"] = predictor(fitted.model(), windows)
        errors = {
            name: episode_errors(predicted, windows, problem.recording.channels)
            for name, predicted in rows.items()
        }
        table["horizons"][label] = _measured(errors, len(fits)) | {
            "episodes": len(np.unique(windows.episode)),
            "windows": len(windows),
            "skipped": skipped,
        }
        predictions[label] = (windows, rows, errors)

    table["parameters"] = _parameter_rows(fits)
    table["provenance"] = runtime.provenance()
    table["fits"] = [f.metadata["result"] for f in fits]
    table["command"] = "python -m experiments.recording_table " + " ".join(
        shlex.quote(a) for a in sys.argv[1:]
    )
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "table.json").write_text(json.dumps(table, indent=1) + "\n")
    (args.out / "table.md").write_text(markdown(table))
    _keep_checkpoints(args.fits, fits, args.out)
    recording_figures.error_against_horizon(problem, predictions, args.out, table)
    recording_figures.parameter_intervals(table, args.out)
    recording_figures.film_strip(problem, episodes, predictions, args.out, table)
    own = next(iter(table["horizons"].values()))
    print(json.dumps({"recording": args.recording, **own["fitted / sources"]}))
    return 0


def _c_models(problem: Problem, fits: list[Fitted]) -> dict[str, tuple[mujoco.MjModel, int]]:
    """Name → compiled model and its substeps per frame."""
    hz, models = problem.recording.control_hz, {}
    for name, path in (("default", problem.default_mjcf), ("sources", problem.mjcf)):
        scene = load_scene(path, control_hz=hz, substeps=problem.source_substeps)
        models[name] = (scene.mj_model, problem.source_substeps)
    for k, fitted in enumerate(fits):
        text = parameters.to_mjcf(fitted.scene, fitted.free, fitted.parameters)
        models[f"exported {k}"] = (mujoco.MjModel.from_xml_string(text), fitted.scene.substeps)
    return models


def _measured(errors: dict[str, np.ndarray], seeds: int) -> dict[str, Any]:
    """Mean errors per row, and ratios with paired intervals; (episodes, 3) in, JSON out."""
    fitted = np.mean([errors[f"fitted {k}"] for k in range(seeds)], axis=0)
    exported = np.mean([errors[f"exported {k}"] for k in range(seeds)], axis=0)
    rows = {"default": errors["default"], "sources": errors["sources"], "start": errors["start"]}
    rows |= {"fitted": fitted, "fitted, exported to C": exported}
    rows |= {f"fitted, seed {k}": errors[f"fitted {k}"] for k in range(seeds)}
    out: dict[str, Any] = {
        "errors": {name: _by_channel(error.mean(0)) for name, error in rows.items()}
    }
    for reference in ("sources", "default"):
        compared = {}
        for c, channel in enumerate(CHANNELS):
            if np.isfinite(fitted[:, c]).all():
                paired = paired_ratio(fitted[:, c], errors[reference][:, c])
                seed = [
                    float(errors[f"fitted {k}"][:, c].mean() / errors[reference][:, c].mean())
                    for k in range(seeds)
                ]
                compared[channel] = dataclasses.asdict(paired) | {"seeds": [min(seed), max(seed)]}
        out[f"fitted / {reference}"] = compared
    return out


def _by_channel(values: np.ndarray) -> dict[str, float | None]:
    finite = [float(v) if np.isfinite(v) else None for v in values]
    return dict(zip(CHANNELS, finite, strict=True))


def _parameter_rows(fits: list[Fitted]) -> dict[str, Any]:
    """Per free number: u of each seed, and the physical values of the start and of each seed."""
    names = list(fits[0].parameters)
    start = parameters.values(fits[0].scene, fits[0].free, parameters.zeros(fits[0].free))
    fitted = [parameters.values(f.scene, f.free, f.parameters) for f in fits]
    return {
        name: {
            "u": [np.asarray(f.parameters[name]).tolist() for f in fits],
            "start": start[name].tolist(),
            "values": [v[name].tolist() for v in fitted],
        }
        for name in names
    }


def _keep_checkpoints(folders: tuple[Path, ...], fits: list[Fitted], out: Path) -> None:
    """The best seed by validation as ``checkpoint``, every seed beside it."""
    best = min(range(len(fits)), key=lambda k: fits[k].metadata["result"]["validation"])
    for k, folder in enumerate(folders):
        seed = fits[k].metadata["result"]["seed"]
        for target in [out / f"seed{seed}" / "checkpoint"] + [out / "checkpoint"] * (k == best):
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(folder / "checkpoint", target)
    shutil.copy(folders[best] / "fitted.xml", out / "fitted.xml")


def markdown(table: dict[str, Any]) -> str:
    """The table for people."""
    lines = []
    for label, part in table["horizons"].items():
        lines += [
            f"**{table['recording']}, {label}** ({table['split']}: {part['episodes']} episodes, "
            f"{part['windows']} windows, {part['skipped']} skipped)",
            "",
            "| | position [mm] | rotation [°] | joints [rad] |",
            "|---|---|---|---|",
        ]
        for name, error in part["errors"].items():
            cells = [
                _cell(error["position_m"], 1e3, 2),
                _cell(error["rotation_rad"], np.degrees(1), 2),
                _cell(error["joint_rad"], 1.0, 4),
            ]
            lines.append(f"| {_ROWS.get(name, name)} | {' | '.join(cells)} |")
        for reference in ("sources", "default"):
            ratio = part[f"fitted / {reference}"]
            cells = [
                f"**{r['ratio']:.3f}** [{r['low']:.3f}, {r['high']:.3f}]" if r else "–"
                for r in (ratio.get(c) for c in CHANNELS)
            ]
            lines.append(f"| fitted / {reference} | {' | '.join(cells)} |")
        lines.append("")
    p = table["provenance"]
    versions = ", ".join(f"{k} {v}" for k, v in p["versions"].items())
    lines += [
        f"`{table['command']}`  ",
        f"commit {p['commit']}, {p['date']}, {p['cpu']} ({p['cores']} cores), {versions}; "
        f"fits at commit {', '.join(sorted({f['provenance']['commit'] for f in table['fits']}))}. "
        "Ratios of mean errors with paired 95 % bootstrap intervals over episodes; *fitted* is "
        "the mean over the fit seeds.",
    ]
    return "\n".join(lines) + "\n"


_ROWS = {
    "default": "MuJoCo's default guess (C)",
    "sources": "sources' parameters (C, their own step)",
    "start": "sources' parameters (MJX, our step)",
    "fitted": "**fitted** (MJX)",
    "fitted, exported to C": "fitted, exported (C)",
}


def _cell(value: float | None, factor: float, digits: int) -> str:
    return "–" if value is None else f"{value * factor:.{digits}f}"


if __name__ == "__main__":
    sys.exit(runtime.run(main, tyro.cli(Args, description=__doc__)))
