"""The identification command: its table."""

import json
from pathlib import Path

import numpy as np

from tests.helpers.command import run

# The pendulum has no contacts, so it compiles soonest.
COMMAND = ["experiments.recordings.identify", "--recording", "double_pendulum"]
COMMAND += ["--windows", "40", "--horizon", "10", "--fit.iterations", "6"]


def finished(out: Path) -> dict:
    done = run(*COMMAND, "--out", str(out))
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 1, "stdout belongs to the result"
    return json.loads(done.stdout)


def test_every_number_is_named_with_what_is_known_of_it(tmp_path: Path) -> None:
    result = finished(tmp_path)
    detail = json.loads((tmp_path / "table.json").read_text())
    assert "SIMULATED" in (tmp_path / "table.md").read_text() and result["simulated"]
    rows = detail["rows"]
    assert result["numbers"] == len(rows) > 5
    unknown = [row["number"] for row in rows if row["identified"] != "identified"]
    assert unknown == result["not_identified"]
    for row in rows:
        assert (row["low"] is None) == (row["number"] in unknown)
        assert row["low"] is None or row["low"] < row["value"] < row["high"]
    assert np.all(np.linalg.eigvalsh(np.array(detail["covariance"])) > 0)
