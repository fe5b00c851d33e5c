"""Paper: the gradient through contact is exact and cheap."""

from experiments.papers.result import Number, Paper, Result, sweeps

BOUNCE = {"dt": 0.0005, "solref": [0.02, 0.5]}


COST = "experiments.gradients.cost --out {out} "
FIRST = "experiments.gradients.first --out {out}"
SLOPES = "experiments.gradients.bounce --out {out}"


def ratio(scene: str, batch: int, low: float, high: float) -> Number:
    """The seconds of a gradient over those of the forward simulation."""
    gradient, forward = ("gradient", "seconds"), ("forward", "seconds")
    return Number({"scene": scene, "batch": batch}, gradient, low, high, forward)


PAPER = Paper(
    "gradients",
    (
        Result(
            "gradients/cost",
            30,
            (
                COST + "--scenes cube elbow t_block hopper gripper "
                "--variants forward gradient unrolled one differences",
            ),
            (
                ratio("cube", 64, 1.2, 2.6),
                ratio("elbow", 64, 1.0, 2.2),
                ratio("hopper", 64, 2.0, 4.5),
            ),
            quick=COST + "--scenes elbow --variants forward gradient",
        ),
        Result(
            "gradients/cost_batches",
            10,
            (COST + "--scenes hopper --batches 1 512 4096 --variants forward gradient",),
            (ratio("hopper", 512, 1.9, 4.0),),
        ),
        Result(
            "gradients/cost_gpu",
            10,
            (
                COST + "--scenes cube elbow gripper hopper --batches 64 1024 8192 "
                "--variants forward gradient unrolled one",
            ),
            (ratio("hopper", 8192, 2.0, 4.7),),
            needs="a GPU",
        ),
        Result(
            "gradients/first",
            1,
            (FIRST,),
            (Number({"cache": "cached"}, ("first_s",), 1.0, 15.0),),
            quick=FIRST,
        ),
        Result(
            "gradients/bounce",
            3,
            (SLOPES,),
            (
                Number(BOUNCE, ("wanted",), 0.36, 0.38),
                Number(BOUNCE, ("estimates", "plain", "mean"), -4.5, -2.2),
                Number(BOUNCE, ("estimates", "touch, 0.1 m/s", "mean"), 0.2, 0.55),
            ),
            quick=SLOPES,
        ),
        Result(
            "gradients/cube_side",
            15,
            ("experiments.gradients.cube_side --out {out}",),
            (
                Number({"engine": "mjx", "frames": 16}, ("60 mm", "error"), 0.0, 0.05),
                Number({"engine": "mjx", "frames": 16}, ("140 mm", "error"), 0.0, 0.05),
            ),
        ),
        Result(
            "gradients/gate",
            30,
            ("experiments.gradients.gate --out {out}",),
            (
                Number(
                    {"scene": "free plane–box pyramidal Euler"}, ("reverse", "float64"), 0.0, 1e-12
                ),
            ),
            quick='experiments.gradients.gate --only "free plane–box pyramidal Euler" --out {out}',
        ),
    ),
    cores=2,
)

sweep, quick = sweeps(PAPER)
