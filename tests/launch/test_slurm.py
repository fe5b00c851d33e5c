"""Sweeps on Slurm: the batch file and a job's checkpoint here; a real Slurm in the slow test."""

import concurrent.futures
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from experiments.papers.result import paper
from launch import run, selftest, slurm_box
from launch.collect import collect
from launch.slurm import Args, Job, parameters
from launch.sweep import plan, prepare
from tests.helpers import command, slow_fit
from tests.helpers.refusal import refused
from worldmodel.errors import InputError
from worldmodel.runtime.source import git

FIT = str(command.ROOT / "tests" / "helpers" / "slow_fit.py")


def until(condition: Callable[[], object], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


def test_the_batch_file_asks_for_what_was_given(tmp_path: Path) -> None:
    out = tmp_path / "out"
    line = ["launch.slurm", f"{FIT}:sweep", "--out", str(out), "--minutes", "30", "--dry-run"]
    line += ["--parallel", "2", "--gpus", "1", "--cores", "4", "--memory", "8G"]
    done = command.run(*line, "--partition", "gpu", "--account", "lab")
    assert done.returncode == 0, done.stderr
    for option in (
        *("array=0-2%2", "time=30", "gpus-per-node=1", "cpus-per-task=4", "mem=8G"),
        *("partition=gpu", "account=lab", "signal=USR2@90", "job-name=slow_fit"),
    ):
        assert f"#SBATCH --{option}\n" in done.stdout
    assert "submitit.core._submit" in done.stdout
    assert not out.exists()


def test_what_is_not_asked_for_is_left_to_the_cluster() -> None:
    sweep = plan(f"{FIT}:one")
    asked = parameters(Args("a.py:sweep", Path("out"), 5), sweep)
    absent = {"partition", "account", "gpus_per_node", "nodes", "additional_parameters"}
    assert absent & set(asked) == set()
    shared = parameters(Args("a.py:sweep", Path("out"), 5, nodes=2, gpus=8), sweep)
    assert (shared["nodes"], shared["ntasks_per_node"], shared["gpus_per_node"]) == (2, 1, 8)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--minutes", "0"], "--minutes 0: at least 1"),
        (["--minutes", "1"], "--save-seconds is no less than the time limit"),
        (["--minutes", "10", "--", "--stepz", "1"], "--steps INT"),
    ],
)
def test_bad_options_are_named(tmp_path: Path, options: list[str], message: str) -> None:
    done = command.run("launch.slurm", f"{FIT}:sweep", "--out", str(tmp_path / "out"), *options)
    assert (done.returncode, message in done.stderr) == (2, True), done.stderr
    assert list(tmp_path.iterdir()) == []


def test_without_slurm_the_remedy_is_named(tmp_path: Path) -> None:
    line = ["launch.slurm", f"{FIT}:one", "--out", str(tmp_path / "out"), "--minutes", "9"]
    done = command.run(*line, PATH=str(tmp_path))
    assert (done.returncode, "no sbatch here" in done.stderr) == (2, True)


def test_the_self_test_names_the_packages_that_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    out = tmp_path / "out"
    message = "a Slurm needs .*slurm-client.*; install Debian's packages"
    refused(message, selftest.main, selftest.Args(out), kind=InputError)
    assert not out.exists()


def test_a_run_that_slurm_ends_has_not_failed(tmp_path: Path) -> None:
    """It is stopped, since Slurm may send SIGTERM to every process before submitit's signal."""
    prepare(plan(f"{FIT}:long"), tmp_path, "slurm")
    (folder,) = [path.parent for path in tmp_path.glob("*/config.json")]
    count = folder / "out" / "count"
    with concurrent.futures.ThreadPoolExecutor() as pool:
        ending = pool.submit(Job(folder, 0.0))
        until(count.exists, 60)
        os.kill(run.status(folder)["pid"], signal.SIGTERM)
        with pytest.raises(RuntimeError, match="stopped"):
            ending.result()
    assert run.status(folder)["state"] == "stopped"
    assert Job(folder, 0.0)() == "done"
    assert last(folder) == undisturbed(tmp_path, 40)
    assert Job(folder, 0.0)() == "done" and run.status(folder)["attempt"] == 2  # not once more


@pytest.mark.parametrize("stuck", [False, True])
def test_a_checkpoint_saves_and_its_job_goes_on(tmp_path: Path, stuck: bool) -> None:
    """Also of a run that does not stop in time: it goes on from what it has written."""
    prepare(plan(f"{FIT}:long"), tmp_path, "slurm")
    (folder,) = [path.parent for path in tmp_path.glob("*/config.json")]
    job = Job(folder, 0.0 if stuck else 90.0)
    job.process = run.start(folder)
    until((folder / "out" / "count").exists, 60)
    again = job.checkpoint()
    assert run.status(folder)["state"] == "stopped"
    assert again.function() == "done"
    assert last(folder) == undisturbed(tmp_path, 40)
    assert run.status(folder)["attempt"] == 2
    assert "begins at 0" not in (folder / "log.txt").read_text().split("\n", 1)[1]


def test_a_failed_run_fails_its_job(tmp_path: Path) -> None:
    prepare(plan(f"{FIT}:one", ("--end", "raises")), tmp_path, "slurm")
    (path,) = tmp_path.glob("*/config.json")
    with pytest.raises(RuntimeError, match="the fit diverged"):
        Job(path.parent, 90.0)()


def last(folder: Path) -> tuple[int, float]:
    """Count and value, as its last attempt printed them."""
    end = json.loads((folder / "stdout.txt").read_text().splitlines()[-1])
    return end["count"], end["value"]


def undisturbed(folder: Path, steps: int) -> tuple[int, float]:
    """Count and value of a run in this process."""
    slow_fit.main(slow_fit.Args(folder / f"undisturbed{steps}", steps), lambda: False)
    count, value = (folder / f"undisturbed{steps}" / "count").read_text().split()
    return int(count), float(value)


@pytest.mark.slow
@pytest.mark.skipif(bool(slurm_box.absent()), reason=f"it needs {slurm_box.absent()}")
def test_a_real_slurm_disturbs_fits_and_all_end_alike(tmp_path: Path) -> None:
    """Five minutes; the checkpoint tests above are its quick substitute."""
    out = tmp_path / "selftest"
    done = command.run("launch.selftest", "--out", str(out))
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["fits"], report["most_at_once"], report["differ"]) == (8, 2, [])
    assert min(report["attempts"][:4]) >= 2
    long, preempted = list(json.loads((out / "runs" / "settings.json").read_text())["runs"])[:2]
    for folder in (long, preempted):
        assert "\nstopped at " in (out / "runs" / folder / "log.txt").read_text()


@contextlib.contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[None]:
    """A file system of this size."""
    folder.mkdir()
    options = ["-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs"]
    subprocess.run(["mount", *options, str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.slow
@pytest.mark.skipif(bool(slurm_box.absent()), reason=f"it needs {slurm_box.absent()}")
def test_a_real_slurm_names_what_is_wrong(tmp_path: Path) -> None:
    """Partitions and GPUs that are not there, a full disk, nodes with other versions; the other
    runs go on. Two minutes."""
    out = tmp_path / "out"
    line = ["launch.slurm", f"{FIT}:bad", "--out", str(out), "--minutes", "9", "--parallel", "1"]
    (tmp_path / "box").mkdir()
    with small_disk(out, 100), slurm_box.cluster(tmp_path / "box") as where:
        for options, message in (
            (["--partition", "mian"], "invalid partition"),
            (["--gpus", "1"], "Invalid generic resource"),
            (["--memory", "900G"], "Memory specification can not be satisfied"),
        ):
            refusal = command.run(*line, *options, **where)
            assert (refusal.returncode, message in refusal.stderr) == (2, True), refusal.stderr
        filling, other, well = (
            out / k for k in json.loads((out / "settings.json").read_text())["runs"]
        )
        described = json.loads((other / "config.json").read_text())
        versions = described["versions"] | {"jax": "0.1.0"}
        (other / "config.json").write_text(json.dumps(described | {"versions": versions}))
        done = command.run(*line, **where)
        assert (done.returncode, json.loads(done.stdout)["submitted"]) == (0, 3), done.stderr
        folders = (filling, other, well)
        ended = ("done", "failed")
        until(lambda: all(run.status(folder)["state"] in ended for folder in folders), 300)
        states = [run.status(folder) for folder in folders]
        assert [now["state"] for now in states] == ["failed", "failed", "done"]
        assert "No space left on device" in states[0]["reason"]
        assert str(filling / "out" / "large") in states[0]["reason"]
        assert ", not 0.1.0 as at the launch" in states[1]["reason"]
        assert [path.name for path in (filling / "out").iterdir()] == ["count"]


@pytest.mark.slow
@pytest.mark.skipif(bool(slurm_box.absent()), reason=f"it needs {slurm_box.absent()}")
def test_slurm_and_this_machine_give_one_table(tmp_path: Path) -> None:
    throw = str(command.ROOT / "docs" / "examples" / "sweep" / "throw.py:sweep")
    slurm, local = tmp_path / "slurm", tmp_path / "local"
    done = command.run("launch.local", throw, "--out", str(local), "--workers", "1")
    assert done.returncode == 0, done.stderr
    (tmp_path / "box").mkdir()
    with slurm_box.cluster(tmp_path / "box") as where:
        line = ["launch.slurm", throw, "--out", str(slurm), "--minutes", "9", "--parallel", "2"]
        done = command.run(*line, **where)
        assert json.loads(done.stdout)["submitted"] == 6, done.stderr
        until(lambda: not collect(slurm)[1], 180)
    rows, _ = collect(slurm)
    assert (len(rows), rows) == (6, collect(local)[0])


@pytest.mark.slow
@pytest.mark.skipif(bool(slurm_box.absent()), reason=f"it needs {slurm_box.absent()}")
def test_a_paper_comes_back_from_slurm(tmp_path: Path) -> None:
    """Of a copy of the repository in which one range does not hold and one result has no rows. A
    minute; test_alpha_comes_out_again_from_committed_rows is its quick substitute."""
    copy, out = tmp_path / "copy", tmp_path / "out"
    subprocess.run(["git", "clone", "--quiet", str(command.ROOT), str(copy)], check=True)
    edits = git(command.ROOT, "diff", "HEAD", "--binary")
    subprocess.run(["git", "apply", "--allow-empty"], cwd=copy, input=edits.encode(), check=True)
    alpha = copy / "experiments" / "papers" / "alpha.toml"
    alpha.write_text(alpha.read_text().replace("low = 0.63, high = 1.63", "low = 0.1, high = 0.2"))
    (copy / "experiments" / "results" / "tosses_alpha" / "cube_toss" / "rows.csv").write_text("")
    line = [sys.executable, "-m", "experiments.papers", "alpha", "--quick"]
    line += ["--slurm", "main", "--minutes", "9", "--out", str(out)]
    (tmp_path / "box").mkdir()
    with slurm_box.cluster(tmp_path / "box") as where:
        environment = command.environment() | where | {"PYTHONPATH": str(copy)}

        def remake() -> subprocess.CompletedProcess:
            return subprocess.run(line, capture_output=True, text=True, cwd=copy, env=environment)

        first = remake()
        names = [r.name for r in paper("alpha").planned(quick=True)]
        nothing = {"numbers": 0, "outside": [], "without": names}
        assert (first.returncode, json.loads(first.stdout)) == (1, nothing), first.stderr
        assert f'"submitted": {len(names)}' in first.stderr
        until(lambda: not slurm_box.slurm(where, "squeue", "-h"), 300)
        again = remake()
    assert again.returncode == 1
    *cells, last = again.stdout.splitlines()
    assert [cell for cell in cells if not cell.endswith(": ok")] == [
        "slide/hidden23: v1 alpha_avg: committed 1.06, range [0.1, 0.2], now 1.06: out of range"
    ]
    assert json.loads(last) == {
        "numbers": len(cells),
        "outside": ["slide/hidden23: v1 alpha_avg"],
        "without": ["tosses_alpha/cube_toss"],
    }
    assert '"submitted": 0' in again.stderr
    assert "paper=alpha result=tosses_alpha/cube_toss quick=True: failed: " in again.stderr


@pytest.mark.slow
@pytest.mark.skipif(bool(slurm_box.absent()), reason=f"it needs {slurm_box.absent()}")
def test_two_nodes_share_a_run(tmp_path: Path) -> None:
    """One process on each, which JAX joins as Slurm has them; the first alone writes."""
    out = tmp_path / "out"
    line = ["launch.slurm", f"{FIT}:one", "--out", str(out), "--minutes", "9", "--nodes", "2"]
    (tmp_path / "box").mkdir()
    with slurm_box.cluster(tmp_path / "box") as where:
        done = command.run(*line, **where, JAX_COORDINATOR_ADDRESS="127.0.0.1:45999")
        assert json.loads(done.stdout)["submitted"] == 1, done.stderr
        (folder,) = [path.parent for path in out.glob("*/config.json")]
        until(lambda: run.status(folder)["state"] == "done", 300)
    assert last(folder) == undisturbed(tmp_path, 3)
    for name in ("log.txt", "log1.txt"):
        assert "begins at 0" in (folder / name).read_text()
