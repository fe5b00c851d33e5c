"""An assertion on refused input."""

from typing import Any

import pytest

from worldmodel.trust import TableError


def refused(message: str, call: Any, *args: Any, kind: type = TableError, **more: Any) -> None:
    """Asserts that a call raises this kind of error with a matching message."""
    with pytest.raises(kind, match=message):
        call(*args, **more)
