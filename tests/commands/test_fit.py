"""A user's MJCF and CSV through the commands alone: check, fit, evaluate."""

import functools
import json
import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from tests.helpers.command import run
from tests.helpers.own_arm import ARM, COLUMNS, TRUE, write_log
from worldmodel import runtime
from worldmodel.__main__ import main
from worldmodel._mujoco import mujoco
from worldmodel.commands.fit import FitOptions, fit
from worldmodel.commands.problem import prepare
from worldmodel.errors import InputError
from worldmodel.model import saved
from worldmodel.model.ensemble import members
from worldmodel.runtime import checkpoint

FREE = ("damping:shoulder", "damping:elbow", "gain:shoulder", "gain:elbow")
FREE += ("frictionloss:shoulder", "frictionloss:elbow")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The MJCF, the log and, fitted to it, the folder ``fit``."""
    folder = tmp_path_factory.mktemp("robot")
    (folder / "arm.xml").write_text(ARM)
    (folder / "columns.toml").write_text(COLUMNS)
    write_log(folder / "log.csv")
    assert main([*command(folder), "--out", str(folder / "fit")]) == 0
    return folder


def command(folder: Path) -> list[str]:
    given = ["fit", str(folder / "arm.xml"), "--data", str(folder / "log.csv")]
    given += ["--columns", str(folder / "columns.toml"), "--starts", "1"]
    return [*given, "--free", *FREE]


def options(folder: Path, out: str, **other: Any) -> FitOptions:
    given: dict[str, Any] = {
        "scene": folder / "arm.xml",
        "data": folder / "log.csv",
        "out": folder / out,
    }
    given |= {"columns": folder / "columns.toml", "starts": 1, "free": FREE}
    return FitOptions(**(given | other))


def test_what_does_not_fit_together_is_logged_before_the_fit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "arm.xml").write_text(ARM)
    (tmp_path / "columns.toml").write_text(COLUMNS)
    write_log(tmp_path / "turned.csv", episodes=4, sign=-1.0)
    prepare(tmp_path / "arm.xml", tmp_path / "turned.csv", tmp_path / "columns.toml")
    assert "MEND: servo shoulder: " in capsys.readouterr().err


def test_a_fit_finds_what_was_hidden(folder: Path) -> None:
    document = json.loads((folder / "fit" / "fit.json").read_text())
    assert document["physics"]["converged"]
    rows = {(r["name"], r["index"]): r for r in document["parameters"]}
    for kind, values in TRUE.items():
        for joint, value in zip(("shoulder", "elbow"), values, strict=True):
            row = rows[f"{joint}.{kind}", 0]
            assert row["value"] == pytest.approx(value, rel=0.05)
            assert row["verdict"] == "identified"
            assert row["low"] < row["value"] < row["high"]
    assert rows["shoulder.frictionloss", 0]["given"] == 0.0  # as the MJCF has it, not its start
    held_out = document["line"]
    assert (
        held_out["episodes"] == 2 and held_out["joint_rad"] < 0.05 * held_out["mjcf"]["joint_rad"]
    )


def test_its_files_stand_alone(folder: Path) -> None:
    out = folder / "fit"
    model = mujoco.MjModel.from_xml_path(str(out / "fitted.xml"))
    np.testing.assert_allclose(model.dof_damping, TRUE["damping"], rtol=0.05)
    world, parameters, metadata = saved.restore(out / "checkpoint")
    protocol = saved.protocol_of(out / "checkpoint", metadata)
    assert [j.unit for j in protocol.columns.joints] == ["deg", "deg"]
    assert protocol.windows.horizon == 25  # half a second
    assert set(parameters["physics"]) == {f.name for f in world.free}
    page = (out / "report.html").read_text()
    assert page.count("<svg") == 2
    assert page.count("class=view3d") == page.count("<script") == 1
    loads = ("src=", "<link", "url(http")
    assert not [x for x in loads if x in page]


def test_the_same_command_prints_the_result_again(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (folder / "fit" / "fit.json").read_bytes()
    assert main([*command(folder), "--out", str(folder / "fit")]) == 0
    streams = capsys.readouterr()
    assert json.loads(streams.out) == json.loads(before)["line"]
    assert "holds this fit already" in streams.err
    assert (folder / "fit" / "fit.json").read_bytes() == before


def test_another_setting_is_refused_by_its_name(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command(folder), "--out", str(folder / "fit"), "--horizon", "10"]) == 2
    assert "horizon was null and is 10" in capsys.readouterr().err


def test_a_fit_goes_on_to_the_same_numbers(folder: Path) -> None:
    asked = iter([False] * 6 + [True])
    with pytest.raises(runtime.Interrupted):
        fit(options(folder, "stopped"), lambda: next(asked))
    assert not (folder / "stopped" / "fit.json").exists()
    fit(options(folder, "stopped"), lambda: False)
    first, second = (
        saved.restore(folder / name / "checkpoint")[1]["physics"] for name in ("fit", "stopped")
    )
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])


def test_a_kill_while_the_network_learns_costs_no_number(folder: Path) -> None:
    """A network that a finished fit is given, and the folder as a kill leaves it while the second
    of two members learns: the first is kept, the fit is not taken for finished, and the numbers are
    those of the run that nothing stopped."""
    out, copy = folder / "network", folder / "killed"
    physics = {"iterations": 1, "horizon": 5}
    given = physics | {"network": True, "members": 2, "correction": "displacement"}
    killed = {"member": 1, "stage": "regression", "step": 300}

    def stop() -> bool:
        rows = out / "metrics.jsonl"
        last = json.loads(rows.read_text().splitlines()[-1]) if rows.exists() else {}
        if killed.items() <= last.items() and not copy.exists():
            shutil.copytree(out, copy)
        return False

    def steps(x: Path) -> list[dict[str, Any]]:
        rows = [json.loads(row) for row in (x / "metrics.jsonl").read_text().splitlines()]
        return [{k: v for k, v in row.items() if k != "seconds_left"} for row in rows[-12:]]

    fit(options(folder, "network", **physics), lambda: False)
    fit(options(folder, "network", **given), stop)
    assert json.loads((copy / "fit.json").read_text())["members_excluded"] is None
    progress = copy / "progress" / "network"
    assert checkpoint.latest(progress / "member0") is not None
    assert checkpoint.latest(progress / "member1") is None
    fit(options(folder, "killed", **given), lambda: False)
    whole, again = (saved.restore(x / "checkpoint")[1] for x in (out, copy))
    jax.tree.map(np.testing.assert_array_equal, whole, again)
    documents = [json.loads((x / "fit.json").read_text()) for x in (out, copy)]
    assert documents[0]["errors"] == documents[1]["errors"]
    assert [d["members_excluded"] for d in documents] == [{}, {}]
    with pytest.raises(InputError, match="network was true and is null"):
        fit(options(folder, "network", **physics), lambda: False)
    # The best may be an early one: the steps show that all was the same.
    assert steps(out) == steps(copy)
    assert [row["step"] for row in steps(out)] == list(range(100, 1201, 100))
    each = members(whole)
    assert len(each) == 2
    for part in ("physics", "network"):  # each has its own
        leaves = [np.concatenate([np.ravel(x) for x in jax.tree.leaves(m[part])]) for m in each]
        assert not np.array_equal(leaves[0], leaves[1])


@pytest.mark.slow  # quick: test_episodes_on_eight_devices_are_those_of_one in tests/runtime
def test_a_network_learns_the_same_on_eight_devices(folder: Path) -> None:
    """Through windows; the members' physics and their gate too."""
    given = ["--iterations", "1", "--horizon", "5", "--network", "--correction", "velocity"]
    given += ["--members", "2", "--steps", "3", "--engine", "mjx"]
    losses, parameters = [], []
    for name, flags in (("one", ""), ("eight", "--xla_force_host_platform_device_count=8")):
        out = folder / f"{name}_device"
        done = run("worldmodel", *command(folder), *given, "--out", str(out), XLA_FLAGS=flags)
        assert done.returncode == 0, done.stderr
        assert ("8 devices (cpu)" in done.stderr) == bool(flags)
        rows = map(json.loads, (out / "metrics.jsonl").read_text().splitlines())
        losses.append([row["loss"] for row in rows if "loss" in row])
        parameters.append(saved.restore(out / "checkpoint")[1])
    assert len(losses[0]) > 3
    np.testing.assert_allclose(*losses, rtol=1e-9)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-7, atol=1e-12), *parameters)


def test_a_fit_that_stops_too_early_calls_nothing_identified(folder: Path) -> None:
    fit(options(folder, "hasty", iterations=1), lambda: False)
    document = json.loads((folder / "hasty" / "fit.json").read_text())
    assert not document["physics"]["converged"]
    verdicts = {row["verdict"] for row in document["parameters"] if row["free"]}
    assert verdicts == {"not converged"}


def test_the_checkpoint_alone_evaluates_another_log(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fitted = json.loads((folder / "fit" / "fit.json").read_text())
    given = ["evaluate", str(folder / "fit"), "--data", str(folder / "log.csv")]
    for engine, rel in (((), 1e-9), (("--engine", "mjx"), 1e-3)):  # of the fit: C MuJoCo
        assert main([*given, "--split", "test", *engine]) == 0
        result = json.loads(capsys.readouterr().out)
        assert (result["episodes"], result["skipped"]) == (2, 0)
        assert set(result["channels"]) == {"shoulder.joint_rad", "elbow.joint_rad"}
        assert result["joint_rad"] == pytest.approx(fitted["line"]["joint_rad"], rel=rel)


def test_given_columns_serve_a_checkpoint_that_carries_none(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world, parameters, _ = saved.restore(folder / "fit" / "checkpoint")
    saved.save(tmp_path / "bare", 0, world, parameters, {})
    given = ["evaluate", str(tmp_path / "bare"), "--data", str(folder / "log.csv")]
    assert main(given) == 2
    assert "carries no columns" in capsys.readouterr().err
    columns = ["--columns", str(folder / "fit" / "columns.toml")]
    assert main([*given, *columns, "--split", "test"]) == 0
    result = json.loads(capsys.readouterr().out)
    fitted = json.loads((folder / "fit" / "fit.json").read_text())["line"]  # over the same windows
    assert result["windows"] == fitted["windows"]
    assert result["joint_rad"] == pytest.approx(fitted["joint_rad"], rel=1e-9)
    assert main([*given, *columns, "--whole"]) == 0
    assert json.loads(capsys.readouterr().out)["windows"] == 8


def test_every_option_of_a_fit_is_a_flag(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*command(folder), "--out", str(folder / "none"), "--members", "0"]) == 2
    assert "--members 0: at least 1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--horizon", "0"], "--horizon 0"),
        (["--horizon", "5", "--whole"], "not both"),
        (["--horizon", "5000"], "5000"),
        (["--columns", "nothing.toml"], "nothing.toml"),
    ],
)
def test_evaluate_refuses_by_name(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], named: str
) -> None:
    given = ["evaluate", str(folder / "fit"), "--data", str(folder / "log.csv")]
    assert main([*given, *arguments]) == 2
    assert named in capsys.readouterr().err


def test_evaluate_names_a_model_or_log_that_is_not_there(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", "nowhere", "--data", str(folder / "log.csv")]) == 2
    assert "nowhere" in capsys.readouterr().err
    assert main(["evaluate", str(folder / "fit"), "--data", "nowhere.csv"]) == 2
    assert "nowhere.csv" in capsys.readouterr().err
    assert main(["evaluate", str(folder), "--data", str(folder / "log.csv")]) == 2
    assert "checkpoint" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("other", "named"),
    [
        ({"seed": -1}, "--seed -1"),
        ({"steps": 0}, "--steps 0"),
        ({"starts": 0}, "--starts 0"),
        ({"members": 0}, "--members 0"),
        ({"members": 2}, "--members is of --network; leave it out"),
        ({"engine": "c"}, "--engine is of --network"),
        ({"horizon": 0}, "--horizon 0"),
        ({"horizon": 500}, "500 frames"),
        ({"substeps": 0}, "--substeps 0"),
        ({"free": ("damping",)}, "kind:element"),
        ({"free": ("damping:knee",)}, "knee"),
        ({"free": ("colour:elbow",)}, "colour"),
        ({"free": ("dampng:elbow",)}, r"no kind 'dampng'.*did you mean damping"),
        ({"data": Path("nowhere.csv")}, "nowhere.csv"),
        ({"scene": Path("nowhere.xml")}, "nowhere.xml"),
    ],
)
def test_impossible_options_are_named(folder: Path, other: dict[str, Any], named: str) -> None:
    with pytest.raises(InputError, match=named):
        fit(options(folder, "refused", **other), lambda: False)
    shutil.rmtree(folder / "refused", ignore_errors=True)


def test_two_episodes_hold_none_out_and_are_refused_before_a_fit(
    folder: Path, tmp_path: Path
) -> None:
    write_log(tmp_path / "short.csv", episodes=2)
    with pytest.raises(InputError, match="record at least three"):
        fit(options(folder, "two", data=tmp_path / "short.csv"), stop=lambda: False)
    assert not (folder / "two" / "progress").exists()
