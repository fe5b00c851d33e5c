"""Paper: the gradient through contact is exact and cheap."""

from experiments.papers.result import Number, Paper, Result, sweeps

BOUNCE = {"dt": 0.0005, "solref": [0.02, 0.5]}


def cost(
    name: str,
    minutes: float,
    options: str,
    *numbers: tuple[str, int, float, float],
    quick: str = "",
    needs: str = "",
) -> Result:
    """What a gradient costs, as a multiple of the forward simulation: scene, batch, range."""
    command = "experiments.gradients.cost --out {out} "
    gradient, forward = ("gradient", "seconds"), ("forward", "seconds")
    ratios = (
        Number({"scene": scene, "batch": batch}, gradient, low, high, forward)
        for scene, batch, low, high in numbers
    )
    return Result(
        f"gradients/{name}",
        minutes,
        (command + options,),
        tuple(ratios),
        quick=command + quick if quick else "",
        needs=needs,
    )


PAPER = Paper(
    "gradients",
    (
        cost(
            "cost",
            30,
            "--scenes cube elbow t_block hopper gripper "
            "--variants forward gradient unrolled one differences",
            ("cube", 64, 1.2, 2.6),
            ("elbow", 64, 1.0, 2.2),
            ("hopper", 64, 2.0, 4.5),
            quick="--scenes elbow --variants forward gradient",
        ),
        cost(
            "cost_batches",
            10,
            "--scenes hopper --batches 1 512 4096 --variants forward gradient",
            ("hopper", 512, 1.9, 4.0),
        ),
        cost(
            "cost_gpu",
            10,
            "--scenes cube elbow gripper hopper --batches 64 1024 8192 "
            "--variants forward gradient unrolled one",
            ("hopper", 8192, 2.0, 4.7),
            needs="a GPU",
        ),
        Result(
            "gradients/first",
            1,
            ("experiments.gradients.first --out {out}",),
            (Number({"cache": "cached"}, ("first_s",), 1.0, 15.0),),
            quick="experiments.gradients.first --out {out}",
        ),
        Result(
            "gradients/bounce",
            3,
            ("experiments.gradients.bounce --out {out}",),
            (
                Number(BOUNCE, ("wanted",), 0.36, 0.38),
                Number(BOUNCE, ("estimates", "plain", "mean"), -4.5, -2.2),
                Number(BOUNCE, ("estimates", "touch, 0.1 m/s", "mean"), 0.2, 0.55),
            ),
            quick="experiments.gradients.bounce --out {out}",
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
