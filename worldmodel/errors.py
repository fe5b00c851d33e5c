"""The error of the whole package for bad input, and the ends of its messages; needs no JAX."""

import difflib
import sysconfig
import traceback
from collections.abc import Iterable
from pathlib import Path


class InputError(ValueError):
    """Bad input from outside; the message names the thing and the remedy."""


def near(wanted: str, known: Iterable[str]) -> str:
    """The remedy for a name that is not there: names like it, or what there is."""
    known = list(known)
    ends = [name for name in known if name.split(".")[-1] == wanted or name.endswith(f".{wanted}")]
    close = ends or difflib.get_close_matches(wanted, known, 3, 0.7)
    if close:
        return f"did you mean {', '.join(close)}?"
    shown = ", ".join(known[:12]) + (f" and {len(known) - 12} more" if len(known) > 12 else "")
    return f"it has {shown or 'none'}"


def cause(error: Exception) -> str:
    """Why a file or text could not be read or written, in one line without number and path."""
    system = getattr(error, "strerror", None)
    return system or str(error).partition("\n")[0] or type(error).__name__


def where(error: Exception) -> str:
    """The innermost line of a user's own code that raised, as "task.py, line 12"; "" where none is
    hers: files of this package, of installed ones and of Python are not."""
    others = {Path(__file__).parent, Path(sysconfig.get_path("stdlib"))}
    own = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not others & {*Path(frame.filename).parents}
        and not {"site-packages", "dist-packages"} & {*Path(frame.filename).parts}
        and not frame.filename.startswith("<")
    ]
    return f"{own[-1].filename}, line {own[-1].lineno}" if own else ""
