"""A command as a user runs it: in its own process."""

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


def start(*arguments: str, **changes: str) -> subprocess.Popen:
    """``run`` that goes on by itself."""
    pipe, command = subprocess.PIPE, [sys.executable, "-m", *arguments]
    env = environment() | changes
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, cwd=ROOT, env=env)
