"""The identification command: its table."""

import json
from pathlib import Path

import numpy as np

from tests.helpers.command import run

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
