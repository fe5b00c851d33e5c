"""Numbers of a command line that count something."""

from worldmodel.errors import InputError


def check_counts(**counts: int | None) -> None:
    """Refuses a number of episodes, steps and the like below 1; None is not given.

    Raises:
      InputError: such a number, by the name of its option.
    """
    for name, value in counts.items():
        if value is not None and value < 1:
            raise InputError(f"--{name.replace('_', '-')} {value}: at least 1")
