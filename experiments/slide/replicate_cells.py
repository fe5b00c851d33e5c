"""The cells of a replicate and what their policies are trained on; pure functions of episodes.

Oracles are control versions whose alpha theory knows. Their "synthetic" episodes are real ones,
omitted in part, given twice, or with their strokes dealt anew.
"""

import dataclasses
from collections.abc import Mapping, Sequence

from experiments.alpha import CONTROL
from experiments.slide.study import Study
from worldmodel.types import Episode

MODELS = ("v0", "v1", "v1-sham", "v2")

THINNED = {"thin33": (1, 3), "thin67": (2, 3)}  # exactly so many of so many episodes are real
THEORY = {  # alpha of the oracles
    "thin33": "1/3",
    "thin67": "2/3",
    "duplicates": "0",  # the n real episodes over again
    "permuted": "below 0",  # real episodes whose strokes are dealt to other goals
}


def cells_of(
    study: Study, versions: Sequence[str] = (*MODELS, CONTROL, *THEORY)
) -> list[tuple[str, int, int]]:
    """(version, n, m) of every cell, real-only sizes first; n is a real-only size."""
    real = [("", n, 0) for n in sorted({*study.real, *study.n})]
    return real + [(v, n, m) for v in versions for n in study.n for m in study.m]


def training_set(
    version: str, n: int, m: int, real: Sequence[Episode], pools: Mapping[str, Sequence[Episode]]
) -> list[Episode]:
    """The pooled episodes of one training: n real ones and what a version's m are made of.

    Args:
      real: at least n.
      pools: at least m of each world model and of reality itself, in order of use.
    """
    kept = list(real[:n])
    return kept + _added(version, m, kept, pools) if m else kept


def _added(
    version: str, m: int, real: list[Episode], pools: Mapping[str, Sequence[Episode]]
) -> list[Episode]:
    if version == "duplicates":
        return [real[i % len(real)] for i in range(m)]
    if version == "permuted":  # a stroke is its speed and its direction from the target's
        fresh = pools[CONTROL][:m]
        dealt = (*fresh[-1:], *fresh[:-1])
        return [dataclasses.replace(a, action=b.action) for a, b in zip(fresh, dealt, strict=True)]
    if version in THINNED:
        part, of = THINNED[version]
        if m * part % of:
            raise ValueError(f"{part}/{of} of {m} episodes is no whole number")
        return list(pools[CONTROL][: m * part // of])
    return list(pools[version][:m])
