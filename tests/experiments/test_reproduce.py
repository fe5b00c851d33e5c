"""Committed results come out again: their commands parse, their numbers exist and lie in range."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
import tyro

from experiments.committed import ALL, RESULTS, Number, Result
from experiments.reproduce import ROOT, Args, compare, main
from worldmodel.errors import InputError

KNOWN = {result.name: result for result in ALL}


@pytest.mark.parametrize("result", ALL, ids=lambda r: r.name)
def test_every_command_parses_and_every_number_is_committed(result: Result) -> None:
    for command in filter(None, (*result.commands, result.quick)):
        module, *arguments = result.filled(command, Path("new"))
        assert "new" in " ".join(arguments)
        tyro.cli(importlib.import_module(module).Args, args=arguments)
    table = json.loads((ROOT / result.folder / "table.json").read_text())
    assert result.numbers and compare(result, table, table) == 0


def test_every_committed_table_is_listed() -> None:
    tables = (ROOT / RESULTS).rglob("table.json")
    folders = {str(p.parent.relative_to(ROOT / RESULTS)) for p in tables}
    assert folders - set(KNOWN) == set()


@pytest.mark.parametrize("name", ["slide/hidden21", "tosses_alpha/elbow_toss"])
def test_alpha_comes_out_again_from_committed_rows(name: str, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "experiments.reproduce",
        name,
        "--quick",
        "--out",
        str(tmp_path),
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    *lines, last = done.stdout.splitlines()
    numbers = KNOWN[name].numbers
    assert len(lines) == len(numbers) and all(line.endswith(": ok") for line in lines)
    assert json.loads(last) == {"name": name, "numbers": len(numbers), "outside": 0}
    committed, now = (
        json.loads((folder / "table.json").read_text())
        for folder in (ROOT / KNOWN[name].folder, tmp_path)
    )
    for number in numbers:
        assert number.of(now) == pytest.approx(number.of(committed), rel=1e-9)


def test_a_number_out_of_range_or_unknown_is_counted(capsys: pytest.CaptureFixture[str]) -> None:
    numbers = tuple(Number({"a": a}, ("b", "c"), 0.0, 1.0) for a in (1, 2, 3))
    result = Result("one", "", (), numbers)
    committed = {"rows": [{"a": a, "b": {"c": 0.5}} for a in (1, 2, 3)]}
    now = {
        "rows": [{"a": 1, "b": {"c": 1.0}}, {"a": 2, "b": {"c": 1.1}}, {"a": 3, "b": {"c": None}}]
    }
    assert compare(result, committed, now) == 2
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "1 b c: committed 0.5, range [0, 1], now 1: ok"
    assert printed[1].endswith("now 1.1: out of range") and "now unknown" in printed[2]
    with pytest.raises(InputError, match="no row"):
        Number({"a": 4}, ("b",), 0, 1).of(now)
    with pytest.raises(InputError, match=r"has no .*d"):
        Number({"a": 1}, ("b", "d"), 0, 1).of(now)


def test_bad_requests_are_refused(tmp_path: Path) -> None:
    (tmp_path / "old").write_text("")
    for args, message in (
        (Args("none"), "no result 'none'; known: slide/hidden21"),
        (Args("push", quick=True, out=tmp_path / "new"), "no quick command"),
        (Args("push", out=tmp_path), "give a new --out"),
    ):
        with pytest.raises(InputError, match=message):
            main(args)


def test_the_list_names_every_result(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(Args(list=True)) == 0
    text = capsys.readouterr().out
    assert all(f"{name} (" in text for name in KNOWN)
