"""``python -m worldmodel``: ``doctor``, ``trust`` and ``plan``; imports what the command needs."""

import json as json_format
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

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
) -> int:
    """Measures the trust coefficient from a table of training runs, and says it in words.

    Args:
      table: CSV or Parquet; its columns are documented in worldmodel/trust/table.py.
      json: all numbers, written there.
      report: one self-contained HTML page, written there.
      law: that of the learner's weight rule: all rows weigh 1, or the best weight.
      level: of the intervals.
      pool: real episodes that the training sets of all seeds are drawn from, if there are no more.
    """

    def work(_: None) -> int:
        from worldmodel import trust
        from worldmodel.trust.summary import summary

        document = trust.document(trust.measure(trust.read(table), level=level, law=law, pool=pool))
        if json:
            text = json_format.dumps(document, indent=1, allow_nan=False, ensure_ascii=False)
            json.write_text(text + "\n", encoding="utf-8")
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; those of the process by default."""
    commands = {"doctor": _doctor, "trust": _trust, "plan": _plan}
    return tyro.extras.subcommand_cli_from_dict(commands, prog="worldmodel", args=arguments)


if __name__ == "__main__":
    sys.exit(main())
