"""The gate of the gradient: its cells, its verdicts, and its page."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from experiments.gradients import gate, gate_cells
from experiments.gradients.gate_scenes import PAIRS, WANTED, Row
from worldmodel.errors import InputError
from worldmodel.physics.kinds import DRIVES, MOVING

ROOT = Path(__file__).parents[2]
TABLE = ROOT / "experiments" / "results" / "gradients" / "gate" / "table.json"


@pytest.mark.parametrize(
    "row", [Row("hinge", "plane", "sphere"), Row("free", "sphere", "sphere", "elliptic")]
)
def test_the_gradient_is_that_of_mjx_and_of_recompiled_c(row: Row) -> None:
    result = gate_cells.measure(row, dtypes=("float64",))
    assert max(result["values"]) < gate.VALUES
    for k in range(len(gate_cells.STEPS)):
        verdicts = {c: gate.verdict(result, c, "float64", k) for c in gate_cells.CLASSES}
        unusual = {c: v.kind for c, v in verdicts.items() if v.kind != "right"}
        for c in [c for c, kind in unusual.items() if kind == "wrong"]:
            # The differences of a solve that converges to 1e-13 are certain to about 1e-9.
            cell = result["classes"][c][k]["mjx"]
            if cell["float64"] * cell["size"] < 1e-9:
                del unusual[c]
        ball = {"joint_pos": "refused", "joint_axis": "refused", "geom_rotation": "dead"}
        expected = {"muscle control": "dead"} if k == 0 else {}  # it acts on the activation first
        assert unusual == expected | (ball if row.joint == "free" else {})
    checked = 0
    for name, cells in result["classes"].items():
        for reference in gate_cells.REFERENCES if "refused" not in cells else ():
            one_step = cells[0][reference]
            if one_step["size"] > 1e-3:  # below it the rounding of the differences is felt
                assert one_step["float64"] <= 1e-6, (name, reference, one_step)
                checked += 1
    assert checked >= 20


def test_a_pair_without_a_collider_is_refused_by_name() -> None:
    result = gate_cells.measure(Row("free", "cylinder", "box"))
    assert "cylinder–box" in result["refused"]
    assert gate.verdict(result, "mass", "float64", 0).kind == "refused"


def test_a_kink_is_measured() -> None:
    """|x| at 0, and 2.5e-5 away from it; x² has none."""

    def at(x: float) -> tuple[float, float]:
        values = lambda s: np.array([[abs(x + s)], [(1.0 + s) ** 2]])  # noqa: E731
        one, jump = gate_cells.slope(values, values(0.0), 3e-4)
        assert one[1, 0] == pytest.approx(2.0, abs=1e-10) and abs(jump[1, 0]) < 1e-10
        return one[0, 0], jump[0, 0]

    assert at(0.0) == pytest.approx((0.0, 2.0))  # left −1, right 1
    assert at(2.5e-5) == pytest.approx((1.0, 0.0), abs=1e-9)  # a narrower width does not see it


def _row(size: float, jump: float, error: float | None, ours: float | None = 1.0) -> dict:
    reference = {"size": size, "jump": jump, "float64": error}
    cell = {"ours": {"float64": ours}, "mjx": reference, "c": dict(reference, float64=1.0)}
    return {"values": [1e-3, 1e-3], "classes": {"mass": [cell, cell]}}


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        (_row(1.0, 1e-9, 1e-7), "right"),
        (_row(1.0, 1e-9, 1e-3), "wrong"),
        (_row(1.0, 1e-9, None, ours=None), "wrong"),  # not finite
        (_row(1.0, 1e-2, None, ours=None), "wrong"),
        (_row(1.0, 1e-9, 1.0, ours=0.0), "wrong"),  # silently zero
        (_row(1.0, 1e-2, 1e-3), "kink"),
        (_row(1e-13, 1e-13, 1.0, ours=0.0), "dead"),
        (_row(1e-13, 1e-13, 1.0, ours=1.0), "wrong"),
    ],
)
def test_verdicts(row: dict, kind: str) -> None:
    assert gate.verdict(row, "mass", "float64", 0).kind == kind


def test_rounding_decides_the_side_of_a_scenes_kink() -> None:
    row = _row(1.0, 1e-9, 1e-7)
    cell = row["classes"]["mass"][0]
    cell["ours"]["float32"], cell["mjx"]["float32"] = 1.0, 0.1
    assert gate.verdict(row, "mass", "float32", 0).kind == "wrong"
    row["classes"] |= _row(1.0, 1e-2, 1e-3)["classes"] | {"com": row["classes"]["mass"]}
    assert gate.verdict(row, "com", "float32", 0).kind == "kink"
    cell["ours"]["float32"] = None
    assert gate.verdict(row, "com", "float32", 0).kind == "wrong"


def test_c_counts_where_its_values_are_those_of_mjx() -> None:
    row = _row(1.0, 1e-9, 1e-7) | {"values": [1e-12, 1e-12]}
    assert gate.verdict(row, "mass", "float64", 0).kind == "wrong"  # C is off by 1


def test_every_kind_joint_and_pair_is_in_the_gate() -> None:
    # Springs and the numbers of drives act on joints alone: ``tests/physics/test_gradients.py``,
    # ``tests/finetune/test_drives.py``.
    on_joints = {"kv", "stiffness", "springref", "gear", "time_constant", *DRIVES}
    assert {f.kind for f in WANTED} == set(MOVING) - on_joints
    assert {f.kind for f in WANTED} <= set(gate_cells.CLASSES)
    assert {(r.fixed, r.moving) for r in gate.ROWS} == set(PAIRS)
    combinations = {(r.joint, r.cone, r.integrator) for r in gate.ROWS}
    assert len(combinations) == 4 * 2 * 3


def test_an_unknown_row_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no row's name contains torus"):
        gate.main(gate.Args(tmp_path, only=("torus",)))


def test_a_page_without_the_mark_is_refused(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Prose")
    with pytest.raises(InputError, match="put it above the tables"):
        gate.main(gate.Args(tmp_path, page))
    assert page.read_text() == "# Prose"


def test_the_published_page_ends_in_the_tables_of_its_rows() -> None:
    result = json.loads(TABLE.read_text())
    page = (ROOT / "docs" / "physics.md").read_text()
    assert page.endswith(gate.MARK + gate.markdown(result))
    assert {row["scene"] for row in result["rows"]} >= {r.name for r in gate.ROWS}
    assert re.fullmatch(r"[0-9a-f]{12}", result["provenance"]["commit"])
