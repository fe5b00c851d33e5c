"""The identification command: its table, and that it goes on where it was stopped."""

import dataclasses
import itertools
import json
from pathlib import Path

import numpy as np
import pytest

from experiments.recordings import identify
from tests.helpers.command import run
from worldmodel.errors import InputError
from worldmodel.runtime import Interrupted

COMMAND = ["experiments.recordings.identify", "--recording", "double_pendulum"]
COMMAND += ["--windows", "40", "--horizon", "10", "--fit.iterations", "6"]


def test_every_number_is_named_with_what_is_known_of_it(tmp_path: Path, pendulum: str) -> None:
    done = run(*COMMAND, "--out", str(tmp_path), WORLDMODEL_DATA=pendulum)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 1, "stdout belongs to the result"
    result = json.loads(done.stdout)
    detail = json.loads((tmp_path / "table.json").read_text())
    rows = detail["rows"]
    assert result["numbers"] == len(rows) > 5
    unknown = [row["number"] for row in rows if row["identified"] != "identified"]
    assert unknown == result["not_identified"]
    for row in rows:
        assert (row["low"] is None) == (row["number"] in unknown)
        assert row["low"] is None or row["low"] < row["value"] < row["high"]
    assert np.all(np.linalg.eigvalsh(np.array(detail["covariance"])) > 0)


def test_a_stopped_run_goes_on_to_the_same_numbers(
    tmp_path: Path, pendulum: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLDMODEL_DATA", pendulum)
    args = identify.Args("double_pendulum", tmp_path / "stopped", windows=8, horizon=6)
    args = dataclasses.replace(args, fit=dataclasses.replace(args.fit, iterations=4))
    asked = itertools.count()
    with pytest.raises(Interrupted, match="stopped before iteration 3"):
        identify.main(args, lambda: next(asked) == 2)
    identify.main(args, lambda: False)
    whole = dataclasses.replace(args, out=tmp_path / "whole")
    identify.main(whole, lambda: False)
    one, two = (json.loads((a.out / "table.json").read_text())["rows"] for a in (args, whole))
    assert one == two
    with pytest.raises(InputError, match="windows"):
        identify.main(dataclasses.replace(args, windows=7), lambda: False)
