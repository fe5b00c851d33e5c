"""The step on scenes of other projects: values, gradients, sizes and times, a row for each.

Question: is the step of a scene that a stranger brings the one of ``mjx.step``, and its gradient
          right?
Command:  python -m experiments.gradients.public --scenes FOLDER
          --out experiments/results/gradients/public
Runtime:  about two minutes a scene on 2 cores, most of it compiling; --quick: ten
Expected: values equal ``mjx.step``'s to rounding on every scene that loads; gradients within 1e-6
          of central differences of ``mjx.step`` wherever those agree with each other, with the
          solver as shipped and converged; what cannot run is refused by name

FOLDER holds clones of the projects as owner/name (``public_scenes`` lists them); scenes that are
not there are rows that say how to get them. Each scene is measured in a process of its own, so
that a crash, too much memory or too much time is a row with its reason. OUT gets
table.json after every scene and table.md, generated from it. Rows of the same commit, options and
MJCF are kept, so the same command goes on where it was stopped.
"""

import dataclasses
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import tyro

from experiments.gradients.public_report import markdown, summary_of
from experiments.gradients.public_scenes import (
    QUICK,
    QUICK_FOLDER,
    SCENES,
    PublicScene,
    commit_of,
)
from worldmodel import runtime
from worldmodel.errors import InputError
from worldmodel.runtime import files

Row = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Args:
    """Command line."""

    out: Path
    scenes: Path | None = None  # folder of the clones, as owner/name
    quick: bool = False  # this project's own scenes in their manner instead
    only: tuple[str, ...] = ()  # parts of the names of the scenes that are measured; all
    limit_s: float = 900.0  # of one scene
    memory_gb: float = 12.0  # of one scene
    batch: int = 0  # states at once that are timed too; 0: none
    seed: int = 0
    workers: int = 1  # scenes at once; each is timed alone


def chosen(args: Args) -> tuple[list[PublicScene], Path]:
    """The scenes of the command, and their folder.

    Raises:
      InputError: neither or both of --scenes and --quick; no such folder; none of those names.
    """
    if args.quick == (args.scenes is not None):
        raise InputError("give --scenes FOLDER, or --quick for this project's own scenes")
    folder = QUICK_FOLDER if args.scenes is None else args.scenes
    if not folder.is_dir():
        raise InputError(f"no folder {folder}; clone the projects into it, as owner/name")
    listed = QUICK if args.quick else SCENES
    scenes = [s for s in listed if not args.only or any(part in s.name for part in args.only)]
    if not scenes:
        raise InputError(f"no scene's name contains {' or '.join(args.only)}")
    return scenes, folder


def measured(public: PublicScene, folder: Path, args: Args, lock: str = "") -> Row:
    """The row of one scene, from a process of its own.

    Args:
      lock: a file; processes that share it do not time while another computes. Empty: none.
    """
    command = [sys.executable, "-m", "experiments.gradients.public_row"]
    command += ["--scene", public.name, "--scenes", str(folder), "--seed", str(args.seed)]
    command += ["--batch", str(args.batch), "--memory-gb", str(args.memory_gb)]
    turn = [os.open(lock, os.O_RDWR)] if lock else []
    command += [option for fd in turn for option in ("--turn", str(fd))]
    pipe, began = subprocess.PIPE, time.monotonic()
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, pass_fds=turn) as process:
        for fd in turn:
            os.close(fd)  # only the process holds it now: the lock ends with the process
        try:
            stdout, stderr = process.communicate(timeout=args.limit_s)
            stopped = ""
        except subprocess.TimeoutExpired:
            process.kill()
            stdout, stderr = process.communicate()
            stopped = f"no end within {args.limit_s:g} s"
        except BaseException:
            process.kill()
            raise
    row: Row = {}
    for line in stdout.splitlines():
        if line.startswith("{"):
            row |= json.loads(line)
    row["wall_s"] = time.monotonic() - began
    if "outcome" not in row:
        row |= {"outcome": "stopped", "reason": stopped or reason(process.returncode, stderr)}
        row["during"] = stage(stderr)
    return row


def reason(status: int, stderr: str) -> str:
    """Why a process failed, in a line."""
    lines = [line for line in stderr.splitlines() if line.strip()]
    last = lines[-1] if lines else "no message"
    if "RESOURCE_EXHAUSTED" in stderr or "bad_alloc" in stderr or "MemoryError" in stderr:
        return f"out of memory: {last}"
    return f"killed by signal {-status}" if status < 0 else last


def stage(stderr: str) -> str:
    """What a process that did not end was compiling or computing."""
    known = ("compiling ", "compiled ", "timing", "central differences")
    stages = [line for line in stderr.splitlines() if line.startswith(known)]
    return stages[-1].split(" …")[0] if stages else "loading"


def main(args: Args) -> int:
    """Measures the scenes that have no row; prints one JSON line at the end."""
    scenes, folder = chosen(args)
    args.out.mkdir(parents=True, exist_ok=True)
    path = args.out / "table.json"
    provenance: Row = {**runtime.provenance(), "x64": True}  # of the processes that measure
    options = {"seed": args.seed, "batch": args.batch, "limit_s": args.limit_s}
    options |= {"memory_gb": args.memory_gb}
    kept = json.loads(path.read_text()) if path.is_file() else {"rows": {}}
    same = kept.get("provenance", provenance)
    if any(same[key] != provenance[key] for key in ("versions", "cpu", "devices")) or not (
        set(kept["rows"]) <= {public.name for public in scenes}
    ):
        raise InputError(
            f"{path} has rows of another machine, other versions or other scenes; remove it to "
            "measure all again, or choose another --out"
        )
    rows: dict[str, Row] = dict(kept["rows"])
    command = f"python -m experiments.gradients.public --out {args.out} "
    command += "--quick" if args.quick else "--scenes FOLDER"
    command += f" --only {' '.join(args.only)}" if args.only else ""
    command += f" --workers {args.workers}"
    command += "".join(f" --{k.replace('_', '-')} {v:g}" for k, v in options.items())
    result: Row = {"command": command, "provenance": provenance}
    todo: list[PublicScene] = []
    for public in scenes:
        if text := public.absent(folder):
            runtime.log(text)
            rows[public.name] = {"outcome": "absent", "reason": _anywhere(text, folder)}
            continue
        digest = hashlib.sha256((folder / public.name).read_bytes()).hexdigest()[:16]
        origin = {"commit": provenance["commit"], "mjcf": digest, "options": options}
        origin["from"] = [commit_of(folder, name) for name in public.repositories]
        clean = not provenance["commit"].endswith("-dirty")
        row = rows.get(public.name, {})
        if not (clean and all(row.get(key) == value for key, value in origin.items())):
            rows[public.name] = origin
            todo.append(public)

    def work(public: PublicScene) -> tuple[PublicScene, Row]:
        row = measured(public, folder, args, lock.name if args.workers > 1 else "")
        return public, row | {"reason": _anywhere(row.get("reason", ""), folder)}

    with tempfile.NamedTemporaryFile() as lock, ThreadPoolExecutor(args.workers) as pool:
        running = [pool.submit(work, public) for public in todo]
        try:
            for count, finished in enumerate(as_completed(running), 1):
                public, row = finished.result()
                rows[public.name] |= row
                ending = f"{row['outcome']} {row['reason']} ({row['wall_s']:.0f} s)"
                runtime.log(f"{count}/{len(todo)} {public.name}: {ending}")
                ended = {name: kept for name, kept in rows.items() if "outcome" in kept}
                files.write_json(path, result | {"rows": ended})
        finally:  # an interruption does not start the others
            pool.shutdown(wait=False, cancel_futures=True)
    result["rows"] = {public.name: rows[public.name] for public in scenes}
    files.write_json(path, result)
    files.write_text(args.out / "table.md", markdown(result))
    print(json.dumps(summary_of(result["rows"]) | {"out": str(args.out)}))
    return 0


def _anywhere(text: str, folder: Path) -> str:
    """A message without the folder of whoever ran the command."""
    return text.replace(str(folder.resolve()), "FOLDER").replace(str(folder), "FOLDER")


if __name__ == "__main__":
    sys.exit(runtime.run(main, tyro.cli(Args, description=__doc__)))
