"""A program leaves its config in its folder; the config repeats the run, with the same numbers."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest
import tyro

from worldmodel.errors import InputError
from worldmodel.runtime import Interrupted
from worldmodel.runtime.command import call, program
from worldmodel.runtime.settings import claim
from worldmodel.runtime.source import short_hash


@dataclasses.dataclass(frozen=True)
class Inner:
    """A nested config."""

    rate: float = 0.5
    fast: bool = False


@dataclasses.dataclass(frozen=True)
class Args:
    """One of every kind of value."""

    name: tyro.conf.Positional[str]
    out: Path
    seed: int = 0
    sizes: tuple[int, ...] = ()
    pairs: tuple[tuple[str, float], ...] = ()
    engine: Literal["c", "mjx"] | None = None
    folder: Path | None = None
    inner: Inner = dataclasses.field(default_factory=Inner)


def main(args: Args) -> int:
    """Writes what it was given."""
    args.out.mkdir()
    (args.out / "given").write_text(str(dataclasses.replace(args, out=Path())))
    return 0


def run(line: str) -> int:
    return call(main, line.split(), "main", "Text.")


def given(out: str) -> str:
    return Path(out, "given").read_text()


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


LINE = "a --out one --seed 3 --sizes 4 -5 --pairs x 1 y 2 --engine c --folder f --inner.fast"


@pytest.mark.parametrize("line", [LINE, "b --out one"], ids=["given", "defaults"])
def test_a_config_repeats_a_run(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(line) == 0 and run("--from-config one/config.json --out two") == 0
    assert given("two") == given("one")
    one, two = (json.loads(Path(out, "config.json").read_text()) for out in ("one", "two"))
    assert one == two
    assert one["commit"] and one["versions"]["jax"] and one["host"] and one["cpu"]
    assert one["seeds"] == {"seed": one["config"]["seed"]}
    assert one["config"]["inner"] == "Inner" and "out" not in one["config"]
    assert Path("one/dirty.diff").is_file()
    assert capsys.readouterr().err == ""


def test_other_options_override() -> None:
    run(LINE)
    run("c --from-config one/config.json --out two --sizes --inner.no-fast")
    assert given("two") == given("one").replace("name='a'", "name='c'").replace(
        "sizes=(4, -5)", "sizes=()"
    ).replace("fast=True", "fast=False")


def test_another_commit_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    run(LINE)
    path = Path("one/config.json")
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | {"commit": "0123456789ab", "folder": "/elsewhere"}))
    assert run("--from-config one/config.json --out two") == 0
    assert given("two") == given("one")
    warned = capsys.readouterr().err.splitlines()
    now = config["commit"]
    assert warned[0] == f'WARNING: one/config.json: commit was "0123456789ab" and is "{now}"'
    assert warned[1].startswith('WARNING: one/config.json: folder was "/elsewhere" and is')


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"program": "worldmodel fit"}, "is a config of worldmodel fit, not of main"),
        ({"config": 3}, "is damaged or no run's config.json"),
        ({"config": {"nam": "a"}}, "does not fit this code: .*nam"),
        ({"config": {"name": "a", "seed": "x"}}, "does not fit this code: .*seed"),
    ],
)
def test_a_config_that_does_not_fit_is_refused(change: dict, message: str) -> None:
    run(LINE)
    path = Path("one/config.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(InputError, match=message):
        run("--from-config one/config.json --out two")
    assert not Path("two").exists()


def test_files_that_are_no_config_are_refused() -> None:
    run(LINE)
    Path("half.json").write_text(Path("one/config.json").read_text()[:80])
    for line, message in (
        ("--from-config half.json --out two", "half.json is damaged"),
        ("--from-config none.json --out two", "none.json: no such file"),
        ("--from-config one/config.json", "give --out"),
    ):
        with pytest.raises(InputError, match=message):
            run(line)


def test_a_stopped_run_has_its_config_and_keeps_it(capsys: pytest.CaptureFixture[str]) -> None:
    import os
    import signal

    def stopped(out: Path, seed: int = 0, stop: Callable[[], bool] = lambda: False) -> dict:
        """Waits.

        Args:
          seed: of nothing.
        """
        out.mkdir(exist_ok=True)
        if seed:
            return {"out": str(out)}
        os.kill(os.getpid(), signal.SIGTERM)
        raise Interrupted(f"asked: {stop()}")

    assert call(stopped, ["--out", "x"], "stopped", "") == 128 + signal.SIGTERM
    assert "asked: True" in capsys.readouterr().err
    path = Path("x/config.json")
    first = path.stat()
    assert json.loads(path.read_text())["config"] == {"seed": 0}
    call(stopped, ["--out", "x"], "stopped", "")
    assert path.stat() == first  # it went on
    assert call(stopped, ["--out", "x", "--seed", "1"], "stopped", "") == {"out": "x"}
    assert json.loads(path.read_text())["config"] == {"seed": 1}


def test_a_run_that_fails_at_work_leaves_its_config_and_one_that_is_refused_does_not() -> None:
    def fails(out: Path, seed: int = 0, work: bool = True) -> int:
        claim(out, {"seed": seed})
        if work:
            (out / "work").touch()
        raise InputError("the robot failed")

    def seed() -> int:
        return json.loads(Path("x/config.json").read_text())["config"]["seed"]

    for line, message, kept in (
        ("--no-work --seed 1", "robot failed", 1),
        ("--no-work", "robot failed", 0),  # nothing was done: other settings may be tried
        ("--work", "robot failed", 0),
        ("--seed 1", "seed was 0 and is 1", 0),
    ):
        with pytest.raises(InputError, match=message):
            call(fails, ["--out", "x", *line.split()], "fails", "")
        assert seed() == kept and Path("x/dirty.diff").is_file()
    Path("thesis").mkdir()
    Path("thesis/thesis.tex").touch()
    with pytest.raises(InputError, match="holds other files"):
        call(fails, ["--out", "thesis"], "fails", "")
    assert [p.name for p in Path("thesis").iterdir()] == ["thesis.tex"]


def test_the_code_is_that_which_began() -> None:
    def edits(task: str, out: Path) -> int:
        out.mkdir()
        Path("task.py").write_text("edited")
        return 0

    Path("task.py").write_text("first")
    assert call(edits, ["--task", "task.py:task", "--out", "one"], "edits", "") == 0
    commit = json.loads(Path("one/config.json").read_text())["commit"]
    assert commit.split()[-1] == f"task.py-{short_hash(b'first')}"


def test_a_run_that_goes_on_with_other_code_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    def goes_on(task: str, out: Path) -> int:
        claim(out, {"task": task})
        return 0

    line = ["--task", "task.py:task", "--out", "one"]
    for text, warned in (("first", False), ("first", False), ("edited", True)):
        Path("task.py").write_text(text)
        assert call(goes_on, line, "goes_on", "") == 0
        err = capsys.readouterr().err
        assert ("WARNING: one was begun with other code" in err) == warned
    assert short_hash(b"first") in err and short_hash(b"edited") in err
    Path("one/settings.json").unlink()  # what makes its folder anew keeps nothing

    def anew(task: str, out: Path) -> int:
        return 0

    assert call(anew, line, "anew", "") == 0
    assert "WARNING" not in capsys.readouterr().err


def test_the_help_names_the_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run("--help")
    assert "--from-config RUN/config.json --out NEW repeats" in capsys.readouterr().out


def test_a_program_is_named_by_its_file() -> None:
    assert program(main) == "tests/runtime/test_command.py"
