"""The loop: generate → train → deploy → capture → finetune, for any task and robot.

``turn`` is the picture, line by line; ``versions`` are what it goes round with.
"""

from worldmodel.loop.demonstrations import demonstrate, draw
from worldmodel.loop.disagreement import (
    disagreement,
    disagreement_between,
    most_doubtful,
    thinned,
)
from worldmodel.loop.next_version import WHOLE, finetune
from worldmodel.loop.turn import Deploy, Method, Trainer, scores, trials_of, turn
from worldmodel.loop.versions import (
    C_STANDS_IN,
    LoopError,
    Version,
    engine_difference,
    first_version,
    generate,
    load_version,
    physical_values,
    save_version,
    simulator,
)

__all__ = [
    "C_STANDS_IN",
    "WHOLE",
    "Deploy",
    "LoopError",
    "Method",
    "Trainer",
    "Version",
    "demonstrate",
    "disagreement",
    "disagreement_between",
    "draw",
    "engine_difference",
    "finetune",
    "first_version",
    "generate",
    "load_version",
    "most_doubtful",
    "physical_values",
    "save_version",
    "scores",
    "simulator",
    "thinned",
    "trials_of",
    "turn",
]
