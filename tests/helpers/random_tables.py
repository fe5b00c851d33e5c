"""Random tables of training runs for property tests, with every verdict among their cells.

Curves are steep or flat, with little noise or much.
"""

from typing import Any

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st

from worldmodel.trust import Row, measure, to_json

few = settings(max_examples=25, deadline=None, derandomize=True, database=None)
SIZES, N, M = (8, 16, 32, 64, 128), (16, 32), (20, 60, 90)


@st.composite
def tables(
    draw: st.DrawFn,
    slopes: tuple[float, float] = (0.05, 1.5),
    noises: tuple[float, float] = (0.01, 0.6),
    alphas: tuple[float, float] = (-1.0, 2.0),
) -> list[Row]:
    """One task: a curve of five sizes and one or two versions on two n by three m, one with K."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    slope, noise = draw(st.floats(*slopes)), draw(st.floats(*noises))
    seeds = draw(st.integers(2, 8))
    cells = [("", n, 0, 0, float(n)) for n in SIZES]
    for version, k in (("v0", 0), ("v1", 5))[: draw(st.integers(1, 2))]:
        alpha = draw(st.floats(*alphas))
        cells += [(version, n, m, k, max(1.0, n + alpha * m)) for n in N for m in M]
    runs = [(*cell, seed) for cell in cells for seed in range(seeds)]
    return [
        Row("toss", v, "net", n, m, k, seed, "test", d**-slope * float(rng.lognormal(0, noise)))
        for v, n, m, k, d, seed in runs
    ]


def document(rows: list[Row]) -> dict[str, Any]:
    """The result of the only task as plain numbers; differences by what they compare."""
    out = to_json(measure(rows)[0])
    out["differences"] = {(d["a"], d["b"], d["n"], d["m"]): d for d in out["differences"]}
    return out
