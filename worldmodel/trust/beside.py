"""What stands beside α in a document, from tables of their own: the cost card and the judge.

Each is a table like that of the training runs, CSV or Parquet, its bad rows named by line. What
making a version's synthetic episodes took, a row per version (``MADE``):

====================  ======  ====================================================================
column                kind    meaning
====================  ======  ====================================================================
task                  text    optional where the document has one task
version               text    of the world model
device                text    in words: "1 NVIDIA H200", "2 CPU cores"
dollars_per_hour_low  number  price of the whole device [$/h], cheapest and dearest
dollars_per_hour_high number
price_source          text    optional: where the price is from
episode_seconds       number  of the device [s], one more synthetic episode
model_seconds         number  of the device [s] before the first: fitting, compiling
energy_joules         number  optional: per episode [J], from the device's counter
====================  ======  ====================================================================

Evaluation episodes, a row per start (``PAIRS``):

====================  ======  ====================================================================
task                  text    optional where the document has one task
policy                text    that was evaluated; each is judged by itself
real                  number  its outcome in reality; empty where it was played in the simulator
                              alone
simulated             number  its outcome in the simulator, from the same start
====================  ======  ====================================================================
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from worldmodel.errors import InputError
from worldmodel.trust.cost import Assumptions, Measured, Range, price
from worldmodel.trust.evaluation import described, evaluate
from worldmodel.trust.files import Columns
from worldmodel.trust.table import TableError, some


@dataclasses.dataclass(frozen=True)
class Made:
    """What making the synthetic episodes of one version took."""

    version: str
    device: str
    dollars_per_hour_low: float
    dollars_per_hour_high: float
    episode_seconds: float
    model_seconds: float
    energy_joules: float | None = None
    price_source: str = "given with the measurement"
    task: str = ""


@dataclasses.dataclass(frozen=True)
class Pair:
    """One start: a policy's outcome in the simulator and, where it was played, in reality."""

    policy: str
    simulated: float
    real: float | None = None
    task: str = ""


def measured(made: Made) -> Measured:
    """A row as the cost card takes it.

    Raises:
      InputError: a number that is not finite, below 0, or a price whose ends are the wrong way.
    """
    ends = made.dollars_per_hour_low, made.dollars_per_hour_high
    hour = Range(*ends, "$/h", f"{made.device}: {made.price_source}")
    seconds = made.episode_seconds, made.model_seconds
    return Measured(made.device, hour, *seconds, made.energy_joules)


def _fault_made(made: Made) -> str:
    if not made.version:
        return "it names no version"
    if not made.device:
        return "it names no device"
    try:
        measured(made)
    except InputError as error:
        return str(error)
    return ""


def _fault_pair(pair: Pair) -> str:
    if not pair.policy:
        return "it names no policy"
    for name in ("real", "simulated"):
        value = getattr(pair, name)
        if value is not None and not math.isfinite(value):
            return f"{name} = {value}, where a finite outcome is needed"
    return ""


MADE = Columns(
    Made,
    {
        "task": str,
        "version": str,
        "device": str,
        "dollars_per_hour_low": float,
        "dollars_per_hour_high": float,
        "price_source": str,
        "episode_seconds": float,
        "model_seconds": float,
        "energy_joules": float,
    },
    ("task", "price_source", "energy_joules"),
    _fault_made,
)
PAIRS = Columns(
    Pair,
    {"task": str, "policy": str, "real": float, "simulated": float},
    ("task", "real"),
    _fault_pair,
)


def assumed(overridden: Sequence[tuple[str, float, float]]) -> Assumptions:
    """The cost card's assumptions, some of them replaced by (name, low, high).

    Raises:
      InputError: an unknown name, one given twice, or a range that is none.
    """
    known, found = Assumptions(), {}
    names = [f.name for f in dataclasses.fields(known)]
    for name, low, high in overridden:
        if name not in names:
            raise InputError(f"no assumption is called {name!r}; there are {', '.join(names)}")
        if name in found:
            raise InputError(f"the assumption {name!r} is given twice")
        found[name] = Range(low, high, getattr(known, name).unit, "given by who ran this")
    return dataclasses.replace(known, **found)


def with_costs(
    document: Mapping[str, Any], made: Sequence[Made], assumptions: Assumptions | None = None
) -> dict[str, Any]:
    """The document with a cost card in each task that ``made`` has rows of.

    Raises:
      TableError: a row of no task of the document, or two rows of one version.
      InputError: a version that the task does not have.
    """
    cards = {}
    for task, rows in _by_task(document, made).items():
        twice = [
            r.version for i, r in enumerate(rows) if r.version in [x.version for x in rows[:i]]
        ]
        if twice:
            raise TableError(f"two rows for the version {some(map(repr, twice))}; keep one")
        found = {row.version: measured(row) for row in rows}
        (whole,) = [t for t in document["tasks"] if t["task"] == task]
        cards[task] = {"cost": price(whole, found, assumptions)}
    return _beside(document, cards)


def with_evaluations(document: Mapping[str, Any], pairs: Sequence[Pair]) -> dict[str, Any]:
    """The document with the simulator as a judge in each task that ``pairs`` has rows of.

    Raises:
      TableError: a row of no task of the document.
      InputError: see ``evaluations``.
    """
    level = {task["task"]: task["level"] for task in document["tasks"]}
    found = {
        task: {"evaluation": evaluations(rows, level[task])}
        for task, rows in _by_task(document, pairs).items()
    }
    return _beside(document, found)


def evaluations(pairs: Sequence[Pair], level: float = 0.95) -> dict[str, dict[str, Any]]:
    """By policy, what simulated evaluations are worth, as plain numbers (``described``).

    Args:
      pairs: of one task.
      level: of the intervals.

    Raises:
      InputError: see ``evaluation.evaluate``; the message names the policy.
    """
    found = {}
    for policy in dict.fromkeys(pair.policy for pair in pairs):
        own = [pair for pair in pairs if pair.policy == policy]
        both = [pair for pair in own if pair.real is not None]
        try:
            found[policy] = described(
                evaluate(
                    [pair.real for pair in both if pair.real is not None],
                    [pair.simulated for pair in both],
                    [pair.simulated for pair in own if pair.real is None],
                    level=level,
                )
            )
        except InputError as error:
            raise InputError(f"policy {policy!r}: {error}") from error
    return found


def evaluations_by_task(
    pairs: Sequence[Pair], level: float = 0.95
) -> dict[str, dict[str, dict[str, Any]]]:
    """``evaluations`` of each task; that of rows without one is called "".

    Raises:
      TableError: no rows.
      InputError: see ``evaluations``.
    """
    if not pairs:
        raise TableError("the table has no rows; give one per evaluation episode")
    tasks = dict.fromkeys(pair.task for pair in pairs)
    return {task: evaluations([p for p in pairs if p.task == task], level) for task in tasks}


def _by_task(document: Mapping[str, Any], rows: Sequence[Any]) -> dict[str, list[Any]]:
    """The rows of each task of the document; those that name none belong to its only one."""
    names = [task["task"] for task in document["tasks"]]
    found: dict[str, list[Any]] = {}
    for row in rows:
        task = row.task or (names[0] if len(names) == 1 else "")
        if task not in names:
            said = f"the task {task!r}, which the runs lack" if task else "no task"
            raise TableError(
                f"a row names {said}; name one of {some(map(repr, names))} in the column 'task'"
            )
        found.setdefault(task, []).append(row)
    return found


def _beside(document: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
    tasks = [task | found.get(task["task"], {}) for task in document["tasks"]]
    return {**document, "tasks": tasks}
