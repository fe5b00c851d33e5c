"""Prediction error of a fitted model on a recording, by the recording's protocol.

Question: how wrong is a checkpoint on these episodes, H frames ahead or over whole episodes?
Command:  python -m experiments.recordings.evaluate --checkpoint DIR --recording FILE.npz
          --horizon 16        (or --whole)
Runtime:  about a minute on 2 cores; whole episodes of a large archive up to four
Expected: one JSON line: episodes, windows, skipped, position_m, rotation_rad, joint_rad
"""

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tyro

from experiments.recordings.fit_physics import protocol_windows
from worldmodel.runtime import checkpoint
from worldmodel import runtime
from worldmodel.model import HISTORY, Network, Parameters, WorldModel, init
from worldmodel.episodes.errors import split
from worldmodel.episodes.recording import Recording, find, load
from worldmodel.physics import parameters as physical
from worldmodel.scene import FreeParameter

from worldmodel.model.simulate import episode_errors, make_predictor
from worldmodel.scene import load_scene
from worldmodel.errors import InputError

BATCH = 256


@dataclasses.dataclass(frozen=True)
class Args:
    """Command line."""

    checkpoint: Path  # written by fit_recording or fit_hybrid
    recording: Path  # an .npz of the layout of the checkpoint's recording
    horizon: int | None = None  # frames ahead; the recording's own when absent
    whole: bool = False  # whole episodes from their first frame
    split: str | None = None  # only train, validation or test episodes; all when absent


@dataclasses.dataclass(frozen=True)
class Fitted:
    """A checkpoint brought back to life."""

    recording: Recording
    world: WorldModel
    parameters: Parameters
    metadata: dict[str, Any]


def restore_fitted(directory: Path) -> Fitted:
    """Reads a fitted checkpoint: of fit_recording (physics) or of fit_hybrid (with a network).

    Raises:
      CheckpointError: missing, damaged, or of another kind.
    """
    metadata = checkpoint.read_metadata(directory)
    missing = [
        k for k in ("recording", "mjcf", "control_hz", "substeps", "free") if k not in metadata
    ]
    if missing:
        raise checkpoint.CheckpointError(
            f"{directory} is no fitted model (no {', '.join(missing)}); give the folder "
            "'checkpoint' that fit_recording or fit_hybrid wrote"
        )
    free = tuple(
        FreeParameter(f["kind"], f["element"], tuple(s) if isinstance(s := f["scale"], list) else s)
        for f in metadata["free"]
    )
    scene = load_scene(
        metadata["mjcf"], control_hz=metadata["control_hz"], substeps=metadata["substeps"]
    )
    if "world" not in metadata:
        physics, _ = checkpoint.restore(directory, physical.zeros(free))
        parameters = {"physics": physics, "network": {}}
        return Fitted(find(metadata["recording"]), WorldModel(scene, free), parameters, metadata)
    made = metadata["world"]
    world = WorldModel(scene, free, made["kind"], Network(**made["network"]), made["correction"])
    parameters, _ = checkpoint.restore(directory, init(world, jax.random.key(0)))
    return Fitted(find(metadata["recording"]), world, parameters, metadata)


def main(args: Args) -> int:
    """Evaluates; prints one JSON line."""
    runtime.configure()
    if args.whole and args.horizon is not None:
        raise InputError("give --horizon or --whole, not both")
    if args.horizon is not None and args.horizon < 1:
        raise InputError(f"--horizon {args.horizon}: at least one frame")
    fitted = restore_fitted(args.checkpoint)
    episodes = load(args.recording, fitted.recording)
    if args.split is not None:
        episodes = [e for e in episodes if split(e.id) == args.split]
        if not episodes:
            raise InputError(f"--split {args.split}: no such episodes in {args.recording}")
    horizon = None if args.whole else args.horizon or fitted.recording.horizon
    windows, skipped = protocol_windows(episodes, fitted.recording, horizon)
    windows = windows.remembering(fitted.metadata.get("remember", HISTORY))  # as it was fitted
    predictor = make_predictor(fitted.world, min(BATCH, len(windows)))
    with runtime.compiling(f"and predicting {len(windows)} windows"):
        predicted = predictor(fitted.parameters, windows)
    bad = ~np.isfinite(predicted).all(axis=(1, 2))
    if bad.any():
        ids = sorted({str(episodes[e].id) for e in np.asarray(windows.episode)[bad]})
        raise InputError(f"{bad.sum()} predicted windows are not finite (episodes {ids[:8]})")
    error = episode_errors(predicted, windows, fitted.recording.channels)
    mean = [float(x) if np.isfinite(x) else None for x in error.mean(0)]
    counts = {"episodes": len(error), "windows": len(windows), "skipped": skipped}
    print(
        json.dumps(
            counts | dict(zip(("position_m", "rotation_rad", "joint_rad"), mean, strict=True))
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(runtime.run(main, tyro.cli(Args, description=__doc__)))
