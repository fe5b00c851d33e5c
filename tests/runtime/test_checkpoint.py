"""Checkpoints: whole or not there, and never another's."""

import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests.helpers.disk import room
from worldmodel.runtime import checkpoint
from worldmodel.runtime.checkpoint import CheckpointError

PARAMETERS = {"link1.mass": jnp.arange(3.0), "gravity_tilt": jnp.zeros(2)}
TREE = {"u": PARAMETERS, "adam": optax.adam(0.1).init(PARAMETERS), "step": jnp.zeros((), int)}
METADATA = {
    "scene": "elbow",
    "settings": {
        "fit": {"seed": 0, "rates": (0.1, 0.2)},
        "free": [{"kind": "mass", "element": "door"}],
        "data": "a" * 200,
        "horizon": None,
    },
}


def test_what_goes_in_comes_out(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, 3, TREE, METADATA)
    tree, metadata = checkpoint.restore(tmp_path, TREE, expected=METADATA)
    assert type(tree["adam"][0]) is type(TREE["adam"][0])
    np.testing.assert_array_equal(tree["u"]["link1.mass"], [0, 1, 2])
    assert metadata["step"] == 3
    assert checkpoint.latest(tmp_path) == 3


def test_a_shared_run_needs_no_orbax(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where several processes save, each in a folder of its own; one alone reads it."""
    with monkeypatch.context() as shared:
        shared.setattr(jax, "process_count", lambda: 2)
        folder = checkpoint.save(tmp_path, 3, TREE, METADATA)
    assert not (folder / "tree").exists()
    tree, _ = checkpoint.restore(tmp_path, TREE, expected=METADATA)
    np.testing.assert_array_equal(tree["u"]["link1.mass"], [0, 1, 2])
    assert tree["step"].dtype == TREE["step"].dtype
    (folder / "tree.npz").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"tree\.npz is damaged"):
        checkpoint.restore(tmp_path, TREE)


def test_the_newest_are_kept(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        checkpoint.save(tmp_path, step, {"x": jnp.full(2, step)}, METADATA)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step_00000002", "step_00000003"]
    checkpoint.save(tmp_path, 3, {"x": jnp.full(2, 9)}, METADATA)  # the same step again
    assert checkpoint.restore(tmp_path, {"x": jnp.zeros(2, int)})[0]["x"].tolist() == [9, 9]


def test_a_checkpoint_can_be_committed_and_moved(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "a", 1, PARAMETERS, METADATA)
    for file in (tmp_path / "a").rglob("*"):
        if file.is_file():  # git keeps files, not folders
            target = tmp_path / "b" / file.relative_to(tmp_path / "a")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, target)
    shutil.rmtree(tmp_path / "a")
    tree, _ = checkpoint.restore(tmp_path / "b", PARAMETERS)
    assert tree["link1.mass"].tolist() == [0, 1, 2]
    texts = [f.read_bytes() for f in (tmp_path / "b").rglob("*") if f.is_file()]
    assert not any(str(tmp_path).encode() in text for text in texts)
    size = sum(f.stat().st_size for f in (tmp_path / "b").rglob("*") if f.is_file())
    assert size < 20_000


@pytest.mark.parametrize(
    ("arguments", "like", "message"),
    [
        ({"expected": {"scene": "cube"}}, TREE, 'scene was "elbow" and is "cube".*--out'),
        ({}, TREE | {"u": {"link1.mass": jnp.zeros(4)}}, r"leaf u/gravity_tilt.*missing here"),
        ({}, TREE | {"step": jnp.zeros((), "int32")}, r"leaf step is int64\[\] there and int32"),
    ],
)
def test_anothers_checkpoint_is_refused(
    tmp_path: Path, arguments: dict, like: dict, message: str
) -> None:
    checkpoint.save(tmp_path, 3, TREE, METADATA)
    with pytest.raises(CheckpointError, match=message):
        checkpoint.restore(tmp_path, like, **arguments)


def test_settings_that_differ_are_named_one_by_one(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, 3, TREE, METADATA)
    fit = {"seed": 5, "rates": [0.1, 0.2]}  # a list in JSON, as the tuple is
    free = [{"element": "door", "kind": "mass"}]
    other = {"fit": fit, "free": free, "data": "b" * 200, "windows": 3}
    with pytest.raises(CheckpointError) as refused:
        checkpoint.restore(tmp_path, TREE, expected={"scene": "elbow", "settings": other})
    message = str(refused.value)
    assert "settings.fit.seed was 0 and is 5;" in message
    assert "settings.windows was null and is 3;" in message
    assert f'settings.data was "{"a" * 56}… and is' in message
    assert not [name for name in ("rates", "scene", "free", "horizon") if name in message]


def test_absent_and_damaged_steps_are_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no checkpoint in"):
        checkpoint.restore(tmp_path, TREE)
    checkpoint.save(tmp_path, 1, TREE, METADATA)
    folder = checkpoint.save(tmp_path, 2, TREE, METADATA)
    payload = max((f for f in (folder / "tree").rglob("*") if f.is_file()), key=os.path.getsize)
    whole = payload.read_bytes()
    payload.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match=r"is damaged; delete that step \(step 1 is whole\)"):
        checkpoint.restore(tmp_path, TREE)
    payload.unlink()
    with pytest.raises(CheckpointError, match="is missing"):
        checkpoint.restore(tmp_path, TREE)
    (folder / "metadata.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"metadata\.json"):
        checkpoint.restore(tmp_path, TREE)
    shutil.rmtree(folder)  # as the message says
    assert checkpoint.restore(tmp_path, TREE)[1]["step"] == 1


def test_a_full_disk_leaves_the_former_step_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint.save(tmp_path, 1, TREE, METADATA)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        checkpoint.save(tmp_path, 2, TREE, METADATA)
    assert [p.name for p in tmp_path.iterdir()] == ["step_00000001"]
    checkpoint.restore(tmp_path, TREE)


def test_a_file_that_orbax_cannot_write_is_an_error_of_the_system(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, 1, TREE, METADATA)
    with room(2000), pytest.raises(OSError, match="File too large") as failed:
        checkpoint.save(tmp_path, 2, {"x": jnp.arange(90_000.0)}, METADATA)
    assert failed.value.errno == errno.EFBIG and str(tmp_path) in str(failed.value.filename)
    assert [p.name for p in tmp_path.iterdir()] == ["step_00000001"]
    checkpoint.save(tmp_path, 2, TREE, METADATA)


SAVER = """
import sys
import jax.numpy as jnp
from worldmodel.runtime import checkpoint
step = checkpoint.latest(sys.argv[1]) or 0
print("ready", flush=True)
while True:
    step += 1
    checkpoint.save(sys.argv[1], step, {"x": jnp.full(1000, step)}, {"scene": "s"})
    checkpoint.save(sys.argv[1], step, {"x": jnp.full(1000, step)}, {"scene": "s"})  # replaced
"""


def test_a_kill_at_any_moment_leaves_a_complete_step(tmp_path: Path) -> None:
    seen = 0
    for attempt in range(4):
        process = subprocess.Popen(
            [sys.executable, "-c", SAVER, str(tmp_path)], stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        process.stdout.readline()
        until = time.monotonic() + 60
        while (checkpoint.latest(tmp_path) or 0) <= seen and time.monotonic() < until:
            time.sleep(0.01)
        time.sleep(0.1 + 0.113 * attempt)
        process.send_signal(signal.SIGKILL)
        process.wait()
        step = checkpoint.latest(tmp_path)
        assert step is not None and step > seen
        tree, metadata = checkpoint.restore(tmp_path, {"x": jnp.zeros(1000, "int32")})
        assert set(np.asarray(tree["x"]).tolist()) == {step} == {metadata["step"]}
        seen = step


def test_a_step_that_was_being_replaced_still_counts(tmp_path: Path) -> None:
    folder = checkpoint.save(tmp_path, 5, TREE, METADATA)
    folder.rename(tmp_path / ".step_00000005.former")  # killed between the two renames
    assert checkpoint.latest(tmp_path) == 5
    checkpoint.restore(tmp_path, TREE)
    checkpoint.save(tmp_path, 6, TREE, METADATA)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step_00000005", "step_00000006"]
