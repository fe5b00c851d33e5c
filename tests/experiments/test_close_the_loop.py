"""The main job closes the loop, small, though it is stopped and killed on the way."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from experiments.slide.reality import slide_task
from worldmodel import runtime
from worldmodel.episodes import lerobot
from worldmodel.tasks import data_set

ROOT = Path(__file__).resolve().parents[2]
CACHE = runtime.cache_directory() / "loop"  # of its own: other tests compile at the same time


def start(out: Path) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "experiments.slide.close_the_loop", "--smoke", "--out", str(out)],
        cwd=ROOT,
        env=os.environ | {"JAX_COMPILATION_CACHE_DIR": str(CACHE)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_the_loop_closes_small_after_being_stopped(tmp_path: Path) -> None:
    """The main job at its smallest, killed once and stopped once by SIGTERM on the way."""
    out = tmp_path / "loop"
    for until, how in (
        ("corrections/v0/00000.npz", signal.SIGKILL),
        ("versions/v1", signal.SIGTERM),
    ):
        job = start(out)
        while not (out / until).exists() and job.poll() is None:
            time.sleep(0.2)
        job.send_signal(how)
        job.communicate()
        assert job.returncode in (-signal.SIGKILL, 128 + signal.SIGTERM)
    captured = {p: p.stat().st_mtime_ns for p in (out / "corrections" / "v0").iterdir()}
    assert captured
    job = start(out)
    stdout, stderr = job.communicate()
    assert job.returncode == 0, stderr[-2000:]
    assert {p: p.stat().st_mtime_ns for p in captured} == captured  # not played again

    line = json.loads(stdout)
    assert set(line["alpha"]) == {"v0", "v1", "v*"}
    results = json.loads((out / "table.json").read_text())
    assert results["config"]["smoke"]
    corrections = {v["name"]: v.get("corrections") for v in results["versions"]}
    assert corrections["v0"] == 0 and corrections["v1"] == 2
    kinds = {v["name"]: v["kind"] for v in results["versions"]}
    assert kinds == {"v0": "physics", "v1": "physics"}
    assert (out / "report.html").stat().st_size > 10_000
    assert "SMOKE" in (out / "table.md").read_text()
    cells = [(r["version"], r["n"], r["m"]) for r in results["rows"] if r["n"] is not None]
    assert cells == [(version, 4, 8) for version in ("v0", "v1", "v*")]
    missed = {v["name"]: v["prediction_m"] for v in results["versions"]}
    assert missed["v0"] > 0.05 and np.isfinite(missed["v1"])  # friction is otherwise
    for name in ("real", "corrections_v0", "synthetic_v1"):
        episodes = data_set.read(out / "data" / name, slide_task())
        sources = {"real": "real", "corrections_v0": "real", "synthetic_v1": "v1"}
        assert episodes and {e.source for e in episodes} == {sources[name]}
        assert all(e.goal and e.action is not None for e in episodes)
    with pytest.raises(lerobot.DatasetError):
        lerobot.write(out / "data" / "real", lerobot.read(out / "data" / "real"))
