"""Supplements of α in a document: the cost card, and the simulator as a judge of policies.

Each has a table of its own, CSV or Parquet; an error names its bad rows by line. The columns are
the fields of ``GenerationCost`` and ``Pair``; a field with a default is optional.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from worldmodel.errors import InputError
from worldmodel.trust.cost import Assumptions, Measured, Range, price
from worldmodel.trust.evaluation import described, evaluate
from worldmodel.trust.files import Columns
from worldmodel.trust.table import TableError, some


@dataclasses.dataclass(frozen=True, kw_only=True)
class GenerationCost:
    """Cost of generating the synthetic episodes of one version."""

    task: str = ""  # may be empty where the document has one task
    version: str  # of the world model
    device: str  # such as "1 NVIDIA H200" or "2 CPU cores"
    dollars_per_hour_low: float  # [$/h] price of the whole device, lowest and highest
    dollars_per_hour_high: float  # [$/h]
    price_source: str = "given with the measurement"
    episode_seconds: float  # [s] of the device, one more synthetic episode
    model_seconds: float  # [s] of the device before the first: fitting, compiling
    energy_joules: float | None = None  # [J] per episode, from the device's counter


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pair:
    """A policy's outcomes from one start."""

    task: str = ""  # may be empty where the document has one task
    policy: str  # evaluated; each policy is judged by itself
    real: float | None = None  # outcome in reality; empty where the start was simulated only
    simulated: float  # outcome in the simulator, from the same start


def measured(row: GenerationCost) -> Measured:
    """Converts a row for the cost card.

    Raises:
      InputError: a number is not finite or below 0, or a price's low end is above its high end.
    """
    ends = row.dollars_per_hour_low, row.dollars_per_hour_high
    hour = Range(*ends, "$/h", f"{row.device}: {row.price_source}")
    seconds = row.episode_seconds, row.model_seconds
    return Measured(row.device, hour, *seconds, row.energy_joules)


def _cost_fault(row: GenerationCost) -> str:
    if not row.version:
        return "the version is empty; name one"
    if not row.device:
        return "the device is empty; name it"
    try:
        measured(row)
    except InputError as error:
        return str(error)
    return ""


def _pair_fault(pair: Pair) -> str:
    if not pair.policy:
        return "the policy is empty; name one"
    for name in ("real", "simulated"):
        value = getattr(pair, name)
        if value is not None and not math.isfinite(value):
            return f"{name} = {value}; give a finite outcome"
    return ""


GENERATION_COSTS = Columns(GenerationCost, _cost_fault)
PAIRS = Columns(Pair, _pair_fault)


def assumed(overridden: Sequence[tuple[str, float, float]]) -> Assumptions:
    """The default assumptions, with the given ones replaced.

    Args:
      overridden: (name, low, high) of each assumption to replace, in the default's unit.

    Raises:
      InputError: a name is unknown or given twice, or its range is invalid.
    """
    known, replaced = Assumptions(), {}
    for name, low, high in overridden:
        if name not in vars(known):
            names = ", ".join(vars(known))
            raise InputError(f"no assumption is called {name!r}; there are {names}")
        if name in replaced:
            raise InputError(f"the assumption {name!r} is given twice; keep one")
        replaced[name] = Range(low, high, getattr(known, name).unit, "given by who ran this")
    return dataclasses.replace(known, **replaced)


def with_costs(
    document: Mapping[str, Any],
    costs: Sequence[GenerationCost],
    assumptions: Assumptions | None = None,
) -> dict[str, Any]:
    """Adds a cost card (``cost``) to each task that ``costs`` has rows of.

    Args:
      document: as of ``plain.document``; it stays as it is.
      costs: at most one row per task and version.
      assumptions: the defaults if None.

    Raises:
      TableError: a row belongs to no task of the document, or a version has two rows.
      InputError: the task has no version of that name.
    """

    def card(task: Mapping[str, Any], rows: Sequence[GenerationCost]) -> dict[str, Any]:
        names = [row.version for row in rows]
        if twice := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
            raise TableError(f"two rows for the version {some(map(repr, twice))}; keep one")
        return price(task, {row.version: measured(row) for row in rows}, assumptions)

    return _with(document, "cost", costs, card)


def with_evaluations(document: Mapping[str, Any], pairs: Sequence[Pair]) -> dict[str, Any]:
    """Adds the judge (``evaluation``) to each task that ``pairs`` has rows of.

    Args:
      document: as of ``plain.document``; it stays as it is.
      pairs: in any order.

    Raises:
      TableError: a row belongs to no task of the document.
      InputError: see ``evaluations``.
    """
    return _with(document, "evaluation", pairs, lambda task, rows: evaluations(rows, task["level"]))


def evaluations(pairs: Sequence[Pair], level: float = 0.95) -> dict[str, dict[str, Any]]:
    """The value of simulated evaluations by policy, as plain numbers (``evaluation.described``).

    Args:
      pairs: of one task.
      level: of the intervals.

    Raises:
      InputError: see ``evaluation.evaluate``; the message names the policy.
    """
    by_policy = {}
    for policy in dict.fromkeys(pair.policy for pair in pairs):
        own = [pair for pair in pairs if pair.policy == policy]
        real = [pair.real for pair in own if pair.real is not None]
        paired = [pair.simulated for pair in own if pair.real is not None]
        extra = [pair.simulated for pair in own if pair.real is None]
        try:
            by_policy[policy] = described(evaluate(real, paired, extra, level=level))
        except InputError as error:
            raise InputError(f"policy {policy!r}: {error}") from error
    return by_policy


def evaluations_by_task(
    pairs: Sequence[Pair], level: float = 0.95
) -> dict[str, dict[str, dict[str, Any]]]:
    """``evaluations`` by task; rows that name no task are under the empty string.

    Raises:
      TableError: there are no rows.
      InputError: see ``evaluations``.
    """
    if not pairs:
        raise TableError("the table has no rows; give one per evaluation episode")
    tasks = dict.fromkeys(pair.task for pair in pairs)
    return {task: evaluations([p for p in pairs if p.task == task], level) for task in tasks}


def _with(
    document: Mapping[str, Any],
    key: str,
    rows: Sequence[Any],
    entry: Callable[[Mapping[str, Any], Sequence[Any]], Any],
) -> dict[str, Any]:
    """The document with ``entry`` of a task and its rows under ``key``.

    Rows that name no task belong to the document's only one.
    """
    names = [task["task"] for task in document["tasks"]]
    by_task: dict[str, list[Any]] = {}
    for row in rows:
        task = row.task or (names[0] if len(names) == 1 else "")
        if task not in names:
            named = f"the task {task!r}, which the runs lack" if task else "no task"
            raise TableError(
                f"a row names {named}; name one of {some(map(repr, names))} in the column 'task'"
            )
        by_task.setdefault(task, []).append(row)
    tasks = [
        task | {key: entry(task, by_task[name])} if name in by_task else task
        for name, task in zip(names, document["tasks"], strict=True)
    ]
    return {**document, "tasks": tasks}
