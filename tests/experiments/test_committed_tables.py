"""The committed tables of gradients, coverage and identification are those of their rows."""

import json
import shlex
from pathlib import Path
from types import ModuleType

import pytest
import tyro

from experiments.coverage import measure
from experiments.gradients import bounce, cost, cube_side, first, gate
from experiments.identification import coverage
from experiments.learned import held_out, held_out_push, held_out_slide
from experiments.manipulation import creep, slip
from experiments.policies import compare
from experiments.records import header, table

RESULTS = Path(__file__).parents[2] / "experiments" / "results"


@pytest.mark.parametrize(
    ("module", "folder"),
    [
        (bounce, "gradients/bounce"),
        (cost, "gradients/cost"),
        (cost, "gradients/cost_batches"),
        (cost, "gradients/cost_gpu"),
        (cube_side, "gradients/cube_side"),
        (first, "gradients/first"),
        (gate, "gradients/gate"),
        (measure, "coverage"),
        (coverage, "identification"),
        (compare, "policies"),
        (held_out, "learned/held_out/my_arm"),
        (held_out, "learned/learning_curve/my_arm"),
        (held_out_slide, "learned/held_out/slide"),
        (held_out_push, "learned/held_out/push"),
        (creep, "manipulation/creep"),
        (slip, "manipulation/slip"),
    ],
    ids=str,
)
def test_a_table_is_that_of_its_rows_and_its_command_exists(
    module: ModuleType, folder: str
) -> None:
    result = json.loads((RESULTS / folder / "table.json").read_text())
    text = header(module.TITLE, result, module.NOTE) + table(result["rows"], module.COLUMNS)
    assert (RESULTS / folder / "table.md").read_text() == text
    command = shlex.split(result["command"])
    assert command[:3] == ["python", "-m", module.__name__]
    assert tyro.cli(module.Args, args=command[3:]).out == Path("experiments/results") / folder


def test_a_cost_is_a_multiple_of_the_forward_simulations() -> None:
    one = {"seconds": 2.0, "compile_s": 10.0, "temporary_bytes": 100, "finite": True}
    row = {"scene": "cube", "batch": 64, "forward": one, "gradient": one | {"seconds": 3.0}}
    row["unrolled"] = one | {"seconds": 9.0, "finite": False, "temporary_bytes": 400}
    shown = {name: column(row) for name, column in cost.COLUMNS.items() if callable(column)}
    assert (shown["gradient"], shown["unrolled"]) == ("1.50", "4.50 (not finite)")
    assert shown["forward [steps/s]"] == "1024" and shown["one"] is None
    assert shown["memory gradient / unrolled"] == "0.250"


def test_every_scenario_of_the_coverage_study_is_published_and_does_what_is_wanted() -> None:
    result = json.loads((RESULTS / "coverage" / "table.json").read_text())
    study = measure.Args(out=RESULTS)
    fields = ("group", "design", "figure", "seeds", "cv", "slope", "wanted")
    published = [[row[f] for f in fields] + [row["replications"]] for row in result["rows"]]
    assert published == [
        [getattr(scenario, name) for name in fields] + [scenario.tables]
        for scenario in measure.scenarios(study.tables, study.pools)
    ]
    assert [row for row in result["rows"] if measure.missed(row)] == []
