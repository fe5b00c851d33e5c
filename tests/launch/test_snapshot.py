"""The copy of the code from which runs run: what it holds, and that later edits do not reach it."""

import dataclasses
import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from launch import run, snapshot
from launch import source as sources
from launch.source import source
from launch.sweep import plan, prepare
from tests.helpers import command
from tests.helpers.refusal import refused
from worldmodel.errors import InputError
from worldmodel.runtime.command import call, program

CONFIG = """
import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import worldmodel


@dataclasses.dataclass(frozen=True)
class Args:
    out: Path
    scene: Path = Path(__file__).parent / "scene.xml"
    given: str = ""


def main(args: Args) -> int:
    import arm_code.late
    from worldmodel import runtime

    data = Path(__file__).with_name("data.bin")
    line = [sys.executable, "-c", "import worldmodel; print(worldmodel.__file__)"]
    child = subprocess.run(line, capture_output=True, text=True)
    print(json.dumps({
        "packages": [worldmodel.__file__, child.stdout.strip()],
        "late": arm_code.late.__file__,
        "value": arm_code.late.VALUE,
        "scenes": [args.scene.read_text(), Path(args.given).read_text()],
        "data": data.read_text(),
        "commit": runtime.provenance()["commit"],
    }))
    return 0


def sweep(add):
    add(given=str(Path(__file__).parent / "scene.xml"))
"""


def git(folder: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A config beside a scene, data and a package in src/, without git."""
    root = tmp_path / "project"
    (root / "src" / "arm_code").mkdir(parents=True)
    (root / "arm_fit.py").write_text(CONFIG)
    (root / "scene.xml").write_text("<mujoco/>")
    (root / "data.bin").write_text("data")
    (root / "src" / "arm_code" / "__init__.py").touch()
    (root / "src" / "arm_code" / "late.py").write_text("VALUE = 1\n")
    return root


def edit(root: Path) -> None:
    """Changes all code of a project."""
    (root / "arm_fit.py").write_text("raise SystemExit('edited')\n")
    (root / "scene.xml").write_text("<edited/>")
    (root / "src" / "arm_code" / "late.py").write_text("VALUE = 2\n")


@pytest.mark.parametrize("known", [True, False], ids=["git", "without git"])
def test_edits_after_the_launch_do_not_reach_a_run(
    project: Path, known: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor where the project is installed as editable, by a .pth file (which extends the path at its
    end) or, as this package may be, by setuptools' finder."""
    site = project.parent / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(f"import sys; sys.path.append('{project / 'src'}')")
    monkeypatch.setenv("PYTHONPATH", f"{site}{os.pathsep}{command.ROOT}")
    if known:
        git(project, "init", "-q")
        git(project, "add", "arm_fit.py", "src")
        git(project, "commit", "-q", "-m", "first")
    out = project / "sweeps" / "one"
    write = "import pathlib, sys; from launch.sweep import plan, prepare; "
    write += "prepare(plan(sys.argv[1]), pathlib.Path(sys.argv[2]), 'local')"
    line = [sys.executable, "-c", write, f"{project}/arm_fit.py:sweep", str(out)]
    subprocess.run(line, check=True, cwd=command.ROOT)
    edit(project)
    (folder,) = [path.parent for path in out.glob("*/config.json")]
    now = run.finish(folder, run.start(folder).wait(), stopped=False)
    assert now["state"] == "done", (folder / "log.txt").read_text()
    shown = json.loads((folder / "stdout.txt").read_text())
    copy = out / "snapshot"
    assert shown["packages"] == [f"{copy}/package/worldmodel/__init__.py"] * 2
    assert Path(shown["late"]) == copy / "config" / "src" / "arm_code" / "late.py"
    assert (shown["value"], shown["scenes"]) == (1, ["<mujoco/>"] * 2)
    assert shown["data"] == "data" and (copy / "config" / "data.bin").is_symlink()
    commits = json.loads((folder / "config.json").read_text())["commit"]
    assert shown["commit"] == commits.split()[0]
    assert (copy / "package" / "launch" / "run.py").stat().st_mode & 0o222 == 0


@dataclasses.dataclass(frozen=True)
class Nested:
    scenes: tuple[Path, ...]


@dataclasses.dataclass(frozen=True)
class Named:
    out: Path
    nested: Nested
    task: str
    text: str
    count: int = 1


def test_files_that_a_config_names_are_their_copies(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However they are named: whole, relative to the working folder, or through a link."""
    out = project / "sweep"
    code = source(project / "arm_fit.py", "arm_fit")
    snapshot.write(code, out, lambda: code)
    (project.parent / "link").symlink_to(project)
    monkeypatch.chdir(project / "src")
    scenes = "../scene.xml", project / "scene.xml", project.parent / "link" / "scene.xml"
    given = Named(out / "out", Nested((*map(Path, scenes),)), "arm_code/late.py:task", "x" * 300)
    copy = snapshot.read(out).folder / "config"
    assert snapshot.read(out).placed(given) == dataclasses.replace(
        given,
        nested=Nested((copy / "scene.xml",) * 3),
        task=f"{copy}/src/arm_code/late.py:task",
    )
    for other in ("../data.bin", "no.py:task", "package.module:task", "", "../src"):
        assert snapshot.read(out).inside(other) == other


def test_a_folder_without_git_counts_whole_and_is_copied_in_part(project: Path) -> None:
    module = project / "arm_fit.py"
    first = source(module, "arm_fit")
    (project / "run").mkdir()
    (project / "run" / ".gitignore").write_text("*\n")
    (project / "env").mkdir()
    (project / "env" / "pyvenv.cfg").touch()
    for folder in ("run", "env", "__pycache__", ".cache"):
        (project / folder).mkdir(exist_ok=True)
        (project / folder / "a.py").touch()
    assert source(module, "arm_fit") == first
    (tree,) = [tree for tree in first.trees if tree.root == project]
    assert sorted(tree.files) == [
        "arm_fit.py",
        "scene.xml",
        "src/arm_code/__init__.py",
        "src/arm_code/late.py",
    ]
    (project / "link.stl").write_bytes(b"\0" * (sources.LARGEST + 1))
    (project / "part.stl").write_bytes(b"\0")
    (tree,) = [t for t in source(module, "arm_fit").trees if t.root == project]
    assert {"part.stl", "link.stl"} & set(tree.files) == {"part.stl"}
    (project / "src" / "arm_code" / "late.py").write_text("VALUE = 3\n")
    assert source(module, "arm_fit").commit != first.commit


def test_a_run_of_a_folder_without_git_is_repeated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a warning of another commit, unless its file has changed."""
    file = tmp_path / "ball.py"
    shutil.copy(command.ROOT / "docs" / "examples" / "sweep" / "throw.py", file)
    asked = plan(f"{file}:sweep", ("--steps", "1"))
    prepare(asked, tmp_path / "sweep", "local")
    config, main = tmp_path / "sweep" / asked.runs[0].id / "config.json", asked.entry.main
    for out, warnings in (("same", 0), ("other", 1)):
        capsys.readouterr()
        line = ["--from-config", str(config), "--out", str(tmp_path / out)]
        assert call(main, line, program(main), "") == 0
        assert capsys.readouterr().err.count(": commit was ") == warnings
        file.write_text(file.read_text() + "\n")


def test_of_a_package_without_git_its_folder_is_copied(project: Path) -> None:
    (project / "other.py").touch()
    late = project / "src" / "arm_code" / "late.py"
    state = source(late, "arm_code.late")
    assert [tree.to for tree in state.trees if tree.root == late.parent] == ["config/arm_code"]
    described = snapshot.describe(state, project / "out")
    assert described.path[-1] == "config"
    assert state.trees == source(late.with_name("__init__.py"), "arm_code").trees


def test_too_many_files_without_git_are_refused(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "_ENTRIES", 5)
    refused("holds more than 5 files", source, project / "arm_fit.py", "arm_fit", kind=InputError)


def test_of_a_large_repository_code_alone_is_copied(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git(project, "init", "-q")
    git(project, "add", ".")
    git(project, "commit", "-q", "-m", "first")
    every = source(project / "arm_fit.py").trees[-1].files
    monkeypatch.setattr(sources, "_REPOSITORY", 10)
    assert set(every) - set(source(project / "arm_fit.py").trees[-1].files) == {"data.bin"}


def test_a_full_disk_is_named_and_nothing_is_half_written(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def copy(source: Path, target: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(source))

    monkeypatch.setattr(shutil, "copy", copy)
    out = project / "out"
    with pytest.raises(OSError, match=f"No space left on device: '{out / 'snapshot'}'"):
        prepare(plan(f"{command.ROOT}/tests/helpers/slow_fit.py:one"), out, "local")
    assert sorted(path.name for path in out.iterdir()) == [".gitignore", "settings.json"]


def test_code_that_changes_while_it_is_copied_is_not_kept(project: Path) -> None:
    sweep, out = plan(f"{project}/arm_fit.py:sweep"), project / "out"
    (project / "scene.xml").write_text("<edited/>")
    refused("changed while it was copied", prepare, sweep, out, "local", kind=InputError)
    assert sorted(path.name for path in out.iterdir()) == [".gitignore", "settings.json"]


def test_a_sweep_in_a_repository_is_not_part_of_it(project: Path) -> None:
    git(project, "init", "-q")
    git(project, "add", "arm_fit.py")
    git(project, "commit", "-q", "-m", "first")
    first = source(project / "arm_fit.py")
    out = project / "sweep"
    prepare(plan(f"{command.ROOT}/tests/helpers/slow_fit.py:one"), out, "local")
    assert list(out.glob("snapshot/package/launch/*.py"))
    assert source(project / "arm_fit.py") == first


def test_a_folder_without_a_snapshot_is_named(tmp_path: Path) -> None:
    refused("snapshot cannot be read .*another --out", snapshot.read, tmp_path, kind=InputError)
    (tmp_path / "snapshot").mkdir()
    (tmp_path / "snapshot" / "snapshot.json").write_text('{"roots": {}}')
    refused("snapshot cannot be read", snapshot.read, tmp_path, kind=InputError)
