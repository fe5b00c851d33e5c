"""An experiment as a user runs it: in its own process, on a simulated recording."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def environment() -> dict[str, str]:
    """This process's, without the real recordings."""
    return {k: v for k, v in os.environ.items() if k != "WORLDMODEL_DATA"}


def run(*arguments: str, **changes: str) -> subprocess.CompletedProcess:
    """``python -m`` with arguments; ``changes`` are environment variables."""
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment() | changes,
    )


def start(*arguments: str) -> subprocess.Popen:
    """``run`` that goes on by itself."""
    pipe = subprocess.PIPE
    command = [sys.executable, "-m", *arguments]
    return subprocess.Popen(
        command, stdout=pipe, stderr=pipe, text=True, cwd=ROOT, env=environment()
    )
