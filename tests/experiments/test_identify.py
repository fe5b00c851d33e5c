"""The identification command: its table, and an interruption that costs nothing."""

import json
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from experiments.recordings.fitted import restore_fitted
from tests.helpers.command import run, start

# The pendulum has no contacts, so it compiles soonest.
COMMAND = ["experiments.recordings.identify", "--recording", "double_pendulum"]
COMMAND += ["--windows", "40", "--horizon", "10", "--fit.iterations", "6"]


def finished(out: Path) -> dict:
    done = run(*COMMAND, "--out", str(out))
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 1, "stdout belongs to the result"
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    out = tmp_path_factory.mktemp("identify") / "straight"
    return out, finished(out)


def test_every_number_is_named_with_what_is_known_of_it(straight: tuple[Path, dict]) -> None:
    out, result = straight
    detail = json.loads((out / "table.json").read_text())
    assert "SIMULATED" in (out / "table.md").read_text() and result["simulated"]
    rows = detail["rows"]
    assert result["numbers"] == len(rows) > 5
    unknown = [row["number"] for row in rows if row["identified"] != "identified"]
    assert unknown == result["not_identified"]
    for row in rows:
        assert (row["low"] is None) == (row["number"] in unknown)
        assert row["low"] is None or row["low"] < row["value"] < row["high"]
    assert np.all(np.linalg.eigvalsh(np.array(detail["covariance"])) > 0)
    fitted = restore_fitted(out / "checkpoint")
    moved = np.concatenate([np.ravel(x) for x in fitted.parameters["physics"].values()])
    np.testing.assert_allclose(
        np.sort(moved[moved != 0]), np.sort([row["u"] for row in rows]), atol=0
    )


def test_an_interrupted_run_goes_on_to_the_same_numbers(
    straight: tuple[Path, dict], tmp_path: Path
) -> None:
    out = tmp_path / "stopped"
    process = start(*COMMAND, "--out", str(out))
    rows, until = out / "metrics.jsonl", time.monotonic() + 200
    while time.monotonic() < until and not rows.is_file() and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=200)
    assert process.returncode == 128 + signal.SIGTERM, stderr
    assert not (out / "table.json").exists()
    finished(out)
    ours, theirs = (json.loads((d / "table.json").read_text()) for d in (out, straight[0]))
    assert ours["rows"] == theirs["rows"] and ours["covariance"] == theirs["covariance"]


def test_progress_of_another_run_is_refused(straight: tuple[Path, dict]) -> None:
    done = run(*COMMAND, "--out", str(straight[0]), "--seed", "1")
    assert done.returncode == 2 and "other settings or data" in done.stderr
