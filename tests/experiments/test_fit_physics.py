"""The main job as a user runs it: in its own process, interrupted, killed and resumed."""

import json
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from experiments.recordings.fitted import restore_fitted
from experiments.recordings.problems import CUBE, PENDULUM
from tests.helpers.command import run, start
from tests.helpers.recorded import simulate

FIT = ["experiments.recordings.fit_physics", "--recording", "double_pendulum", "--episodes", "3"]
FIT += ["--steps", "40", "--batch", "8", "--horizon", "10", "--checkpoint-every", "5"]
FIT += ["--starts", "2", "--least-squares", "12"]


def interrupted(out: Path, data: str, after: int, number: int) -> tuple[int, str]:
    """Starts a fit, sends a signal once ``after`` steps are recorded; status and stderr."""
    process = start(*FIT, "--out", str(out), WORLDMODEL_DATA=data)
    rows = out / "metrics.jsonl"
    until = time.monotonic() + 300
    while time.monotonic() < until and process.poll() is None:
        if rows.is_file() and len(rows.read_text().splitlines()) >= after:
            break
        time.sleep(0.02)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=300)
    return process.returncode, stderr


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory, pendulum: str) -> tuple[Path, dict, str]:
    """A fit that ran through: its folder, its JSON line and its stderr."""
    out = tmp_path_factory.mktemp("fit") / "straight"
    done = run(*FIT, "--out", str(out), WORLDMODEL_DATA=pendulum)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 1, "stdout belongs to the result"
    return out, json.loads(lines[0]), done.stderr


def same(a: Path, b: Path) -> None:
    ours, theirs = restore_fitted(a / "checkpoint"), restore_fitted(b / "checkpoint")
    for name, value in ours.parameters["physics"].items():
        other = theirs.parameters["physics"][name]
        np.testing.assert_array_equal(value, other, err_msg=name)
    assert ours.metadata["result"]["validation"] == theirs.metadata["result"]["validation"]


def test_it_learns_and_reports(straight: tuple[Path, dict, str]) -> None:
    out, result, stderr = straight
    assert result["validation"] < 1.0
    for word in ("compiling", "steps/s", "s left", "non-finite 0", "validation"):
        assert word in stderr
    assert (out / "fitted.xml").read_text().startswith("<mujoco")


def test_sigterm_saves_and_the_same_command_goes_on(
    straight: tuple[Path, dict, str], tmp_path: Path, pendulum: str
) -> None:
    status, stderr = interrupted(tmp_path, pendulum, 8, signal.SIGTERM)
    assert status == 128 + signal.SIGTERM, stderr
    assert "run the same command to go on" in stderr
    done = run(*FIT, "--out", str(tmp_path), WORLDMODEL_DATA=pendulum)
    assert "resuming from step" in done.stderr
    same(straight[0], tmp_path)


def test_a_kill_loses_at_most_the_steps_since_the_checkpoint(
    straight: tuple[Path, dict, str], tmp_path: Path, pendulum: str
) -> None:
    status, _ = interrupted(tmp_path, pendulum, 12, signal.SIGKILL)
    assert status == -signal.SIGKILL
    done = run(*FIT, "--out", str(tmp_path), WORLDMODEL_DATA=pendulum)
    assert done.returncode == 0, done.stderr
    assert "resuming from step" in done.stderr
    same(straight[0], tmp_path)


def test_bad_requests_are_one_line(
    straight: tuple[Path, dict, str], tmp_path: Path, pendulum: str
) -> None:
    out = str(straight[0])
    for arguments, changes, message in [
        ([*FIT, "--out", out, "--seed", "5"], {}, "seed was 0 and is 5"),
        ([*FIT, "--out", out, "--seed", "-1"], {}, "seed = -1; give a number from 0 on"),
        ([*FIT, "--out", out, "--steps", "0"], {}, "steps = 0; give a number from 1 on"),
        ([*FIT[:-4], "--horizon", "0", "--out", out], {}, "windows of 0 frames predict nothing"),
        ([*FIT[:2], "elbow", "--out", out], {}, "unknown recording 'elbow'; known:"),
        ([*FIT, "--out", out], {"WORLDMODEL_DATA": str(tmp_path)}, "there is no double_pendulum"),
        ([*FIT, "--out", out], {"WORLDMODEL_DATA": ""}, "WORLDMODEL_DATA is not set: set it to"),
    ]:
        done = run(*arguments, **({"WORLDMODEL_DATA": pendulum} | changes))
        assert done.returncode == 2
        assert done.stdout == ""
        assert message in done.stderr.splitlines()[-1]


def test_evaluation_prints_one_json_line(straight: tuple[Path, dict, str], tmp_path: Path) -> None:
    out, _, _ = straight
    ids = np.array(["a", "b", "c", "d"])
    path = tmp_path / "other.npz"
    simulate(PENDULUM, episodes=4, seed=9, out=path)
    with np.load(path) as archive:
        np.savez(path, allow_pickle=False, **(dict(archive) | {"id": ids}))
    evaluate = ["worldmodel", "evaluate", str(out / "checkpoint"), "--data", str(path)]
    done = run(*evaluate, "--horizon", "10")
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    result = json.loads(line)
    assert list(result) == [
        "episodes",
        "windows",
        "skipped",
        "position_m",
        "rotation_rad",
        "joint_rad",
        "channels",
    ]
    assert list(result["channels"]) == ["shoulder.joint_rad", "elbow.joint_rad"]
    assert np.mean(list(result["channels"].values())) == pytest.approx(result["joint_rad"])
    assert result["episodes"] == 4
    assert result["windows"] == 4 * len(range(0, 400 - 10, 50))
    assert result["position_m"] is None and result["rotation_rad"] is None
    assert 0 < result["joint_rad"] < 0.2

    simulate(CUBE, episodes=2, seed=9, out=path)
    foreign = run(*evaluate)
    assert (foreign.returncode, foreign.stdout) == (2, "")
    assert "time" in foreign.stderr
    both = run(*evaluate, "--horizon", "4", "--whole")
    assert "not both" in both.stderr
    absent = run(*evaluate[:2], str(tmp_path / "none"), *evaluate[3:])
    assert f"{tmp_path / 'none'}: no such folder" in absent.stderr
    progress = run(*evaluate[:2], str(out / "progress"), *evaluate[3:])
    assert progress.returncode == 2
    assert "is not a world model" in progress.stderr
