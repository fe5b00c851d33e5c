"""Captured episodes are never lost; versions know their parents; the loop closes, small."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from experiments.slide.study import study as slide, precompile as slide_ahead
from worldmodel.reality import capture
from worldmodel import loop, runtime
from worldmodel.model import WorldModel
from worldmodel.episodes import lerobot
from worldmodel.finetune.adam import FitConfig
from worldmodel.tasks.slide import task
from worldmodel.reality import HiddenPhysics, Measurement, RobotError, SimulatedRobot
from worldmodel.runtime import Interrupted

ROOT = Path(__file__).parent.parent
HIDDEN = slide.draw_hidden(slide.PILOT_SEED)


@dataclasses.dataclass
class Counting:
    """A robot that counts the episodes it plays and can fail in the middle of one."""

    robot: SimulatedRobot
    fails_at: tuple[int, int] | None = None  # episode, frame
    how: str = "nan"
    played: int = 0
    frame: int = 0

    def __post_init__(self) -> None:
        self.control_hz, self.nq, self.nu = self.robot.control_hz, self.robot.nq, self.robot.nu

    def reset(self, qpos: np.ndarray) -> Measurement:
        self.played += 1
        self.frame = 0
        return self.robot.reset(qpos)

    def step(self, ctrl: np.ndarray) -> Measurement:
        self.frame += 1
        measured = self.robot.step(ctrl)
        if self.fails_at == (self.played - 1, self.frame):
            if self.how == "silent":
                raise TimeoutError("no answer for 1 s")
            return Measurement(np.full(self.nq, np.nan), measured.contact)
        return measured


def contexts_and_strokes(count: int) -> tuple[task.Contexts, np.ndarray]:
    contexts = task.draw_contexts(count, np.random.default_rng(0))
    return contexts, np.stack([np.full(count, 1.5), contexts.direction], axis=1)


def test_captured_episodes_are_not_played_again(tmp_path: Path) -> None:
    contexts, strokes = contexts_and_strokes(3)
    robot = Counting(slide.robot(HIDDEN))
    first = capture.capture(tmp_path, robot, contexts, strokes)
    assert robot.played == 3
    again = capture.capture(tmp_path, robot, contexts, strokes)
    assert robot.played == 3
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a.episode.qpos, b.episode.qpos)
        np.testing.assert_array_equal(a.contact, b.contact)
    assert first[0].contact.any()  # the finger struck the puck
    assert first[0].episode.qpos.shape == (task.FRAMES + 1, 6)


@pytest.mark.parametrize("how", ["nan", "silent"])
def test_a_robot_that_fails_loses_nothing(tmp_path: Path, how: str) -> None:
    contexts, strokes = contexts_and_strokes(3)
    robot = Counting(slide.robot(HIDDEN), fails_at=(1, 30), how=how)
    with pytest.raises(RobotError, match="episode 1"):
        capture.capture(tmp_path, robot, contexts, strokes)
    assert (tmp_path / "00000.npz").is_file()
    with np.load(tmp_path / "00001.failed.npz") as partial:
        assert partial["qpos"].shape == (30, 6) and np.isfinite(partial["qpos"]).all()
    robot.fails_at = None
    assert len(capture.capture(tmp_path, robot, contexts, strokes)) == 3
    assert robot.played == 4  # one whole, one failed, the failed one again, the last


def test_another_context_or_a_damaged_file_is_refused(tmp_path: Path) -> None:
    contexts, strokes = contexts_and_strokes(2)
    robot = Counting(slide.robot(HIDDEN))
    capture.capture(tmp_path, robot, contexts, strokes)
    with pytest.raises(capture.CaptureError, match="another context"):
        capture.capture(tmp_path, robot, contexts, strokes + 0.1)
    whole = (tmp_path / "00001.npz").read_bytes()
    (tmp_path / "00001.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(capture.CaptureError, match=r"00001\.npz is damaged"):
        capture.capture(tmp_path, robot, contexts, strokes)
    assert robot.played == 2


def test_a_signal_stops_between_episodes(tmp_path: Path) -> None:
    contexts, strokes = contexts_and_strokes(3)
    robot = Counting(slide.robot(HIDDEN))
    with pytest.raises(Interrupted):
        capture.capture(tmp_path, robot, contexts, strokes, stop=lambda: robot.played >= 2)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["00000.npz", "00001.npz"]


def test_a_full_disk_leaves_no_half_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    capture.write_whole(tmp_path / "a", b"first")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        capture.write_whole(tmp_path / "a", b"second")
    assert [p.name for p in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_bytes() == b"first"


def test_episodes_come_back_from_a_data_set(tmp_path: Path) -> None:
    contexts, strokes = contexts_and_strokes(3)
    captured = capture.capture(tmp_path / "raw", slide.robot(HIDDEN), contexts, strokes)
    made = capture.data_set(captured, {"seed": 0}, intervention=True)
    lerobot.write(tmp_path / "set", made)
    asked, played = capture.read_examples(tmp_path / "set")
    np.testing.assert_array_equal(asked, contexts.table)
    np.testing.assert_array_equal(played, strokes)
    back = lerobot.read(tmp_path / "set")
    np.testing.assert_array_equal(back.episodes[1]["sim.qpos"], captured[1].episode.qpos)
    assert back.episodes[1]["next.done"].sum() == 1 and back.episodes[1]["next.done"][-1]
    miss = task.distance_to_target(contexts, captured[1].episode.qpos[-1:, task.PUCK])[1]
    assert back.episodes[1]["next.reward"][-1] == pytest.approx(-miss, rel=1e-6)


def test_versions_remember_and_miss_their_parents(tmp_path: Path) -> None:
    world = WorldModel(slide.scene(), slide.FREE)
    version = loop.first_version(tmp_path, world)
    again = loop.first_version(tmp_path, world)
    assert again.name == "v0" and again.corrections == 0 and again.parent is None
    lost = dataclasses.replace(version, name="lost")
    contexts, strokes = contexts_and_strokes(2)
    captured = capture.capture(tmp_path / "raw", slide.robot(HIDDEN), contexts, strokes)
    with pytest.raises(loop.LoopError, match="lost, which is not in"):
        loop.finetune(
            tmp_path,
            lost,
            "next",
            "physics",
            captured,
            FitConfig(),
            held_out=0,
            spent=2,
            record=lambda row: None,
            stop=lambda: False,
        )
    with pytest.raises(loop.LoopError, match="no corrections"):
        loop.corrections([])


def test_hidden_physics_follows_its_prior() -> None:
    drawn = [slide.draw_hidden(s) for s in range(40)]
    friction = np.array([h.friction for h in drawn])
    assert (np.abs(np.abs(np.log(friction)) - 0.2) < 0.1).all()
    assert (friction[1::2] > 1).all() and (friction[::2] < 1).all()
    assert all(slide.draw_hidden(s) == drawn[s] for s in slide.HIDDEN_SEEDS)
    assert slide.PILOT_SEED not in slide.HIDDEN_SEEDS
    assert HiddenPhysics().friction_at(1.0, 2.0, 3.0) == 1.0


CACHE = runtime.cache_directory() / "loop"  # of its own: other tests compile at the same time


def programs() -> set[str]:
    return {p.name for p in (CACHE / "programs").iterdir() if p.suffix != ".tmp"}


def run_smoke(out: Path) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "experiments.slide.close_the_loop", "--out", str(out), "--smoke"],
        cwd=ROOT,
        env=os.environ | {"JAX_COMPILATION_CACHE_DIR": str(CACHE)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_the_loop_closes_small_after_being_stopped(tmp_path: Path) -> None:
    """The main job at its smallest, stopped once by SIGTERM and once killed on the way; all it
    needs of MJX was compiled ahead."""
    done = subprocess.run(
        [sys.executable, "-m", "experiments.slide.precompile", "--smoke"],
        cwd=ROOT,
        env=os.environ | {"JAX_COMPILATION_CACHE_DIR": str(CACHE)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert done.returncode == 0 and tuple(done.stdout.splitlines()) == slide_ahead.PROGRAMS
    compiled = programs()
    assert len(compiled) >= 6  # a simulator, a prediction and a gradient for each of two kinds

    out = tmp_path / "loop"
    for until, how in (("real/00020.npz", signal.SIGKILL), ("versions/v1", signal.SIGTERM)):
        job = run_smoke(out)
        while not (out / until).exists() and job.poll() is None:
            time.sleep(0.2)
        job.send_signal(how)
        job.communicate()
        assert job.returncode in (-signal.SIGKILL, 128 + signal.SIGTERM)
    captured = {p: p.stat().st_mtime_ns for p in (out / "corrections" / "v0").iterdir()}
    assert captured
    job = run_smoke(out)
    stdout, stderr = job.communicate()
    assert job.returncode == 0, stderr[-2000:]
    assert {p: p.stat().st_mtime_ns for p in captured} == captured  # not played again

    line = json.loads(stdout)
    assert set(line["alpha"]) == {"v0", "v1", "v2", "v1-hybrid", "v2-physics", "v*"}
    results = json.loads((out / "results.json").read_text())
    assert results["smoke"] and results["reality"] == "held-out simulation"
    corrections = {v["name"]: v.get("corrections") for v in results["versions"]}
    assert corrections["v0"] == 0 and corrections["v1"] == 2 and corrections["v2"] == 4
    assert (out / "report.html").stat().st_size > 10_000
    assert (out / "cells.md").read_text()
    assert programs() == compiled
    for name in ("real", "corrections_v0", "synthetic_v2"):
        assert lerobot.read(out / "data" / name).episodes
    with pytest.raises(lerobot.DatasetError):
        lerobot.write(out / "data" / "real", lerobot.read(out / "data" / "real"))
