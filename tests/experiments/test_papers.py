"""Papers come out again: their commands parse, their numbers exist and lie in their ranges."""

import importlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import tyro

from experiments.papers import result as remade
from experiments.papers.__main__ import Args, collect, main
from experiments.papers.result import NAMES, REMADE, RESULTS, ROOT, Number, Paper, Result, paper
from launch.sweep import plan
from tests.helpers import command
from worldmodel.errors import InputError
from worldmodel.runtime.command import as_arguments, parse, resolved

KNOWN = {result.name: result for name in NAMES for result in paper(name).results}


@pytest.mark.parametrize("result", KNOWN.values(), ids=lambda r: r.name)
def test_every_command_parses_and_every_number_is_committed(result: Result) -> None:
    for line in filter(None, (*result.commands, result.quick)):
        module, *arguments = result.filled(line, Path("new"))
        assert "new" in " ".join(arguments)
        kind = importlib.import_module(module).Args
        config = tyro.cli(kind, args=arguments)
        again = [*as_arguments(kind, resolved(config)), f"--out={config.out}"]
        assert parse(kind, again) == config
    table = json.loads((ROOT / result.folder / "table.json").read_text())
    rows = [*result.rows(table, quick=False)]
    assert rows and all(row["within"] and row["now"] == row["committed"] for row in rows)


def test_every_committed_table_belongs_to_a_paper() -> None:
    tables = (ROOT / RESULTS).rglob("table.json")
    folders = {str(p.parent.relative_to(ROOT / RESULTS)) for p in tables}
    assert folders - set(KNOWN) == set()


@pytest.mark.parametrize("name", NAMES)
def test_a_sweep_has_a_run_per_result(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    runs = plan(f"experiments.papers.result:{name}").runs
    assert [r.config for r in runs] == [
        {"paper": name, "result": r.name, "quick": False}
        for r in paper(name).results
        if not r.needs
    ]
    quick = plan(f"experiments.papers.result:{name}_quick").runs
    assert {r.config["result"] for r in quick} == {r.name for r in paper(name).results if r.quick}
    assert quick and all(r.config["quick"] for r in quick)


def test_alpha_comes_out_again_from_committed_rows(tmp_path: Path) -> None:
    out = tmp_path / "out"
    line = ["experiments.papers", "alpha", "--quick", "--out", str(out)]
    done = command.run(*line)
    assert done.returncode == 0, done.stderr[-2000:]
    *lines, last = done.stdout.splitlines()
    quick = paper("alpha").planned(quick=True)
    count = sum(len(result.numbers) for result in quick)
    assert len(lines) == count and all(line.endswith(": ok") for line in lines)
    assert json.loads(last) == {"numbers": count, "outside": [], "without": []}
    assert "push is left out: it has no quick command" in done.stderr
    table = json.loads((out / "table.json").read_text())
    assert table["core_hours"] > 0
    for row in table["rows"]:
        assert row["now"] == pytest.approx(row["committed"], rel=1e-9)
    order = [row["result"] for row in table["rows"]]
    assert list(dict.fromkeys(order)) == [result.name for result in quick]


def test_a_result_that_was_stopped_goes_on_in_its_folder(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "rows.csv").write_text("half of ")
    asked = remade.Args("alpha", "slide/hidden21", tmp_path, quick=True)
    assert remade.main(asked) == 0
    assert json.loads(capfd.readouterr().out)["outside"] == 0


@pytest.fixture
def one(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """A result with a committed table."""

    def result(folder: Path, committed: dict, *numbers: Number) -> Result:
        monkeypatch.setattr(Result, "folder", property(lambda result: folder / result.name))
        (folder / "one").mkdir()
        (folder / "one" / "table.json").write_text(json.dumps(committed))
        return Result("one", 1.0, ("-c",), numbers)

    return result


def test_a_number_out_of_range_or_unknown_is_named(
    tmp_path: Path, one: Callable[..., Result], capsys: pytest.CaptureFixture[str]
) -> None:
    numbers = tuple(Number({"a": a}, ("b", "c"), 0.0, 1.0) for a in (1, 2, 3))
    result = one(tmp_path, {"rows": [{"a": a, "b": {"c": 0.5}} for a in (1, 2, 3)]}, *numbers)
    cells = [{"a": 1, "b": {"c": 1.0}}, {"a": 2, "b": {"c": 1.1}}, {"a": 3, "b": {"c": None}}]
    rows = [*result.rows({"rows": cells}, quick=False)]
    assert [row["within"] for row in rows] == [True, False, False]
    assert rows[0] | {"result": "one", "number": "1 b c", "low": 0.0, "high": 1.0} == rows[0]
    assert [row["number"] for row in result.rows({"rows": cells[:1]}, quick=True)] == ["1 b c"]
    assert "one: 3 b c: not computed by --quick" in capsys.readouterr().err
    with pytest.raises(InputError, match="no row"):
        list(result.rows({"rows": cells[:1]}, quick=False))
    with pytest.raises(InputError, match=r"has no .*d"):
        Number({"a": 1}, ("b", "d"), 0, 1).of({"rows": cells})
    with pytest.raises(InputError, match=r"has no .*e"):  # not what it would divide
        Number({"a": 1}, ("b", "c"), 0, 1, over=("b", "e")).of({"rows": cells})
    # The paper's table marks them, whatever order its runs ended in.
    (tmp_path / "run" / "out").mkdir(parents=True)
    content = {"numbers": 3, "outside": 2, "core_s": 7.2, "rows": rows[::-1]}
    (tmp_path / "run" / "out" / REMADE).write_text(json.dumps(content))
    assert len(collect(Paper("short", (result,)), tmp_path)) == 3
    text = (tmp_path / "table.md").read_text()
    assert text.count("**out of range**") == 2 and "0.002 core-hours" in text


def test_bad_requests_are_refused(tmp_path: Path) -> None:
    (tmp_path / "old").write_text("")
    for args, message in (
        (Args("none"), "no paper 'none'; there are gradients"),
        (Args("alpha", only="none"), r"alpha has no result 'none'; it has \['slide/hidden21'"),
        (Args("alpha", quick=True, only="push", out=tmp_path / "new"), "no quick command"),
        (Args("alpha", only="push", out=tmp_path), "give a new --out"),
    ):
        with pytest.raises(InputError, match=message):
            main(args)


def test_the_list_names_every_result(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(Args()) == 0
    text = capsys.readouterr().out
    assert all(f"  {name} (" in text for name in KNOWN)
    assert text.count("core-hours; GPU-hours: none measured") == len(NAMES)
