"""The command line: ``python -m worldmodel``, or ``worldmodel``.

Each command imports its own modules, and its options follow from its function's signature.
"""

import importlib
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from worldmodel import doctor, runtime
from worldmodel.errors import InputError, near
from worldmodel.runtime.command import call
from worldmodel.runtime.files import write_json, write_text

_Table = Annotated[Path, tyro.conf.Positional]

HELP = """\
usage: worldmodel COMMAND [options]; worldmodel COMMAND --help lists them

  doctor    what this machine has and lacks, with the remedy
  new       a folder for a robot: its MJCF, a task that runs, columns and a test
  check     whether a scene runs and a log fits it, or whether a task keeps its contract
  fit       a scene's physics, then a network, to a log
  evaluate  the prediction error of a fitted model on a log
  generate  synthetic episodes: a task's expert demonstrates it in the world model
  train     a policy: clones data sets; plans, or learns by PPO or gradients, in the world model
  export    a policy as an ONNX file with its contract
  deploy    a policy on a robot; every episode is captured
  loop      generate, train, deploy, capture, finetune, in turns
  trust     the trust coefficient alpha from a table of training runs
  plan      how many seeds and cells an interval of alpha takes
  judge     how many real evaluation episodes a simulated one is worth
"""
_WITH_JAX = ("new", "check", "fit", "evaluate", "generate", "train", "export", "deploy", "loop")


def _trust(
    table: _Table,
    json: Path | None = None,
    report: Path | None = None,
    law: Literal["pooled", "oracle"] = "pooled",
    level: float = 0.95,
    pool: int | None = None,
    costs: Path | None = None,
    assume: tuple[tuple[str, float, float], ...] = (),
) -> int:
    """Measures the trust coefficient alpha from a table of training runs.

    Args:
      table: CSV or Parquet; worldmodel/trust/table.py documents the columns.
      json: file for all numbers.
      report: file for one self-contained HTML page.
      law: of the learner's weight rule: weight 1 for all rows, or the best (oracle) weight.
      level: of the intervals.
      pool: number of real episodes that all seeds draw from, if they share a pool.
      costs: table for the cost card, a row per version with the device time and price of its
        synthetic episodes; worldmodel/trust/cost.py documents the columns.
      assume: NAME LOW HIGH, …: replaced assumptions of the cost card, such as wage 20 30;
        worldmodel/trust/cost.py lists them.
    """
    from worldmodel import trust
    from worldmodel.trust import cost
    from worldmodel.trust import report as pages

    if assume and not costs:
        raise InputError("--assume belongs to the cost card; give --costs too")
    document = trust.document(trust.measure(trust.read(table), level=level, law=law, pool=pool))
    if costs:
        if len(tasks := document["tasks"]) > 1:
            raise InputError(
                f"{table} holds {len(tasks)} tasks; with --costs, give the runs of one"
            )
        rows = trust.read(costs, cost.Generation)
        tasks[0]["cost"] = cost.price(tasks[0], rows, cost.assumed(assume))
    if json:
        write_json(json, document)
    if report:
        write_text(report, pages.report(document))
    print(pages.summary(document), end="")
    return 0


def _plan(
    pilot: _Table,
    n: int,
    m: int,
    half_width: float = 0.25,
    alpha: float = 1.0,
    nested: bool = False,
    level: float = 0.95,
) -> int:
    """Plans how many seeds and cells an interval of alpha takes, or says why none suffices.

    Args:
      pilot: real-only runs (m = 0) of one task, with several seeds at each n; CSV or Parquet.
      n: real episodes of the mixtures.
      m: synthetic episodes of the mixtures.
      half_width: of the interval of alpha, wanted.
      alpha: expected.
      nested: whether smaller real sets are parts of larger ones.
      level: of the interval.
    """
    from worldmodel import trust
    from worldmodel.trust.report import planned

    rows = trust.read(pilot)
    plans = trust.grids(rows, n, m, alpha, half_width, nested, level=level)
    print(planned(plans, half_width), end="")
    return int(all(plan.runs is None for plan in plans))


def _judge(pairs: _Table, json: Path | None = None, level: float = 0.95) -> int:
    """Measures how many real evaluation episodes a simulated one is worth (prediction-powered).

    alpha_eval is never merged with alpha, which is about training.

    Args:
      pairs: table with a row per start: policy, real, simulated; real is empty if the start was
        played in the simulator alone. CSV or Parquet; see worldmodel/trust/evaluation.py.
      json: file for all numbers by policy.
      level: of the intervals.
    """
    from worldmodel import trust
    from worldmodel.trust import evaluation
    from worldmodel.trust.report import judged

    by_policy = evaluation.evaluations(trust.read(pairs, evaluation.Pair), level)
    if json:
        write_json(json, by_policy)
    print(judged(by_policy), end="")
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command line, that of the process by default, and returns the exit status."""
    given = [*(sys.argv[1:] if arguments is None else arguments)]
    return runtime.run(lambda line: _command(*line), given or ["--help"])


def _command(name: str, *options: str) -> int:
    """Runs a command; prints what it returns as one JSON line, unless that is an exit status."""
    light: dict[str, Callable[..., Any]]
    light = {"doctor": doctor.main, "trust": _trust, "plan": _plan, "judge": _judge}
    if name in _WITH_JAX:
        runtime.configure()
        function = getattr(importlib.import_module(f"worldmodel.commands.{name}"), name)
    elif name in light:
        function = light[name]
    elif name in ("-h", "--help"):
        print(HELP, end="")
        return 0
    else:
        raise InputError(f"no command '{name}'; {near(name, (*light, *_WITH_JAX))}")
    result = call(function, options, f"worldmodel {name}", function.__doc__ or "")
    if isinstance(result, int):
        return result
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
