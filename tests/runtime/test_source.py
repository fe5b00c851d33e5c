"""The state of the code of a run: what counts, and what is no file of it."""

import subprocess
from pathlib import Path

import pytest

from worldmodel.runtime.source import root, source


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file of a repository with one commit."""
    path = tmp_path / "fit.py"
    path.write_text("rate = 1\n")
    who = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    for line in (["init", "-q"], ["add", "fit.py"], [*who, "commit", "-q", "-m", "first"]):
        subprocess.run(["git", "-C", str(tmp_path), *line], check=True)
    return path


def test_edits_and_new_code_are_another_state(file: Path) -> None:
    first = source(file)
    file.with_name("notes.txt").write_text("no code")
    assert source(file) == first
    file.with_name("new.py").write_text("new = 2\n")
    second = source(file)
    assert "-dirty-" in second.commit.split()[-1] and "new file new.py\nnew = 2" in second.diff
    file.write_text("rate = 3\n")
    assert source(file).commit != second.commit and "+rate = 3" in source(file).diff


def test_an_editor_s_lock_is_no_code(file: Path) -> None:
    """Emacs locks a file that it edits by a link to nothing, with the file's suffix."""
    first = source(file)
    file.with_name(".#fit.py").symlink_to("user@host.1234:1700000000")
    assert source(file) == first


def test_a_repository_that_git_refuses_is_warned_of_once(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")  # git's own, of its tests
    assert root(file) is None and root(file) is None
    warning, end = capsys.readouterr().err.split("\n")
    assert warning.startswith("WARNING: git refuses a repository of another user") and not end
    assert f"git config --global --add safe.directory {file.parent.resolve()}" in warning
    monkeypatch.delenv("GIT_TEST_ASSUME_DIFFERENT_OWNER")
    file.with_name(".git").rename(file.with_name("git"))
    assert root(file) is None and capsys.readouterr().err == ""
