"""The benchmark on scenes of other projects: its list, its references, its rows."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from experiments.gradients import public, public_row
from experiments.gradients.one_sided import Slopes, slopes
from experiments.gradients.public_problem import start
from experiments.gradients.public_report import (
    GRADIENTS,
    LEAVES,
    WANTED,
    decided,
    markdown,
    summary_of,
)
from experiments.gradients.public_scenes import QUICK, QUICK_FOLDER, SCENES, PublicScene
from worldmodel.errors import InputError

FALLING = """
<mujoco>
  <option integrator="{integrator}"/>
  <worldbody>
    <body name="bead"><joint name="z" type="slide" axis="0 0 1"/><geom size=".1" mass="1"/></body>
  </worldbody>
</mujoco>"""
HOPPER, REACHER = (
    f"Farama-Foundation/Gymnasium/gymnasium/envs/mujoco/assets/{name}.xml"
    for name in ("hopper", "reacher")
)


def test_many_scenes_of_several_projects_are_listed() -> None:
    names = [scene.name for scene in SCENES]
    assert len(names) == len(set(names)) >= 25
    assert len({scene.repository for scene in SCENES}) >= 4
    committed = {path.name for path in QUICK_FOLDER.rglob("*.xml")}
    assert committed == {Path(scene.path).name for scene in QUICK}  # and none of the others


def test_the_projects_own_scenes_start_in_contact() -> None:
    """Apart from the cart, which has none: its rail's limit is what acts."""
    at = {scene.path: start(scene.load(QUICK_FOLDER).mj_model, seed=0) for scene in QUICK}
    still = [path for path, begun in at.items() if begun.contacts == 0]
    assert still == ["cart_pole.xml"]
    assert all(np.isfinite(begun.qvel).all() and begun.qvel.any() for begun in at.values())


def test_a_scene_that_diverges_is_named() -> None:
    model = QUICK[0].load(QUICK_FOLDER).mj_model
    model.opt.gravity[:] = 1e12
    with pytest.raises(InputError, match="diverges in C MuJoCo"):
        start(model, seed=0)


def test_slopes_beside_a_kink_are_right_and_a_kink_is_named() -> None:
    def function(number: int, by: float) -> np.ndarray:  # at 0; 3e-6 from 0; far away; nowhere
        x = by + (0.0, 3e-6, 1.0)[number]
        return np.array([abs(x) + 2.0 * x, np.exp(x)])

    result = slopes(function, [0, 1, 2], (1e-4, 1e-5, 1e-6, 1e-7))
    assert result.kink.tolist() == [[True, False, False], [False] * 3]
    x = np.array([0.0, 3e-6, 1.0])
    np.testing.assert_allclose(result.value[1], np.exp(x), rtol=1e-9)
    assert result.value[0, 2] == pytest.approx(3.0, rel=1e-9)
    assert result.value[0, 1] == pytest.approx(3.0, rel=1e-7)  # the two narrowest widths
    assert (result.disagreement[1] < 1e-8).all()


def test_noise_is_no_kink() -> None:
    noise = np.random.default_rng(0)

    def function(number: int, by: float) -> np.ndarray:
        return np.array([by + 1e-9 * noise.normal()])

    assert not slopes(function, [0], (1e-4, 1e-5, 1e-6)).kink.any()


def test_an_error_leaves_kinks_out_and_says_why_there_is_none() -> None:
    value, sure = np.array([[3.0, 4.0, 9.0], [0.0, 0.0, 0.0]]), np.zeros((2, 3))
    reference = Slopes(value, sure, np.array([[False, False, True], [False] * 3]))
    row = public_row.error_of(np.array([3.0, 4.5, -100.0]), reference, 0)
    assert row == {
        "numbers": 2,
        "kinks": 1,
        "error": pytest.approx(0.5 / np.hypot(3.0, 4.5)),
        "reference": 0.0,
    }
    assert public_row.error_of(np.zeros(3), reference, 1)["note"] == "dead"
    assert public_row.error_of(np.array([0.0, 1e-9, 0.0]), reference, 1)["error"] == 1.0
    assert public_row.error_of(np.array([0.0, 1e-16, 0.0]), reference, 1)["note"] == "dead"
    assert public_row.error_of(np.array([3.0, np.nan, 9.0]), reference, 0)["note"] == "not finite"
    kinks = dataclasses.replace(reference, kink=np.ones((2, 3), bool))
    assert public_row.error_of(value[0], kinks, 0)["note"] == "kink"
    nothing = slopes(lambda number, by: np.zeros(2), [], (1e-4, 1e-5, 1e-6))
    assert public_row.error_of(np.zeros(0), nothing, 1)["note"] == "none"


def test_an_absent_scene_is_a_row_that_says_how_to_get_it_and_a_refusal_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    here = tmp_path / "clones"
    (here / HOPPER).parent.mkdir(parents=True)
    (here / HOPPER).write_text(FALLING.format(integrator="implicit"))
    provenance = public.runtime.provenance() | {"commit": "0123456789ab"}
    monkeypatch.setattr(public.runtime, "provenance", lambda: provenance)
    only = ("Gymnasium/gymnasium/envs/mujoco/assets/hopper", "assets/reacher")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(public.__file__).parents[2]))
    args = public.Args(Path("out"), here, only=only)
    assert public.main(args) == 0
    last = json.loads(capsys.readouterr().out)
    assert (last["refused"], last["absent"]) == (1, 1)
    table = json.loads((args.out / "table.json").read_text())
    rows = table["rows"]
    assert rows[HOPPER]["outcome"] == "refused" and "'implicitfast'" in rows[HOPPER]["reason"]
    clone = "git clone https://github.com/Farama-Foundation/Gymnasium"
    assert rows[REACHER]["outcome"] == "absent" and clone in rows[REACHER]["reason"]
    text = (args.out / "table.md").read_text()
    assert text == markdown(table)
    assert clone in text and "implicitfast" in text and str(tmp_path) not in text

    # The same command keeps its rows; another MJCF, or another commit, is measured anew.
    calls = []

    def measured(scene: PublicScene, *_: object) -> dict:
        calls.append(scene.name)
        return {"outcome": "refused", "reason": "anew", "wall_s": 0.0}

    monkeypatch.setattr(public, "measured", measured)
    public.main(args)
    assert calls == []
    (here / HOPPER).write_text(FALLING.format(integrator="Euler"))
    public.main(args)
    assert calls == [HOPPER]
    provenance["commit"] = "0123456789ac"
    public.main(args)
    assert calls == [HOPPER, HOPPER]
    with pytest.raises(InputError, match="rows of another machine"):
        public.main(dataclasses.replace(args, only=("reacher",)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "give --scenes FOLDER, or --quick"),
        ({"quick": True, "scenes": Path()}, "give --scenes FOLDER, or --quick"),
        ({"scenes": Path("nowhere")}, "no folder nowhere; clone the projects"),
        ({"quick": True, "only": ("dragon",)}, "no scene's name contains dragon"),
    ],
)
def test_a_bad_command_is_refused(tmp_path: Path, changes: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        public.main(public.Args(tmp_path, **changes))


def test_too_much_time_and_memory_are_rows_with_their_reason(tmp_path: Path) -> None:
    args = public.Args(tmp_path, quick=True, limit_s=0.2)
    row = public.measured(QUICK[0], QUICK_FOLDER, args)
    assert row["outcome"] == "stopped" and row["reason"] == "no end within 0.2 s"
    assert row["during"] == "loading"
    row = public.measured(
        QUICK[0], QUICK_FOLDER, dataclasses.replace(args, limit_s=60.0, memory_gb=0.1)
    )
    assert row["outcome"] == "stopped" and "out of memory" in row["reason"]


def test_the_reason_of_an_end_is_one_line() -> None:
    stderr = "compiling mjx.step … (Ctrl-C)\ncompiled mjx.step in 3 s\ncompiling the gradient … \n"
    assert public.stage(stderr) == "compiling the gradient"
    assert public.reason(-9, stderr) == "killed by signal 9"
    trace = "Traceback\n  File\nTypeError: dynamic_slice requires start indices\n"
    assert public.reason(1, stderr + trace) == "TypeError: dynamic_slice requires start indices"


def right(row: dict, wanted: dict[str, float]) -> None:
    """Values are those of ``mjx.step``, and every gradient is within what is wanted."""
    assert row["outcome"] == "measured"
    assert max(row["values"]["mjx"]) < 1e-12
    for kind in GRADIENTS:
        for leaf in LEAVES:
            cell = row["gradient"][kind][leaf]
            assert cell.get("note") in (None, "dead", "none"), (kind, leaf, cell)
            if "error" in cell:
                assert decided(cell) and cell["error"] < wanted[kind], (kind, leaf, cell)


EXACT = dict.fromkeys(GRADIENTS, WANTED)


def row_of(scene: PublicScene) -> dict:
    row: dict = {}
    for part in public_row.measure(scene, public_row.Args(scene.name)):
        row |= part
    return row


def test_a_scene_is_measured() -> None:
    """The cart: neither a contact nor friction."""
    row = row_of(QUICK[0])
    right(row, EXACT)
    assert (row["slots"], row["rows"], row["nv"]) == (0, 1, 2)
    assert row["values"]["c"][1] < 1e-12
    assert {row["gradient"][kind]["friction"]["note"] for kind in GRADIENTS} == {"dead"}
    assert row["compile_s"]["gradient"] > 0 and row["step_s"]["c"] < row["step_s"]["mjx"]
    summary = summary_of({"cart": row | {"peak_gb": 1.0}})
    assert summary["measured"] == 1 and summary["gradient_shipped"] < WANTED
    assert summary["gradient_short_within"] == summary["gradient_short_compared"] == 3


def test_a_scene_of_one_solver_iteration_is_measured() -> None:
    """The ball in its cup: what is shipped is not converged, the wanted gradient is."""
    row = row_of(QUICK[1])
    right(row, EXACT)
    assert row["contacts"] > 0 and row["solver"] == "newton 1"
    # MJX's closest point of a capsule's axis is 1e-6 m² over the squared length off C's.
    assert row["values"]["c_converged"][0] < 1e-5
    assert "error" in row["gradient"]["shipped"]["friction"]  # it is alive


@pytest.mark.slow
@pytest.mark.parametrize("name", ["planar_hopper", "quadruped"])
def test_robots_with_few_iterations_and_conjugate_gradients_are_right(name: str) -> None:
    (scene,) = [s for s in QUICK if s.path == f"{name}.xml"]
    row = row_of(scene)
    right(row, EXACT)
    assert row["values"]["c_converged"][0] < 1e-12
    assert "error" in row["gradient"]["short"]["friction"]  # it is alive


@pytest.mark.slow
def test_a_fingers_gradient_is_that_of_the_end_of_mjxs_descent_to_a_cylinder() -> None:
    """It touches after the first step. MJX's descent stops 0.5 % short in the slope of its point;
    the differences are those of where it stops."""
    (scene,) = [s for s in QUICK if s.path == "finger.xml"]
    row = row_of(scene)
    right(row, EXACT | {"short": 1e-2})
    assert row["gradient"]["short"]["qvel"]["error"] > WANTED  # else the bound above may go


def test_the_published_page_is_that_of_its_table() -> None:
    results = Path(public.__file__).parents[1] / "results" / "gradients" / "public"
    table = json.loads((results / "table.json").read_text())
    assert markdown(table) == (results / "table.md").read_text()
    assert list(table["rows"]) == [scene.name for scene in SCENES]
    assert sum(row["outcome"] == "measured" for row in table["rows"].values()) >= 25
    assert not table["provenance"]["commit"].endswith("-dirty")
