"""Signals, status codes and provenance."""

import errno
import hashlib
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from worldmodel import runtime
from worldmodel.errors import InputError


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_a_flag_and_handlers_come_back(number: signal.Signals) -> None:
    former = signal.getsignal(number)
    with runtime.Interrupt() as interrupt:
        assert not interrupt.requested
        os.kill(os.getpid(), number)
        assert interrupt.requested
        assert interrupt.exit_status == 128 + number
    assert signal.getsignal(number) is former


def test_a_second_ctrl_c_stops_at_once() -> None:
    with pytest.raises(KeyboardInterrupt), runtime.Interrupt():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)


def test_work_that_saves_nothing_stops_at_the_first_ctrl_c() -> None:
    with runtime.Interrupt() as interrupt:
        with pytest.raises(KeyboardInterrupt), runtime.at_once():
            signal.raise_signal(signal.SIGINT)
        assert not interrupt.requested
        signal.raise_signal(signal.SIGINT)
        assert interrupt.requested  # the flag is back


def test_a_signal_in_compiled_code_is_acknowledged(capsys: pytest.CaptureFixture) -> None:
    rounds, compiled = 1, 0.0
    while compiled < 0.1:  # until a round is long enough to be timed
        rounds, began = 4 * rounds, time.monotonic()
        hashlib.pbkdf2_hmac("sha256", b"", b"", rounds)
        compiled = time.monotonic() - began
    with runtime.Interrupt() as interrupt:
        for seconds in (0.1, 0.3):  # Python runs the handler once for both
            threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGTERM)).start()
        hashlib.pbkdf2_hmac("sha256", b"", b"", int(rounds * 4.0 / compiled))  # no handler runs
        assert interrupt.requested
        time.sleep(2.5)  # the second was handled with the first
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("SIGTERM: takes effect when the compiled program")
    assert lines[1].startswith("SIGTERM: saving after this step") and len(lines) == 2


FORKED = """
import os, signal, time
from worldmodel.runtime.signals import PATIENCE, Interrupt
with Interrupt() as interrupt:
    ready, begun = os.pipe()
    if not (child := os.fork()):
        os.write(begun, b".")
        time.sleep(60)
        os._exit(0)
    os.read(ready, 1)
    os.kill(child, signal.SIGTERM)
    print(os.WTERMSIG(os.waitpid(child, 0)[1]), interrupt.requested)
    time.sleep(PATIENCE + 0.5)
    if not os.fork():
        raise SystemExit  # through the block that it was forked in
    os.wait()
    os.kill(os.getpid(), signal.SIGTERM)
    print(interrupt.requested)
"""


def test_a_forked_childs_signals_are_its_own() -> None:
    """It ends by SIGTERM, and the parent has seen none."""
    done = subprocess.run([sys.executable, "-c", FORKED], capture_output=True, text=True)
    assert done.stdout.split() == [str(int(signal.SIGTERM)), "False", "True"]
    assert done.stderr.splitlines() == ["SIGTERM: saving after this step; again to stop at once"]


def test_bad_input_and_a_full_disk_are_one_line(capsys: pytest.CaptureFixture) -> None:
    def full(_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device", "fit.json")

    def bad(_: object) -> int:
        raise InputError("no such thing; do this")

    unwritten = "fit.json cannot be read or written (No space left on device); free some space"
    for main, text in ((full, unwritten), (bad, "no such thing; do this")):
        assert runtime.run(main, None) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("error: ") and text in err and err.count("\n") == 1

    def stopped(_: object) -> int:
        raise KeyboardInterrupt

    assert runtime.run(stopped, None) == 130
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("stopped by Ctrl-C") and err.count("\n") == 1

    def broken(_: object) -> int:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):  # a bug keeps its traceback
        runtime.run(broken, None)


def test_a_reader_that_has_enough_is_no_fault() -> None:
    lines = "lambda _: [print(i, flush=True) for i in range(9999)] and 0"
    code = f"import sys; from worldmodel.runtime import run; sys.exit(run({lines}, None))"
    done = subprocess.run(
        ["bash", "-c", f'{sys.executable} -c "{code}" | head -1; exit ${{PIPESTATUS[0]}}'],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (141, "0\n", "")


def test_provenance_names_commit_versions_and_hardware() -> None:
    row = runtime.provenance()
    assert set(row["versions"]) == {"python", *runtime.VERSIONED}
    assert row["commit"] and row["cpu"] and row["devices"] and row["x64"] is True


def test_flags_that_are_given_win(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XLA_FLAGS", "--xla_backend_optimization_level=3")
    runtime.configure()
    first, *others = os.environ["XLA_FLAGS"].split()
    assert first == "--xla_backend_optimization_level=3"
    assert not any("optimization_level" in flag for flag in others)


def test_cache_directory_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "/somewhere")
    assert str(runtime.cache_directory()) == "/somewhere"
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    assert str(runtime.cache_directory()) == "/cache/worldmodel/jax"
