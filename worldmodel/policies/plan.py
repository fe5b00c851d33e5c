"""Who plans a task's episodes."""

from typing import Protocol

from worldmodel.tasks.play import Simulate
from worldmodel.types import Array, Goal, Policy, Start


class Expert(Protocol):
    """Demonstrates a task: plans in a simulation, then errs as a person does."""

    def plan(self, simulate: Simulate, starts: Start, goals: Goal, key: Array) -> Policy:
        """One policy per start and goal, all with a leading dimension."""
        ...
