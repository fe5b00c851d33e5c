"""The loop: generate → train → deploy → capture → finetune, for any task and robot.

``turn`` is the picture, line by line; ``versions`` are what it goes round with.
"""

from worldmodel.loop.turn import Deploy, Method, Trainer, draw, turn
from worldmodel.loop.versions import (
    LoopError,
    Version,
    finetune,
    first_version,
    generate,
    load_version,
    physical_values,
    save_version,
    simulator,
)

__all__ = [
    "Deploy",
    "LoopError",
    "Method",
    "Trainer",
    "Version",
    "draw",
    "finetune",
    "first_version",
    "generate",
    "load_version",
    "physical_values",
    "save_version",
    "simulator",
    "turn",
]
