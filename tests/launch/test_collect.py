"""Run folders become one table; what is not in it is named."""

import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from launch.collect import Args, collect, main, trust_rows
from tests.helpers.refusal import refused
from worldmodel import trust
from worldmodel.errors import InputError

ROW = {"task": "t", "version": "", "recipe": "r", "n": 4, "m": 0, "k": 0, "split": "s"}


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """Two seeds at two sizes, as a launch leaves them."""
    out = tmp_path / "out"
    runs = {f"run{n}{seed}": f"n={n} seed={seed}" for n in (4, 8) for seed in (0, 1)}
    out.mkdir()
    (out / "settings.json").write_text(json.dumps({"sweep": "a.py:sweep", "runs": runs}))
    for known, name in runs.items():
        n, seed = (int(part.split("=")[1]) for part in name.split())
        folder = out / known
        folder.mkdir()
        config = ROW | {"n": n, "seed": seed, "fit.rate": 0.1, "sizes": [1, 2], "note": None}
        (folder / "config.json").write_text(json.dumps({"config": config}))
        (folder / "stdout.txt").write_text(f'progress\n{{"error": {0.1 + seed / n}, "n": {n}}}\n')
        (folder / "status.json").write_text('{"state": "done", "attempt": 1}')
    return out


def change(folder: Path, name: str, content: Any) -> None:
    text = content if isinstance(content, str) else json.dumps(content)
    (folder / name).write_text(text)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_one_table_of_configs_and_results(sweep: Path, suffix: str) -> None:
    path = sweep.parent / f"table{suffix}"
    assert main(Args(sweep, path)) == 0
    frame = pd.read_csv(path) if suffix == ".csv" else pd.read_parquet(path)
    assert frame["run"].tolist() == ["run40", "run41", "run80", "run81"]
    assert frame["error"].tolist() == [0.1, 0.1 + 1 / 4, 0.1, 0.1 + 1 / 8]
    assert list(frame.columns)[-4:] == ["fit.rate", "sizes", "note", "error"]
    assert frame["sizes"].tolist() == ["[1, 2]"] * 4


def test_the_trust_measurement_reads_it(sweep: Path, capsys: pytest.CaptureFixture) -> None:
    for suffix in (".csv", ".parquet"):
        path = sweep.parent / f"runs{suffix}"
        assert main(Args(sweep, path, trust=True)) == 0
        rows = trust.read(path)
        assert rows == trust_rows(collect(sweep)[0])
        assert rows[3] == trust.Row("t", "", "r", 8, 0, 0, 1, "s", 0.1 + 1 / 8)
        trust.check(rows)
    assert json.loads(capsys.readouterr().out.splitlines()[0])["rows"] == 4


def test_runs_without_a_row_are_named(sweep: Path, capsys: pytest.CaptureFixture) -> None:
    change(sweep / "run40", "status.json", {"state": "failed", "reason": "ValueError: diverged"})
    change(sweep / "run41", "stdout.txt", "no result\n")
    shutil.rmtree(sweep / "run80")
    path = sweep.parent / "table.csv"
    assert main(Args(sweep, path)) == 1
    shown = capsys.readouterr()
    assert shown.err.splitlines() == [
        "no row for run40 n=4 seed=0: failed: ValueError: diverged",
        "no row for run41 n=4 seed=1: done, without a line of results",
        "no row for run80 n=8 seed=0: its folder is not there",
    ]
    assert json.loads(shown.out) == {"rows": 1, "without": 3, "table": str(path)}
    assert list(pd.read_csv(path).run) == ["run81"]
    change(sweep / "run81", "status.json", {"state": "running", "attempt": 1})
    refused("no run of .* has results", main, Args(sweep, path), kind=InputError)


def test_numbers_that_are_not_finite_stay(sweep: Path) -> None:
    change(sweep / "run40", "stdout.txt", '{"error": NaN}')
    change(sweep / "run41", "stdout.txt", '{"error": Infinity}')
    path = sweep.parent / "table.csv"
    assert main(Args(sweep, path)) == 0
    lines = [line.split(",")[-1] for line in path.read_text().splitlines()]
    assert lines[:3] == ["error", "nan", "inf"]
    refused("run40: error = nan", main, Args(sweep, path, trust=True), kind=InputError)


def test_bad_folders_are_refused(sweep: Path) -> None:
    path = sweep.parent / "table.csv"
    refused("no sweep|cannot be read", collect, sweep.parent, kind=InputError)
    change(sweep / "run40", "stdout.txt", '{"error": 1.0, "n": 5}')
    refused("run40 prints n otherwise", collect, sweep, kind=InputError)
    change(sweep / "run40", "stdout.txt", '{"loss": 1.0}')
    refused("run40 has no error", main, Args(sweep, path, trust=True), kind=InputError)
    change(sweep, "settings.json", {"steps": 3})
    refused("is no folder of a sweep", collect, sweep, kind=InputError)
    assert not path.exists()
