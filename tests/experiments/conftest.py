"""What the tests of the recordings' programs share."""

import pytest

from experiments.recordings.problems import PENDULUM
from tests.helpers.recorded import simulate


@pytest.fixture(scope="session")
def pendulum(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder with a simulated double_pendulum.npz, for WORLDMODEL_DATA: the pendulum has no
    contacts, so it compiles soonest."""
    folder = tmp_path_factory.mktemp("recordings")
    simulate(PENDULUM, episodes=80, seed=0, out=folder / "double_pendulum.npz")
    return str(folder)
