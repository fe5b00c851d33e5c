"""Settings of the fits by gradient descent."""

import dataclasses

from worldmodel.errors import InputError
from worldmodel.runtime.settings import check_settings

LENGTH = ("steps", "patience", "checkpoint_every")  # of ``FitConfig``: a fit can go on with others


class FitError(InputError):
    """A fit that cannot start or continue: nothing is scored, too many samples are not finite."""


class DivergedError(FitError):
    """A fit whose predictions are not finite, while others of the same episodes may be."""


@dataclasses.dataclass(frozen=True)
class FitConfig:
    """How a fit by Adam is run.

    A finished fit goes on with more ``steps`` or ``patience``: the rates and the curriculum of the
    steps to come are those of the longer fit, so the rate rises again (a warm restart), and the
    numbers are not those of a fit that was as long from the start. Every other setting belongs to
    the run; another value is refused by its name.

    Raises:
      InputError: a value that no fit can be run with; the message names the setting.
    """

    steps: int = 100  # Adam steps at most
    batch: int = 256  # windows per step
    learning_rate: float = 0.1  # in units of the prior's width; falls to a tenth (cosine)
    network_learning_rate: float = 1e-3  # of the weights; falls likewise
    train: str = "both"  # physics, network or both; the other stays as it starts
    curriculum: tuple[int, ...] = ()  # frames scored, in equal shares of the steps; (): all
    clip: float = 1.0  # largest norm of the weights' gradient
    start_noise: float = 0.0  # of a network's windows, in deviations of their starting velocities
    start_spread: float = 0.3  # standard deviation of the physical start around its origin
    prior_weight: float = 1e-3  # weight of ½‖u‖² in the loss
    huber: float = 0.3  # errors below this multiple of the start's count quadratically
    validate_every: int = 5  # steps
    patience: int = 10  # validations without improvement before stopping
    checkpoint_every: int = 10  # steps
    max_nonfinite: float = 0.1  # fraction of a batch that may be non-finite
    seed: int = 0

    def __post_init__(self) -> None:
        rates = ("learning_rate", "network_learning_rate")
        check_settings(
            self,
            counts=("steps", "batch", "validate_every", "patience", "checkpoint_every"),
            not_negative=(
                *("seed", "start_spread", "start_noise", "prior_weight", "max_nonfinite"),
                *rates,
            ),
            positive=("huber", "clip"),
        )
        if self.train not in ("physics", "network", "both"):
            raise InputError(f"train '{self.train}' is none of physics, network, both")
        if min(self.curriculum, default=1) < 1:
            raise InputError(f"curriculum {self.curriculum}: give at least 1 frame to each part")
