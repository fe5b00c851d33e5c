"""``worldmodel check TASK``: whether a task keeps its contract. Seconds; nothing is played."""

from pathlib import Path

from worldmodel.commands import named
from worldmodel.commands.findings import MEND, OK, Finding
from worldmodel.errors import InputError
from worldmodel.physics import parameters as physical
from worldmodel.tasks.check import CHECKS


def is_task(reference: Path) -> bool:
    """Whether the command line names a task, and not a file."""
    return ":" in str(reference) and not reference.exists()


def check_task(reference: str) -> tuple[Finding, ...]:
    """A finding for every part of the contract, and for the parameters that may be fitted.

    Raises:
      InputError: no such task.
    """
    task = named.task(reference)
    findings = []
    for part, check in CHECKS.items():
        try:
            findings.append(Finding(OK, part, check(task)))
        except InputError as error:
            findings.append(Finding(MEND, part, str(error)))
            break  # the parts after it rely on it
    try:
        physical.check(task.scene, task.free)
        free = ", ".join(f.name for f in task.free) or "none: a loop can fit a network alone"
        findings.append(Finding(OK, "free parameters", free))
    except InputError as error:
        findings.append(Finding(MEND, "free parameters", str(error)))
    return tuple(findings)
