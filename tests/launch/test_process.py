"""Processes that share a run: the numbers of one process, one writer, named errors."""

import json
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from launch import run
from launch.process import Group, group, refuse_different
from tests.helpers import batched_work, command
from worldmodel.errors import InputError

WORK = str(command.ROOT / "tests" / "helpers" / "batched_work.py")
FIT = str(command.ROOT / "tests" / "helpers" / "slow_fit.py")


def result(folder: Path) -> dict:
    return json.loads((folder / "stdout.txt").read_text().splitlines()[-1])


def logs(folder: Path) -> list[str]:
    return [(folder / name).read_text() for name in ("log.txt", "log1.txt")]


@pytest.mark.slow  # quick: test_a_stop_of_one_process_stops_all_at_one_step
def test_two_processes_compute_what_one_does(tmp_path: Path) -> None:
    """Episodes and fits, which go on from a checkpoint after a stop."""
    line = ["launch.local", f"{WORK}:sweep", "--out", str(tmp_path), "--processes", "2"]
    done = command.run(*line, "--cores", "1", "--workers", "1", "--", "--whole", "True")
    (folder,) = [path.parent for path in tmp_path.glob("*/stdout.txt")]
    assert done.returncode == 0, logs(folder)
    assert all("resuming from step 1" in log for log in logs(folder))
    assert result(folder)["processes"] == 2
    expected = batched_work.work(batched_work.Args(tmp_path / "alone", whole=True))
    with np.load(folder / "out" / "work.npz") as shared:
        assert shared.files == list(expected)
        for name, value in expected.items():
            np.testing.assert_allclose(shared[name], value, rtol=1e-9, atol=1e-12, err_msg=name)


def test_a_stop_of_one_process_stops_all_at_one_step(tmp_path: Path) -> None:
    """Only the first gets the signal. The same command goes on in both, to an error of both."""
    line = ["launch.local", f"{FIT}:one", "--out", str(tmp_path), "--workers", "1"]
    line += ["--processes", "2", "--cores", "1", "--", "--pause", "0.1", "--steps", "30"]
    line += ["--end", "raises"]
    launched = command.start(*line)
    end = time.monotonic() + 120.0
    while not (written := list(tmp_path.glob("*/out/count"))):
        assert time.monotonic() < end
        time.sleep(0.02)
    launched.send_signal(signal.SIGTERM)
    _, log = launched.communicate(timeout=120)
    (folder,) = [path.parent.parent for path in written]
    assert launched.returncode == 128 + signal.SIGTERM, (log, logs(folder))
    at = int(written[0].read_text().split()[0])
    assert 0 < at < 30 and run.status(folder)["state"] == "stopped"
    assert [text.count(f"stopped at {at}\n") for text in logs(folder)] == [1, 1]

    again = command.run(*line)
    assert (again.returncode, "ValueError: the fit diverged" in again.stderr) == (1, True)
    assert [text.count(f"begins at {at}\n") for text in logs(folder)] == [1, 1]
    assert [text.count("ValueError: the fit diverged") for text in logs(folder)] == [1, 1]
    value = 0.4
    for _ in range(30):
        value = 3.9 * value * (1.0 - value)
    assert written[0].read_text() == f"30 {value}"


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, Group()),
        (Group(2, 1, "host:1").variables, Group(2, 1, "host:1")),
        ({"SLURM_NTASKS": "2", "SLURM_PROCID": "0"}, Group()),  # a batch script, no step
        ({"SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "1"}, Group(2, 1)),
        ({"SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "1"} | Group().variables, Group()),
    ],
)
def test_the_environment_tells_the_group(environment: dict, expected: Group) -> None:
    assert group(environment) == expected
    assert group(environment | expected.variables) == expected


@pytest.mark.parametrize("changes", [{1: "2"}, {1: "-1"}, {0: ""}, {0: "two"}, {2: ""}])
def test_an_incomplete_group_is_refused(changes: dict[int, str]) -> None:
    variables = Group(2, 1, "host:1").variables
    names = list(variables)
    wrong = variables | {names[at]: value for at, value in changes.items()}
    with pytest.raises(InputError, match=f"{names[0]}=.*give a count"):
        group(wrong)


def test_nodes_that_differ_are_named() -> None:
    one = {"jax": "0.10.2", "numpy": "2.0", "processor": "A", "host": "node1"}
    refuse_different([one, one | {"host": "node2"}])
    message = "process 1 on node2 has jax 0.10.1, not 0.10.2 as process 0 on node1; install"
    with pytest.raises(InputError, match=message):
        refuse_different([one, one | {"host": "node2", "jax": "0.10.1"}])
