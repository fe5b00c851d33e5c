"""The pages: links lead somewhere, blocks run or say why not, the API page is that of the code."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PAGES += sorted((ROOT / "worldmodel").rglob("README.md"))
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.DOTALL | re.MULTILINE)
# Pages whose every block another test runs.
RUN_ELSEWHERE = {
    "docs/your_data.md": "tests/test_your_data.py",
    "docs/your_robot.md": "tests/test_your_robot.py",
    "docs/your_task.md": "tests/test_your_task.py",
}
# Beginnings of commands that no test runs as they stand, and why.
NOT_RUN = {
    "python3 -m venv": "it makes an environment",
    "pip install": "it changes the environment",
    "python -m launch.slurm docs/examples/sweep/throw.py:sweep --gpus": "it needs a Slurm",
    "python -m launch.slurm my_sweep.py": "it needs a Slurm",
    "python -m launch.local my_sweep.py": "the reader's own; tests/launch/test_process.py runs one",
    "python -m experiments.": "a measurement of minutes to hours; tests/experiments runs it small",
    "worldmodel train worldmodel.tasks": "it takes minutes; tests/policies runs others",
    "worldmodel export worldmodel.tasks": "it needs that policy; tests/commands exports another",
    "worldmodel evaluate experiments/results": "it needs the real recordings",
    "python -m worldmodel trust runs.csv --costs": "costs.csv is the reader's own",
    "worldmodel check arm.xml": "the reader's own arm; tests/test_your_data.py runs the same",
    "worldmodel fit arm.xml": "the reader's own arm; tests/test_your_data.py runs the same",
    "worldmodel fit --from-config": "the reader's own run; tests/commands runs others so",
    "worldmodel loop my_task": "the reader's own task; tests/test_your_task.py runs the same",
}


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path, language: str) -> list[str]:
    return [code for kind, code in BLOCK.findall(page.read_text("utf-8")) if kind == language]


def commands(page: Path) -> list[str]:
    """Of all shell blocks; a line that ends in a backslash goes on."""
    lines = "".join(blocks(page, "bash")).replace("\\\n", " ").splitlines()
    return [line.split("  #")[0].strip() for line in lines if line.strip() and line[0] != "#"]


def reason(command: str) -> str | None:
    """Why a command is not run; None where it is."""
    return next((why for start, why in NOT_RUN.items() if command.startswith(start)), None)


def anchors(page: Path) -> set[str]:
    """Of the headings, as GitHub makes them."""
    text = BLOCK.sub("", page.read_text("utf-8"))
    titles = (re.sub(r"[*`]", "", title) for title in re.findall(r"^#+ (.+)$", text, re.MULTILINE))
    return {re.sub(r"[^\w\- ]", "", title.strip().lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    text = BLOCK.sub("", page.read_text("utf-8"))
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if link.startswith(("http://", "https://", "mailto:")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("page", [p for p in PAGES if name(p) not in RUN_ELSEWHERE], ids=name)
def test_blocks_run(page: Path, tmp_path: Path) -> None:
    """All commands, then all Python, each in one process, in a folder with a copy of docs."""
    shell = [c for c in commands(page) if reason(c) is None]
    python = blocks(page, "python")
    if not (shell or python):
        return
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    (tmp_path / "bin").mkdir()
    for program, options in (("python", ""), ("worldmodel", "-m worldmodel")):
        path = tmp_path / "bin" / program
        path.write_text(f'#!/bin/sh\nexec "{sys.executable}" {options} "$@"\n')
        path.chmod(0o755)
    where = {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    (tmp_path / "page.py").write_text("\n".join(python), "utf-8")
    for call in (["bash", "-euc", "\n".join(shell)], [sys.executable, "page.py"]):
        done = subprocess.run(
            call, cwd=tmp_path, env=os.environ | where, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_what_is_not_run_is_on_a_page() -> None:
    every = [command for page in PAGES for command in commands(page)]
    assert [start for start in NOT_RUN if not any(c.startswith(start) for c in every)] == []
    for page, test in RUN_ELSEWHERE.items():
        assert Path(page).name in (ROOT / test).read_text("utf-8")


def test_shown_output_has_a_test_of_its_own() -> None:
    shown = [name(page) for page in PAGES if blocks(page, "console")]
    assert shown == ["docs/trust.md"]  # tests/trust/test_trust_readme.py


def script(path: str) -> ModuleType:
    """A script of docs/, as a module."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_api_page_is_that_of_the_code() -> None:
    api = script("docs/api.py")
    page = (ROOT / "docs" / "api.md").read_text("utf-8")
    assert page == api.page(), "docs/api.md is stale; run: python docs/api.py"


def test_the_moving_picture_is_small() -> None:
    path = ROOT / "docs" / "recorded_and_predicted.gif"
    with Image.open(path) as image:
        assert image.width <= 640 and getattr(image, "n_frames", 1) > 20
    assert path.stat().st_size <= 600_000


def test_the_moving_picture_shows_the_median_toss(recordings: Path) -> None:
    caption, *_ = script("docs/moving_picture.py").median_toss(recordings / "cube_toss.npz")
    page = (ROOT / "docs" / "results" / "recordings.md").read_text("utf-8")
    assert caption in " ".join(page.split())
