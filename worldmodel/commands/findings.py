"""What a check says: one line each, with a level and the remedy."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

OK, NOTE, MEND = "ok", "note", "MEND"


@dataclasses.dataclass(frozen=True)
class Finding:
    """One line of a check."""

    level: str  # ok; note: worth a look; MEND: a fit would be wrong
    subject: str
    text: str

    def __str__(self) -> str:
        return f"{self.level:4}  {self.subject:24} {self.text}"


@dataclasses.dataclass(frozen=True)
class Five:
    """A channel in five numbers."""

    channel: str
    unit: str
    numbers: tuple[float, float, float, float, float]  # minimum, quartiles, maximum
    frames: int  # with a value

    def __str__(self) -> str:
        shown = "  ".join(f"{x:>10.4g}" for x in self.numbers)
        return f"{self.channel:32}{self.unit:>8}  {shown}  {self.frames:>8}"


HEADER = f"{'channel':32}{'unit':>8}  " + "  ".join(
    f"{name:>10}" for name in ("min", "25 %", "median", "75 %", "max")
)
HEADER += f"  {'frames':>8}"


def five(channel: str, unit: str, values: Any) -> Five:
    """The five numbers of the finite values; NaN where there is none."""
    values = np.asarray(values, float).ravel()
    values = values[np.isfinite(values)]
    quartiles = np.quantile(values, np.linspace(0, 1, 5)) if len(values) else np.full(5, np.nan)
    a, b, c, d, e = (float(x) for x in quartiles)
    return Five(channel, unit, (a, b, c, d, e), len(values))


def exit_status(findings: Sequence[Finding]) -> int:
    """1 where something must be mended."""
    return int(any(finding.level == MEND for finding in findings))
