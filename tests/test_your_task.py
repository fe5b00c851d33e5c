"""``docs/your_task.md``: the example leaves the repository, and every block of the page runs."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from worldmodel.tasks.data_set import read

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "your_task.md").read_text()
FILES = ("my_arm.py", "my_arm.xml", "push.xml")
SHORTER = {
    "train plan": ["--episodes", "5"],
    "fit": ["--starts", "1", "--iterations", "3"],
    "generate": ["--episodes", "6"],
    "train": ["--steps", "200"],
    "deploy": ["--episodes", "2"],
    "loop": ["--episodes", "6", "--corrections", "2", "--clone-steps", "100"],
}


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def commands() -> list[list[str]]:
    """Of all shell blocks; a line that ends in a backslash goes on."""
    lines = "\n".join(blocks("bash")).replace("\\\n", " ").splitlines()
    return [shlex.split(line, comments=True) for line in lines if line.strip()]


def shortened(command: list[str]) -> list[str]:
    """Run by this interpreter, with the options that shorten it; a plan is deployed whole."""
    program, name, *rest = command
    assert program == "worldmodel"
    kind = "train plan" if "plan" in rest else name
    shorter = [] if "runs/plan" in rest and name == "deploy" else SHORTER.get(kind, [])
    return [sys.executable, "-m", "worldmodel", name, *rest, *shorter]


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[tuple[str, str]]]:
    """The folder in which the page's commands were run, and what each printed."""
    folder = tmp_path_factory.mktemp("outside")
    for name in FILES:
        shutil.copy(ROOT / "docs" / "examples" / "my_arm" / name, folder / name)
    printed = []
    for command in commands():
        done = subprocess.run(shortened(command), cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        printed.append((command[1], done.stdout))
    return folder, printed


def test_the_page_goes_round_the_loop(outputs: tuple) -> None:
    folder, printed = outputs
    order = ["new", "check", "check", "train", "deploy", "fit", "generate", "train", "deploy"]
    assert [name for name, _ in printed] == [*order, "loop"]
    lines = [json.loads(text) for name, text in printed if name != "check"]
    assert lines[-1]["version"] == "v2"
    assert [turn["robot"]["episodes"] for turn in lines[-1]["turns"]] == [2, 2]
    sys.path.insert(0, str(folder))
    try:
        from my_arm import task  # pyright: ignore[reportMissingImports]
    finally:
        sys.path.remove(str(folder))
    first, second = (read(folder / "runs/loop" / v / "corrections", task) for v in ("v0", "v1"))
    # New starts and goals in every turn, and the fitted physics play back what the robot did.
    assert {float(e.goal["angle"]) for e in first}.isdisjoint(
        {float(e.goal["angle"]) for e in second}
    )


def test_a_fit_of_the_robots_episodes_beats_the_mjcf(outputs: tuple) -> None:
    (fitted,) = (json.loads(text) for name, text in outputs[1] if name == "fit")
    assert fitted["joint_rad"] < 0.8 * fitted["mjcf"]["joint_rad"]


def test_the_pages_python_runs(outputs: tuple) -> None:
    (code,) = blocks("python")
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=outputs[0], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)) == 2


def test_a_user_writes_one_mjcf_and_at_most_60_lines() -> None:
    source = (ROOT / "docs" / "examples" / "my_arm" / "my_arm.py").read_text()
    assert len(source.splitlines()) <= 60
