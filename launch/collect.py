"""The runs of a sweep as one table: python -m launch.collect runs/NAME --table runs.csv

A row per run that is done: its id, its config, and the JSON object that its ``main`` printed last.
Runs that are not done, and done ones without such a line, are named and have no row; the exit
status is then 1. ``--trust`` keeps the columns that ``worldmodel trust`` reads.
"""

import dataclasses
import inspect
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import tyro

from launch.run import last_line, status
from worldmodel import runtime, trust
from worldmodel.errors import InputError, cause
from worldmodel.runtime.files import write_bytes


@dataclasses.dataclass(frozen=True)
class Args:
    """Command line."""

    out: tyro.conf.Positional[Path]  # the sweep's folder
    table: Path  # Parquet by its suffix .parquet, otherwise CSV
    trust: bool = False  # the columns of worldmodel/trust/table.py alone, checked


def collect(out: Path) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """The rows, and why other runs have none, by their ids and names.

    Columns: ``run``; the config's dotted names; the result's, which may repeat values of the
    config. Lists and objects are JSON.

    Raises:
      InputError: no sweep's folder; a result that contradicts the config.
    """
    rows, absent = [], {}
    for known, name in _runs(out).items():
        folder = out / known
        now = status(folder) if folder.is_dir() else {"state": "its folder is not there"}
        result = _result(folder) if now["state"] == "done" else None
        if result is None:
            state = now["state"] if now["state"] != "done" else "done, without a line of results"
            absent[f"{known} {name}"] = state + (f": {now['reason']}" if "reason" in now else "")
            continue
        config = _json(folder / "config.json")["config"]
        contradicted = [key for key in result if key in config and result[key] != config[key]]
        if contradicted:
            raise InputError(
                f"run {known} prints {', '.join(contradicted)} otherwise than its config has it; "
                "name the result apart"
            )
        rows.append({"run": known} | {k: _cell(v) for k, v in (config | result).items()})
    return rows, absent


def trust_rows(rows: list[dict[str, Any]]) -> list[trust.Row]:
    """The rows as the trust measurement reads them; other columns are left out.

    Raises:
      InputError: a column is absent, or a row is invalid.
    """
    fields = inspect.signature(trust.Row).parameters
    needed = [name for name, field in fields.items() if field.default is field.empty]
    out = []
    for row in rows:
        if absent := [name for name in needed if name not in row]:
            raise InputError(
                f"run {row['run']} has no {', '.join(absent)}, which worldmodel trust reads; add "
                "fields to the config, or print them with the results"
            )
        out.append(trust.Row(**{name: row[name] for name in fields if name in row}))
        if fault := out[-1].fault():
            raise InputError(f"run {row['run']}: {fault}")
    return out


def main(args: Args) -> int:
    """Writes the table; logs the runs that are not in it."""
    rows, absent = collect(args.out)
    for name, why in absent.items():
        runtime.log(f"no row for {name}: {why}")
    if not rows:
        raise InputError(f"no run of {args.out} has results; launch it first")
    frame = pd.DataFrame([vars(row) for row in trust_rows(rows)] if args.trust else rows)
    if args.table.suffix in (".parquet", ".pq"):
        data = frame.to_parquet(index=False)
    else:
        data = frame.to_csv(index=False, na_rep="" if args.trust else "nan").encode()
    write_bytes(args.table, data)
    print(json.dumps({"rows": len(frame), "without": len(absent), "table": str(args.table)}))
    return int(bool(absent))


def _runs(out: Path) -> dict[str, str]:
    """Names by ids, as the launch planned them."""
    runs = _json(out / "settings.json").get("runs")
    if not isinstance(runs, dict):
        raise InputError(f"{out} is no folder of a sweep; give the --out of a launch")
    return runs


def _json(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text("utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise InputError(
            f"{path} cannot be read ({cause(error)}); give the --out of a launch"
        ) from error


def _result(folder: Path) -> dict[str, Any] | None:
    try:
        value = json.loads(last_line(folder / "stdout.txt"))
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _cell(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, list | Mapping) else value


if __name__ == "__main__":
    sys.exit(runtime.run(main, tyro.cli(Args, description=__doc__)))
