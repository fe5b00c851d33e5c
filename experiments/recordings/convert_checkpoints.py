"""One conversion: fitted checkpoints of the former layout → ``worldmodel.model.saved``.

Command:  python -m experiments.recordings.convert_checkpoints

The former layout held bare physical parameters where there was no network, and named the parts of
the model in ``world: {kind, correction, network}``. Values, steps and the MJCF stay as they are.
"""

import shutil
import sys
from pathlib import Path

import jax

from worldmodel import runtime
from worldmodel.model import Displacement, Force, Network, Velocity, WorldModel, init, saved
from worldmodel.physics import parameters as physical
from worldmodel.runtime import checkpoint
from worldmodel.scene import FreeParameter, load_scene

RESULTS = Path(__file__).parent.parent / "results"
CORRECTIONS = {"displacement": Displacement(), "velocity": Velocity(), "force": Force()}
RENEWED = ("step", "leaves", "files", "world")


def convert(directory: Path) -> None:
    """Rewrites one checkpoint in place."""
    old = checkpoint.read_metadata(directory)
    free = tuple(
        FreeParameter(f["kind"], f["element"], tuple(s) if isinstance(s := f["scale"], list) else s)
        for f in old["free"]
    )
    scene = load_scene(old["mjcf"], control_hz=old["control_hz"], substeps=old["substeps"])
    world = WorldModel(scene, free)
    if "world" in old:
        kind, network = old["world"]["kind"], Network(**old["world"]["network"])
        if kind == "latent":
            world = WorldModel.latent(scene, network)
        else:
            correction = CORRECTIONS[old["world"]["correction"]]
            world = WorldModel(scene, free, correction=correction, network=network)
        parameters, _ = checkpoint.restore(directory, init(world, jax.random.key(0)))
    else:
        physics, _ = checkpoint.restore(directory, physical.zeros(free))
        parameters = {"physics": physics, "network": {}}
    kept = {name: value for name, value in old.items() if name not in RENEWED}
    fresh = directory.with_name("converted")
    saved.save(fresh, old["step"], world, parameters, kept, keep=1)
    shutil.rmtree(directory)
    fresh.rename(directory)


def main() -> int:
    """Converts every committed checkpoint that is not converted yet."""
    runtime.configure()
    for directory in sorted(RESULTS.rglob("checkpoint")):
        if "base" not in checkpoint.read_metadata(directory):
            convert(directory)
            runtime.log(f"converted {directory.relative_to(RESULTS)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
