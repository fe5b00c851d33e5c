"""The check of an accelerator: its rows and its table. ``--quick`` itself takes minutes."""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import pytest

from experiments import records
from experiments.gradients import gpu_check
from tests.helpers import command

SCRIPT = command.ROOT / "launch" / "gpu_check.sh"


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sum in place of the rollouts, timed briefly."""
    sums: dict[str, Any] = {"forward": jnp.sum, "unsolved": jnp.max}
    monkeypatch.setattr(gpu_check, "program", lambda bench, variant: sums[variant])
    monkeypatch.delitem(gpu_check.VARIANTS, "gradient")
    monkeypatch.setattr(gpu_check, "batch", lambda bench, size: jnp.arange(size * 1.0))
    monkeypatch.setattr("experiments.gradients.cost.LEAST_S", 0.5)


@pytest.fixture
def nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that draws 250 W, after a line that is no number."""
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho '[N/A]'\nwhile true; do echo 250.0; sleep 0.01; done\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")


def test_rows_have_speed_and_energy(small: None, nvidia_smi: None) -> None:
    rows = list(gpu_check.rollouts(gpu_check.ball(), (4, 8), time.monotonic() + 60.0))
    assert [(r["what"], r["batch"]) for r in rows] == [
        (what, size) for size in (4, 8) for what in ("forward", "no solver iterations")
    ]
    for row in rows:
        assert row["finite"] and row["watts"] == 250.0
        steps = gpu_check.STEPS * row["batch"]
        assert row["per_second"] == pytest.approx(steps / row["seconds"])
        joules = 250.0 * row["seconds"] / steps
        assert row["joules_per_1000"] == pytest.approx(1000 * joules)


def test_what_comes_too_late_is_named_and_no_energy_is_invented(
    small: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    done = list(gpu_check.rollouts(gpu_check.ball(), (4,), time.monotonic() + 60.0))
    assert [row["watts"] for row in done] == [None, None]

    def slow(x: Any) -> Any:
        for _ in range(20):  # which compiles for some tenths of a second
            x = jnp.sort(jnp.sin(x))
        return x

    monkeypatch.setattr(gpu_check, "program", lambda bench, variant: slow)
    monkeypatch.delitem(gpu_check.VARIANTS, "no solver iterations")
    (row,) = gpu_check.rollouts(gpu_check.ball(), (4,), time.monotonic())
    assert "seconds" not in row and "not over in time" in row["skipped"]


def test_the_table_shows_the_share_of_the_solver() -> None:
    row = {"precision": "float32", "batch": 4, "unit": "step"}
    rows = gpu_check.shown(
        [
            {"what": "forward", "seconds": 2.0, **row},
            {"what": "no solver iterations", "seconds": 0.5, **row},
            {"what": "gradient", "skipped": "late", **row},
            {"what": "no solver iterations", "seconds": 0.5, **row, "batch": 8},
        ]
    )
    lines = records.table(rows, gpu_check.COLUMNS).splitlines()
    cells = [dict(zip(lines[0].split(" | "), line.split(" | "), strict=True)) for line in lines[2:]]
    assert [c["solver's share"] for c in cells] == ["–", "0.75", "–", "–"]
    assert [c["times forward"] for c in cells] == ["1.00", "0.25", "–", "–"]
    assert cells[2]["| what"] == "| gradient (skipped: late)"


def test_the_script_names_its_usage() -> None:
    done = subprocess.run([str(SCRIPT)], capture_output=True, text=True)
    assert (done.returncode, "launch/gpu_check.sh FOLDER [--quick]" in done.stderr) == (2, True)


@pytest.mark.slow  # quick: the others here
def test_the_quick_check_runs_on_a_cpu(tmp_path: Path) -> None:
    done = subprocess.run(
        [str(SCRIPT), str(tmp_path), "--quick", "--seconds", "2400"],
        env=os.environ | {"PYTHON": sys.executable},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    table = (tmp_path / "table.md").read_text()
    for name in ("forward", "gradient", "no solver iterations", "generate"):
        assert table.count(f"| {name}") == 2, table
