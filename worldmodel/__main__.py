"""The commands of ``python -m worldmodel``: doctor; check, fit, evaluate; new, generate, train,
deploy, loop; trust, plan, judge.

Each command imports its own modules.
"""

import dataclasses
import functools
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import tyro

from worldmodel import runtime
from worldmodel.commands import round_the_loop
from worldmodel.commands.options import FitOptions
from worldmodel.runtime.files import write_json, write_text

_Table = Annotated[Path, tyro.conf.Positional]
_Path = Annotated[Path, tyro.conf.Positional]


def _doctor() -> int:
    """Lists what this machine has and lacks, with the remedy."""
    from worldmodel import doctor

    return doctor.main()


def _check(
    scene: _Path,
    data: Path | None = None,
    columns: Path | None = None,
    out: Path = Path("columns.toml"),
    control_hz: float | None = None,
    substeps: int | None = None,
    deep: bool = False,
    json: Path | None = None,
) -> int:
    """Checks whether a scene runs and a log fits it, or whether a task keeps its contract; status 1
    where something must be mended.

    Args:
      scene: MJCF of the robot; or a task, as file.py:name or package.module:name, alone.
      data: the log: a LeRobot folder, or Parquet, CSV or npz, a file or a folder of them.
      columns: TOML: which column is which joint, command, body and time; without it a draft is
        written.
      out: file for that draft.
      control_hz: frames per second; the data's, or the MJCF's timestep, when absent.
      substeps: physics steps per frame; from the fastest contact or servo when absent.
      deep: compiles the scene in MJX (minutes): difference to C MuJoCo, speed, live gradients.
      json: file for all numbers.
    """
    runtime.configure()
    from worldmodel.commands import check as command
    from worldmodel.commands import check_task

    if check_task.is_task(scene):
        findings = check_task.check_task(str(scene))
        if json:
            write_json(json, [dataclasses.asdict(finding) for finding in findings])
        print("\n".join(map(str, findings)))
        return command.exit_status(findings)
    result = command.check(
        scene,
        data,
        columns,
        out=out,
        control_hz=control_hz,
        substeps=substeps,
        deep=deep,
    )
    if json:
        write_json(json, command.document(result))
    print(command.text(result), end="")
    return result.exit_status


def _fit(run: tyro.conf.OmitArgPrefixes[FitOptions]) -> int:
    """Fits a scene's physics, then a network, to a log; the same command goes on after a stop.

    Leaves in the folder: checkpoint, fitted.xml, columns.toml, choice.json, fit.json, report.html.
    """
    runtime.configure()
    from worldmodel.commands.fit import fit

    with runtime.Interrupt() as interrupt:
        try:
            line = fit(run, lambda: interrupt.requested)
        except runtime.Interrupted as stopped:
            runtime.log(str(stopped))
            return interrupt.exit_status
    print(json.dumps(line))
    return 0


def _evaluate(
    model: _Path,
    data: Path,
    columns: Path | None = None,
    horizon: int | None = None,
    whole: bool = False,
    split: Literal["train", "validation", "test"] | None = None,
    engine: Literal["c", "mjx"] | None = None,
) -> int:
    """Measures the prediction error of a fitted model on a log; prints one JSON line.

    Args:
      model: folder of a checkpoint, or of the fit that wrote it.
      data: a log of the model's robot.
      columns: TOML, in place of those that the checkpoint carries.
      horizon: frames ahead; the fit's own when absent.
      whole: whole episodes from their first frame.
      split: only these episodes; all when absent.
      engine: C MuJoCo, which no network runs in, or MJX, which compiles for minutes where a scene
        has hundreds of contact slots; c for physics alone, and mjx with a network, when absent.
    """
    runtime.configure()
    from worldmodel.commands.evaluate import evaluate

    given = {"horizon": horizon, "whole": whole, "split": split, "engine": engine}
    result = evaluate(model, data, columns, **given)
    print(json.dumps(result))
    return 0


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
    """Measures the trust coefficient alpha from a table of training runs.

    Args:
      table: CSV or Parquet; worldmodel/trust/table.py documents the columns.
      json: file for all numbers.
      report: file for one self-contained HTML page.
      law: of the learner's weight rule: weight 1 for all rows, or the best (oracle) weight.
      level: of the intervals.
      pool: number of real episodes that all seeds draw from, if they share a pool.
      costs: table for the cost card, a row per version with the device time and price of its
        synthetic episodes; worldmodel/trust/supplements.py documents the columns.
      assume: NAME LOW HIGH, …: replaced assumptions of the cost card, such as wage 20 30;
        worldmodel/trust/cost.py lists them.
      pairs: table of real and simulated evaluation episodes (see the command judge), for the
        same page.
    """
    from worldmodel import trust
    from worldmodel.errors import InputError
    from worldmodel.trust import supplements
    from worldmodel.trust.summary import summary

    if assume and not costs:
        raise InputError("--assume belongs to the cost card; give --costs too")
    document = trust.document(trust.measure(trust.read(table), level=level, law=law, pool=pool))
    if costs:
        rows = trust.read(costs, supplements.GENERATION_COSTS)
        document = supplements.with_costs(document, rows, supplements.assumed(assume))
    if pairs:
        rows = trust.read(pairs, supplements.PAIRS)
        document = supplements.with_evaluations(document, rows)
    if json:
        write_json(json, document)
    if report:
        from worldmodel.trust.report import report as page

        write_text(report, page(document))
    print(summary(document), end="")
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
    from worldmodel.trust.summary import planned

    rows = trust.read(pilot)
    grids = trust.grids(rows, n, m, alpha, half_width, nested, level=level)
    print(planned(grids, half_width), end="")
    return int(all(grid.runs is None for grid in grids))


def _judge(pairs: _Table, json: Path | None = None, level: float = 0.95) -> int:
    """Measures how many real evaluation episodes a simulated one is worth (prediction-powered).

    alpha_eval is never merged with alpha, which is about training.

    Args:
      pairs: table with a row per start: policy, real, simulated; real is empty if the start was
        played in the simulator alone. CSV or Parquet; see worldmodel/trust/supplements.py.
      json: file for all numbers by task and policy.
      level: of the intervals.
    """
    from worldmodel import trust
    from worldmodel.trust import supplements
    from worldmodel.trust.summary import judged

    rows = trust.read(pairs, supplements.PAIRS)
    by_task = supplements.evaluations_by_task(rows, level)
    if json:
        write_json(json, by_task)
    print(judged(by_task), end="")
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command line, that of the process by default, and returns the exit status."""
    commands = {"doctor": _doctor, "check": _check, "fit": _fit, "evaluate": _evaluate}
    commands |= round_the_loop.COMMANDS
    commands |= {"trust": _trust, "plan": _plan, "judge": _judge}
    call = functools.partial(tyro.extras.subcommand_cli_from_dict, commands, prog="worldmodel")
    return runtime.run(lambda given: call(args=given), arguments)


if __name__ == "__main__":
    sys.exit(main())
