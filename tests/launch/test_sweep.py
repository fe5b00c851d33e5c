"""Sweeps: what is planned, what is refused before anything is written, and what a folder holds."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from launch.sweep import plan, prepare
from tests.helpers.refusal import refused
from worldmodel.errors import InputError

THROW = "docs/examples/sweep/throw.py:sweep"
ROOT = Path(__file__).resolve().parents[2]

MODULE = """
import dataclasses
from pathlib import Path

@dataclasses.dataclass(frozen=True)
class Fit:
    steps: int = 5
    fast: bool = False

@dataclasses.dataclass(frozen=True)
class Args:
    out: Path
    rate: float = 0.1
    sizes: tuple[int, ...] = (1,)
    note: str | None = None
    fit: Fit = dataclasses.field(default_factory=Fit)

def main(args: Args) -> int:
    return 0

def sweep(add):
    {body}
"""


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest):
    """Writes a module with a sweep of this body; gives its reference."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    count = iter(range(100))

    def write(body: str, text: str = MODULE) -> str:
        name = f"{request.node.originalname}_{next(count)}"
        path = tmp_path / f"{name}.py"
        path.write_text(text.replace("{body}", body))
        request.addfinalizer(lambda: sys.modules.pop(name, None))
        return f"{path}:sweep"

    return write


def test_every_run_has_its_resolved_config() -> None:
    runs = plan(str(ROOT / THROW)).runs
    assert [run.name for run in runs[:2]] == [
        "learning_rate=0.1 seed=0",
        "learning_rate=0.1 seed=1",
    ]
    assert runs[4].config == {"learning_rate": 0.3, "steps": 200, "seed": 1}
    assert len({run.id for run in runs}) == 6


def test_a_module_of_a_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert plan("tests.helpers.slow_fit:sweep").entry.config.__name__ == "Args"


def test_an_experiment_is_swept_from_outside(written) -> None:
    text = "from experiments.coverage.measure import main\n\ndef sweep(add):\n    {body}\n"
    (run,) = plan(written("add(seed=3)", text), ("--tables", "40")).runs
    assert run.config == {"tables": 40, "pools": 1000, "seed": 3, "workers": 2}


def test_ids_follow_from_values_alone(written) -> None:
    references = written("add(rate=1)"), written("add(rate=1.0, note=None)")
    one, same = (plan(reference) for reference in references)
    assert one.runs[0].config == same.runs[0].config
    again = plan(one.entry.reference)
    assert again.runs == one.runs
    other = plan(one.entry.reference, ("--fit.steps", "6"))
    assert other.runs[0].id != one.runs[0].id


def test_nested_values_and_every_type(written) -> None:
    body = "add(rate=-2e-3, sizes=(3, -4), note='-a b', fit={'fast': True, 'steps': 7})"
    (run,) = plan(written(body)).runs
    assert run.config == {
        "rate": -2e-3,
        "sizes": [3, -4],
        "note": "-a b",
        "fit": "Fit",
        "fit.steps": 7,
        "fit.fast": True,
    }


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("add(rat=1.0)", "rat.*Perhaps you meant: --rate FLOAT"),
        ("add(fit={'stesp': 1})", "fit.stesp.*--fit.steps INT"),
        ("add(rate='fast')", "could not convert string to float: 'fast'"),
        ("add(fit={'steps': 1.5})", "fit.steps.*'1.5'"),
        ("add(rate=lambda: 1)", r"add\(rate=…\) got a function"),
        ("add(rate=1); add(rate=1.0)", "'rate=1' and 'rate=1.0' have the same config"),
        ("pass", "adds no run"),
        ("1 / 0", "ZeroDivisionError"),
    ],
)
def test_bad_values_are_refused(written, body: str, message: str) -> None:
    refused(message, plan, written(body), kind=InputError)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("(frozen=True)\nclass Args", "\nclass Args", "Args .* is not frozen"),
        ("    out: Path\n", "", "has no field out"),
        ("def main(args: Args)", "def main()", r"no main\(config: Args\)"),
        ("def sweep", "def sweeps", "has no 'sweep'; did you mean sweeps"),
        ("def sweep(add)", "sweep = 3\ndef other(add)", "is no function"),
    ],
)
def test_a_module_that_cannot_be_swept_is_named(written, old: str, new: str, message: str) -> None:
    assert old in MODULE
    reference = written("add()", MODULE.replace(old, new))
    refused(message, plan, reference, kind=InputError)


def test_a_misspelt_override_writes_nothing(tmp_path: Path) -> None:
    refused("--step", plan, str(ROOT / THROW), ("--stepz", "3"), kind=InputError)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_belongs_to_one_sweep(written, tmp_path: Path) -> None:
    one, out = written("add(rate=1)"), tmp_path / "out"
    prepare(plan(one), out, "local")
    (folder,) = [path.parent for path in out.glob("*/config.json")]
    described = json.loads((folder / "config.json").read_text())
    assert described["config"]["rate"] == 1.0 and described["id"] == folder.name
    before = (folder / "config.json").stat()
    prepare(plan(one), out, "local")
    assert (folder / "config.json").stat() == before
    refused(
        "other settings.*sweep was", prepare, plan(written("add()")), out, "local", kind=InputError
    )
    other = plan(one, ("--fit.steps", "6"))
    refused("overrides was", prepare, other, out, "local", kind=InputError)
    refused("on was .local. and is .slurm.", prepare, plan(one), out, "slurm", kind=InputError)


def test_a_folder_of_another_commit_is_refused(written, tmp_path: Path) -> None:
    reference = written("add()")
    file = Path(reference.rpartition(":")[0])

    def git(*arguments: str) -> None:
        identity = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
        subprocess.run(["git", *identity, *arguments], cwd=tmp_path, check=True)

    git("init", "-q")
    git("add", file.name)
    git("commit", "-q", "-m", "first")
    first = plan(reference)
    assert "-dirty" not in first.source.commit.split()[-1]
    out = tmp_path / "out"
    prepare(first, out, "local")
    file.write_text(file.read_text() + "\n# changed\n")
    changed = plan(reference)
    assert "+# changed" in changed.source.diff
    assert changed.runs[0].id != first.runs[0].id
    refused("commit was .* and is .*-dirty", prepare, changed, out, "local", kind=InputError)
    (tmp_path / "neighbour.py").write_text("x = 1\n")
    assert plan(reference).source.commit != changed.source.commit  # not tracked, and seen
    git("commit", "-q", "-am", "second")
    assert plan(reference).source.commit.split()[-1] != first.source.commit.split()[-1]
