"""The input of the trust measurement: a long table with a row for each training run (``Row``).

Columns are in any order; ``files`` reads and writes them as CSV or Parquet.

The real episodes spent are n + k, so that the gain net of corrections is D_eff − n − k at any use
of the corrections. A version that cost K corrections has rows with k = K: they made the model only.
If the corrections are trained on too, the rows are a second arm of the same version: they count the
K (or some of them) in n and no longer in k. A cell (n + K, m, k = 0) is the second arm of
(n, m, k = K), which must be in the table too. Real-only rows are training runs on n real episodes
with m = 0 and k = 0; they serve all versions and both arms.

Whole numbers and optional ones lie below 2⁵³. Text has no spaces around it; files are stripped of
them. An error names the bad rows, in a file the line (CSV) or row (Parquet).
"""

import dataclasses
import math
import numbers
from collections.abc import Iterable, Sequence

import numpy as np

from worldmodel.errors import InputError

NAMED = 3  # rows, cells or lines named in one message, at most
LEAST_ROLLOUTS = 200  # of an error that is a rate, such as the share of failures
COUNT_ROUNDED = 0.02  # distance of a rounded share from a whole count, at most
LEAST_COUNTED = 4  # rows; two sizes with two seeds
LARGEST = 2**53  # whole numbers below it are exact as floating-point ones
ERRORS = (1e-100, 1e100)  # range within which squares and ratios stay finite


class TableError(InputError):
    """A table, or its file, from which alpha cannot be measured."""


@dataclasses.dataclass(frozen=True)
class Row:
    """One training run and the error it reached; its fields are the columns."""

    task: str  # the task learnt; each is measured by itself
    version: str  # of the world model; empty (null) where m = 0: real episodes only
    recipe: str  # the learner, a function of the pooled rows; one per task
    n: int  # all real episodes trained on; 1 or more
    m: int  # synthetic episodes trained on; 0 or more
    # Real episodes that the version cost and that were *not* trained on: corrections, validation,
    # failed deployments, cumulative over its turns.
    k: int
    seed: int | str  # the replicate, a number or a name; paired over the curve and all cells
    split: str  # of the held-out reality; one per task
    # On held-out reality; above 0, lower is better, in any unit that keeps it in ``ERRORS``.
    error: float
    evaluations: int | None = None  # rollouts or episodes that the error is a mean over
    steps: int | None = None  # of training
    device_seconds: float | None = None  # [s] of training
    energy_joules: float | None = None  # [J] of training


OPTIONAL = ("evaluations", "steps", "device_seconds", "energy_joules")


def check(rows: Sequence[Row]) -> None:
    """Refuses rows from which alpha cannot be measured.

    A task without mixture rows is a pilot. The rows of a task are a full grid: every cell, real
    only or mixture, holds the same seeds, at least two.

    Raises:
      TableError: there are no rows; a row is invalid (``fault``); a run is given twice; a task
        has more than one recipe or split, fewer than two real-only sizes or seeds, a cell whose
        seeds or k differ, a second arm without its first (``reused_cells``), or an error that is
        a rate over fewer than ``LEAST_ROLLOUTS`` evaluations.
    """
    if not rows:
        raise TableError("the table has no rows; give one per training run")
    faults = [f"{_name(row)}: {text}" for row in rows if (text := fault(row))]
    if faults:
        raise TableError(f"{some(faults)}; mend these rows")
    seen, twice = set(), []
    for row in rows:
        if (key := (row.task, row.version, row.n, row.m, row.k, row.seed)) in seen:
            twice.append(_name(row))
        seen.add(key)
    if twice:
        raise TableError(f"given twice: {some(twice)}; keep one row per training run")
    for task in sorted({row.task for row in rows}):
        _check_task(task, [row for row in rows if row.task == task])


def _check_task(task: str, rows: Sequence[Row]) -> None:
    for name in ("recipe", "split"):
        values = sorted({getattr(row, name) for row in rows})
        if len(values) > 1:
            raise TableError(
                f"task {task!r} mixes the {name}s {some(map(repr, values))}; alpha belongs to one "
                f"{name}: measure each in a table of its own, or name the task apart"
            )
    sizes = sorted({row.n for row in rows if row.m == 0})
    if len(sizes) < 2:
        raise TableError(
            f"task {task!r} has real-only rows (m = 0) at {len(sizes)} size(s) n {sizes}; the "
            "curve needs two at least, and should have six"
        )
    seeds = in_order({row.seed for row in rows})
    if len(seeds) < 2:
        raise TableError(
            f"task {task!r} has one seed ({seeds[0]}); an interval needs two at least, and "
            "should have ten"
        )
    if few := rate_of_few(rows):
        raise TableError(f"task {task!r}: {few}")
    cells: dict[tuple[str, int, int, int], set[int | str]] = {}
    for row in rows:
        cells.setdefault((row.version, row.n, row.m, row.k), set()).add(row.seed)
    incomplete = []
    for (version, n, m, _), present in sorted(cells.items()):
        where, absent = f"version {version!r}, n {n}, m {m}", [s for s in seeds if s not in present]
        if not absent:
            continue
        others = {other[3] for other in cells if other[:3] == (version, n, m)}
        if len(others) > 1:
            raise TableError(
                f"task {task!r}: {where} has different k ({some(map(str, sorted(others)))}) over "
                "its seeds; a cell has one number of corrections: name the versions apart"
            )
        incomplete.append(f"{where} lacks seed {some(map(str, absent))}")
    if incomplete:
        raise TableError(
            f"task {task!r}: {some(incomplete)}; replicates are paired: run these seeds, or "
            "leave them out everywhere"
        )
    reused_cells(sorted(cells))


def reused_cells(
    cells: Sequence[tuple[str, int, int, int]],
) -> dict[tuple[str, int, int, int], tuple[str, int, int, int]]:
    """The second arms, cells whose corrections were trained on too, by their first arms.

    A version's cells with the largest k, its K, are its first arm; a cell with k < K is the second
    arm of the cell with n − (K − k) and K.

    Args:
      cells: (version, n, m, k).

    Raises:
      TableError: a second arm has no first, or a cell has two second arms.
    """
    cost: dict[str, int] = {}
    for version, _, _, k in cells:
        cost[version] = max(k, cost.get(version, 0))
    second = {}
    for cell in cells:
        version, n, m, k = cell
        if k == cost[version]:
            continue
        first = (version, n - (cost[version] - k), m, cost[version])
        here = f"version {version!r} has k {k} at n {n}, m {m} and k {cost[version]} elsewhere"
        if first not in cells:
            raise TableError(
                f"{here}; as corrections trained on too it needs its cell n {first[1]}, m {m}, k "
                f"{first[3]}: run that, or name the versions apart"
            )
        if first in second:
            raise TableError(f"{here}, a third arm of one cell; name the versions apart")
        second[first] = cell
    return second


def rate_of_few(rows: Sequence[Row]) -> str:
    """The fault of errors that are rates over too few rollouts; empty if there is none.

    Counts identify a rate: in every row with ``evaluations`` the error, as a share or in per cent,
    times the evaluations is within ``COUNT_ROUNDED`` of a whole number from 1 to the evaluations.
    A continuous error passes for one by chance with probability 0.04 in one row, with a few in a
    million in four, the fewest that can be measured; fewer rows are not judged. Undetected are
    rates without ``evaluations``, rounded more coarsely than to 0.02 counts, or transformed (a
    logarithm, a running or weighted mean).
    """
    counted = [(row.error, row.evaluations) for row in rows if row.evaluations]
    if len(counted) < LEAST_COUNTED or not any(
        all(_counts(error / scale, of) for error, of in counted) for scale in (1, 100)
    ):
        return ""
    if (least := min(of for _, of in counted)) >= LEAST_ROLLOUTS:
        return ""
    return (
        f"every error is a share of its evaluations, {least} at the fewest: a rate needs "
        f"{LEAST_ROLLOUTS} rollouts per run, or take a continuous error"
    )


def _counts(share: float, of: int) -> bool:
    """Whether a share is a whole number of evaluations, at least one."""
    count = share * of
    return 1 <= round(count) <= of and abs(count - round(count)) <= COUNT_ROUNDED


def fault(row: Row) -> str:
    """The fault of a row by itself; empty if it is valid."""
    for name, least in (("n", 1), ("m", 0), ("k", 0)):
        value = getattr(row, name)
        if not isinstance(value, numbers.Integral):
            return f"{name} = {value!r} is no whole number"
        if value < least:
            return f"{name} = {value} is below {least}"
        if int(value) >= LARGEST:
            return f"{name} = {value} is not below 2⁵³"
    if isinstance(row.seed, str):
        if not row.seed or row.seed != row.seed.strip():
            return f"seed = {row.seed!r}; give a number, or a name without spaces around it"
    elif not isinstance(row.seed, numbers.Integral):
        return f"seed = {row.seed!r} is neither a whole number nor a name"
    elif abs(row.seed) >= LARGEST:
        return f"seed = {row.seed} is not between −2⁵³ and 2⁵³; number the replicates from 0"
    for name in ("task", "version", "recipe", "split"):
        value = getattr(row, name)
        if not isinstance(value, str):
            return f"{name} = {value!r} is no text"
        if not value and name != "version":
            return f"the {name} is empty; name one"
        if value != value.strip():
            return f"{name} = {value!r} has spaces around it; leave them out"
    if not isinstance(row.error, numbers.Real):
        return f"error = {row.error!r} is no number"
    if not 0 < row.error < math.inf:
        return f"error = {row.error}; give a finite number above 0"
    if not ERRORS[0] <= row.error <= ERRORS[1]:
        return f"error = {row.error} is not within 1e-100 and 1e100; give it in another unit"
    if row.m == 0 and row.version:
        return "m = 0 with a version; real-only rows have an empty version"
    if row.m > 0 and not row.version:
        return "m > 0 without a version; name the version of the synthetic episodes"
    if row.m == 0 and row.k:
        return f"m = 0 with k = {row.k}; real-only runs have no corrections"
    for name in OPTIONAL:
        value = getattr(row, name)
        real = value is None or isinstance(value, int | float | np.number)
        if not real or (value is not None and not 0 <= value < LARGEST):
            return f"{name} = {value} is not from 0 to below 2⁵³; leave it empty if unknown"
    return ""


def in_order(seeds: Iterable[int | str]) -> list[int | str]:
    """Replicates in one order: numbers first, then names."""
    return sorted(seeds, key=lambda seed: (isinstance(seed, str), seed))


def _name(row: Row) -> str:
    return (
        f"row (task {row.task!r}, version {row.version!r}, n {row.n}, m {row.m}, seed {row.seed})"
    )


def some(names: Iterable[str]) -> str:
    """The first ``NAMED`` names, and the number of the others."""
    names = list(names)
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
