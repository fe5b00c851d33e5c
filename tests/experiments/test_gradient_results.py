"""The committed reports on gradients are those of their rows."""

import fcntl
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tyro

from experiments.gradients import bench, cube_side, useful
from experiments.gradients.errors import agreeing
from experiments.gradients.report import markdown
from worldmodel import runtime
from worldmodel.errors import InputError

RESULTS = Path(__file__).parents[2] / "experiments" / "results" / "gradients"


@pytest.mark.parametrize("folder", [".", "gpu"])
def test_the_benchmarks_report_is_that_of_its_rows(folder: str) -> None:
    result = json.loads((RESULTS / folder / "gradients.json").read_text())
    args = tyro.cli(bench.Args, args=shlex.split(result["command"])[3:])
    absent = len({json.dumps(job) for job in bench.jobs(args)} - set(result["jobs"]))
    rows = bench.rows_of(result)
    text, summary = markdown(rows, result["provenance"], result["command"], absent)
    assert text == (RESULTS / folder / "gradients.md").read_text()
    assert ("Stopped before its end" in text) == (absent > 0)
    if folder == ".":
        assert not absent
        assert summary["error_64"] < 1e-6  # the committed gradient is right


def test_rows_that_a_command_does_not_ask_for_are_not_overwritten(tmp_path: Path) -> None:
    result = json.loads((RESULTS / "gradients.json").read_text())
    text = json.dumps(result | {"provenance": runtime.provenance()})  # only the command differs
    (tmp_path / "gradients.json").write_text(text)
    with pytest.raises(InputError, match=r"rows of another machine.*choose another --out"):
        bench.main(bench.Args(tmp_path, scenes=("cube",)))
    assert (tmp_path / "gradients.json").read_text() == text


@pytest.mark.parametrize(
    ("module", "name"), [(useful, "useful"), (cube_side, "cube_side")], ids=str
)
def test_a_report_is_that_of_its_rows(module: object, name: str) -> None:
    folder = RESULTS / name
    result = json.loads((folder / f"{name}.json").read_text())
    assert module.markdown(result) == (folder / f"{name}.md").read_text()  # type: ignore[attr-defined]


def test_an_error_is_reported_only_where_two_widths_agree() -> None:
    def differences(width: float) -> np.ndarray:  # of a slope 2 with a jump 1e-6 away
        return np.array([2.0 + (1.0 / width if width > 1e-6 else 0.0), 3.0 + width])

    truth, disagreement, width = agreeing(differences, (3e-5, 1e-5, 3e-7, 1e-7))
    assert width == 3e-7 and disagreement < 1e-6
    np.testing.assert_allclose(truth, [2.0, 3.0], rtol=1e-6)
    _, disagreement, _ = agreeing(differences, (3e-5, 1e-5))
    assert disagreement > 0.1

    provenance = {"versions": {}, "date": "", "cpu": "", "cores": 1, "devices": []}
    row = {"commit": "c", "scene": "hopper", "dtype": "float64", "variant": "error", "numbers": 3}
    row |= {"relative": 0.9, "cosine": 0.57, "disagreement": disagreement}
    rows = [row | {"horizon": 32}, row | {"horizon": 1, "relative": 1e-9, "disagreement": 1e-8}]
    text, summary = markdown(rows, provenance, "")
    assert "differences disagree with each other" in text and "0.57" not in text.split("steps")[0]
    assert "hopper_cosine" not in summary and summary["error_64"] == 1e-9


def test_jobs_that_compile_at_once_time_one_after_another(tmp_path: Path) -> None:
    """Two processes share a lock: neither is alone before both have compiled."""
    lock, log = tmp_path / "lock", tmp_path / "log"
    lock.touch()
    script = (
        "import sys, time\n"
        "from experiments.gradients.measure import alone\n"
        "turn, compiling, path = int(sys.argv[1]), float(sys.argv[2]), sys.argv[3]\n"
        "def say(what):\n"
        "    with open(path, 'a') as file: file.write(what + '\\n')\n"
        "time.sleep(compiling); say('compiled')\n"
        "with alone(turn): say('begin'); time.sleep(0.3); say('end')\n"
    )
    turns = [os.open(lock, os.O_RDWR) for _ in range(2)]
    for turn in turns:
        fcntl.flock(turn, fcntl.LOCK_SH)
    running = []
    for turn, compiling in zip(turns, ("0", "1"), strict=True):
        command = [sys.executable, "-c", script, str(turn), compiling, str(log)]
        running.append(subprocess.Popen(command, pass_fds=(turn,)))
        os.close(turn)
    assert [process.wait(timeout=120) for process in running] == [0, 0]
    assert log.read_text().split() == ["compiled", "compiled", "begin", "end", "begin", "end"]
