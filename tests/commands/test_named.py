"""Which errors of a run are put down to a breach of its task's contract."""

import pytest

from tests.helpers.small_tasks import Reach
from worldmodel.commands import named
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
