"""Double precision, the compilation cache, and the recordings, for every test."""

import os
from pathlib import Path

import pytest

from worldmodel import runtime

runtime.configure()


@pytest.fixture(scope="session")
def recordings() -> Path:
    """The real recordings' folder; without them a test skips, or fails where it must not."""
    given = os.environ.get("WORLDMODEL_DATA")
    if given and (Path(given) / "elbow_toss.npz").is_file():
        return Path(given)
    reason = "the real recordings are not here: set WORLDMODEL_DATA to their folder"
    if os.environ.get("WORLDMODEL_DATA_REQUIRED"):
        pytest.fail(reason)
    pytest.skip(reason)
