"""The command check, as a user with an MJCF and a CSV runs it."""

import json
from pathlib import Path

import pytest

from tests.helpers.own_arm import ARM, COLUMNS, write_log
from worldmodel.__main__ import main


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("arm.xml").write_text(ARM)
    Path("columns_given.toml").write_text(COLUMNS)
    write_log(Path("log.csv"), episodes=4)
    return tmp_path


def test_a_scene_alone(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "arm.xml"]) == 0
    out = capsys.readouterr().out
    assert "contact slots: 0" in out and "not checked without --deep" in out
    assert sorted(p.name for p in folder.iterdir()) == ["arm.xml", "columns_given.toml", "log.csv"]


def test_a_log_without_columns_gets_a_draft(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", "arm.xml", "--data", "log.csv", "--json", "check.json"]) == 0
    assert "columns.toml: a first draft" in capsys.readouterr().out
    document = json.loads(Path("check.json").read_text())
    assert (document["episodes"], document["control_hz"], document["substeps"]) == (4, 50.0, 10)
    shoulder = document["channels"][0]
    assert shoulder["channel"] == "shoulder" and shoulder["unit"] == "rad"
    assert -1.5 < shoulder["numbers"][0] < shoulder["numbers"][2] < shoulder["numbers"][4] < 1.5
    assert (
        Path("columns.toml").read_text().startswith("# A number of the log becomes SI by value =")
    )
    # What was drafted is read, and a further draft does not replace it.
    assert main(["check", "arm.xml", "--data", "log.csv", "--columns", "columns.toml"]) == 0
    before = Path("columns.toml").read_text()
    assert main(["check", "arm.xml", "--data", "log.csv"]) == 2
    assert "give it as --columns" in capsys.readouterr().err
    assert Path("columns.toml").read_text() == before


def test_a_sign_that_must_be_mended_is_status_1(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_log(Path("turned.csv"), episodes=4, sign=-1.0)
    given = ["check", "arm.xml", "--data", "turned.csv", "--columns", "columns_given.toml"]
    assert main(given) == 1
    assert "MEND  servo shoulder" in capsys.readouterr().out


def test_a_log_that_its_draft_cannot_read_leaves_the_draft_to_be_mended(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    header, *rows = Path("log.csv").read_text().splitlines()
    at = header.split(",").index("state.elbow")
    ticks = [row.split(",") for row in rows]
    for row in ticks:
        row[at] = str(4096 / 360 * float(row[at]))
    Path("ticks.csv").write_text("\n".join([header, *map(",".join, ticks)]))
    assert main(["check", "arm.xml", "--data", "ticks.csv", "--json", "check.json"]) == 1
    out = capsys.readouterr().out
    assert "MEND  data" in out and "joint 'elbow'" in out and "a first draft" in out
    assert 'position = "state.elbow"' in Path("columns.toml").read_text()
    # Nobody knows the rate, so none is printed, unless it is given.
    document = json.loads(Path("check.json").read_text())
    assert "frames/s" not in out and document["control_hz"] is document["substeps"] is None
    given = ["--data", "ticks.csv", "--columns", "columns.toml", "--control-hz", "25"]
    assert main(["check", "arm.xml", *given]) == 1
    assert "rate: 25 frames/s" in capsys.readouterr().out


def test_columns_of_another_log_must_be_mended(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("other.toml").write_text(COLUMNS.replace("state.elbow", "state.elbw"))
    given = ["check", "arm.xml", "--data", "log.csv", "--columns", "other.toml"]
    assert main(given) == 1
    assert "state.elbw" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["nothing.xml"], "nothing.xml"),
        (["arm.xml", "--data", "nothing.csv"], "nothing.csv"),
        (["arm.xml", "--data", "log.csv", "--columns", "nothing.toml"], "nothing.toml"),
        (["arm.xml", "--columns", "columns_given.toml"], "--data"),
    ],
)
def test_paths_that_are_not_there_are_named(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], named: str
) -> None:
    assert main(["check", *arguments]) in (1, 2)
    streams = capsys.readouterr()
    assert named in streams.out + streams.err


def test_a_mesh_that_is_not_there_is_named(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mesh = '<asset><mesh name="m" file="m.stl"/></asset><worldbody><geom type="mesh" mesh="m"/>'
    Path("arm.xml").write_text(ARM.replace("<worldbody>", mesh))
    for command in (["check", "arm.xml"], ["fit", "arm.xml", "--data", "log.csv", "--out", "fit"]):
        assert main(command) == 2
        assert f"there is no file {folder / 'm.stl'}" in capsys.readouterr().err


def test_a_scene_that_mjx_cannot_run_is_refused_by_element(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("arm.xml").write_text(ARM.replace('integrator="implicitfast"', 'integrator="implicit"'))
    assert main(["check", "arm.xml"]) == 1
    assert "MEND  scene" in capsys.readouterr().out


def test_a_log_of_another_robot_must_be_mended(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = Path("log.csv").read_text()
    Path("log.csv").write_text("time,episode,x,y,z,w\n" + text.split("\n", 1)[1])
    given = ["arm.xml", "--data", "log.csv"]
    assert main(["check", *given]) == 1
    out = capsys.readouterr().out
    assert "MEND  data" in out and "another robot? It has" in out and "x, y" in out
    assert main(["fit", *given, "--columns", "columns.toml", "--out", "fit"]) == 2
    assert "another robot? It has" in capsys.readouterr().err


@pytest.mark.parametrize(
    "given", [("--substeps", "0"), ("--control-hz", "0"), ("--control-hz", "-5")]
)
def test_a_rate_that_steps_nothing_is_named(
    folder: Path, given: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", "arm.xml", *given]) == 2
    assert given[0] in capsys.readouterr().err
