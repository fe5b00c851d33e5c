"""The cells of a replicate and what their policies are trained on; pure functions of examples.

Oracles are control versions whose alpha theory knows. Their "synthetic" episodes are real ones,
omitted in part, given twice, or with their strokes dealt anew.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from experiments.slide.study import Study
from experiments.slide.turn import Examples
from worldmodel.trust.phrases import CONTROL

MODELS = ("v0", "v1", "v1-sham", "v2")


@dataclasses.dataclass(frozen=True)
class Oracle:
    """What alpha must be, by theory."""

    alpha: float | None  # None: anything below 0
    why: str


THINNED = {"thin33": (1, 3), "thin67": (2, 3)}  # exactly so many of so many episodes are real
ORACLES = {
    **{
        name: Oracle(part / of, f"{part} of {of} are fresh real episodes, the rest empty")
        for name, (part, of) in THINNED.items()
    },
    "duplicates": Oracle(0.0, "the n real episodes over again"),
    "permuted": Oracle(None, "real episodes whose strokes are dealt to other contexts"),
}


def cells_of(
    study: Study, versions: Sequence[str] = (*MODELS, CONTROL, *ORACLES)
) -> list[tuple[str, int, int]]:
    """(version, n, m) of every cell, real-only sizes first; n is a real-only size."""
    real = [("", n, 0) for n in sorted({*study.real, *study.n})]
    return real + [(v, n, m) for v in versions for n in study.n for m in study.m]


def training_set(
    version: str, n: int, m: int, real: Examples, pools: dict[str, Examples]
) -> Examples:
    """The pooled rows of one training: n real ones and what a version's m are made of.

    Args:
      real: at least n.
      pools: at least m of each world model and of reality itself, in order of use.
    """
    kept = tuple(x[:n] for x in real)
    if not m:
        return kept
    added = _added(version, n, m, kept, pools)
    return tuple(np.concatenate(pair) for pair in zip(kept, added, strict=True))


def _added(version: str, n: int, m: int, real: Examples, pools: dict[str, Examples]) -> Examples:
    if version == "duplicates":
        return tuple(x[np.arange(m) % n] for x in real)
    if version == "permuted":
        contexts, strokes = (x[:m] for x in pools[CONTROL])
        return contexts, np.roll(strokes, 1, axis=0)
    if version in THINNED:
        part, of = THINNED[version]
        if m * part % of:
            raise ValueError(f"{part}/{of} of {m} episodes is no whole number")
        return tuple(x[: m * part // of] for x in pools[CONTROL])
    return tuple(x[:m] for x in pools[version])
