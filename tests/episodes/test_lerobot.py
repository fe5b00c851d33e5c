"""LeRobot sets as we write them: read back equal, spelled as the format wants, whole or refused."""

import dataclasses
import errno
import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.helpers.lerobot_sets import (
    DATA,
    EPISODES,
    FEATURES,
    FILES,
    OWN,
    STATISTICS,
    example,
    same,
)
from worldmodel.episodes import lerobot, lerobot_statistics
from worldmodel.episodes.lerobot import Dataset, DatasetError, Feature, read, stream, write

QUICK = settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "set", example())
    return tmp_path / "set"


@st.composite
def datasets(draw: st.DrawFn) -> Dataset:
    names = st.text("abz.é_ %", min_size=1, max_size=9)
    features, text = {}, st.text(st.characters(exclude_categories=["Cs"]), max_size=9)
    for name in draw(st.sets(names, min_size=1, max_size=4)):
        shape = (draw(st.integers(1, 4)),)
        labels = st.none() | st.lists(text, min_size=shape[0], max_size=shape[0]).map(tuple)
        dtype = draw(st.sampled_from(["float32", "float64", "int64", "bool", "uint8", "float16"]))
        features[name] = Feature(dtype, shape, draw(labels))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    episodes = []
    for frames in draw(st.lists(st.integers(1, 9), min_size=1, max_size=4)):
        episode = {}
        for name, feature in features.items():
            raw = rng.integers(-(2**63), 2**63, size=(frames, *feature.shape), dtype=np.int64)
            values = raw / 2.0**49 if feature.dtype.startswith("float") else raw
            values = values[:, 0] if feature.shape == (1,) else values
            episode[name] = values.astype(feature.dtype)
        episodes.append(episode)
    tasks: list[str | tuple[str, ...]] = [draw(text) for _ in episodes]
    fps = draw(st.integers(1, 1000))
    return Dataset(fps, draw(text) or "arm", features, episodes, tasks, {"t": draw(text)})


@QUICK
@given(dataset=datasets())
def test_what_is_written_is_read(dataset: Dataset, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "set", ignore_errors=True)
    write(tmp_path / "set", dataset)
    same(dataset, read(tmp_path / "set"))


def test_layout_and_names_are_the_format_s(folder: Path) -> None:
    dataset = example()
    files = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    assert files == set(FILES)
    info = json.loads((folder / "meta/info.json").read_text())
    features = info.pop("features")
    assert info == {
        "codebase_version": "v3.0",
        "robot_type": "arm",
        "total_episodes": 3,
        "total_frames": 12,
        "total_tasks": 2,
        "chunks_size": 1000,
        "data_files_size_in_mb": 100,
        "video_files_size_in_mb": 200,
        "fps": 30,
        "splits": {"train": "0:3"},
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "video_path": None,
    }
    assert list(features) == [*FEATURES, *OWN]
    first = {"dtype": "float32", "shape": [3], "names": ["x", "y", "θ"]}
    assert features["observation.state"] == first
    assert features["timestamp"] == {"dtype": "float32", "shape": [1], "names": None}
    table = pq.read_table(folder / DATA)
    types = {field.name: str(field.type).split("[")[-1] for field in table.schema}
    assert table.schema.field("action").type == pa.list_(pa.float64(), 2)
    assert types["next.done"] == "bool" and types["timestamp"] == "float"
    assert {types[name] for name in OWN[1:]} == {"int64"}
    assert table["index"].to_pylist() == list(range(12))
    assert table["task_index"].to_pylist() == [0] * 4 + [1] + [0] * 7
    tasks = pq.read_table(folder / "meta/tasks.parquet")
    assert tasks.to_pydict() == {"task_index": [0, 1], "task": ["push the cübe", "push"]}
    assert json.loads(tasks.schema.metadata[b"pandas"])["index_columns"] == ["task"]
    rows = pq.read_table(folder / EPISODES)
    columns = {"episode_index", "tasks", "length", "dataset_from_index", "dataset_to_index"}
    columns |= {
        f"{of}/{what}_index" for of in ("data", "meta/episodes") for what in ("chunk", "file")
    }
    columns |= {f"stats/{name}/{what}" for name in features for what in STATISTICS}
    assert set(rows.column_names) == columns
    assert rows["tasks"].to_pylist() == [[task] for task in dataset.tasks]
    stats = json.loads((folder / "meta/stats.json").read_text())
    whole = np.concatenate([episode["action"] for episode in dataset.episodes])
    for statistics, values in (
        (stats["action"], whole),
        (
            {w: rows[f"stats/action/{w}"][2].as_py() for w in STATISTICS},
            dataset.episodes[2]["action"],
        ),
    ):
        assert set(statistics) == STATISTICS and statistics["count"] == [len(values)]
        np.testing.assert_allclose(statistics["mean"], values.mean(axis=0))
        np.testing.assert_allclose(statistics["std"], values.std(axis=0))
        np.testing.assert_array_equal(statistics["max"], values.max(axis=0))
        np.testing.assert_allclose(statistics["q90"], np.quantile(values, 0.9, axis=0))
    assert stats["next.done"]["min"] in ([True], [False]) and stats["index"]["max"] == [11]


def test_a_set_larger_than_one_file_comes_in_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Episodes from an iterator, read whole and row group by row group; nothing is lost."""
    monkeypatch.setattr(lerobot, "_GROUP", 4)
    monkeypatch.setattr(lerobot, "_FILE_MB", 0.01)
    monkeypatch.setattr(lerobot_statistics, "SAMPLE", 200)
    lengths = tuple(1 + 7 * n % 40 for n in range(30))
    whole = example(lengths)
    rows = iter(zip(whole.episodes, whole.tasks, strict=True))
    write(tmp_path / "set", dataclasses.replace(whole, episodes=[], tasks=[]), rows)
    files = sorted((tmp_path / "set" / "data").rglob("*.parquet"))
    assert len(files) > 3 and files[-1].name == f"file-{len(files) - 1:03d}.parquet"
    same(whole, read(tmp_path / "set"))
    parts = [*stream(tmp_path / "set")]
    assert [n for part in parts for n in part.ids] == [*range(30)]
    assert len(parts) == 8 and max(len(part.episodes) for part in parts) == 4
    several = [(e, t) for part in parts for e, t in zip(part.episodes, part.tasks, strict=True)]
    episodes, tasks = (list(x) for x in zip(*several, strict=True))
    same(whole, dataclasses.replace(parts[0], episodes=episodes, tasks=tasks, ids=tuple(range(30))))
    rows = pq.read_table(tmp_path / "set" / EPISODES).to_pylist()
    assert [row["length"] for row in rows] == [*lengths]
    for row in rows:
        place = f"data/chunk-000/file-{row['data/file_index']:03d}.parquet"
        inside = pq.read_table(tmp_path / "set" / place)["index"].to_pylist()
        assert {row["dataset_from_index"], row["dataset_to_index"] - 1} <= {*inside}
    values = np.concatenate([episode["action"] for episode in whole.episodes])
    stats = json.loads((tmp_path / "set" / "meta/stats.json").read_text())["action"]
    assert stats["count"] == [len(values)] and len(values) > 400
    np.testing.assert_allclose(stats["mean"], values.mean(0))
    np.testing.assert_allclose(stats["std"], values.std(0))
    np.testing.assert_array_equal([stats["min"], stats["max"]], [values.min(0), values.max(0)])
    np.testing.assert_allclose(stats["q50"], np.median(values, axis=0), atol=0.3 * values.std())
    files[1].unlink()
    with pytest.raises(DatasetError, match="counts others; copy it"):
        list(stream(tmp_path / "set"))


def with_value(name: str, value: Any, episode: int = 1) -> dict[str, Any]:
    episodes = example().episodes
    episodes[episode][name] = value
    return {"episodes": episodes}


def with_feature(name: str, feature: Feature) -> dict[str, Any]:
    return {"features": FEATURES | {name: feature}}


NO_FRAMES = {name: values[:0] for name, values in example().episodes[0].items()}
BROKEN = example().episodes[2]["action"].copy()
BROKEN[5, 1] = np.inf


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        (with_feature("a/b", Feature("bool", (1,))), "'a/b'"),
        (with_feature("index", Feature("int64", (1,))), "'index'.*rename"),
        (with_feature("observation.image_x", Feature("int64", (1,))), "rename"),
        (with_feature("a", Feature("float128", (1,))), "'a' is of dtype float128"),
        (with_feature("a", Feature("video", (1,))), "'a' is of dtype video"),
        (with_feature("a", Feature("bool", (2, 2))), "flatten"),
        (with_feature("a", Feature("bool", (2,), ("x",))), "'a' has 1 names"),
        (with_feature("a", Feature("bool", (1,))), "episode 0 lacks feature 'a'"),
        (with_value("b", np.zeros(1)), "episode 1 has the undeclared feature 'b'"),
        (with_value("action", np.zeros((1, 3))), r"episode 1: feature 'action' has shape \(1, 3\)"),
        (with_value("action", np.zeros((2, 2))), r"episode 1: feature 'action' has shape \(2, 2\)"),
        (with_value("sim.step", np.zeros(1)), "'sim.step' is of type float64, not int64"),
        (with_value("action", BROKEN, 2), "episode 2: feature 'action' is infinite at frame 5"),
        (with_value("next.reward", np.full(1, 1e300)), "'next.reward' is infinite at frame 0"),
        (with_value("timestamp", np.full(1, 1.7e9)), "timestamp 1700000000.0 s is too large"),
        (with_value("task_index", np.array([1])), "episode 1 has 1 tasks; task_index names others"),
        ({"episodes": [], "tasks": []}, "at least one"),
        ({"episodes": [NO_FRAMES] * 3}, "one frame"),
        ({"tasks": ["push"]}, "1 tasks for 3 episodes"),
        ({"tasks": ["a", "b", "\ud800"]}, "surrogates not allowed; give text"),
        ({"provenance": {"a": np.zeros(1)}}, "ndarray is not JSON.* provenance of plain"),
        ({"tasks": ["a", "b", 3]}, "give text for tasks"),
        ({"provenance": {"a": float("nan")}}, "provenance"),
        ({"fps": 0}, "fps is 0"),
            ],
)  # fmt: skip
def test_refused_when_written(entries: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=message):
        write(tmp_path / "set", dataclasses.replace(example(), **entries))
    assert list(tmp_path.iterdir()) == []


def test_existing_folder_is_refused(folder: Path) -> None:
    with pytest.raises(DatasetError, match="there already; choose another folder or delete it"):
        write(folder, example(seed=1))
    same(example(), read(folder))


KILLED = """
import os, random, signal, sys, time
from pathlib import Path
from tests.helpers.lerobot_sets import example
from worldmodel.episodes.lerobot import write
random.seed(0)
for k in range(12):
    child = os.fork()
    for n in range(10**6) if not child else ():
        write(Path(sys.argv[1]) / f"{k}-{n}", example(seed=k))
    while not (Path(sys.argv[1]) / f"{k}-0").exists():
        time.sleep(0.001)
    time.sleep(0.1 * random.random())
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
"""


def test_killed_at_any_moment_leaves_whole_sets_only(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], cwd=root, check=True)
    stale = [path for path in tmp_path.iterdir() if path.name.startswith(".")]
    whole = [path for path in tmp_path.iterdir() if path not in stale]
    assert stale and len(whole) >= 12
    for path in whole:
        same(example(seed=int(path.name.split("-")[0])), read(path))
    for path in stale:
        name = path.name.split(".")[1]
        if not (tmp_path / name).exists():
            write(tmp_path / name, example())
            assert not [*tmp_path.glob(f".{name}.*")]


@pytest.mark.parametrize("what", ["fsync", "rename", "write"])
def test_failing_disk_leaves_nothing(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = {"fsync": os, "rename": Path, "write": pq.ParquetWriter}[what]
    name = "write_table" if what == "write" else what
    real, calls, failing = getattr(owner, name), 0, 0

    def fails(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == failing:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(*args, **kwargs)

    monkeypatch.setattr(owner, name, fails)
    while True:  # one call after the other fails, until none is left to fail
        calls, failing = 0, failing + 1
        try:
            write(tmp_path / "set", example())
        except DatasetError as error:
            assert "No space left" in str(error) and "free space" in str(error)
            assert list(tmp_path.iterdir()) == []
        else:
            break
    assert failing > {"fsync": 9, "rename": 1, "write": 3}[what]
    same(example(), read(tmp_path / "set"))


def test_files_that_cannot_grow(tmp_path: Path) -> None:
    former = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, former[1]))
    try:
        with pytest.raises(DatasetError, match="File too large; nothing was left"):
            write(tmp_path / "set", example())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, former)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("moment", range(1, 12))
def test_swept_by_another_writer(
    moment: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A writer whose folder is swept away under it fails; half a set never takes the place."""
    real, calls = os.fsync, 0

    def fsync(handle: int) -> None:
        nonlocal calls
        calls += 1
        if calls == moment:
            write(tmp_path / "set", example(seed=1))
        real(handle)

    (tmp_path / f".set.x.{'0' * 32}.writing").mkdir()  # of the set "set.x", which is not swept
    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(DatasetError, match=r"cannot write|meanwhile"):
        write(tmp_path / "set", example())
    same(example(seed=1), read(tmp_path / "set"))
    assert {p.name for p in tmp_path.iterdir()} == {"set", f".set.x.{'0' * 32}.writing"}
