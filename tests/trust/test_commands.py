"""The commands ``trust``, ``plan`` and ``judge``: output, files and refusals, without JAX."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.training_runs import curve, learn, smooth, table
from worldmodel import trust
from worldmodel.__main__ import main
from worldmodel.trust.evaluation import evaluate
from worldmodel.trust.report import planned, summary
from worldmodel.trust.result import to_json

Run = Callable[..., tuple[int, str, str]]  # arguments: status, stdout, stderr
ROOT = Path(__file__).resolve().parents[2]


def study() -> list[trust.Row]:
    """Versions with corrections, the control, a mixture off the curve."""
    rng = np.random.default_rng(31)
    runs = curve(rng, 10, 60)
    for n, m in ((48, 24), (48, 48), (96, 48)):
        runs["v*", n, m, 0] = learn(rng, 10, 60, n, m)
        runs["v1", n, m, 8] = learn(rng, 10, 60, n, m, bias=0.05)
        runs["v2", n, m, 4] = learn(rng, 10, 60, n, m, bias=0.5)
    return table(runs)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def command(*arguments: object) -> tuple[int, str, str]:
        status = main([str(a) for a in arguments])
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return command


def test_trust(tmp_path: Path, run: Run) -> None:
    path, out, page = tmp_path / "t.csv", tmp_path / "t.json", tmp_path / "t.html"
    trust.write_csv(path, study())
    status, printed, wrong = run(
        "trust", path, "--json", out, "--report", page, "--pool", 600, "--law", "oracle"
    )
    assert (status, wrong) == (0, "")
    document = json.loads(out.read_text())
    assert document == trust.document(trust.measure(study(), pool=600, law="oracle"))
    assert printed == summary(document) and "</html>" in page.read_text()
    # The documented fields.
    versions = document["tasks"][0]["versions"]
    cell = ["n", "m", "k", "d_eff", "alpha_marg", "verdict", "gain_net"]
    cell += [f"alpha_{x}{end}" for x in ("avg", "net") for end in ("", "_low", "_high")]
    ends = [f"{name}{end}" for name in ("cap", "alpha_0") for end in ("", "_low", "_high")]
    for version in versions.values():
        assert all(name in c for c in version["cells"] for name in cell)
        assert all(name in version for name in ends)
    assert [len(v["cells"]) for v in versions.values()] == [3, 3, 3]
    assert versions["v1"]["cells"][0]["verdict"] == "OK"
    # The printed text.
    rows = [re.split(r"  +", line.strip()) for line in printed.splitlines()]
    start = rows.index(["Versions"]) + 2
    codes = {row[0]: row[1] for row in rows[start : start + 3]}
    assert codes == {"v1": "8", "v2": "4", "v*": "0"}
    assert "FALLS" in next(row for row in rows if row[0] == "v2 − v1")
    assert "pool of 600 real episodes" in printed


def test_bad_input_is_one_line_and_status_2(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "t.csv"
    path.write_text("task,version,recipe,n,m,k,seed,split,error\nt,,r,0,0,0,0,s,1\n")
    for command in (["trust", path], ["plan", path, "--n", 8, "--m", 8]):
        message = f"error: {path}: line 2: n = 0 is below 1; mend these lines\n"
        assert run(*command) == (2, "", message)
    monkeypatch.setattr(sys, "argv", ["worldmodel", "trust", str(path)])
    assert main() == 2  # as an entry point, on the process's arguments


def test_plan(tmp_path: Path, run: Run) -> None:
    path = tmp_path / "pilot.csv"
    rows = table(curve(np.random.default_rng(32), 10, 60))
    trust.write_csv(path, rows)
    grids = trust.grids(rows, 64, 64, half_width=0.1)
    narrow = ("plan", path, "--n", 64, "--m", 64, "--half-width", 0.1)
    assert run(*narrow) == (0, planned(grids, 0.1), "")
    assert [p.runs for p in grids] == [(p.seeds or 0) * (p.cells + 6) for p in grids]
    seeds = [p.seeds or 0 for p in grids]
    assert seeds == sorted(seeds, reverse=True) and seeds[0] > seeds[-1]
    status, printed, _ = run("plan", path, "--n", 400, "--m", 400)
    assert status == 1 and "No plan: D_eff = n + alpha m = 800 lies beyond" in printed


def test_without_jax() -> None:
    code = (
        "import sys, worldmodel.trust, worldmodel.trust.report, worldmodel.trust.cost; "
        "import worldmodel.trust.evaluation, worldmodel.__main__; "
        "print('jax' in sys.modules, 'mujoco' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout == "False False\n", done.stderr


def test_a_pilot_has_a_summary() -> None:
    document = trust.document(trust.measure(table(smooth())))
    assert "Control NOT NEEDED: no mixtures" in summary(document)


COSTS = (
    "version,device,dollars_per_hour_low,dollars_per_hour_high,episode_seconds,model_seconds,"
    "energy_joules\nv1,1 <GPU>,2,4,3.6,3600,500\n"
)


def test_the_cost_card_from_a_table(tmp_path: Path, run: Run) -> None:
    path, costs, out, page = (tmp_path / x for x in ("t.csv", "c.csv", "t.json", "t.html"))
    trust.write_csv(path, study())
    costs.write_text(COSTS)
    call = ("trust", path, "--costs", costs, "--json", out, "--report", page)
    status, printed, _ = run(*call, "--assume", "wage", 30, 40, "model_hours", 8, 8)
    assert (
        status == 0
        and "What it costs" in printed
        and re.search("wage +30 +40 +[$]/h +given", printed)
    )
    card = json.loads(out.read_text())["tasks"][0]["cost"]
    assert list(card["versions"]) == ["v1"] and card["versions"]["v1"]["energy_joules"] == 500
    first = card["versions"]["v1"]["cells"][0]
    # One more episode: 3.6 s of a device at 2 to 4 $ an hour.
    assert (first["later_low"], first["later_high"]) == pytest.approx((0.002, 0.004))
    assert first["net_value_low"] is not None and "1 &lt;GPU&gt;" in page.read_text()
    assert run("trust", path, "--assume", "wage", 1, 2)[2].startswith("error: --assume belongs")
    assert "no assumption is called 'wages'" in run(*call, "--assume", "wages", 1, 2)[2]
    for change, message in (
        (("v1,", "v9,"), "no version 'v9'"),
        (("2,4", "4,2"), "line 2: range 4.0 to 2.0"),
        (("3600,500\n", "3600,500\nv1,x,1,1,1,1,\n"), "two rows for the version 'v1'"),
    ):
        costs.write_text(COSTS.replace(*change))
        status, _, wrong = run(*call)
        assert status == 2 and message in wrong, wrong
    trust.write_csv(path, [replace(row, task=name) for row in study() for name in ("a", "b")])
    assert "holds 2 tasks; with --costs, give the runs of one" in run(*call)[2]


def test_evaluations_from_a_table(tmp_path: Path, run: Run) -> None:
    path, out = tmp_path / "pairs.csv", tmp_path / "e.json"
    rng = np.random.default_rng(33)
    simulated = rng.normal(size=80)
    real = simulated[:30] + 0.3 * rng.normal(size=30)
    lines = [f"a,{y},{f}" for y, f in zip(real, simulated[:30], strict=True)]
    lines += [f"a,,{f}" for f in simulated[30:]]
    path.write_text("\n".join(["policy,real,simulated", *lines]))
    status, printed, _ = run("judge", path, "--json", out)
    wanted = to_json(evaluate(real, simulated[:30], simulated[30:]))
    assert status == 0 and re.search("  a +30 +50 .*  PAYS", printed)
    assert json.loads(out.read_text()) == {"a": wanted}
    path.write_text("policy,real,simulated\n")
    assert "no rows" in run("judge", path)[2]
    path.write_text("policy,real,simulated\n" + "a,1,2\n" * 3)
    assert "policy 'a': real outcomes of shape (3,)" in run("judge", path)[2]
    path.write_text("policy,real,simulated\na,inf,2\n")
    assert "line 2: real = inf" in run("judge", path)[2]


def test_copied_seeds_and_unequal_training_are_noted() -> None:
    rows = table(smooth())
    notes = " ".join(trust.measure(rows)[0].notes)
    assert "the same error in every cell" in notes
    assert "same error" not in " ".join(trust.measure(study())[0].notes)
    longer = [replace(row, steps=100 + 50 * (row.m > 0)) for row in study()]
    (result,) = trust.measure(longer)
    assert any("100 to 150 steps" in note for note in result.notes)
    assert {(b["m"] > 0, b["steps"]) for b in result.budgets} == {(False, 100.0), (True, 150.0)}
