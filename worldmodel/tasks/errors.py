"""How a task is refused."""

from worldmodel.errors import InputError


class TaskError(InputError):
    """A task whose parts do not fit together, or an episode that is not one of its own."""
