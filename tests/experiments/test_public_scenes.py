"""The table of scenes of other projects: its list, its starts, its rows."""

import json
from pathlib import Path

import numpy as np
import pytest

from experiments.gradients import public, public_row
from experiments.gradients.public import GRADIENTS, LEAVES, WANTED, decided
from experiments.gradients.public_problem import start
from experiments.gradients.public_scenes import FOLDER, QUICK, SCENES, PublicScene
from worldmodel.errors import InputError

IMPLICIT = """
<mujoco>
  <option integrator="implicit"/>
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
    assert len({name.split("/")[1] for name in names}) >= 4
    committed = {path.name for path in (FOLDER / "quick").iterdir()}
    assert committed == {Path(scene.name).name for scene in QUICK}  # and none of the others


def test_the_projects_own_scenes_start_in_contact() -> None:
    """Apart from the cart, which has none: its rail's limit is what acts."""
    at = {scene.name: start(scene.load(FOLDER).mj_model, seed=0) for scene in QUICK}
    still = [path for path, begun in at.items() if begun.ncon == 0]
    assert still == ["quick/cart_pole.xml"]
    assert all(np.isfinite(begun.qvel).all() and begun.qvel.any() for begun in at.values())


def test_a_scene_that_diverges_is_named() -> None:
    model = QUICK[0].load(FOLDER).mj_model
    model.opt.gravity[:] = 1e12
    with pytest.raises(InputError, match="diverges in C MuJoCo"):
        start(model, seed=0)


def test_an_error_leaves_kinks_out_and_says_why_there_is_none() -> None:
    slopes, sure = np.array([3.0, 4.0, 9.0]), np.zeros(3)
    kink = np.array([0.0, 0.0, 1.0])
    assert public_row.error_of(np.array([3.0, 4.5, -100.0]), slopes, kink) == {
        "numbers": 2,
        "kinks": 1,
        "error": pytest.approx(0.5 / np.hypot(3.0, 4.5)),
        "reference": 0.0,
    }
    assert public_row.error_of(np.array([0.0, 1e-9, 0.0]), 0 * slopes, sure)["error"] == 1.0
    for ours, slope, jump, note in (
        (np.zeros(3), 0 * slopes, sure, "dead"),
        (np.array([0.0, 1e-16, 0.0]), 0 * slopes, sure, "dead"),
        (np.array([3.0, np.nan, 9.0]), slopes, sure, "not finite"),
        (slopes, slopes, slopes, "kink"),
        (np.zeros(0), np.zeros(0), np.zeros(0), "none"),
    ):
        assert public_row.error_of(ours, slope, jump)["note"] == note


def test_a_column_names_the_leaves_without_an_error() -> None:
    right = {"error": 1e-9, "reference": 1e-10, "kinks": 0}
    unsure = {"error": 1e-4, "reference": 1e-4, "kinks": 0}
    cells = {"qvel": right, "ctrl": {"note": "none"}, "mass": unsure, "friction": {"note": "kink"}}
    row = {"gradient": {"one": cells}}
    assert public.worst("one")(row) == "1e-09, mass unsure, friction kink"
    assert public.worst("one")({"outcome": "refused"}) is None


def test_an_absent_scene_says_how_to_get_it_and_a_refusal_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / HOPPER).parent.mkdir(parents=True)
    (tmp_path / HOPPER).write_text(IMPLICIT)
    monkeypatch.setenv("PYTHONPATH", str(Path(public.__file__).parents[2]))
    only = ("Gymnasium/gymnasium/envs/mujoco/assets/hopper", "assets/reacher")
    args = public.Args(tmp_path / "out", tmp_path, only=only)
    assert public.main(args) == 0
    last = json.loads(capsys.readouterr().out)
    assert (last["refused"], last["absent"]) == (1, 1)
    rows = json.loads((args.out / "table.json").read_text())["rows"]
    reasons = {row["scene"]: (row["outcome"], row["reason"]) for row in rows}
    assert reasons[HOPPER][0] == "refused" and "'implicitfast'" in reasons[HOPPER][1]
    clone = "git clone https://github.com/Farama-Foundation/Gymnasium"
    assert reasons[REACHER][0] == "absent" and clone in reasons[REACHER][1]
    text = (args.out / "table.md").read_text()
    assert clone in text and "implicitfast" in text

    # The same command at the same commit keeps what it measured.
    calls = []

    def measured(scene: PublicScene, *_: object) -> dict:
        calls.append(scene.name)
        return {"outcome": "measured"}

    monkeypatch.setattr(public, "measured", measured)
    monkeypatch.setattr(public.records, "kept", lambda out: rows)
    public.main(args)
    assert calls == []
    monkeypatch.setattr(public.records, "kept", lambda out: [])
    public.main(args)
    assert calls == [HOPPER]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scenes": Path("nowhere")}, "no folder nowhere; clone the projects"),
        ({"only": ("dragon",)}, "no scene's name contains dragon"),
    ],
)
def test_a_bad_command_is_refused(tmp_path: Path, changes: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        public.main(public.Args(tmp_path, **changes))


def test_too_much_time_and_an_error_are_rows_with_their_reason(tmp_path: Path) -> None:
    row = public.measured(QUICK[0], FOLDER, public.Args(tmp_path, limit_s=0.2))
    assert row == {"outcome": "stopped", "reason": "no end within 0.2 s"}
    row = public.measured(PublicScene("quick/dragon.xml"), FOLDER, public.Args(tmp_path))
    assert row["outcome"] == "stopped" and row["reason"].startswith("ValueError")


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
    return public_row.measure(scene, public_row.Args(scene.name))


def test_a_scene_is_measured() -> None:
    """The cart: neither a contact nor friction."""
    row = row_of(QUICK[0])
    right(row, EXACT)
    assert (row["slots"], row["rows"], row["nv"]) == (0, 1, 2)
    assert row["values"]["c"][1] < 1e-12
    assert {row["gradient"][kind]["friction"]["note"] for kind in GRADIENTS} == {"dead"}
    assert row["compile_s"]["gradient"] > 0 and row["step_s"]["c"] < row["step_s"]["mjx"]
    assert float(str(public.worst("short")(row))) < WANTED


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
    (scene,) = [s for s in QUICK if s.name == f"quick/{name}.xml"]
    row = row_of(scene)
    right(row, EXACT)
    assert row["values"]["c_converged"][0] < 1e-12
    assert "error" in row["gradient"]["short"]["friction"]  # it is alive


@pytest.mark.slow
def test_a_fingers_gradient_is_that_of_the_end_of_mjxs_descent_to_a_cylinder() -> None:
    """It touches after the first step. MJX's descent stops 0.5 % short in the slope of its point;
    the differences are those of where it stops."""
    (scene,) = [s for s in QUICK if s.name == "quick/finger.xml"]
    row = row_of(scene)
    right(row, EXACT | {"short": 1e-2})
    assert row["gradient"]["short"]["qvel"]["error"] > WANTED  # else the bound above may go
