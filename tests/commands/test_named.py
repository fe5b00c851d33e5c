"""Which errors of a run are put down to a breach of its task's contract."""

import re
from pathlib import Path

import pytest

from tests.helpers.small_tasks import Reach
from worldmodel.commands import named
from worldmodel.commands.check import check
from worldmodel.errors import InputError
from worldmodel.runtime import Interrupted
from worldmodel.tasks.errors import TaskError
from worldmodel.types import Episode


class Careless(Reach):
    """Its contract is broken."""

    def error(self, episode: Episode) -> float:
        return 1.0 / 0.0


@pytest.mark.parametrize("error", [Interrupted("stopped"), InputError("bad"), OSError("full")])
def test_a_stop_and_named_errors_are_what_they_are(error: Exception) -> None:
    with pytest.raises(type(error), match=str(error)), named.contract(Careless()):
        raise error


def test_an_unforeseen_error_names_the_breach() -> None:
    task = Careless()
    with pytest.raises(TaskError, match="raises ZeroDivisionError"), named.contract(task):
        task.error(None)  # pyright: ignore[reportArgumentType]
    with pytest.raises(RuntimeError, match="unrelated"), named.contract(Reach()):
        raise RuntimeError("unrelated")


TASK = """import numpy as np
from tests.helpers.small_tasks import Reach

class Mistyped(Reach):
    def observe(self, measured, goal):
        return goal["targt"] - measured.joints
"""


SOUND = """from tests.helpers.small_tasks import Reach

class Named(Reach):
    observed = {observed}
"""


def test_a_mistake_in_a_users_file_is_named_by_its_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "mistyped.py"
    file.write_text(TASK)
    assert check(Path(f"{file}:Mistyped")) == 1
    named_line = r"MEND  observe .*'observe' raises KeyError: 'targt' \(.*mistyped.py, line 6\)"
    assert re.search(named_line, capsys.readouterr().out)

    for observed, message in (
        ('(("x", "m"),)', "names 1 numbers of an observation in 'observed' and observes"),
        ('("x", "y", "z")', r"'observed' holds what is no pair; give \(name, unit\)"),
    ):
        file = tmp_path / f"observed{len(observed)}.py"
        file.write_text(SOUND.format(observed=observed))
        assert check(Path(f"{file}:Named")) == 1
        assert re.search(f"MEND  observed .*{message}", capsys.readouterr().out)

    file = tmp_path / "unknown.py"
    file.write_text("horizon = 3\nhorizn + 1\n")
    with pytest.raises(InputError, match=r"NameError: .*'horizn'.* \(.*unknown.py, line 2\)"):
        named.task(f"{file}:task")
