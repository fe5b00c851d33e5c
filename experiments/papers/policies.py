"""Paper: gradients through the model make policies, and where they do not."""

from experiments.papers.result import Number, Paper, Result, sweeps

COMMAND = "experiments.policies.compare --out {out} "


def number(task: str, method: str, path: str, low: float, high: float) -> Number:
    """A number of a row of seed 0."""
    return Number({"task": task, "method": method, "seed": 0}, (path,), low, high)


PAPER = Paper(
    "policies",
    (
        Result(
            "policies",
            15,
            (COMMAND,),
            (
                number("swing_up", "gradient", "success", 0.9, 1.0),
                number("swing_up", "gradient", "return", 80.0, 95.0),
                number("stairs", "gradient", "success", 0.0, 0.3),
                number("hopper", "ppo", "return", 250.0, 450.0),
            ),
            quick=COMMAND + "--rows swing_up-gradient",
        ),
    ),
)

sweep, quick = sweeps(PAPER)
