"""The atomic writer: a file or a folder is whole or not there, whatever raises or is killed."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from worldmodel.runtime import files
from worldmodel.runtime.files import new_folder, recover, write_bytes, write_json, write_text


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def content(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): p.read_text() for p in folder.rglob("*") if p.is_file()}


def fill(folder: Path, text: str) -> None:
    (folder / "sub").mkdir()
    (folder / "sub" / "a").write_text(text)
    (folder / "b").write_text(text)


def half_written(path: Path) -> Path:
    """What a writer of the folder ``path`` leaves that is killed inside its block."""
    stale = path.with_name(f".{path.name}.{'0' * 32}.writing")
    stale.mkdir()
    fill(stale, "half")
    return stale


class Failing:
    """``owner.name`` of which one call, the ``failing``-th, raises."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> None:
        self.calls, self.failing = 0, 0
        real = getattr(owner, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            self.calls += 1
            if self.calls == self.failing:
                raise OSError(28, "No space left on device")
            return real(*args, **kwargs)

        monkeypatch.setattr(owner, name, call)

    def next(self) -> None:
        self.calls, self.failing = 0, self.failing + 1


@pytest.mark.parametrize(("owner", "name"), [(os, "fsync"), (Path, "replace"), (Path, "open")])
def test_a_file_whose_write_raises_is_untouched_and_nothing_else_remains(
    owner: Any, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_text(tmp_path / "a", "former")
    failing = Failing(monkeypatch, owner, name)
    for path in ("a", "b"):
        failing.calls, failing.failing = 0, 1
        with pytest.raises(OSError, match="No space"):
            write_bytes(tmp_path / path, b"later")
    monkeypatch.undo()
    assert content(tmp_path) == {"a": "former"}
    write_bytes(tmp_path / "a", b"later")
    assert content(tmp_path) == {"a": "later"}


def test_json_is_utf8_ends_its_line_and_refuses_what_json_has_no_number_for(
    tmp_path: Path,
) -> None:
    write_json(tmp_path / "a.json", {"σ": [1.5, None]})
    text = (tmp_path / "a.json").read_bytes().decode()
    assert "σ" in text and text.endswith("}\n") and json.loads(text) == {"σ": [1.5, None]}
    with pytest.raises(ValueError, match="nan"):
        write_json(tmp_path / "a.json", [float("nan")])
    assert (tmp_path / "a.json").read_bytes().decode() == text
    assert names(tmp_path) == ["a.json"]


def test_a_folder_appears_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "set"
    with new_folder(path) as folder:
        fill(folder, "first")
        assert not path.exists()
    assert content(path) == {"sub/a": "first", "b": "first"}
    assert names(path.parent) == ["set"]


def test_an_existing_folder_is_refused_or_replaced(tmp_path: Path) -> None:
    path = tmp_path / "set"
    with new_folder(path) as folder:
        fill(folder, "first")
    with pytest.raises(FileExistsError, match="set is there already"), new_folder(path) as folder:
        fill(folder, "second")
    assert content(tmp_path) == {"set/sub/a": "first", "set/b": "first"}
    with new_folder(path, replace=True) as folder:
        fill(folder, "third")
        assert (path / "b").read_text() == "first"
    assert content(tmp_path) == {"set/sub/a": "third", "set/b": "third"}
    dangling = tmp_path / "link"
    dangling.symlink_to(tmp_path / "nowhere")
    with pytest.raises(FileExistsError), new_folder(dangling) as folder:
        fill(folder, "second")


@pytest.mark.parametrize("replace", [False, True])
def test_a_block_that_raises_leaves_the_former_folder_and_nothing_else(
    replace: bool, tmp_path: Path
) -> None:
    path = tmp_path / "set"
    if replace:
        with new_folder(path) as folder:
            fill(folder, "former")
    for error in (ValueError, KeyboardInterrupt):
        with pytest.raises(error), new_folder(path, replace=replace) as folder:
            fill(folder, "half")
            raise error
    assert names(tmp_path) == ["set"] * replace
    assert not replace or content(path) == {"sub/a": "former", "b": "former"}


@pytest.mark.parametrize(("owner", "name", "least"), [(os, "fsync", 5), (Path, "rename", 2)])
def test_a_disk_that_fails_at_any_call_leaves_the_former_folder(
    owner: Any, name: str, least: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "set"
    with new_folder(path) as folder:
        fill(folder, "former")
    failing = Failing(monkeypatch, owner, name)
    while True:
        failing.next()
        try:
            with new_folder(path, replace=True) as folder:
                fill(folder, "later")
        except OSError:
            assert content(tmp_path) == {"set/sub/a": "former", "set/b": "former"}
            assert names(tmp_path) == ["set"]
        else:
            break
    assert failing.failing > least
    assert content(tmp_path) == {"set/sub/a": "later", "set/b": "later"}


def test_leftovers_of_killed_writers_are_swept_by_the_next_one(tmp_path: Path) -> None:
    path = tmp_path / "set"
    half_written(path)
    other = half_written(tmp_path / "set.x")  # another folder's writer may still be at work
    with new_folder(path) as folder:
        fill(folder, "whole")
    assert names(tmp_path) == [other.name, "set"]


def test_a_folder_that_was_being_replaced_is_put_back(tmp_path: Path) -> None:
    path = tmp_path / "set"
    path.mkdir()
    fill(path, "former")
    half_written(path)
    path.rename(tmp_path / ".set.former")  # killed between the two renames
    recover(path)
    assert names(tmp_path) == ["set"]
    assert content(path) == {"sub/a": "former", "b": "former"}


def test_a_replaced_folder_that_was_not_removed_yet_is_removed(tmp_path: Path) -> None:
    path, former = tmp_path / "set", tmp_path / ".set.former"
    for folder, text in ((path, "later"), (former, "former")):
        folder.mkdir()
        fill(folder, text)
    recover(path)  # killed after the second rename
    assert names(tmp_path) == ["set"]
    assert content(path) == {"sub/a": "later", "b": "later"}


REPLACER = """
import sys
from worldmodel.runtime.files import new_folder
number = 0
while True:
    number += 1
    with new_folder(sys.argv[1], replace=True) as folder:
        for name in "ab":
            (folder / name).write_text(str(number))
    if number == 1:
        print("ready", flush=True)
"""


def test_a_kill_at_any_moment_leaves_a_whole_folder(tmp_path: Path) -> None:
    path, root = tmp_path / "set", Path(__file__).parents[2]
    for attempt in range(8):
        process = subprocess.Popen(
            [sys.executable, "-c", REPLACER, str(path)], stdout=subprocess.PIPE, cwd=root
        )
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(0.0137 * (attempt + 1))
        process.send_signal(signal.SIGKILL)
        process.wait()
        recover(path)
        assert names(tmp_path) == ["set"]
        assert names(path) == ["a", "b"]
        assert len(set(content(path).values())) == 1


def test_the_standard_library_is_enough() -> None:
    code = "import sys; sys.modules['jax'] = sys.modules['numpy'] = None\n"
    code += Path(files.__file__).read_text()
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_link_is_written_through_and_a_pipe_is_written_into(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("target")
    write_text(tmp_path / "link", "text")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "target").read_text() == "text"
    read, write = os.pipe()
    write_text(f"/dev/fd/{write}", "piped")
    assert os.read(read, 9) == b"piped"
    with pytest.raises(IsADirectoryError, match=re.escape(str(tmp_path))):
        write_text(tmp_path, "text")
    with pytest.raises(FileNotFoundError, match="absent/a'"):  # the target, no temporary name
        write_text(tmp_path / "absent" / "a", "text")


def test_only_a_folder_is_replaced_by_one(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("former")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("folder")
    for name in ("file", "link"):
        for _ in range(2):
            with (
                pytest.raises(FileExistsError),
                new_folder(tmp_path / name, replace=True) as folder,
            ):
                fill(folder, "second")
    assert names(tmp_path) == ["file", "folder", "link"]


def test_a_writer_that_fails_leaves_another_ones_folder(tmp_path: Path) -> None:
    other = tmp_path / f".set.{'0' * 32}.writing"
    with pytest.raises(RuntimeError), new_folder(tmp_path / "set"):
        other.mkdir()  # another writer begins
        raise RuntimeError
    assert names(tmp_path) == [other.name]
