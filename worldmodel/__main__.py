"""``python -m worldmodel``: ``doctor``, ``trust``, ``plan``, ``evaluate``.

Each command imports what it needs.
"""

import json as json_format
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from worldmodel import runtime

_Table = Annotated[Path, tyro.conf.Positional]


def _doctor() -> int:
    """Says what this machine has, what is missing, and the remedy."""
    from worldmodel import doctor

    return doctor.main()


def _trust(
    table: _Table,
    json: Path | None = None,
    report: Path | None = None,
    law: Literal["pooled", "oracle"] = "pooled",
    level: float = 0.95,
    pool: int | None = None,
    costs: Path | None = None,
    assume: tuple[tuple[str, float, float], ...] = (),
    pairs: Path | None = None,
) -> int:
    """Measures the trust coefficient from a table of training runs, and says it in words.

    Args:
      table: CSV or Parquet; its columns are documented in worldmodel/trust/table.py.
      json: all numbers, written there.
      report: one self-contained HTML page, written there.
      law: that of the learner's weight rule: all rows weigh 1, or the best weight.
      level: of the intervals.
      pool: real episodes that the training sets of all seeds are drawn from, if there are no more.
      costs: a row per version with what its synthetic episodes took on which device, for the cost
        card; columns in worldmodel/trust/beside.py.
      assume: NAME LOW HIGH, …: assumptions of the cost card to replace, such as wage 20 30; all in
        worldmodel/trust/cost.py.
      pairs: real and simulated evaluation episodes (see the command evaluate), for the same page.
    """

    def work(_: None) -> int:
        from worldmodel import trust
        from worldmodel.errors import InputError
        from worldmodel.trust import beside
        from worldmodel.trust.summary import summary

        if assume and not costs:
            raise InputError("--assume belongs to the cost card; give --costs too")
        document = trust.document(trust.measure(trust.read(table), level=level, law=law, pool=pool))
        if costs:
            made = trust.read_rows(costs, beside.MADE)
            document = beside.with_costs(document, made, beside.assumed(assume))
        if pairs:
            document = beside.with_evaluations(document, trust.read_rows(pairs, beside.PAIRS))
        if json:
            _write_json(json, document)
        if report:
            from worldmodel.trust.report import report as page

            report.write_text(page(document), encoding="utf-8")
        print(summary(document), end="")
        return 0

    return runtime.run(work, None)


def _plan(
    pilot: _Table,
    n: int,
    m: int,
    half_width: float = 0.25,
    alpha: float = 1.0,
    nested: bool = False,
    level: float = 0.95,
) -> int:
    """Says how many seeds and cells an interval of alpha takes, or why none would do.

    Args:
      pilot: real-only runs (m = 0) of one task, several seeds at each n; CSV or Parquet.
      n: real episodes of the mixtures.
      m: synthetic episodes of the mixtures.
      half_width: wanted, of the interval of alpha.
      alpha: expected.
      nested: whether the smaller real sets are parts of the larger ones.
      level: of the interval.
    """

    def work(_: None) -> int:
        from worldmodel import trust
        from worldmodel.trust.summary import planned

        rows = trust.read(pilot)
        found = trust.grids(rows, n, m, alpha, half_width, nested, level=level)
        print(planned(found, half_width), end="")
        return int(all(grid.runs is None for grid in found))

    return runtime.run(work, None)


def _evaluate(pairs: _Table, json: Path | None = None, level: float = 0.95) -> int:
    """Says what simulated evaluation episodes are worth in real ones (prediction-powered).

    Another question than training, and never merged with it.

    Args:
      pairs: policy, real, simulated: outcomes from the same start, a row each; real empty where the
        start was played in the simulator alone. CSV or Parquet; see worldmodel/trust/beside.py.
      json: all numbers by task and policy, written there.
      level: of the intervals.
    """

    def work(_: None) -> int:
        from worldmodel import trust
        from worldmodel.trust import beside
        from worldmodel.trust.summary import judged

        rows = trust.read_rows(pairs, beside.PAIRS)
        found = beside.evaluations_by_task(rows, level)
        if json:
            _write_json(json, found)
        print(judged(found), end="")
        return 0

    return runtime.run(work, None)


def _write_json(path: Path, content: Any) -> None:
    text = json_format.dumps(content, indent=1, allow_nan=False, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; those of the process by default."""
    commands = {"doctor": _doctor, "trust": _trust, "plan": _plan, "evaluate": _evaluate}
    return tyro.extras.subcommand_cli_from_dict(commands, prog="worldmodel", args=arguments)


if __name__ == "__main__":
    sys.exit(main())
