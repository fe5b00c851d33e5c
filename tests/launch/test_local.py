"""Sweeps on this machine: pinned processes, failures, signals, and the same command again."""

import errno
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from launch import run
from launch.local import Args, Slot, locked, pool, slots_of
from launch.sweep import plan, prepare
from tests.helpers import command
from tests.helpers.refusal import refused
from worldmodel.errors import InputError

FIT = str(command.ROOT / "tests" / "helpers" / "slow_fit.py")


def statuses(out: Path) -> dict[str, dict]:
    """By the names of runs."""
    runs = json.loads((out / "settings.json").read_text())["runs"]
    return {name: run.status(out / known) for known, name in runs.items()}


def result(folder: Path) -> dict:
    return json.loads((folder / "stdout.txt").read_text().splitlines()[-1])


def until(condition: Callable[[], object], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_failed_run_stops_no_other_and_is_rerun_by_name(tmp_path: Path) -> None:
    out, mended = tmp_path / "out", tmp_path / "mended"
    first = ["launch.local", f"{FIT}:sweep", "--out", str(out), "--workers", "1"]
    last = ["--", "--unless", str(mended)]
    done = command.run(*first, *last)
    assert done.returncode == 1, done.stderr
    (failed,) = json.loads(done.stdout)["failed"]
    states = statuses(out)
    assert [s["state"] for s in states.values()] == ["done", "failed", "done"]
    reason = "seed=1 end=raises: failed: ValueError: the fit diverged; "
    assert f"{failed} {reason}to begin it again: --rerun {failed}" in done.stderr

    again = command.run(*first, *last)
    assert again.returncode == 1 and f"{failed} {reason}" in again.stderr
    assert statuses(out) == states  # nothing ran

    mended.touch()
    refusal = command.run(*first, "--rerun", failed[:-1], *last)
    assert (refusal.returncode, f"did you mean {failed}" in refusal.stderr) == (2, True)
    rerun = command.run(*first, "--rerun", failed, *last)
    assert (rerun.returncode, json.loads(rerun.stdout)["done"]) == (0, 3)
    assert statuses(out)["seed=1 end=raises"]["attempt"] == 2
    assert "begins at 3" in (out / failed / "log.txt").read_text()
    refusal = command.run(*first, "--rerun", failed, *last)
    assert (refusal.returncode, "it is done" in refusal.stderr) == (2, True)

    core = sorted(os.sched_getaffinity(0))[0]
    assert result(out / failed)["cores"] == [core]
    provenance = json.loads((out / failed / "provenance.json").read_text())
    assert provenance["cores"] == [core] and provenance["seeds"] == {"seed": 1}
    assert provenance["commit"] == json.loads((out / "settings.json").read_text())["commit"]
    assert provenance["versions"]["jax"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_the_same_command_goes_on(tmp_path: Path, number: int) -> None:
    line = ["launch.local", f"{FIT}:two", "--out", str(tmp_path), "--workers", "1"]
    line += ["--", "--pause", "0.05", "--steps", "30"]
    launched = command.start(*line)
    until(lambda: list(tmp_path.glob("*/out/count")))
    launched.send_signal(number)
    _, log = launched.communicate(timeout=60)
    assert launched.returncode == 128 + number, log
    assert [s["state"] for s in statuses(tmp_path).values()] == ["stopped", "waiting"]
    (count,) = tmp_path.glob("*/out/count")
    assert 0 < int(count.read_text().split()[0]) < 30
    done = command.run(*line)
    assert (done.returncode, json.loads(done.stdout)["done"]) == (0, 2)
    stopped = count.parent.parent
    assert "begins at 0" not in (stopped / "log.txt").read_text().split("stopped at")[1]
    ends = [result(path.parent) for path in tmp_path.glob("*/stdout.txt")]
    assert ends[0]["count"] == 30 and ends[0] == ends[1]  # the value of an undisturbed run


def test_runs_of_a_killed_launch_hold_their_folder(tmp_path: Path) -> None:
    line = ["launch.local", f"{FIT}:one", "--out", str(tmp_path), "--workers", "1"]
    line += ["--", "--pause", "0.1", "--steps", "60"]
    launched = command.start(*line)
    until(lambda: list(tmp_path.glob("*/out/count")))
    launched.kill()
    launched.communicate()
    (orphan,) = statuses(tmp_path).values()
    refusal = command.run(*line)
    assert (refusal.returncode, "is at work in" in refusal.stderr) == (2, True)
    os.kill(orphan["pid"], signal.SIGKILL)
    done = command.run(*line)
    assert done.returncode == 0, done.stderr
    assert [s["state"] for s in statuses(tmp_path).values()] == ["done"]


def test_a_killed_run_is_named(tmp_path: Path) -> None:
    line = ["launch.local", f"{FIT}:one", "--out", str(tmp_path), "--workers", "1"]
    done = command.run(*line, "--", "--end", "killed")
    assert done.returncode == 1
    assert "failed: ended by SIGKILL after: begins at 0" in done.stderr


def test_other_versions_than_at_the_launch_are_refused(tmp_path: Path) -> None:
    prepare(plan(f"{FIT}:one"), tmp_path, "local")
    (path,) = tmp_path.glob("*/config.json")
    described = json.loads(path.read_text())
    path.write_text(json.dumps(described | {"versions": described["versions"] | {"jax": "0.1.0"}}))
    now = run.finish(path.parent, run.start(path.parent).wait(), stopped=False)
    assert now["state"] == "failed" and ", not 0.1.0 as at the launch" in now["reason"]
    assert "jaxlib" not in now["reason"]


def test_a_second_interrupt_ends_runs_that_do_not_stop(tmp_path: Path) -> None:
    line = ["launch.local", f"{FIT}:one", "--out", str(tmp_path), "--workers", "1"]
    launched = command.start(*line, "--", "--pause", "600")
    until(lambda: any("begins" in path.read_text() for path in tmp_path.glob("*/log.txt")))
    launched.send_signal(signal.SIGINT)
    (log,) = tmp_path.glob("*/log.txt")
    until(lambda: "SIGTERM: saving" in log.read_text())
    launched.send_signal(signal.SIGINT)
    assert launched.wait(60) == 128 + signal.SIGINT
    (now,) = statuses(tmp_path).values()
    with pytest.raises(ProcessLookupError):
        os.kill(now["pid"], 0)


def test_the_list_of_a_dry_run_writes_nothing(tmp_path: Path) -> None:
    out = tmp_path / "out"
    line = ["launch.local", f"{FIT}:two", "--out", str(out), "--workers", "1", "--dry-run"]
    done = command.run(*line)
    assert [text.split()[1] for text in done.stdout.splitlines()] == ["seed=0", "seed=1"]
    assert not out.exists()
    wrong = command.run(*line, "--", "--stepz", "1")
    assert (wrong.returncode, "--steps INT" in wrong.stderr) == (2, True)


def arguments(**changes: object) -> Args:
    return Args("a.py:sweep", Path("out"), **changes)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("changes", "slots"),
    [
        ({}, [Slot((0,)), Slot((1,)), Slot((4,)), Slot((5,))]),
        ({"cores": 2}, [Slot((0, 1)), Slot((4, 5))]),
        ({"workers": 1, "cores": 3}, [Slot((0, 1, 4))]),
        ({"processes": 2}, [Slot((0, 1)), Slot((4, 5))]),
        ({"gpus": ("1", "0")}, [Slot((0, 1), "1"), Slot((4, 5), "0")]),
        ({"gpus": ("1",), "cores": 1}, [Slot((0,), "1")]),
    ],
)
def test_slots_share_the_cores(changes: dict, slots: list[Slot]) -> None:
    assert slots_of(arguments(**changes), [0, 1, 4, 5], ["0", "1"]) == slots


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"gpus": ("2",)}, "--gpus 2: this machine has 0, 1"),
        ({"gpus": ("1", "1")}, "names one twice"),
        ({"gpus": ("1",), "processes": 2}, "--processes 2: .* none with --gpus"),
        ({"processes": 0}, "--processes 0: give one above 0"),
        ({"processes": 5}, "0 workers of 5 cores"),
        ({"gpus": ("1",), "workers": 2}, "leave --workers out"),
        ({"workers": 5}, "5 workers of 1 cores on 4 cores"),
        ({"cores": 5}, "0 workers of 5 cores"),
    ],
)
def test_what_is_not_there_is_refused(changes: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        slots_of(arguments(**changes), [0, 1, 4, 5], ["0", "1"])


def test_each_run_sees_its_gpu(tmp_path: Path) -> None:
    prepare(plan(f"{FIT}:one"), tmp_path, "local")
    (folder,) = [path.parent for path in tmp_path.glob("*/config.json")]
    assert run.start(folder, gpu="3").wait() == 0
    assert json.loads((folder / "provenance.json").read_text())["gpus"] == "3"


def test_a_damaged_status_is_named(tmp_path: Path) -> None:
    (tmp_path / "status.json").write_text("{")
    refused("status.json is damaged", run.status, tmp_path, kind=InputError)


def test_workers_of_a_run_end_with_it(tmp_path: Path) -> None:
    """A run that is killed leaves processes of its own; the pool ends them."""
    module = tmp_path / "spawning_fit.py"
    text = Path(FIT).read_text()
    old = "    args.out.mkdir(exist_ok=True)\n"
    assert old in text
    spawn = old + "    child = __import__('subprocess').Popen(['sleep', '600'])\n"
    spawn += "    (args.out / 'child').write_text(str(child.pid))\n"
    module.write_text(text.replace(old, spawn))
    line = ["launch.local", f"{module}:one", "--out", str(tmp_path / "out"), "--workers", "1"]
    assert command.run(*line, "--", "--end", "killed").returncode == 1
    (written,) = tmp_path.glob("out/*/out/child")
    shown = subprocess.run(["ps", "-o", "stat=", "-p", written.read_text()], capture_output=True)
    assert shown.stdout.strip()[:1] in (b"", b"Z")


def test_a_full_disk_fails_its_run_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    sweep = plan(f"{FIT}:two")
    prepare(sweep, tmp_path, "local")
    full, well = (tmp_path / planned.id for planned in sweep.runs)
    write = run.write_json

    def write_json(path: Path, content: object) -> None:
        if path.parent == full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        write(path, content)

    monkeypatch.setattr(run, "write_json", write_json)
    with locked(tmp_path) as lock:
        assert pool(sweep.runs, tmp_path, [Slot(())], lock) == 0
    named = f"{full.name} seed=0: cannot begin: [Errno 28] No space left on device: "
    assert named in capsys.readouterr().err
    assert [run.status(folder)["state"] for folder in (full, well)] == ["waiting", "done"]
    ended = run.finish(full, 1, stopped=False)
    assert ended["state"] == "failed"
    assert f"{full / 'status.json'} is not written (No space left on device)" in ended["reason"]
