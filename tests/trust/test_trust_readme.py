"""The commands of ``docs/trust.md`` print the lines below them."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "trust.md"
BLOCKS = re.findall(r"```console\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)


def check(block: str, folder: Path) -> None:
    """Runs a block's commands; every line below them must be among what they print."""
    lines = block.splitlines()
    printed: list[str] = []
    for command in (line[2:] for line in lines if line.startswith("$ ")):
        # The files lie in a temporary folder; the code is this checkout's.
        arguments = [str(ROOT / a) if a.endswith(".py") else a for a in shlex.split(command)]
        call = [sys.executable, *arguments[1:]]
        done = subprocess.run(
            call,
            capture_output=True,
            encoding="utf-8",
            cwd=folder,
            env={"PYTHONPATH": str(ROOT), "PYTHONUTF8": "1", "PATH": ""},
        )
        assert done.returncode == 0, done.stderr
        printed += done.stdout.splitlines()
    shown = [line for line in lines if line and not line.startswith("$ ")]
    assert shown and [line for line in shown if line not in printed] == []


@pytest.mark.parametrize("place", [0, 2])
def test_the_page_s_commands(place: int, tmp_path: Path) -> None:
    check(BLOCKS[place], tmp_path)


@pytest.mark.slow
def test_the_page_s_grid(tmp_path: Path) -> None:
    check(BLOCKS[1], tmp_path)
