"""Batches on one device, and on eight virtual ones: the same numbers."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.helpers import batched_work, command
from worldmodel.errors import InputError
from worldmodel.runtime import devices

EIGHT = "--xla_force_host_platform_device_count=8"


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8])
def test_batches_of_any_size_give_every_row_once(size: int) -> None:
    calls = []

    def run(fixed: float, x: dict[str, Any], y: Any) -> dict[str, Any]:
        calls.append(len(y))
        return {"sum": x["a"] + y, "twice": fixed * y}

    a, y = np.arange(5.0), np.arange(5.0) ** 2
    out = devices.in_batches(run, size, 2.0, {"a": a}, y)
    np.testing.assert_array_equal(out["sum"], a + y)
    np.testing.assert_array_equal(out["twice"], 2 * y)
    assert set(calls) == {size}  # one shape, so one compilation
    assert isinstance(out["sum"], np.ndarray)
    with pytest.raises(InputError, match="there is no row"):
        devices.in_batches(run, size, 2.0, {"a": a[:0]}, y[:0])


@pytest.mark.parametrize("size", [1, 2, 5])
def test_every_member_gets_rows_of_its_own(size: int) -> None:
    def run(member: dict[str, Any], x: Any) -> dict[str, Any]:
        return {"sum": member["a"] + x}

    each = [{"a": np.float64(k)} for k in (10, 20, 30)]
    x = np.arange(15.0).reshape(3, 5)
    out = devices.over_members(run, size, each, x)
    np.testing.assert_array_equal(out["sum"], x + np.array([[10.0], [20.0], [30.0]]))
    with pytest.raises(InputError, match="there is no row"):
        devices.over_members(run, size, each, x[:, :0])


def on_eight(args: batched_work.Args) -> dict[str, Any]:
    """``batched_work`` in a process with eight virtual devices: the line that it prints."""
    whole = ["--whole"] if args.whole else []
    line = ["tests.helpers.batched_work", "--out", str(args.out), *whole]
    done = command.run(*line, XLA_FLAGS=EIGHT)
    assert done.returncode == 0, done.stderr
    assert "8 devices (cpu)" in done.stderr
    return json.loads(done.stdout)


def same(folder: Path, expected: dict[str, np.ndarray]) -> None:
    """``work.npz`` of a folder holds what is expected, to float tolerance."""
    with np.load(folder / "work.npz") as computed:
        assert computed.files == list(expected)
        for name, value in expected.items():
            np.testing.assert_allclose(computed[name], value, rtol=1e-9, atol=1e-12, err_msg=name)


def test_episodes_on_eight_devices_are_those_of_one(tmp_path: Path) -> None:
    """With batches of many sizes and members of ensembles, and an eighth of the memory on each."""
    eight = on_eight(batched_work.Args(tmp_path))
    assert eight["devices"] == 8
    same(tmp_path, batched_work.work(batched_work.Args(tmp_path / "one")))
    assert eight["members_per_device"] == [1, 1, 3]  # of two, four and three
    assert eight["temporary_bytes"] < 0.2 * batched_work.temporary_bytes()


@pytest.mark.slow  # quick: test_episodes_on_eight_devices_are_those_of_one
def test_fits_on_eight_devices_are_those_of_one(tmp_path: Path) -> None:
    """Least squares' derivatives, and Adam through a network, which goes on after a stop."""
    on_eight(batched_work.Args(tmp_path / "eight", whole=True))
    same(tmp_path / "eight", batched_work.work(batched_work.Args(tmp_path / "one", whole=True)))
