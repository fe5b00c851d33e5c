"""``python -m worldmodel doctor``."""

import sys

import tyro

from worldmodel import doctor


def _doctor() -> int:
    """Says what this machine has, what is missing, and the remedy."""
    return doctor.main()


if __name__ == "__main__":
    sys.exit(tyro.extras.subcommand_cli_from_dict({"doctor": _doctor}, prog="worldmodel"))
